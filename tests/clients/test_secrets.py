"""What may be secret is nowhere in plain while it is used, and nowhere at all once its object was removed.

Each secret is a word of its own. They are looked for in every byte that the engine keeps or says: log, write-ahead log,
snapshots, the bus's directory, its own output; compressed parts are expanded. A label, which isn't sealed, shows that
the search finds what is there.
"""

import base64
import itertools
import json
from pathlib import Path

import anyio
import pytest
import zstandard

from events import codec
from events.file_keyring import FileKeyring
from events.messages.container import ContainerCreateRequested
from events.sealed import KeyDestroyed
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock
from tests.clients.raw import RawClient
from tests.crashing import squaring
from tests.engines import EngineUnderTest, engine_with_image, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

OPEN = "canary-open-label"
SECRETS = {
    word: f"canary-{number}-{word}-{'x' * number}"
    for number, word in enumerate(
        (
            "env",
            "file",
            "command",
            "entrypoint",
            "health",
            "logoption",
            "volumeoption",
            "mountoption",
            "execenv",
            "execcommand",
            "execfailed",
            "startfailed",
            "badenv",
            "badlogoption",
            "badvolumeoption",
            "registry",
            "keyed",
            "committed",
            "changedenv",
            "badchange",
        )
    )
}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@pytest.fixture(scope="module")
def engine():
    """An engine that says all it can."""
    with engine_with_image("--log-level", "debug") as subject:
        yield subject


def use(engine: EngineUnderTest) -> None:
    """Every way by which a secret comes in, with and without success."""
    s = SECRETS
    env_file = engine.directory.with_suffix(".env")
    env_file.write_text(f"FILE={s['file']}\n")
    engine.docker(
        *("run", "-d", "--name", "web", "--label", f"open={OPEN}", "--network", "none", "-e", f"ENV={s['env']}"),
        *("--env-file", str(env_file), "--health-cmd", f"echo {s['health']}", "--health-interval", "1s"),
        *("--log-opt", f"env={s['logoption']}", "--entrypoint", "sh"),
        *(
            "--mount",
            f"type=volume,source=mounted,target=/m,volume-opt=type=tmpfs,volume-opt=device={s['mountoption']}",
        ),
        *("busybox", "-c", f": {s['command']}; sleep 1000"),
    )
    env_file.unlink()
    engine.docker("create", "--name", "other", "--entrypoint", f"/bin/{s['entrypoint']}", "busybox", s["startfailed"])
    engine.docker("start", "other", check=False)
    engine.docker("create", "--name", "bad", "-e", f"={s['badenv']}", "busybox", check=False)
    engine.docker("create", "--name", "bad", "--log-opt", f"nosuch={s['badlogoption']}", "busybox", check=False)
    engine.docker("volume", "create", "--opt", "type=tmpfs", "--opt", f"device={s['volumeoption']}", "vol")
    engine.docker("volume", "create", "--opt", f"nosuch={s['badvolumeoption']}", "bad", check=False)
    engine.docker("exec", "-e", f"E={s['execenv']}", "web", "sh", "-c", f": {s['execcommand']}")
    engine.docker("exec", "web", f"/{s['execfailed']}", check=False)
    engine.docker("commit", "--change", f"ENV X={s['changedenv']}", "web", "made")
    engine.docker("commit", "--change", f"NOSUCH {s['badchange']}", "web", check=False)
    engine.docker("create", "--name", "of-made", "made", s["committed"])
    engine.docker("commit", "of-made", "again")
    assert s["committed"] in engine.out("history", "--no-trunc", "again")
    token = base64.b64encode(json.dumps({"username": "u", "password": s["registry"]}).encode()).decode()
    with RawClient(engine.socket) as client:
        pull = "/images/create?fromImage=127.0.0.1:1/nosuch&tag=1"
        client.ask("POST", pull, None, x_registry_auth=token)
        body = {"Name": "keyed", "DriverOpts": {"type": "tmpfs", "device": s["keyed"]}}
        for _ in range(2):
            answer = client.ask("POST", "/volumes/create", body, idempotency_key="secret-volume")
            assert s["keyed"].encode() in answer.body
    wait_until(lambda: engine.inspect("web")["State"]["Health"]["Log"], "a probe has run")


