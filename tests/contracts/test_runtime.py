"""What every runtime and its streams keep to: conmon with runc, and the fake that stands in for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.lowlevel
import msgspec
import pytest

from events.errors import SystemFailure
from events.messages.container import ContainerConfig
from handlers.exec.drivers.conmon import ConmonRuntime
from handlers.exec.ports import ExecPlan, LogQuery, ProcessPlan, Session, StartError
from tests.fakes.processes import RUNC, ProcessHost, exec_plan, make_rootfs, new_id, short_directory
from tests.fakes.runtime import Disk, MemoryRuntime

pytestmark = pytest.mark.root
RAW = LogQuery(framed=False)
FOLLOW = LogQuery(framed=False, follow=True)
LIMIT_S = 20

AnyRuntime = ConmonRuntime | MemoryRuntime


class Subject(NamedTuple):
    host: ProcessHost
    disk: Disk | None

    def daemon(self) -> AnyRuntime:
        """A runtime on the same directories: the first, or that of the next daemon."""
        return self.host.runtime() if self.disk is None else MemoryRuntime(self.disk)

    def plan(self, script: str, *, run: int = 1, container_id: str = "", **config) -> ProcessPlan:
        """A shell script as a container."""
        return self.host.plan(
            "/bin/sh", "-c", script, config=ContainerConfig(**config), run=run, container_id=container_id
        )


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture(params=["fake", "conmon"])
async def subject(request, rootfs) -> AsyncIterator[Subject]:
    with short_directory() as directory:
        host = ProcessHost(directory, rootfs)
        yield Subject(host, Disk() if request.param == "fake" else None)
        await host.clean()


@asynccontextmanager
async def limit():
    with anyio.fail_after(LIMIT_S):
        yield


async def running(runtime: AnyRuntime, plan: ProcessPlan) -> ProcessPlan:
    await runtime.create(plan)
    await runtime.start(plan.container_id)
    return plan


async def result(runtime: AnyRuntime, plan: ProcessPlan) -> tuple[int, bytes]:
    await running(runtime, plan)
    with anyio.fail_after(LIMIT_S):
        status = await runtime.wait(plan.container_id)
    return status.exit_code, await text(runtime, plan)


async def text(runtime: AnyRuntime, plan: ProcessPlan, query: LogQuery = RAW) -> bytes:
    with anyio.fail_after(LIMIT_S):
        return b"".join([chunk async for chunk in runtime.output(plan.container_id, query)])


async def everything(session: Session) -> list[tuple[int, bytes]]:
    with anyio.fail_after(LIMIT_S):
        return [chunk async for chunk in session.output()]


# ---- life


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("exit 5", 5), ("exit 300", 44), ("false", 1)])
async def test_the_exit_code_is_the_programs_own(subject, script, code):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan(script, run=7))
    status = await runtime.wait(plan.container_id)
    assert (status.exit_code, status.known, status.run, status.oom_killed) == (code, True, 7, False)


async def test_a_runtime_tells_which_mount_options_it_knows(subject):
    runtime, program = subject.daemon(), subject.plan("true").runtime
    for path, option, known in ((program, "rro", True), (program, "nosuch", False), ("/bin/true", "rro", False)):
        for _ in range(2):
            assert await runtime.understands(path, option) is known


async def test_a_created_process_waits_for_its_start(subject):
    runtime = subject.daemon()
    plan = subject.plan("echo hello; sleep 100")
    created = await runtime.create(plan)
    found = await runtime.find(plan.container_id)
    assert found is not None
    assert (found.pid, found.started, created.started) == (created.pid, False, False)
    assert await text(runtime, plan) == b""
    await runtime.start(plan.container_id)
    found = await runtime.find(plan.container_id)
    assert found is not None
    assert (found.pid, found.started, found.frozen) == (created.pid, True, False)
    assert runtime.processes(plan.container_id) == (created.pid,)


async def test_what_was_prepared_can_be_created_or_taken_down(subject):
    runtime = subject.daemon()
    plan = subject.plan("echo hello")
    for _ in range(2):
        await runtime.prepare(plan)
    await running(runtime, plan)
    assert (await runtime.wait(plan.container_id)).exit_code == 0
    assert await text(runtime, plan) == b"hello\n"
    other = subject.plan("echo hello")
    await runtime.prepare(other)
    assert await runtime.find(other.container_id) is None
    await runtime.delete(other.container_id)
    assert other.container_id not in await runtime.list()


async def test_what_was_prepared_for_another_run_is_prepared_anew(subject):
    runtime = subject.daemon()
    plan = subject.plan("exit 7")
    await runtime.prepare(plan)
    await running(runtime, msgspec.structs.replace(plan, run=plan.run + 1))
    status = await runtime.wait(plan.container_id)
    assert (status.exit_code, status.run) == (7, plan.run + 1)


async def test_a_signal_ends_it_and_the_next_finds_nobody(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    assert await runtime.signal(plan.container_id, 9)
    assert (await runtime.wait(plan.container_id)).exit_code == 137
    assert not await runtime.signal(plan.container_id, 9)
    assert await runtime.find(plan.container_id) is None


async def test_what_has_ended_cannot_be_started(subject):
    runtime = subject.daemon()
    plan = subject.plan("true")
    await runtime.create(plan)
    await runtime.signal(plan.container_id, 9)
    await runtime.wait(plan.container_id)
    with pytest.raises(SystemFailure, match="its process has ended"):
        await runtime.start(plan.container_id)


async def test_freezing_and_thawing(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    for frozen in (True, True, False, False):
        await runtime.freeze(plan.container_id, frozen=frozen)
        found = await runtime.find(plan.container_id)
        assert found is not None
        assert found.frozen is frozen


async def test_a_frozen_process_can_be_deleted(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    await runtime.freeze(plan.container_id, frozen=True)
    await runtime.delete(plan.container_id)
    assert await runtime.list() == frozenset()
    assert await runtime.find(plan.container_id) is None


async def test_absent_things_can_be_taken_down_and_have_no_known_end(subject):
    runtime, container_id = subject.daemon(), new_id()
    await runtime.delete(container_id)
    await runtime.remove_files(container_id)
    await runtime.forget_exec(container_id, new_id())
    assert await runtime.find(container_id) is None
    assert await runtime.find_exec(container_id, new_id()) is None
    assert await runtime.list_execs(container_id) == frozenset()
    assert not await runtime.signal(container_id, 15)
    assert runtime.processes(container_id) == ()
    for status in (await runtime.wait(container_id), await runtime.wait_exec(container_id, new_id())):
        assert (status.exit_code, status.known) == (255, False)
    with pytest.raises(SystemFailure):
        await runtime.freeze(container_id, frozen=True)
    with pytest.raises(SystemFailure):
        await runtime.resize(container_id, "", 1, 1)
    with pytest.raises(SystemFailure):
        await runtime.open_stdin(container_id)


async def test_it_can_be_deleted_at_any_stage_and_its_exit_stays(subject):
    runtime = subject.daemon()
    created, live, ended = (subject.plan(script) for script in ("true", "sleep 100", "exit 3"))
    await runtime.create(created)
    await running(runtime, live)
    await running(runtime, ended)
    await runtime.wait(ended.container_id)
    assert await runtime.list() == {created.container_id, live.container_id, ended.container_id}
    for plan in (created, live, ended):
        await runtime.delete(plan.container_id)
        await runtime.delete(plan.container_id)
    assert await runtime.list() == frozenset()
    assert (await runtime.wait(ended.container_id)).exit_code == 3
    assert (await runtime.wait(live.container_id)).exit_code == 137
    await runtime.remove_files(ended.container_id)
    assert not (await runtime.wait(ended.container_id)).known


async def test_a_wait_gets_the_status_although_the_process_is_deleted_meanwhile(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    codes = []

    async def wait() -> None:
        codes.append((await runtime.wait(plan.container_id)).exit_code)

    async with limit(), anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        await runtime.delete(plan.container_id)
    assert codes == [137]


async def test_a_second_run_has_a_status_of_its_own_and_adds_to_the_output(subject):
    runtime = subject.daemon()
    first = subject.plan("echo one; exit 1", run=1)
    assert await result(runtime, first) == (1, b"one\n")
    await runtime.delete(first.container_id)
    second = await running(runtime, subject.plan("echo two; exit 2", run=2, container_id=first.container_id))
    status = await runtime.wait(second.container_id)
    assert (status.exit_code, status.run) == (2, 2)
    assert await text(runtime, second) == b"one\ntwo\n"


# ---- what can't be made


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("/nosuch", 127, 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/etc", 126, "permission denied"),
    ],
)
async def test_a_program_that_cannot_run_leaves_nothing(subject, program, code, words):
    runtime = subject.daemon()
    plan = subject.host.plan(program)
    with pytest.raises(StartError, match="failed to create task for container") as refusal:
        await runtime.create(plan)
    assert refusal.value.exit_code == code
    assert words in refusal.value.message
    assert await runtime.list() == frozenset()
    assert not (await runtime.wait(plan.container_id)).known


async def test_an_exec_that_cannot_run_leaves_nothing_and_ends_its_session(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    refused = exec_plan(plan, "nosuch")
    session = await runtime.exec_session(refused.exec_id)
    with pytest.raises(StartError) as refusal:
        await runtime.exec(refused)
    assert refusal.value.exit_code == 127
    assert refusal.value.message.startswith("OCI runtime exec failed: ")
    assert 'exec: "nosuch": executable file not found in $PATH' in refusal.value.message
    assert await everything(session) == []
    assert not (await runtime.wait_exec(plan.container_id, refused.exec_id)).known


async def test_an_exec_in_a_container_that_has_ended_is_refused(subject):
    runtime = subject.daemon()
    plan = subject.plan("true")
    await result(runtime, plan)
    await runtime.delete(plan.container_id)
    with pytest.raises((SystemFailure, StartError)):
        await runtime.exec(exec_plan(plan, "true"))


# ---- the next daemon


async def test_the_next_daemon_finds_what_lives_and_sees_it_end(subject):
    plan = await running(subject.daemon(), subject.plan("sleep 100", run=4))
    later = subject.daemon()
    assert await later.list() == {plan.container_id}
    assert await later.find(plan.container_id) is not None
    statuses = []

    async def wait() -> None:
        statuses.append(await later.wait(plan.container_id))

    async with limit(), anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        assert await later.signal(plan.container_id, 15)
        await anyio.lowlevel.checkpoint()
        await later.signal(plan.container_id, 9)
    assert (statuses[0].exit_code, statuses[0].run) in {(137, 4), (143, 4)}


async def test_the_next_daemon_can_start_what_was_only_created(subject):
    plan = subject.plan("echo hi; exit 6")
    await subject.daemon().create(plan)
    later = subject.daemon()
    await later.start(plan.container_id)
    assert (await later.wait(plan.container_id)).exit_code == 6
    assert await text(later, plan) == b"hi\n"


async def test_the_next_daemon_learns_how_execs_ended(subject):
    before = subject.daemon()
    plan = await running(before, subject.plan("sleep 100"))
    ended, live = exec_plan(plan, "sh", "-c", "exit 7", attached=False), exec_plan(plan, "sleep", "100", attached=False)
    await before.exec(ended)
    process = await before.exec(live)
    later = subject.daemon()
    assert (await later.wait_exec(plan.container_id, ended.exec_id)).exit_code == 7
    found = await later.find_exec(plan.container_id, live.exec_id)
    assert found is not None
    assert found.pid == process.pid
    assert await later.list_execs(plan.container_id) == {live.exec_id, ended.exec_id}
    await later.forget_exec(plan.container_id, ended.exec_id)
    assert await later.list_execs(plan.container_id) == {live.exec_id}
    assert not (await later.wait_exec(plan.container_id, ended.exec_id)).known


# ---- output


async def test_streams_are_framed_chosen_and_cut_to_the_tail(subject):
    runtime = subject.daemon()
    plan = subject.plan("echo one; echo two >&2")
    await running(runtime, plan)
    await runtime.wait(plan.container_id)
    framed = await text(runtime, plan, LogQuery())
    assert b"\x01\0\0\0\0\0\0\x04one\n" in framed  # nobody orders what goes through two pipes
    assert b"\x02\0\0\0\0\0\0\x04two\n" in framed
    assert await text(runtime, plan, LogQuery(framed=False, stderr=False)) == b"one\n"
    assert await text(runtime, plan, LogQuery(framed=False, stdout=False)) == b"two\n"


async def test_the_tail_is_counted_in_lines(subject):
    runtime = subject.daemon()
    plan = subject.plan("echo one; echo two; echo three")
    await result(runtime, plan)
    tails = [await text(runtime, plan, LogQuery(framed=False, tail=tail)) for tail in (0, 1, 2, 9)]
    assert tails == [b"", b"three\n", b"two\nthree\n", b"one\ntwo\nthree\n"]


async def test_an_attach_before_the_start_gets_all_of_that_run_and_ends_with_it(subject):
    runtime = subject.daemon()
    first = subject.plan("echo before", run=1)
    await result(runtime, first)
    await runtime.delete(first.container_id)
    again = subject.plan("echo now; exit 1", run=2, container_id=first.container_id)
    chunks = runtime.output_from(again.container_id, runtime.output_position(again.container_id), FOLLOW)
    await running(runtime, again)
    await runtime.wait(again.container_id)
    await runtime.delete(again.container_id)
    async with limit():
        assert b"".join([chunk async for chunk in chunks]) == b"now\n"


async def test_following_gives_output_as_it_comes_and_ends_with_the_run(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("cat; echo end", open_stdin=True, stdin_once=True))
    chunks = runtime.output(plan.container_id, FOLLOW)
    stdin = await runtime.open_stdin(plan.container_id)
    async with limit():
        await stdin.send(b"ping\n")
        assert await anext(chunks) == b"ping\n"
        await stdin.send(b"pong\n")
        assert await anext(chunks) == b"pong\n"
        await stdin.send_eof()
        assert b"".join([chunk async for chunk in chunks]) == b"end\n"
    await stdin.aclose()


async def test_who_follows_what_is_removed_is_let_go(subject):
    runtime, container_id = subject.daemon(), new_id()
    chunks = runtime.output(container_id, FOLLOW)
    async with limit(), anyio.create_task_group() as tasks:
        tasks.start_soon(runtime.remove_files, container_id)
        assert [chunk async for chunk in chunks] == []


# ---- input


async def test_input_arrives_and_ends(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("cat; exit 4", open_stdin=True, stdin_once=True))
    session = await runtime.open_stdin(plan.container_id)
    await session.send(b"hello")
    await session.send_eof()
    async with limit():
        assert (await runtime.wait(plan.container_id)).exit_code == 4
    assert await everything(session) == []
    await session.aclose()
    assert await text(runtime, plan) == b"hello"


async def test_input_that_stays_open_outlives_its_clients(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("cat", open_stdin=True))
    chunks = runtime.output(plan.container_id, FOLLOW)
    for word in (b"one\n", b"two\n"):
        session = await runtime.open_stdin(plan.container_id)
        await session.send(word)
        await session.send_eof()
        async with limit():
            assert await anext(chunks) == word
        await session.aclose()
    assert await runtime.find(plan.container_id) is not None


async def test_a_terminal_ends_its_input_by_a_character(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("cat; exit 4", open_stdin=True, tty=True))
    await runtime.resize(plan.container_id, "", 24, 80)
    session = await runtime.open_stdin(plan.container_id)
    await session.send(b"hi\n")
    await session.send_eof()
    async with limit():
        assert (await runtime.wait(plan.container_id)).exit_code == 4
    assert b"hi" in await text(runtime, plan)
    await session.aclose()


# ---- execs


async def run_exec(
    runtime: AnyRuntime, plan: ExecPlan, given: bytes | None = None
) -> tuple[int, list[tuple[int, bytes]]]:
    session = await runtime.exec_session(plan.exec_id)
    await runtime.exec(plan)
    if given is not None:
        await session.send(given)
        await session.send_eof()
    chunks = await everything(session)
    with anyio.fail_after(LIMIT_S):
        status = await runtime.wait_exec(plan.container_id, plan.exec_id)
    await session.aclose()
    await runtime.forget_exec(plan.container_id, plan.exec_id)
    return status.exit_code, chunks


async def test_an_exec_writes_to_its_session_and_not_to_the_containers_output(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    code, chunks = await run_exec(runtime, exec_plan(plan, "sh", "-c", "echo out; echo err >&2; exit 3"))
    assert code == 3
    assert sorted(chunks) == [(1, b"out\n"), (2, b"err\n")]
    assert await text(runtime, plan) == b""


async def test_an_exec_reads_its_input_to_the_end(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    code, chunks = await run_exec(runtime, exec_plan(plan, "cat", stdin=True), b"hello")
    assert (code, b"".join(data for _, data in chunks)) == (0, b"hello")
    code, chunks = await run_exec(runtime, exec_plan(plan, "cat"))
    assert (code, chunks) == (0, [])


async def test_an_exec_on_a_terminal(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    code, chunks = await run_exec(runtime, exec_plan(plan, "cat", terminal=True, stdin=True), b"hi\n")
    assert code == 0
    assert {stream for stream, _ in chunks} == {1}
    assert b"hi" in b"".join(data for _, data in chunks)


async def test_a_detached_exec_and_its_end_with_the_container(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    short, long = exec_plan(plan, "false", attached=False), exec_plan(plan, "sleep", "100", attached=False)
    await runtime.exec(short)
    live = await runtime.exec(long)
    assert (await runtime.wait_exec(plan.container_id, short.exec_id)).exit_code == 1
    assert await runtime.find_exec(plan.container_id, short.exec_id) is None
    assert live.pid in runtime.processes(plan.container_id)
    codes = []

    async def wait() -> None:
        codes.append((await runtime.wait_exec(plan.container_id, long.exec_id)).exit_code)

    async with limit(), anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        await runtime.delete(plan.container_id)
    assert codes == [137]


async def test_a_client_that_leaves_an_exec_does_not_end_it(subject):
    runtime = subject.daemon()
    plan = await running(runtime, subject.plan("sleep 100"))
    inside = exec_plan(plan, "sleep", "100")
    session = await runtime.exec_session(inside.exec_id)
    live = await runtime.exec(inside)
    await session.aclose()
    found = await runtime.find_exec(plan.container_id, inside.exec_id)
    assert found is not None
    assert found.pid == live.pid


def test_plans_are_what_the_handler_makes():
    """The tests above are worth something only if a plan's bytes are a runtime specification."""
    with short_directory() as directory:
        plan = ProcessHost(directory, directory).plan("/bin/true")
    assert msgspec.json.decode(plan.specification)["ociVersion"] == "1.0.2"
    assert plan.runtime == RUNC
