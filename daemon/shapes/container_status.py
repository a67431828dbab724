"""How a container is doing, in Docker's words; `ps`, `inspect` and their filters must agree on them."""

from typing import Final

from daemon.shapes.go_values import JsonObject
from daemon.shapes.times import human_duration, rfc3339
from events.projections.containers import Container
from handlers.policies.health import Health

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
        return up + _in_brackets("Paused" if status == "paused" else health_status(container))
    if status == "restarting":
        return f"Restarting ({container.exit_code}) {human_duration(now_ns - container.finished_at_ns)} ago"
    if status in ("removing", "dead"):
        return {"removing": "Removal In Progress", "dead": "Dead"}[status]
    if container.started_at_ns == 0:
        return "Created"
    return f"Exited ({container.exit_code}) {human_duration(now_ns - container.finished_at_ns)} ago"


def _in_brackets(word: str) -> str:
    return {"none": "", "starting": " (health: starting)"}.get(word, f" ({word})")


def health_status(container: Container) -> str:
    """none, starting, healthy or unhealthy; what was probed and doesn't run is unhealthy, as in Docker."""
    if container.health and not container.is_live:
        return "unhealthy"
    return container.health or "none"


def state(container: Container, health: Health | None = None) -> JsonObject:
    """The `State` object of inspect. A paused container counts as running too, and so does one between two runs."""
    status = docker_status(container)
    shape: JsonObject = {
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
    return shape | ({"Health": _health(container, health or Health())} if container.health else {})


def _health(container: Container, health: Health) -> JsonObject:
    """`health` has the last results, as far as this daemon has seen any."""
    return {
        "Status": health_status(container),
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": rfc3339(result.started_ns),
                "End": rfc3339(result.ended_ns),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in health.results
        ],
    }
