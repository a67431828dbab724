"""All read models together, fed from the log in order; a GET request and a decision read nothing else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from events.envelope import Recorded
from events.messages import container
from events.projections.builds import Builds
from events.projections.containers import Containers
from events.projections.execs import Execs
from events.projections.images import Images
from events.projections.layers import Layers
from events.projections.networks import Networks, Sandboxes
from events.projections.tables import Projection, table_types
from events.projections.transfers import Transfers
from events.projections.volumes import Volumes


class State:
    """The engine's state at one position of the log."""

    def __init__(self) -> None:
        self.sequence = 0
        self.builds = Builds()
        self.containers = Containers()
        self.execs = Execs()
        self.images = Images()
        self.layers = Layers()
        self.networks = Networks()
        self.sandboxes = Sandboxes()
        self.transfers = Transfers()
        self.volumes = Volumes()
        self._folds: dict[str, Callable[[Recorded], None]] = {
            "build": self.builds.apply,
            "container": self._apply_container,
            "exec": self.execs.apply,
            "process": self.execs.apply,
            "image": self.images.apply,
            "layer": self.layers.apply,
            "network": self.networks.apply,
            "sandbox": self.sandboxes.apply,
            "transfer": self.transfers.apply,
            "volume": self.volumes.apply,
        }

    def apply(self, batch: Sequence[Recorded]) -> None:
        """Take in events in the order of the log."""
        for recorded in batch:
            fold = self._folds.get(recorded.stream.partition("/")[0])
            if fold is not None:
                fold(recorded)
            self.sequence = recorded.sequence

    def key_owners(self) -> set[str]:
        """Objects that may have sealed values, as a keyring names them."""
        containers = {f"container/{c.id}" for c in self.containers}
        return containers | {f"volume/{volume.name}" for volume in self.volumes if volume.options is not None}

    def capture(self) -> dict[str, dict[Any, Any]]:
        """Every table of every read model as it is now, by `<model>.<table>`; later events don't change them."""
        return {
            f"{model}.{name}": table
            for model, projection in self._projections()
            for name, table in projection.capture().items()
        }

    def restore(self, sequence: int, tables: Mapping[str, dict[Any, Any]]) -> None:
        """Take over what `capture` gave at a position of the log."""
        self.sequence = sequence
        for model, projection in self._projections():
            projection.restore({name: tables[f"{model}.{name}"] for name in table_types(type(projection))})

    def table_types(self) -> dict[str, Any]:
        """The type of every table that `capture` gives."""
        return {
            f"{model}.{name}": kind
            for model, projection in self._projections()
            for name, kind in table_types(type(projection)).items()
        }

    def _projections(self) -> list[tuple[str, Projection]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Projection)]

    def _apply_container(self, recorded: Recorded) -> None:
        self.containers.apply(recorded)
        match recorded.event:
            case container.ContainerStartRequested(container_id=container_id):
                self.execs.forget_ended(container_id)
            case container.ContainerRemoved(container_id=container_id):
                self.execs.forget(container_id)
            case _:
                pass
