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
