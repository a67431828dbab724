"""The few fields that `shiplog` reads of the engine's answers; names are the API's."""

import msgspec


class Created(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Of `POST /containers/create`."""

    id: str
    warnings: tuple[str, ...] | None = None


class WaitError(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Why waiting failed."""

    message: str = ""


class Ended(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Of `POST /containers/ID/wait`."""

    status_code: int
    error: WaitError | None = None


class Listed(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A container of `GET /containers/json`."""

    id: str
    image: str
    command: str
    status: str
    names: tuple[str, ...] = ()


class Component(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A program that the engine stands on."""

    name: str
    version: str


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /version`."""

    components: tuple[Component, ...] = msgspec.field(name="Components")
    newest: str = msgspec.field(name="ApiVersion")
    oldest: str = msgspec.field(name="MinAPIVersion")


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a progress stream."""

    stream: str = ""
    error: str = ""
