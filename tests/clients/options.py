"""What tests of options share: what a container says of itself, taken apart."""

from typing import Any

from handlers.exec import capabilities


def run(engine, *options: str, script: str = "", image: str = "busybox", **keywords: Any) -> str:
    """What a script prints in a container that is removed afterwards."""
    command = ("sh", "-c", script) if script else ()
    return str(engine.out("run", "--rm", *options, image, *command, **keywords))


def refusal(engine, *options: str, status: int = 125) -> str:
    """What the docker CLI says of a run that doesn't come about."""
    done = engine.docker("run", "--rm", *options, "busybox", "true", check=False)
    said = done.stderr.decode()
    assert done.returncode == status, said
    return str(said)


def fields(text: str) -> dict[str, str]:
    """Lines of `name: value`, as proc_pid_status(5) has them."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def held(status: str, name: str = "CapEff") -> frozenset[str]:
    """A set of capabilities in the text of /proc/self/status."""
    return frozenset(capabilities.from_mask(int(fields(status)[name], 16)))


def created(client, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What inspect shows of a container made from a body, and the warnings; it is removed again."""
    answer = client.ask("POST", "/containers/create?name=shown", {"Image": "busybox", "Cmd": ["true"]} | body)
    assert answer.status == 201, answer.message
    shown = client.ask("GET", "/containers/shown/json").json
    assert client.ask("DELETE", "/containers/shown?v=1").status == 204
    return shown, answer.json["Warnings"]
