"""What each shell is told when it asks for the names that the engine has, by the words that it asks with."""

import os
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from click.shell_completion import FishComplete, ZshComplete

from clients.cli.__main__ import shiplog
from daemon.http.messages import Answer, Request, Response, Route
from tests.unit.daemon.http.serving import route, serving

LIMIT_S = 60
PROGRAM = Path(sys.executable).with_name("shiplog")
ASKED = {
    "start w": ["web"],
    "stop w": [],  # it doesn't run
    "rmi busybox:": ["busybox:1", "busybox:latest"],
    "network inspect br": ["bridge"],
    "volume rm d": ["data"],
    "inspect ": ["bridge", "busybox:1", "busybox:latest", "data", "web"],
    "why d": ["data"],
    "run -v data:/x --network br": ["bridge"],
    "--at 1200 start ": ["once"],
    "--context nowhere start ": [],
}


def names() -> list[Route]:
    async def containers(request: Request) -> Answer:
        if "at" in request.query:
            return Response(body=b'[{"Names":["/once"]}]')
        return Response(body=b'[{"Names":["/web"]}]' if "all" in request.query else b"[]")

    def telling(path: str, body: bytes):
        async def told(_: Request) -> Answer:
            return Response(body=body)

        return route(told, pattern=path)

    return [
        route(containers, pattern="/containers/json"),
        telling("/images/json", b'[{"RepoTags":["busybox:latest","busybox:1"]},{"RepoTags":["<none>:<none>"]},{}]'),
        telling("/networks", b'[{"Name":"bridge"}]'),
        telling("/volumes", b'{"Volumes":[{"Name":"data"}]}'),
    ]


async def told(words: list[str], **environment: str) -> str:
    with anyio.fail_after(LIMIT_S):
        done = await anyio.run_process(words, env={**os.environ, **environment}, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.mark.parametrize("shell", [ZshComplete, FishComplete])
async def test_each_shell_is_told_the_names(shell, monkeypatch):
    asking = shell(shiplog, {}, "shiplog", "_SHIPLOG_COMPLETE")
    answers = {}
    async with serving(names()) as server:
        monkeypatch.setenv("SHIPLOG_HOST", f"unix://{server.path}")
        for typed in ASKED:
            before, _, word = typed.rpartition(" ")
            monkeypatch.setenv("COMP_WORDS", f"shiplog {typed}")
            monkeypatch.setenv("COMP_CWORD", word if shell is FishComplete else str(len(before.split()) + 1))
            answers[typed] = await anyio.to_thread.run_sync(asking.complete)
    if shell is FishComplete:
        expected = {typed: "\n".join(f"plain,{name}" for name in found) for typed, found in ASKED.items()}
    else:
        expected = {typed: "\n".join(f"plain\n{name}\n_" for name in found) for typed, found in ASKED.items()}
    assert answers == expected


BASH = """
source <({program} completion bash)
for line; do
    COMP_LINE=$line COMP_POINT=${{#line}} COMPREPLY=()
    _shiplog_completion {program}
    echo "${{COMPREPLY[@]}}"
done
"""


async def in_bash(host: str, *typed: str) -> list[list[str]]:
    """What a real bash has to offer for each of the lines."""
    script = BASH.format(program=PROGRAM)
    lines = [f"shiplog {words}" for words in typed]
    said = await told(["bash", "--norc", "-c", script, "bash", *lines], SHIPLOG_HOST=host)
    return [line.split() for line in said.splitlines()]


async def test_bash_is_told_the_names():
    cut = {  # what stands before the colon is another word to bash
        "rmi busybox:": ["1", "latest"],
        "rmi busybox:la": ["latest"],
        "rmi busyb": ["busybox:1", "busybox:latest"],
        "rm --for": ["--force"],
    }
    expected = ASKED | cut
    async with serving(names()) as server:
        assert await in_bash(f"unix://{server.path}", *expected) == list(expected.values())


async def test_names_are_of_the_engine_that_the_words_mean():
    nowhere = "unix:///nowhere/s.sock"
    async with serving(names()) as server:
        here = f"unix://{server.path}"
        asked = f"-H {here} start ", f"--host={here} start ", "start "
        assert await in_bash(nowhere, *asked) == [["web"], ["web"], []]


@pytest.mark.parametrize(
    ("shell", "said"),
    [
        ("bash", "complete -o nosort -F _shiplog_completion shiplog"),
        ("zsh", "#compdef shiplog"),
        ("fish", "complete --no-files --command shiplog"),
    ],
)
async def test_each_shells_script_is_printed(shell, said):
    script = await told([str(PROGRAM), "completion", shell])
    assert said in script
    assert f"_SHIPLOG_COMPLETE={shell}_complete" in script
