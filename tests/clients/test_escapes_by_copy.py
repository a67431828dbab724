"""Attempts to read or write the host's files by `docker cp` with the help of a container that plants links."""

import io
import tarfile

import pytest

from tests.clients.raw import RawClient
from tests.engines import wait_until
from tests.fakes.tars import TarBuilder

pytestmark = pytest.mark.root
SECRET = b"only for the host"
ROUNDS = 12


@pytest.fixture(scope="module")
def secret(engine):
    """A directory of the host that no container is given."""
    place = engine.directory / "secret"
    (place / "sub").mkdir(parents=True)
    (place / "key").write_bytes(SECRET)
    return place


@pytest.fixture
def untouched(secret):
    """The directory is as it was, whatever the test has tried."""
    yield secret
    assert sorted(str(path.relative_to(secret)) for path in secret.rglob("*")) == ["key", "sub"]
    assert (secret / "key").read_bytes() == SECRET


@pytest.fixture(scope="module")
def trap(engine, secret):
    """A container full of links to the outside, running."""
    depth = "../" * 12
    script = (
        f"busybox ln -s {secret} /absolute; busybox ln -s {depth}{secret} /relative; mkdir /dir; "
        f"busybox ln -s {secret}/key /file; busybox ln -s /proc/self/root{secret} /magic; "
        f"busybox ln -s /proc/1/cwd/{depth}{secret} /cwd; busybox ln -s /absolute /chain; sleep 1000"
    )
    engine.docker("run", "-d", "--name", "trap", "-v", "held:/held", "busybox", "sh", "-c", script)
    wait_until(
        lambda: engine.docker("exec", "trap", "readlink", "/chain", check=False).returncode == 0, "the trap is set"
    )
    return "trap"


@pytest.fixture(scope="module")
def target(engine, secret):
    """A container that never runs, with a link to the outside already in it."""
    engine.docker("create", "--name", "target", "-v", "kept:/held", "busybox", "true")
    planted = TarBuilder().directory("dir/").symlink("absolute", str(secret)).symlink("dir/absolute", str(secret))
    engine.docker("cp", "-", "target:/", stdin=planted.bytes())
    return "target"


LINKS = ("absolute", "relative", "magic", "cwd", "chain")


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_no_link_leads_out_of_the_container(engine, trap, untouched, state):
    if state == "stopped":
        engine.docker("kill", trap)
    with RawClient(engine.socket) as raw:
        for link in LINKS:
            for path in (f"/{link}/key", f"/{link}/sub/", f"/{link}/."):
                assert raw.ask("GET", f"/containers/{trap}/archive?path={path}").status == 404, path
            put = raw.ask("PUT", f"/containers/{trap}/archive?path=/{link}", TarBuilder().file("new", "x").bytes())
            assert put.status == 404, link
        answer = raw.ask("GET", f"/containers/{trap}/archive?path=/file")
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
            assert tar.getmember("file").issym()
        for path in ("/proc/1/root", "/proc/self/environ", "/dev/mem", f"/../../..{untouched}/key"):
            assert raw.ask("GET", f"/containers/{trap}/archive?path={path}").status == 404, path
    if state == "stopped":
        engine.docker("start", trap)


@pytest.mark.parametrize(
    "archive",
    [
        lambda secret: TarBuilder().file("../../../../../../../../new", "x"),
        lambda secret: TarBuilder().file(f"{secret}/new", "x"),
        lambda secret: TarBuilder().symlink("out", str(secret)).file("out/new", "x"),
        lambda secret: TarBuilder().symlink("out", "../" * 12 + str(secret)).file("out/new", "x"),
        lambda secret: TarBuilder().hard_link("new", f"{secret}/key").file("new", "x"),
        lambda secret: TarBuilder().hard_link("new", f"../../../../..{secret}/key"),
        lambda secret: TarBuilder().directory("d/").symlink("d", str(secret)).file("d/new", "x"),
        lambda secret: TarBuilder().file(f"/absolute/{secret}/new", "x"),
    ],
)
def test_no_archive_leads_out_of_the_container(engine, target, untouched, archive):
    tar = archive(untouched).bytes()
    with RawClient(engine.socket) as raw:
        for directory in ("/dir", "/held", "/"):
            answer = raw.ask("PUT", f"/containers/{target}/archive?path={directory}", tar)
            assert answer.status in (200, 400), answer.message


def test_a_directory_that_becomes_a_link_in_the_middle(engine, untouched):
    """It goes to and fro as fast as a container can; what is read and written is the container's, or nothing."""
    script = (
        "mkdir -p /a/real/sub; echo inside >/a/real/key; "
        f"busybox ln -s {untouched} /a/link; busybox ln -s real /a/swap; touch /ready; "
        "while :; do busybox ln -sfn link /a/swap; busybox ln -sfn real /a/swap; "
        f"mv /a/real/sub /a/real/away; busybox ln -s {untouched} /a/real/sub; rm /a/real/sub; "
        "mv /a/real/away /a/real/sub; done"
    ).replace("mv ", "busybox mv ")
    engine.docker("run", "-d", "--name", "swapper", "busybox", "sh", "-c", script)
    wait_until(
        lambda: engine.docker("exec", "swapper", "ls", "/ready", check=False).returncode == 0, "the swapping has begun"
    )
    tar = TarBuilder().file("new", "x").directory("sub/").file("sub/new", "x").bytes()
    with RawClient(engine.socket) as raw:
        for _ in range(ROUNDS):
            read = raw.ask("GET", "/containers/swapper/archive?path=/a/swap/key")
            assert SECRET not in read.body
            whole = raw.ask("GET", "/containers/swapper/archive?path=/a")
            assert SECRET not in whole.body
            assert raw.ask("PUT", "/containers/swapper/archive?path=/a/swap", tar).status in (200, 400, 404)
            assert raw.ask("PUT", "/containers/swapper/archive?path=/a/real/sub", tar).status in (200, 400, 404)
    engine.docker("rm", "-f", "swapper")


def test_a_volume_is_no_way_out_either(engine, trap, untouched):
    engine.docker("exec", trap, "busybox", "ln", "-sfn", str(untouched), "/held/out")
    with RawClient(engine.socket) as raw:
        assert raw.ask("GET", f"/containers/{trap}/archive?path=/held/out/key").status == 404
        tar = TarBuilder().file("new", "x").bytes()
        assert raw.ask("PUT", f"/containers/{trap}/archive?path=/held/out", tar).status == 404


def test_a_container_that_hides_its_own_root(engine, untouched):
    """Its links at the places of mounts are found inside, before anything is mounted there."""
    engine.docker("create", "--name", "hider", "-v", "hidden:/place/below", "busybox", "true")
    with RawClient(engine.socket) as raw:
        planted = TarBuilder().symlink("place", str(untouched)).bytes()
        assert raw.ask("PUT", "/containers/hider/archive?path=/", planted).status in (200, 400, 500)
        assert raw.ask("GET", "/containers/hider/archive?path=/etc").status in (200, 500)
        assert raw.ask("PUT", "/containers/hider/archive?path=/etc", TarBuilder().file("x", "").bytes()).status in (
            200, 400, 500,
        )  # fmt: skip
    engine.docker("start", "-a", "hider", check=False)
    engine.docker("rm", "-f", "-v", "hider")
