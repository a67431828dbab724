"""The host's own `ps`, as `docker top` with arguments runs it."""

import os

import pytest

from daemon.api.top import parse_table
from events.errors import SystemFailure
from handlers.exec.drivers.ps import ProcessTable


async def test_columns_of_this_process():
    table = parse_table(await ProcessTable()(["-eo", "pid,ppid,comm"]), frozenset({os.getpid()}))
    assert table.titles == ("PID", "PPID", "COMMAND")
    ((pid, ppid, _),) = table.processes
    assert (pid, ppid) == (str(os.getpid()), str(os.getppid()))


async def test_a_complaint_of_ps_is_passed_on():
    with pytest.raises(SystemFailure, match=r"ps: error: unsupported SysV option"):
        await ProcessTable()(["-zz"])


async def test_a_missing_ps_is_named_with_its_package():
    with pytest.raises(SystemFailure, match=r"ps can't be run: .* \(Debian package procps\)"):
        await ProcessTable("/nonexistent/ps")(["-e"])


async def test_a_nul_byte_reaches_no_program():
    with pytest.raises(SystemFailure, match="ps: "):
        await ProcessTable()(["-e\0"])
