"""Makes another engine serve what a lost one did: networks, volumes, images and containers from its log.

What is there already is kept, so that it can be run again after a failure. Contents of volumes and of containers' own
layers aren't in the log.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from clients.api import ApiError, Client
from clients.errors import Unusable
from clients.replay.plan import Plan, Wanted, WantedContainer, WantedImage
from events.references import parse

MADE: Final = "made"
KEPT: Final = "kept"
STARTED: Final = "started"
FAILED: Final = "failed"
_NOT_FOUND: Final = 404
_NOT_MODIFIED: Final = 304


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one object."""

    kind: str
    name: str
    outcome: str  # made, kept, started, failed
    detail: str = ""


class _Id(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An object's id."""

    id: str = ""


class _Running(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A container's state."""

    running: bool = False


class _Existing(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A container that is there."""

    image: str
    state: _Running


class _Pool(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A subnet."""

    subnet: str = ""


class _Ipam(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Addresses of a network."""

    config: tuple[_Pool, ...] | None = ()


class _Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network that is there."""

    ipam: _Ipam = msgspec.field(default=_Ipam(), name="IPAM")


class _Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a load or a pull."""

    error: str = ""


class TakeOver:
    """One run against one engine."""

    def __init__(self, client: Client, plan: Plan, archives: Sequence[Path] = ()) -> None:
        """`archives` hold images that are loaded before a registry is asked for what is missing."""
        self._client, self._plan, self._archives = client, plan, archives

    async def run(self) -> AsyncIterator[Outcome]:
        """One outcome for every object, as it comes; nothing stops at a failure. Raises Unusable, EngineUnreachable."""
        await self._check_bridge()
        for archive in self._archives:
            yield await self._load(archive)
        for network in self._plan.networks:
            yield await self._make(network, f"/networks/{network.name}")
        for volume in self._plan.volumes:
            yield await self._make(volume, f"/volumes/{volume.name}")
        for image in self._plan.images:
            yield await self._image(image)
        for container in self._plan.containers:
            yield await self._container(container)
        for container in sorted(self._plan.containers, key=lambda each: each.started_at_ns):
            if container.running and not container.problem:
                yield await self._start(container)

    async def _check_bridge(self) -> None:
        """Before anything is made: containers can't have their addresses on another subnet."""
        wanted = self._plan.bridge_subnet
        if not wanted:
            return
        bridge = await self._client.get("/networks/bridge", _Network)
        subnets = [pool.subnet for pool in bridge.ipam.config or ()]
        if wanted not in subnets:
            raise Unusable(
                f"containers had addresses of {wanted} on the default bridge, this engine's has "
                f"{', '.join(subnets) or 'none'}: start it with --bip and that subnet's first address"
            )

    async def _load(self, archive: Path) -> Outcome:
        try:
            problem = await self._progress("/images/load", {"quiet": True}, archive)
        except (ApiError, OSError) as error:
            problem = str(error)
        return _outcome("archive", archive.name, MADE, problem)

    async def _progress(self, path: str, query: dict[str, str | int | bool], file: Path | None = None) -> str:
        """The error that a progress stream tells, or ""."""
        async with self._client.stream("POST", path, query, file=file) as chunks:
            content = b"".join([chunk async for chunk in chunks])
        lines = (msgspec.json.decode(line, type=_Progress) for line in content.splitlines() if line.strip())
        return next((line.error for line in lines if line.error), "")

    async def _make(self, wanted: Wanted, where: str) -> Outcome:
        if await self._found(where, _Id) is not None:
            return _outcome(wanted.kind, wanted.name, KEPT)
        if wanted.problem:
            return _outcome(wanted.kind, wanted.name, FAILED, wanted.problem)
        try:
            await self._client.post(wanted.path, _Id, wanted.query, wanted.body)
        except ApiError as error:
            return _outcome(wanted.kind, wanted.name, FAILED, error.message)
        return _outcome(wanted.kind, wanted.name, MADE)

    async def _found(self, where: str, kind: type[msgspec.Struct]) -> msgspec.Struct | None:
        try:
            return await self._client.get(where, kind)
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def _image(self, image: WantedImage) -> Outcome:
        name = parse(image.references[0]).familiar if image.references else image.id
        outcome, problem = KEPT, ""
        if await self._found(f"/images/{image.id}/json", _Id) is None:
            outcome, problem = MADE, await self._pull(image)
        for reference in () if problem else image.references:
            problem = problem or await self._tag(image, reference)
        return _outcome("image", name, outcome, problem)

    async def _pull(self, image: WantedImage) -> str:
        """From the registries of its names, a digest first; the problem, or ""."""
        problems: list[str] = []
        for reference in sorted(image.references, key=lambda each: "@" not in each):
            try:
                problem = await self._progress("/images/create", {"fromImage": reference})
            except ApiError as error:
                problem = error.message
            if await self._found(f"/images/{image.id}/json", _Id) is not None:
                return ""
            problems.append(problem or f"{reference} is another image by now")
        return "; ".join(problems) or "it has no name to pull it by: give an archive that holds it"

    async def _tag(self, image: WantedImage, reference: str) -> str:
        parsed = parse(reference)
        if parsed.digest:
            return ""
        present = await self._found(f"/images/{reference}/json", _Id)
        if isinstance(present, _Id) and present.id == image.id:
            return ""
        try:
            await self._client.act("POST", f"/images/{image.id}/tag", {"repo": parsed.name, "tag": parsed.tag})
        except ApiError as error:
            return error.message
        return ""

    async def _container(self, wanted: WantedContainer) -> Outcome:
        existing = await self._found(f"/containers/{wanted.name}/json", _Existing)
        if isinstance(existing, _Existing):
            same = existing.image == wanted.image_id
            problem = "" if same else "another container has its name: rename or remove that one"
            return _outcome("container", wanted.name, KEPT, problem)
        if not wanted.problem and await self._found(f"/images/{wanted.image_id}/json", _Id) is None:
            return _outcome("container", wanted.name, FAILED, f"its image {wanted.image_id} is missing")
        return await self._make(wanted, f"/containers/{wanted.name}/json")

    async def _start(self, wanted: WantedContainer) -> Outcome:
        existing = await self._found(f"/containers/{wanted.name}/json", _Existing)
        if not isinstance(existing, _Existing) or existing.image != wanted.image_id:
            return _outcome("container", wanted.name, FAILED, "it isn't there to be started")
        try:
            if not existing.state.running:
                await self._client.act("POST", f"/containers/{wanted.name}/start")
                if wanted.paused:
                    await self._client.act("POST", f"/containers/{wanted.name}/pause")
        except ApiError as error:
            return _outcome("container", wanted.name, FAILED, error.message)
        return _outcome("container", wanted.name, KEPT if existing.state.running else STARTED)


def _outcome(kind: str, name: str, outcome: str, problem: str = "") -> Outcome:
    return Outcome(kind=kind, name=name, outcome=FAILED if problem else outcome, detail=problem)