def test_nothing_secret_is_kept_in_plain(engine):
    use(engine)
    inspected = engine.inspect("web")["Config"]
    assert f"ENV={SECRETS['env']}" in inspected["Env"]
    assert f"FILE={SECRETS['file']}" in inspected["Env"]
    assert {f"ENV={SECRETS['env']}", f"X={SECRETS['changedenv']}"} <= set(engine.inspect("again")["Config"]["Env"])
    assert found_in(engine) == set()
    assert told_by_processes(engine) == set()
    engine.restart()  # a snapshot is loaded, what is open is settled
    assert f"ENV={SECRETS['env']}" in engine.inspect("web")["Config"]["Env"]
    assert engine.stop() == 0  # writes a snapshot
    assert found_in(engine) == set()


def test_nothing_secret_is_left_once_it_was_removed(engine):
    engine.start()
    engine.docker("rm", "-f", "-v", "web", "other", "of-made")
    engine.docker("rmi", "again", "made", "busybox")
    engine.docker("volume", "rm", "vol", "keyed", "mounted")
    with RawClient(engine.socket) as client:
        body = {"Name": "keyed", "DriverOpts": {"type": "tmpfs", "device": SECRETS["keyed"]}}
        assert client.ask("POST", "/volumes/create", body, idempotency_key="secret-volume").status == 404
    assert engine.stop() == 0
    everywhere = {
        word for word in SECRETS.values() if any(word.encode() in data for data in contents(engine.directory))
    }
    assert everywhere == set()
    assert found_in(engine) == set()
    assert list((engine.data_root / "keys").iterdir()) == []
    sealed = [
        event.secrets for event in anyio.run(verified_events, engine) if isinstance(event, ContainerCreateRequested)
    ]
    keyring = FileKeyring(engine.data_root / "keys")
    assert len(sealed) == 3
    for each in sealed:
        with pytest.raises(KeyDestroyed):
            keyring.open(each)


async def verified_events(engine):
    """The history still holds."""
    async with SqliteLog.open(engine.data_root / "log", SystemClock()) as log:
        await log.verify()
        return [recorded.event async for recorded in log.read(limit=0)]


def found_in(engine: EngineUnderTest) -> set[str]:
    """Secrets in what the engine keeps and says; the search must find the label."""
    kept = [
        engine.data_root / "log",
        engine.data_root / "snapshots",
        engine.exec_root / "bus",
        engine.directory / "log",
    ]
    data = list(itertools.chain(*map(contents, kept), anyio.run(stored_events, engine)))
    assert any(OPEN.encode() in each for each in data)
    return {word for word in SECRETS.values() for form in forms(word) if any(form in each for each in data)}


def told_by_processes(engine: EngineUnderTest) -> set[str]:
    """Secrets that anybody may read in the arguments of the engine's own processes, or root in their environments."""
    data = [
        Path(f"/proc/{pid}/{part}").read_bytes() for pid, _ in engine._processes() for part in ("cmdline", "environ")
    ]
    assert any(b"conmon" in each for each in data)
    return {word for word in SECRETS.values() if any(word.encode() in each for each in data)}


def forms(word: str) -> tuple[bytes, ...]:
    """As it is, and as the middle of what is encoded."""
    plain = word.encode()
    return plain, *(base64.b64encode(b"\0" * shift + plain)[4:-4] for shift in range(3)), plain.hex().encode()


async def stored_events(engine):
    """Each event of a copy of the log as its bytes were before they were compressed."""
    with squaring.copied(engine.data_root / "log") as directory:
        async with SqliteLog.open(directory, SystemClock()) as log:
            return [codec.encode_event(recorded.event) async for recorded in log.read(limit=0)]


def contents(place: Path):
    """Bytes of a file, or of all files below a directory, and what is compressed in them."""
    for path in place.rglob("*") if place.is_dir() else (place,):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            yield data
            yield from expanded(data)


def expanded(data: bytes):
    """Every part that zstandard can read."""
    start = data.find(_ZSTD_MAGIC)
    while start >= 0:
        try:
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data[start:])
        except zstandard.ZstdError:
            pass  # the magic came by chance, or it needs a dictionary
        start = data.find(_ZSTD_MAGIC, start + 1)
