"""What can go wrong with layers, by name."""

from events.errors import Conflict, InvalidParameter, NotFound, SystemFailure


class NoSuchLayer(NotFound):
    """A layer that others need isn't there."""

    def __init__(self, chain_id: str) -> None:
        self.chain_id = chain_id
        super().__init__(f"layer does not exist: {chain_id}")


class LayerNotHeld(Conflict):
    """A layer can only be put upon one that the same holder keeps, or it could vanish meanwhile."""

    def __init__(self, chain_id: str, holder: str) -> None:
        self.chain_id, self.holder = chain_id, holder
        super().__init__(f"layer {chain_id} is not held by {holder}")


class WrongDigest(InvalidParameter):
    """The layer isn't what was announced."""

    def __init__(self, expected: str, actual: str) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(f'invalid diffID for layer: expected "{expected}", got "{actual}"')


class OtherDriver(SystemFailure):
    """A layer was made by a graph driver that isn't in use now."""

    def __init__(self, chain_id: str, made_by: str, used: str) -> None:
        self.chain_id = chain_id
        super().__init__(f"layer {chain_id} was made by the storage driver {made_by}, in use is {used}")


class NoContainerLayer(NotFound):
    """A container that the log doesn't know has no layer to mount."""

    def __init__(self, container_id: str) -> None:
        self.container_id = container_id
        super().__init__(f"No such container: {container_id}")
