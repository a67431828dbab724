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
