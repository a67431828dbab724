"""How a container is doing, in Docker's words; `ps`, `inspect` and their filters must agree on them."""

from typing import Final

from daemon.shapes.go_values import JsonObject
from daemon.shapes.times import human_duration, rfc3339
from events.projections.containers import Container

STATUSES: Final = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def docker_status(container: Container) -> str:
    """One of STATUSES."""
    if container.operation == "remove" and not container.is_live:
        return "removing"
    return "created" if container.status == "creating" else container.status


def sentence(container: Container, now_ns: int) -> str:
    """What the STATUS column shows (`Up 5 minutes (Paused)`, `Exited (0) 3 seconds ago`)."""
    status = docker_status(container)
    if container.is_live:
        up = f"Up {human_duration(now_ns - container.started_at_ns)}"
        return f"{up} (Paused)" if status == "paused" else up
    if status == "restarting":
        return f"Restarting ({container.exit_code}) {human_duration(now_ns - container.finished_at_ns)} ago"
    if status in ("removing", "dead"):
        return {"removing": "Removal In Progress", "dead": "Dead"}[status]
    if container.started_at_ns == 0:
        return "Created"
    return f"Exited ({container.exit_code}) {human_duration(now_ns - container.finished_at_ns)} ago"


def state(container: Container) -> JsonObject:
    """The `State` object of inspect. A paused container counts as running too, and so does one between two runs."""
    status = docker_status(container)
    return {
        "Status": status,
        "Running": container.is_up,
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": container.oom_killed,
        "Dead": status == "dead",
        "Pid": container.pid if container.is_live else 0,
        "ExitCode": container.exit_code,
        "Error": container.error,
        "StartedAt": rfc3339(container.started_at_ns),
        "FinishedAt": rfc3339(container.finished_at_ns),
    }
