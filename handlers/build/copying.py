"""COPY and ADD: from the context, from an image, from the web, into a layer upon the image that a stage has come to."""

import posixpath

import msgspec

from events.errors import EngineError, InvalidParameter, NotFound
from events.messages.layer import CollectFiles
from handlers.addresses import source_of
from handlers.build import sources
from handlers.build.bases import base_image
from handlers.build.context import download
from handlers.build.errors import CopyFailed, NeedsBuildKit, UnknownSource
from handlers.build.instructions import shell_of
from handlers.build.patterns import has_magic
from handlers.build.plan import copy_words, flags
from handlers.build.sources import Source
from handlers.build.stages import Position, Stages
from handlers.build.tree import Tree, inside, lone_file, read_tree
from handlers.build.workshop import Workshop
from handlers.dockerfile.changes import Reading
from handlers.dockerfile.grammar import Instruction
from handlers.kernel.threads import run_long

_NOT_IN_CONTEXT = "file not found in build context or excluded by .dockerignore: stat {path}: file does not exist"
_NOT_IN_IMAGE = "stat {path}: file does not exist"
_FETCHED_MODE = 0o600
_WEB = ("http://", "https://")


class Copying:
    """Of one build."""

    def __init__(self, workshop: Workshop, tree: Tree, stages: Stages) -> None:
        self._workshop, self._tree, self._stages = workshop, tree, stages

    async def copy(self, at: Position, step: Instruction, reading: Reading) -> None:
        """Raises CopyFailed, UnknownSource, NeedsBuildKit, InvalidParameter, and what the layer handler raises."""
        options = flags(step)
        if "chmod" in options:
            raise NeedsBuildKit("chmod")
        *paths, written = [reading.expand(word) for word in copy_words(step.text)]
        owner = reading.expand(options.get("chown", ""))
        place = sources.destination_of(at.config.working_dir, written)
        found = await self._found(step.name, paths, options.get("from", ""), place)
        sources.check(step.name, found, written)
        word = await run_long(sources.digest, found)
        said = f"{step.name} {f'--chown={owner} ' if owner else ''}{word} in {written} "
        created_by = " ".join((*shell_of(at.config), f"#(nop) {said}"))
        if not await self._workshop.was_done(at, at.config, created_by):
            keeps_owner = "from" in options and not owner
            await self._carry_out(at, found, place, owner, created_by, keeps_owner=keeps_owner)

    async def _carry_out(
        self, at: Position, found: list[Source], place: str, owner: str, created_by: str, *, keeps_owner: bool
    ) -> None:
        top, directory = self._workshop.top_of(at.image_id), self._workshop.new_file("copy")

        def write() -> list[sources.Placement]:
            return list(sources.write(found, directory, is_directory=place.endswith("/"), keeps_owner=keeps_owner))

        placements = await run_long(write)
        async with self._workshop.layer(top) as layer_id:
            for placement in placements:
                await self._workshop.place(placement, layer_id, top, place, _with_group(owner))
            changes = await self._workshop.changes(layer_id, top)
            await self._workshop.assemble(at, at.config, created_by, changes)

    async def _found(self, instruction: str, paths: list[str], origin: str, place: str) -> list[Source]:
        """What an instruction's paths mean. Raises CopyFailed, UnknownSource."""
        found: list[Source] = []
        image_id = await self._origin(origin) if origin else ""
        for path in paths:
            try:
                if instruction == "ADD" and path.startswith(_WEB):
                    found.append(await self._fetched(path, place))
                elif origin:
                    found += await self._in_image(image_id, path)
                else:
                    found += await run_long(sources.chosen, self._tree, path, _NOT_IN_CONTEXT)
            except EngineError as error:
                raise CopyFailed(instruction, error) from error
        return [await run_long(_unpacking, source) for source in found] if instruction == "ADD" else found

    async def _origin(self, name: str) -> str:
        """The image that files come from: an earlier stage's, or one by its name."""
        staged = self._stages.named(name)
        if staged is None and name.isascii() and name.isdecimal():
            staged = self._stages.numbered(int(name))
            if staged is None:
                raise UnknownSource(name, "index out of bounds")
        if staged is not None:
            return staged
        command = self._workshop.command
        try:
            image = await base_image(self._workshop.context, name, command.platform, command.credentials, pulls=False)
        except EngineError as error:
            raise UnknownSource(name, error) from error
        return image.id

    async def _in_image(self, image_id: str, path: str) -> list[Source]:
        """Files of an image, read through a layer upon it that goes again."""
        is_pattern, top = has_magic(path), self._workshop.top_of(image_id)
        archive, plain = self._workshop.new_file("collected"), self._workshop.new_file("collected.tar")
        async with self._workshop.layer(top) as layer_id:
            wanted = posixpath.join("/", sources.prefix_of(path))
            command = CollectFiles(container_id=layer_id, parent=top, path=wanted, target=str(archive))
            try:
                collected = await self._workshop.context.send(command)
            except NotFound as error:
                if is_pattern:
                    return []
                raise InvalidParameter(_NOT_IN_IMAGE.format(path=path.lstrip("/"))) from error
        tree = await run_long(read_tree, archive, plain)
        if is_pattern:
            return await run_long(sources.chosen, tree, path, _NOT_IN_IMAGE)
        node = tree.find(collected.path)
        if node is None:
            raise InvalidParameter(_NOT_IN_IMAGE.format(path=path.lstrip("/")))
        return [Source(tree, inside(path), node)]

    async def _fetched(self, url: str, place: str) -> Source:
        """A file from the web, called as the URL ends."""
        address = source_of(url)
        name = posixpath.basename(_path_of(address.url))
        if not name and place.endswith("/"):
            raise InvalidParameter(f"cannot determine filename from url: {url}")
        path = self._workshop.new_file("download")
        size_bytes = await download(self._workshop.means.web, address, path)
        tree = lone_file(name or path.name, size_bytes, path, mode=_FETCHED_MODE)
        (found,) = sources.chosen_all(tree)
        return msgspec.structs.replace(found, is_fetched=True)


def _path_of(url: str) -> str:
    """Without host, query and fragment."""
    return url.partition("://")[2].partition("#")[0].partition("?")[0].partition("/")[2]


def _with_group(owner: str) -> str:
    """As in dockerd a user without a group means the group of the same name."""
    return f"{owner}:{owner}" if owner and ":" not in owner else owner


def _unpacking(source: Source) -> Source:
    """ADD unpacks archives that are in the context. Blocks."""
    unpacks = not source.is_fetched and sources.is_archive(source)
    return msgspec.structs.replace(source, unpacks=unpacks)
