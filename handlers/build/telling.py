"""What is told of a build while it goes on, in dockerd's words; with `--quiet` only if it fails."""

import codecs
from collections.abc import Awaitable, Callable

from events.references import familiar
from handlers.progress import Exit, Line, Made, Text

_SHORT = slice(0, 12)
_QUIET_LIMIT_BYTES = 1024 * 1024  # of what is kept back
_STDERR = 2


def short(identifier: str) -> str:
    """Twelve digits of an id."""
    return identifier.removeprefix("sha256:")[_SHORT]


class Telling:
    """One build's lines, to whoever watches."""

    def __init__(
        self, tell: Callable[[Line], None], caught_up: Callable[[], Awaitable[None]], *, is_quiet: bool
    ) -> None:
        """`caught_up` waits for readers that lag behind."""
        self._tell, self._caught_up, self._is_quiet = tell, caught_up, is_quiet
        self._held: list[Text] = []
        self._held_bytes = 0

    def text(self, text: str) -> None:
        """Words."""
        if not self._is_quiet:
            self._tell(Text(text))
        elif self._held_bytes < _QUIET_LIMIT_BYTES:
            self._held.append(Text(text))
            self._held_bytes += len(text)

    def step(self, number: int, total: int, original: str) -> None:
        """A step begins."""
        self.text(f"Step {number}/{total} : {original}")
        self.text("\n")

    def running(self, container_id: str) -> None:
        """A container was made for it."""
        self.text(f" ---> Running in {short(container_id)}\n")

    def removing(self, container_id: str) -> None:
        """The container goes."""
        self.text(f"Removing intermediate container {short(container_id)}\n")

    def using_cache(self) -> None:
        """The step was done before."""
        self.text(" ---> Using cache\n")

    def reached(self, image_id: str) -> None:
        """The image that the build has come to."""
        self.text(f" ---> {short(image_id)}\n")

    def triggers(self, count: int) -> None:
        """The base image has instructions for those built upon it."""
        self.text(f"# Executing {count} build trigger{'s' if count != 1 else ''}\n")

    def interrupted(self, instructions: tuple[str, ...]) -> None:
        """Instructions have empty lines in them."""
        if instructions:
            found = "".join(f"[WARNING]: Empty continuation line found in:\n    {each}\n" for each in instructions)
            last = "[WARNING]: Empty continuation lines will become errors in a future release.\n"
            self.text(_red(found + last))

    def unused(self, arguments: tuple[str, ...]) -> None:
        """Arguments that no instruction has asked for."""
        if arguments:
            self.text(f"[Warning] One or more build-args [{' '.join(arguments)}] were not consumed\n")

    def ended(self, code: int) -> None:
        """A process has ended the build."""
        self._tell(Exit(code))

    def failed(self) -> None:
        """What was kept back is told now."""
        for line in self._held:
            self._tell(line)
        self._held = []

    def made(self, image_id: str) -> None:
        """A stage has ended."""
        if image_id and not self._is_quiet:
            self._tell(Made(image_id))

    def succeeded(self, image_id: str, tags: tuple[str, ...]) -> None:
        """The image that has come of it."""
        if self._is_quiet:
            self._tell(Text(f"{image_id}\n"))
            return
        self.text(f"Successfully built {short(image_id)}\n")
        for tag in tags:
            self.text(f"Successfully tagged {familiar(tag)}\n")

    def output(self) -> "Output":
        """Where the output of a process goes."""
        return Output(self)

    async def caught_up(self) -> None:
        """Wait for readers that lag behind."""
        await self._caught_up()


class Output:
    """What a process writes, as text; errors are red."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")(errors="replace") for stream in (1, 2)}

    async def write(self, stream: int, data: bytes) -> None:
        """A piece of it; waits for readers that lag behind."""
        text = self._decoders[stream].decode(data)
        if text:
            self._telling.text(_red(text) if stream == _STDERR else text)
        await self._telling.caught_up()


def _red(text: str) -> str:
    return f"\x1b[91m{text}\x1b[0m"
