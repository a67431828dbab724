"""What a client is told of a refusal, and what of it may stay in the log."""

import pytest

from handlers.exec.drivers import refusals

RUNC = "unable to start container process: "
CASES = [
    (f'{RUNC}exec: "s3cret": executable file not found in $PATH\n', 127, "exec: executable file not found in $PATH"),
    (f'{RUNC}exec: "/s3cret": stat /s3cret: no such file or directory', 127, "exec: no such file or directory"),
    (f'{RUNC}exec: "/s3cret": permission denied', 126, "exec: permission denied"),
    (f'{RUNC}exec: "/s3cret no such device": is a directory', 126, "exec: is a directory"),
    (f'time="now" level=error msg="{RUNC}exec: \\"/s3cret\\": exec format error"', 128, "exec: exec format error"),
    (
        f'{RUNC}chdir to cwd ("/s3cret") set in config.json failed: not a directory',
        126,
        "chdir to cwd: not a directory",
    ),
    (
        f"{RUNC}error setting rlimit type 7: operation not permitted",
        128,
        "error setting rlimit: operation not permitted",
    ),
    (
        f'{RUNC}error during container init: error mounting "/s3cret" to rootfs: no such device or address',
        128,
        "error mounting: no such device or address",
    ),
    (
        "executable file `s3cret` not found in $PATH: No such file or directory",
        127,
        "executable: no such file or directory",
    ),
    ("s3cret", 128, "the runtime: why was told to the client alone"),
]


@pytest.mark.parametrize(("said", "code", "kept"), CASES)
def test_the_log_gets_the_step_and_the_reason_alone(said, code, kept):
    created, run = refusals.of_create(said), refusals.of_exec(said)
    assert (created.exit_code, run.exit_code) == (code, code)
    for error in (created, run):
        assert "s3cret" in error.message or "rlimit" in error.message
        assert "s3cret" not in error.recorded
    assert created.recorded.endswith(f"OCI runtime create failed: {kept}")
    assert run.recorded == f"OCI runtime exec failed: {kept}: unknown"
