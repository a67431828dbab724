"""Processes of a container, and what takes disk space."""

import os
import time

import pytest

from daemon.api.top import TITLES, clock, parse_table, read_table, started, terminal, user_name
from daemon.api.usage import DirectoryUsage
from daemon.shapes.layout import Layout
from events.errors import Conflict, InvalidParameter, SystemFailure
from handlers.layers.decide import container_cache_id
from tests.unit.daemon.api.support import Api
from tests.unit.daemon.story import Story

WEB = "a3" * 32


async def api_with(*, running):
    story = Story()
    await story.container(WEB, "web")
    if running:
        await story.start(WEB)
    return Api(story)


async def test_the_default_columns_come_from_proc():
    api = await api_with(running=True)
    api.processes = (os.getpid(), 2**22 + 1)  # the second is no pid that the kernel gives
    answer = await api.get("/containers/web/top")
    assert tuple(answer["Titles"]) == TITLES
    (row,) = answer["Processes"]
    assert row[1:3] == [str(os.getpid()), str(os.getppid())]
    assert "pytest" in row[7]
    assert [command.action for command in api.desk.taken] == ["top"]


async def test_other_columns_come_from_ps():
    api = await api_with(running=True)
    api.processes = (7676, 7700)
    api.printed = "  PID COMMAND\n 7676 sleep 600\n 1 init\n 7700 a b  c\n junk\n"
    answer = await api.get("/containers/web/top?ps_args=-o%20pid,args".replace("%20", "+"))
    assert answer == {"Titles": ["PID", "COMMAND"], "Processes": [["7676", "sleep 600"], ["7700", "a b  c"]]}
    assert api.asked_of_ps == [["-o", "pid,args"]]


async def test_top_of_what_does_not_run():
    api = await api_with(running=False)
    with pytest.raises(Conflict, match=f"container {WEB} is not running"):
        await api.send("GET", "/containers/web/top")


async def test_a_hidden_pid_is_refused():
    api = await api_with(running=True)
    with pytest.raises(InvalidParameter, match='specifying "uid=PID" is not allowed'):
        await api.send("GET", "/containers/web/top?ps_args=-o+uid=PID")


def test_ps_without_a_pid():
    for printed in ("", "COMMAND\nls\n"):
        with pytest.raises(SystemFailure, match="Couldn't find PID field in ps output"):
            parse_table(printed, frozenset())


def test_no_process_is_no_row():
    assert read_table(()).processes == ()


def test_columns():
    assert user_name(0) == "root"
    assert user_name(4_000_000_000) == "4000000000"
    assert terminal(0) == "?"
    assert terminal(os.makedev(136, 3)) == "pts/3"
    assert clock(65) == "00:01:05"
    assert clock(90061) == "1-01:01:01"
    now = time.mktime((2026, 11, 23, 17, 15, 0, 0, 0, -1))
    assert started(now - 60, now) == "17:14"
    assert started(now - 86400, now) == "Nov22"
    assert started(now - 400 * 86400, now) == "2025"


# ---- disk usage


async def test_files_are_counted_once_and_links_not_followed(tmp_path):
    upper = tmp_path / "overlay2" / container_cache_id(WEB) / "diff"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc" / "passwd").write_bytes(b"x" * 100)
    os.link(upper / "etc" / "passwd", upper / "again")
    (upper / "link").symlink_to("/usr")
    usage = DirectoryUsage(Layout(data_root=str(tmp_path), exec_root="/r", storage_driver="overlay2"))
    assert await usage.container_bytes(WEB) == 100 + len("/usr")
    assert await usage.directory_bytes(str(upper / "etc")) == 100


async def test_what_cannot_be_told(tmp_path):
    layout = Layout(data_root=str(tmp_path), exec_root="/r", storage_driver="vfs")
    assert await DirectoryUsage(layout).container_bytes(WEB) == -1
    assert await DirectoryUsage(layout).directory_bytes(str(tmp_path / "nope")) == -1
    assert await DirectoryUsage(layout, timeout_s=0).directory_bytes(str(tmp_path)) == -1
