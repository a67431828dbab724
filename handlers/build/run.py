"""A build's steps, one after the other: each makes an image upon the last one's, or finds that it was made before."""

from anyio.to_thread import run_sync

from events.errors import InvalidParameter, SystemFailure
from events.lookup import find_image
from events.messages.build import BuildImage
from events.messages.image import RunConfig, TagImage
from events.opened import open_image
from events.projections.images import Image
from handlers.build.arguments import Arguments
from handlers.build.bases import base_image
from handlers.build.containers import Containers
from handlers.build.copying import Copying
from handlers.build.errors import CommandFailed, NeedsBuildKit, NoImageGenerated
from handlers.build.instructions import change, nop, shell_of, without_triggers
from handlers.build.plan import Plan, Stage, Step, argument_pairs, check, flags
from handlers.build.sources import Placement
from handlers.build.stages import Position, Stages
from handlers.build.tree import Tree
from handlers.build.workshop import Means, Workshop
from handlers.context import Context
from handlers.dockerfile.changes import Reading, environment_of, json_words
from handlers.dockerfile.grammar import Instruction, parse_trigger

SCRATCH = "scratch"  # the name of no image
_NOTHING_TO_RUN = (
    'runc create failed: unable to start container process: exec: "{0}": stat {0}: no such file or directory'
)
_EMPTY_TAR = bytes(1024)


