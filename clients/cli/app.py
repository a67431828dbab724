"""The frame of `shiplog`: global flags, commands that are loaded when they are used, and how they meet the engine."""

import functools
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Concatenate, ParamSpec

import anyio
import click
from typing_extensions import override

from clients.api import ApiError, Client, EngineUnreachable
from clients.cli.settings import Flags, Settings, SettingsError, elsewhere, resolve
from clients.cli.template import TemplateError
from clients.errors import ClientFailure

Parameters = ParamSpec("Parameters")
FAILED, ENGINE_FAILED = 1, 125
HELP = {"help_option_names": ["-h", "--help"]}


class Failed(Exception):
    """A command that couldn't be done; `code` is what the program ends with."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        self.code = code
        super().__init__(message)


class Section(click.Group):
    """A group whose commands are named by `module:attribute` and loaded when one of them is asked for.

    The first word of a table's key decides under which heading the help shows it.
    """

    def __init__(self, *arguments: Any, lazy: Mapping[str, Mapping[str, str]], **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._lazy = lazy
        self._places = {name: place for names in lazy.values() for name, place in names.items()}

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._places)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._places.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, names in self._lazy.items():
            rows = [(name, _summary(self.get_command(ctx, name))) for name in names]
            with formatter.section(heading):
                formatter.write_dl(rows)


def _summary(command: click.Command | None) -> str:
    return command.get_short_help_str(80) if command else ""


def section(name: str, about: str, lazy: Mapping[str, str]) -> Section:
    """A group of commands about one kind of object."""
    return Section(name, help=about, lazy={"Commands": lazy}, context_settings=HELP)


Act = Callable[Concatenate[Client, Parameters], Awaitable[int | None]]


def engine_command(act: Act[Parameters]) -> Callable[Parameters, None]:
    """Make a coroutine that takes a client a click callback; what it returns is the exit code."""

    @functools.wraps(act)
    def run(*arguments: Parameters.args, **others: Parameters.kwargs) -> None:
        client = settings().client()
        code = anyio.run(functools.partial(act, client, *arguments, **others))
        if code:
            sys.exit(code)

    return run


def settings(engine: str | None = None) -> Settings:
    """Of the command that runs, or for another engine that it names. Raises SettingsError."""
    known = click.get_current_context().find_root().obj
    flags = known if isinstance(known, Flags) else Flags()
    return resolve(flags if engine is None else elsewhere(flags, engine))


async def for_each(names: Iterable[str], act: Callable[[str], Awaitable[str | None]]) -> int:
    """Do it to each, print what came of it (its name, unless `act` says otherwise), go on after a failure."""
    code = 0
    for name in names:
        try:
            said = await act(name)
        except ApiError as error:
            tell(error)
            code = FAILED
        else:
            click.echo(name if said is None else said)
    return code


def tell(error: Exception) -> None:
    """Say what went wrong, as the docker CLI says it."""
    click.echo(text_of(error), err=True)


def text_of(error: Exception) -> str:
    """What a person reads of an error."""
    return f"Error response from daemon: {error}" if isinstance(error, ApiError) else str(error)


def confirm(question: str, *, force: bool) -> bool:
    """Ask before something is lost; without a terminal nobody can answer, and nothing is done."""
    return force or click.confirm(f"WARNING! {question}\nAre you sure you want to continue?", default=False)


def filters(words: Sequence[str]) -> dict[str, list[str]]:
    """`--filter key=value`, several times, as the API takes them. Raises click.BadParameter."""
    found: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise click.BadParameter(f"invalid filter {word!r}: use key=value")
        found.setdefault(key.strip().lower(), []).append(value.strip())
    return found


def run_program(program: click.Command) -> None:
    """Run, and turn what goes wrong into a sentence and an exit code."""
    try:
        program(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)  # as a shell tells of SIGINT
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(_refused_code(error))
    except Failed as error:
        click.echo(str(error), err=True)
        sys.exit(error.code)
    except (ApiError, EngineUnreachable, ClientFailure, SettingsError, TemplateError) as error:
        tell(error)
        sys.exit(FAILED)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads; Python would complain at its end
        sys.exit(FAILED)
    except OSError as error:
        click.echo(f"shiplog: {error}", err=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(130)


def _refused_code(error: click.ClickException) -> int:
    """`docker run` ends with 125 for whatever is wrong before a container runs."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return ENGINE_FAILED if context is not None and context.command_path.split()[-1] == "run" else FAILED
