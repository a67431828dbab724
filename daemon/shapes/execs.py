"""Execs as `GET /exec/{id}/json` shows them."""

from daemon.shapes.go_values import JsonObject, without_empty
from daemon.shapes.secrets import open_exec
from events.projections.execs import Exec
from events.sealed import Keyring


def inspection(process: Exec, keyring: Keyring) -> JsonObject:
    """An exec; its exit code is null while it runs or hasn't begun."""
    config = process.config
    program, *arguments = open_exec(process.secrets, keyring).cmd
    command: JsonObject = {
        "tty": config.tty,
        "entrypoint": program,
        "arguments": arguments,
        "privileged": config.privileged,
        "user": config.user,
    }
    return {
        "ID": process.id,
        "Running": process.status == "running",
        "ExitCode": process.exit_code,
        "ProcessConfig": without_empty(command, ("user",)),
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": False,
        "ContainerID": process.container_id,
        "DetachKeys": config.detach_keys,
        "Pid": process.pid,
    }
