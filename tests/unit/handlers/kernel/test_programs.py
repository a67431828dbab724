"""What programs say when they fail."""

import pytest

from handlers.kernel.programs import ProgramFailed, run_program


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo no >&2; exit 1", "no"),
        ("echo first >&2; echo last >&2; exit 1", "last"),
        ("echo 'Device does not exist.' >&2; echo 'Command failed.' >&2; exit 1", "Device does not exist."),
        ("exit 3", "exit status 3"),
    ],
)
def test_the_last_line_that_tells_something_is_the_reason(script, why):
    with pytest.raises(ProgramFailed) as failure:
        run_program(("sh", "-c", script))
    assert failure.value.why == why


def test_a_program_that_takes_too_long_is_ended():
    with pytest.raises(ProgramFailed) as failure:
        run_program(("sleep", "600"), timeout_s=0.1)
    assert failure.value.why == "it took longer than 0 s"


def test_a_program_that_is_absent():
    with pytest.raises(ProgramFailed) as failure:
        run_program(("no-such-program",))
    assert failure.value.why == "No such file or directory"