class Build:
    """One build, and how far it is."""

    def __init__(self, context: Context, command: BuildImage, plan: Plan, tree: Tree, means: Means) -> None:
        self._context, self._command, self._plan = context, command, plan
        self._telling = means.telling
        self._arguments, self._stages = Arguments(command.arguments), Stages()
        self._workshop = Workshop(context, command, means)
        self._copying = Copying(self._workshop, tree, self._stages)
        self.containers = Containers(self._workshop)
        self._at = Position("", RunConfig())

    async def run(self) -> str:
        """Do all steps, and name what has come of them; its id. Raises EngineError."""
        number, total = 0, self._plan.length
        for instruction in self._plan.arguments:
            number += 1
            self._telling.step(number, total, instruction.original)
            self._declare_global(instruction)
        for stage in self._plan.stages:
            number += 1
            self._stages.begin(stage.name)
            self._telling.step(number, total, stage.original)
            await self._enter(stage)
            for step in stage.steps:
                number += 1
                self._telling.step(number, total, step.original)
                await self._do(step)
                self._telling.reached(self._at.image_id)
            self._telling.made(self._at.image_id)
        if not self._at.image_id:
            raise NoImageGenerated
        self._telling.unused(self._arguments.unused())
        for tag in self._command.tags:
            await self._context.send(TagImage(source=self._at.image_id, reference=tag))
        self._telling.succeeded(self._at.image_id, self._command.tags)
        return self._at.image_id

    # ---- stages

    def _declare_global(self, instruction: Instruction) -> None:
        reading = Reading(environment=self._arguments.for_bases(), escape=self._plan.escape)
        for name, default in argument_pairs(instruction.text, reading):
            value = None if default is None else reading.expand(default)
            self._arguments.declare_global(reading.expand(name), value)

    async def _enter(self, stage: Stage) -> None:
        self._arguments.begin_stage()
        reading = Reading(environment=self._arguments.for_bases(), escape=self._plan.escape)
        name = reading.expand(stage.base)
        if not name:
            raise InvalidParameter(f"base name ({stage.base}) should not be blank")
        image_id, config = "", RunConfig()
        if name != SCRATCH:
            image = await self._base(name, reading.expand(stage.platform) or self._command.platform)
            image_id, config = image.id, open_image(image, self._context.keyring).config.config
        self._at = Position(image_id, without_triggers(config))
        self._stages.reach(image_id)
        if config.on_build:
            self._telling.triggers(len(config.on_build))
        for trigger in config.on_build:
            instruction = parse_trigger(trigger, self._plan.escape)
            check(instruction, reading)
            await self._do(instruction)
        self._telling.reached(self._at.image_id)

    async def _base(self, name: str, platform: str) -> Image:
        staged = self._stages.named(name)
        if staged:
            return find_image(self._context.state.images, staged)
        if staged == "":
            raise InvalidParameter(f"stage {name} has made no image")
        return await base_image(self._context, name, platform, self._command.credentials, pulls=self._command.pulls)

    # ---- steps

    async def _do(self, step: Step) -> None:
        match step:
            case Instruction(name="RUN"):
                await self._run(step)
            case Instruction(name="COPY" | "ADD"):
                await self._copying.copy(self._at, step, self._reading())
            case Instruction(name="ARG"):
                await self._argument(step)
            case _:
                await self._change(step)
        if self._command.removes:
            await self.containers.remove_all()
        self._stages.reach(self._at.image_id)

    def _reading(self) -> Reading:
        environment = environment_of(self._at.config)
        return Reading(environment=self._arguments.in_stage(environment) | environment, escape=self._plan.escape)

    async def _argument(self, step: Instruction) -> None:
        reading, said = self._reading(), []
        for name, default in argument_pairs(step.text, reading):
            value = None if default is None else reading.expand(default)
            expanded = reading.expand(name)
            self._arguments.declare(expanded, value)
            said.append(expanded if value is None else f"{expanded}={value}")
        await self._note(self._at.config, f"ARG {' '.join(said)}")

    async def _change(self, step: Step) -> None:
        changed = change(self._at.config, step, self._reading(), is_cmd_set=self._at.is_cmd_set)
        if changed.note:
            self._telling.text(f"{changed.note}\n")
        name = step.name if isinstance(step, Instruction) else ""
        self._at.is_cmd_set |= name == "CMD"
        if isinstance(step, Instruction) and name == "MAINTAINER":
            self._at.author = step.text
        await self._note(changed.config, changed.comment, directory=changed.config.working_dir * (name == "WORKDIR"))

    async def _note(self, config: RunConfig, comment: str, *, directory: str = "") -> None:
        """An image with another configuration, and with a directory that is to be there.

        As in dockerd a container stands for the step, unless it would be one of no image.
        """
        created_by = " ".join(nop(config, comment))
        if await self._workshop.was_done(self._at, config, created_by):
            return
        if not self._at.image_id:
            await self._note_upon_nothing(config, created_by, directory)
            return
        container_id = await self.containers.create(self._at.image_id, nop(config, comment))
        changes = None
        if directory:
            await self._workshop.place(await self._no_files(), container_id, None, directory)
            changes = await self._workshop.changes(container_id, None)
        await self._workshop.assemble(self._at, config, created_by, changes, container_id=container_id)

    async def _note_upon_nothing(self, config: RunConfig, created_by: str, directory: str) -> None:
        if not directory:
            await self._workshop.assemble(self._at, config, created_by)
            return
        async with self._workshop.layer("") as layer_id:
            await self._workshop.place(await self._no_files(), layer_id, "", directory)
            changes = await self._workshop.changes(layer_id, "")
            await self._workshop.assemble(self._at, config, created_by, changes)

    async def _no_files(self) -> Placement:
        path = self._workshop.new_file("empty.tar")
        await run_sync(path.write_bytes, _EMPTY_TAR)
        return Placement(archive=path, is_directory=True)

    async def _run(self, step: Instruction) -> None:
        for flag in flags(step):
            raise NeedsBuildKit(flag)
        config = self._at.config
        words = json_words(step.text) if step.text.startswith("[") else None
        process = (*shell_of(config), *filter(None, (step.text,))) if words is None else words
        seen = self._arguments.in_stage(environment_of(config))
        counted = self._arguments.for_history(seen)
        created_by = " ".join((f"|{len(counted)}", *counted, *process) if seen else process)
        if await self._workshop.was_done(self._at, config, created_by):
            return
        if not self._at.image_id:
            raise SystemFailure(_NOTHING_TO_RUN.format(process[0] if process else ""))
        env = tuple(f"{name}={value}" for name, value in seen.items())
        container_id = await self.containers.create(self._at.image_id, process, env)
        code = await self.containers.run(container_id)
        if code:
            self._telling.ended(code)
            raise CommandFailed(" ".join(process), code)
        changes = await self._workshop.changes(container_id, None)
        await self._workshop.assemble(self._at, config, created_by, changes, container_id=container_id)
