"""Images by Dockerfiles, as the docker CLI has the classic builder make them."""

import base64
import io
import json
import os
import signal
import subprocess
import tarfile
import threading
import time
from urllib.parse import quote

import pytest

from events.messages import build as b
from tests.archives import context_tar
from tests.clients.raw import RawClient
from tests.engines import wait_until

pytestmark = pytest.mark.root
CLASSIC = os.environ | {"DOCKER_BUILDKIT": "0"}


@pytest.fixture
def build(engine, tmp_path):
    """Builds from a Dockerfile and files by path; the CLI's result, its output decoded."""

    def run(dockerfile, *arguments, files=None, check=True):
        context = tmp_path / "context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(dockerfile)
        for name, content in (files or {}).items():
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        command = ["docker", "-H", f"unix://{engine.socket}", "build", *arguments, str(context)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=CLASSIC)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr + engine.log()[-3000:]
        return done

    return run


def image(engine, name):
    return json.loads(engine.out("image", "inspect", name))[0]


def said(engine, name):
    """The history, newest first, without the base image's."""
    lines = engine.out("history", "--no-trunc", "--format", "{{.CreatedBy}}", name).splitlines()
    return [line.rstrip() for line in lines][:-1]


def kept(engine):
    return engine.out("ps", "-aq", "--no-trunc").split()


def test_steps_and_what_is_told_of_them(engine, build):
    done = build(
        "FROM busybox\nENV A=b C=\"d e\"\nRUN echo out; echo err >&2\nWORKDIR /w\nCOPY a.txt .\nRUN cat a.txt",
        "-t", "made:1", "-t", "made:2", "--label", "l=$A",
        files={"a.txt": "content\n"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    steps = [line for line in lines if line.startswith("Step")]
    assert steps[0] == "Step 1/7 : FROM busybox"
    assert steps[6] == "Step 7/7 : LABEL l=$A"
    assert {"out", "\x1b[91merr", "content"} <= set(lines)
    identity = image(engine, "made:1")["Id"]
    short = identity.removeprefix("sha256:")[:12]
    assert lines[-4:] == [
        f" ---> {short}", f"Successfully built {short}", "Successfully tagged made:1", "Successfully tagged made:2",
    ]  # fmt: skip
    assert [line for line in lines if "Running in" in line or "Removing intermediate" in line] != []
    assert kept(engine) == []
    made = image(engine, "made:2")
    assert made["Id"] == identity
    assert {"A=b", "C=d e"} <= set(made["Config"]["Env"])
    assert (made["Config"]["WorkingDir"], made["Config"]["Labels"]) == ("/w", {"l": "$A"})
    assert made["Config"]["Cmd"] == ["sh"]
    history = said(engine, "made:1")
    assert [history[0], history[1], history[3], history[4], history[5]] == [
        "/bin/sh -c #(nop)  LABEL l=$A", "/bin/sh -c cat a.txt", "/bin/sh -c #(nop)  WORKDIR /w",
        "/bin/sh -c echo out; echo err >&2", "/bin/sh -c #(nop)  ENV A=b C=d e",
    ]  # fmt: skip
    assert history[2].startswith("/bin/sh -c #(nop) COPY file:")
    assert history[2].endswith(" in .")
    assert engine.out("run", "--rm", "made:1", "cat", "/w/a.txt") == "content"


def test_a_step_that_was_done_is_taken_again(engine, build):
    text = "FROM busybox\nENV CACHED=1\nCOPY f /f\nRUN echo once >/r"
    first = build(text, "-q", files={"f": "1"}).stdout
    again = build(text, files={"f": "1"})
    assert again.stdout.count("Using cache") == 3
    assert build(text, "-q", files={"f": "1"}).stdout == first
    assert build(text, files={"f": "2"}).stdout.count("Using cache") == 1
    assert build(text, "--no-cache", files={"f": "1"}).stdout.count("Using cache") == 0
    with_argument = "FROM busybox\nARG X\nRUN echo $X"
    build(with_argument, "--build-arg", "X=1")
    assert build(with_argument, "--build-arg", "X=1").stdout.count("Using cache") == 2
    assert build(with_argument, "--build-arg", "X=2").stdout.count("Using cache") == 1


def test_arguments(engine, build):
    done = build(
        "ARG BASE=busybox\nFROM $BASE\nARG SEEN=default\nARG GIVEN\nENV FIXED=${SEEN:+yes}\n"
        "RUN echo [$SEEN] [$GIVEN] [$FIXED] [$http_proxy]",
        "-t", "args", "--build-arg", "GIVEN=g", "--build-arg", "http_proxy=p", "--build-arg", "OTHER=o",
    )  # fmt: skip
    assert "[default] [g] [yes] [p]" in done.stdout
    assert "[Warning] One or more build-args [OTHER] were not consumed" in done.stdout
    assert said(engine, "args")[0] == "|2 GIVEN=g SEEN=default /bin/sh -c echo [$SEEN] [$GIVEN] [$FIXED] [$http_proxy]"
    assert not any("GIVEN" in variable for variable in image(engine, "args")["Config"]["Env"])


def test_stages(engine, build):
    done = build(
        "FROM busybox AS first\nRUN mkdir /o && echo 1 >/o/1 && ln -s /o /link && chown 5:6 /o/1\n"
        "FROM scratch AS second\nCOPY --from=first /link /t\nCOPY --from=0 /o/* /g/\nCOPY --from=first link/1 /n\n"
        "COPY --chown=7:8 --from=first /o/1 /c\nLABEL last=1\nFROM busybox\n"
        "COPY --from=second / /all\nCOPY --from=busybox:latest /etc/passwd /p\nRUN ls -lnR /all; cat /p",
        "-t", "staged",
    )  # fmt: skip
    assert [f"{owner[2]}:{owner[3]} {owner[-1]}" for line in done.stdout.splitlines()
            if (owner := line.split()) and line.startswith("-rw")] == [
        "7:8 c", "5:6 n", "5:6 1", "5:6 1",
    ]  # fmt: skip
    build("FROM busybox AS first\nRUN true\nFROM nosuchimage", "--target", "first", "-t", "targeted")
    assert said(engine, "targeted") == ["/bin/sh -c true"]


def test_what_is_unpacked(engine, build, tmp_path):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        entry = tarfile.TarInfo("inner/file")
        entry.size, entry.uid = 2, 1000
        tar.addfile(entry, io.BytesIO(b"hi"))
    context = tmp_path / "context"
    context.mkdir()
    (context / "a.tgz").write_bytes(archive.getvalue())
    done = build("FROM busybox\nADD a.tgz /x/\nCOPY a.tgz /y/\nADD Dockerfile /z\nRUN ls -n /x/inner /y; cat /z")
    assert "1000" in next(line for line in done.stdout.splitlines() if line.endswith("file"))
    assert any(line.endswith("a.tgz") for line in done.stdout.splitlines())
    assert "ADD a.tgz /x/" in done.stdout


def test_everything_else_that_a_configuration_has(engine, build):
    build(
        'FROM busybox\nMAINTAINER me\nEXPOSE 80 53/udp\nVOLUME ["/v"]\nUSER web\nSTOPSIGNAL SIGINT\n'
        'SHELL ["/bin/sh", "-e", "-c"]\nHEALTHCHECK --interval=5s CMD true\nENTRYPOINT ["echo"]\nCMD ["a", "b"]\n'
        "ONBUILD RUN echo triggered >/tmp/t\nONBUILD ENV FROM_TRIGGER=1",
        "-t", "configured",
    )  # fmt: skip
    made = image(engine, "configured")
    config = made["Config"]
    assert made["Author"] == "me"
    assert set(config["ExposedPorts"]) == {"80/tcp", "53/udp"}
    assert (list(config["Volumes"]), config["User"], config["StopSignal"]) == (["/v"], "web", "SIGINT")
    assert (config["Entrypoint"], config["Cmd"], config["Shell"]) == (["echo"], ["a", "b"], ["/bin/sh", "-e", "-c"])
    assert {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000}.items() <= config["Healthcheck"].items()
    assert config["OnBuild"] == ["RUN echo triggered >/tmp/t", "ENV FROM_TRIGGER=1"]
    assert engine.out("run", "--rm", "configured") == "a b"
    assert engine.out("volume", "ls", "-q") == ""
    done = build("FROM configured\nRUN cat /tmp/t; echo $FROM_TRIGGER", "-t", "triggered")
    assert "# Executing 2 build triggers" in done.stdout
    assert {"triggered", "1"} <= set(done.stdout.splitlines())
    assert "OnBuild" not in image(engine, "triggered")["Config"] or not image(engine, "triggered")["Config"]["OnBuild"]


def test_options_reach_the_containers(engine, build):
    done = build(
        "FROM busybox\nRUN cat /etc/hosts; ls /sys/class/net; df /dev/shm; ulimit -n",
        "--network", "none", "--add-host", "somewhere:10.1.2.3", "--shm-size", "1m", "--ulimit", "nofile=64:64",
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert any(line.split() == ["10.1.2.3", "somewhere"] for line in lines)
    assert any(line.split() == ["lo"] for line in lines)
    assert "64" in lines


def test_a_command_that_fails(engine, build):
    before = kept(engine)
    done = build("FROM busybox\nRUN echo said; exit 3", "-t", "never", check=False)
    assert done.returncode == 3
    assert "said" in done.stdout
    assert "The command '/bin/sh -c echo said; exit 3' returned a non-zero code: 3" in done.stderr
    (left,) = set(kept(engine)) - set(before)  # as with dockerd one may look at it
    engine.docker("rm", left)
    assert build("FROM busybox\nRUN exit 3", "--force-rm", check=False).returncode == 3
    assert kept(engine) == before
    assert engine.docker("image", "inspect", "never", check=False).returncode != 0


def test_containers_may_stay(engine, build):
    build("FROM busybox\nENV KEPT=1\nRUN echo", "--rm=false", "--no-cache")
    left = kept(engine)
    assert len(left) == 2
    engine.docker("rm", *left)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY nope /", ("COPY failed: file not found in build context or excluded by .dockerignore: "
         "stat nope: file does not exist")),
        ("COPY nope* /", "COPY failed: no source files were specified"),
        ("COPY ../x /", "COPY failed: forbidden path outside the build context: ../x ()"),
        ("COPY Dockerfile Dockerfile /y", ("When using COPY with more than one source file, the destination must be a "
         "directory and end with a /")),
        ("COPY --from=3 x /", "invalid from flag value 3: index out of bounds"),
        ("COPY --from=busybox nope /", "COPY failed: stat nope: file does not exist"),
        ("COPY --chown=nosuch Dockerfile /x", ("unable to convert uid/gid chown string to host mapping: can't find uid "
         "for user nosuch: no such user: nosuch")),
        ("COPY --chmod=755 a b", ("the --chmod option requires BuildKit. Refer to "
         "https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled")),
        ("RUN --mount=type=cache,target=/x x", ("the --mount option requires BuildKit. Refer to "
         "https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled")),
        ('ENV a="b', 'failed to process "\\"b": unexpected end of statement while looking for matching double-quote'),
        ("FROM $nothing", "base name ($nothing) should not be blank"),
        ("FROM scratch", "No image was generated. Is your Dockerfile empty?"),
        ("FOO", "dockerfile parse error line 2: unknown instruction: FOO"),
        ("RUN <<EOF\necho hi\nEOF", "dockerfile parse error line 3: unknown instruction: ECHO"),
    ],
)  # fmt: skip
def test_what_cannot_be_built(engine, build, line, message):
    done = build(f"FROM busybox\n{line}", check=False)
    assert (done.returncode, done.stderr.strip().splitlines()[-1].removeprefix("Error response from daemon: ")) == (
        1, message,
    )  # fmt: skip
    assert kept(engine) == []


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        ("buildargs=xx", None, 400, "error reading build args: invalid character 'x' looking for beginning of value"),
        ("labels=%5B%5D", None, 400, "error reading labels: "),
        ("ulimits=%7B", None, 400, "error reading ulimit settings: "),
        ("t=Foo:bar", None, 400, "invalid reference format"),
        ("t=foo@sha256:" + "a" * 64, None, 400, "build tag cannot contain a digest"),
        ("version=9", None, 400, 'invalid version "9"'),
        ("version=2", None, 501, "BuildKit is not supported yet"),
        ("squash=1", None, 400, "squash is only supported with experimental mode"),
        ("dockerfile=x/y", None, 400, "Cannot locate specified Dockerfile: x/y"),
        ("dockerfile=../x", None, 400, "forbidden path outside the build context: ../x ()"),
        ("target=nope", None, 400, "failed to reach build target nope in Dockerfile"),
        ("memory=many", None, 400, "strconv"),
        ("", b"garbage" * 200, 400, "archive/tar: invalid tar header"),
        ("", b"", 400, "Cannot locate specified Dockerfile: Dockerfile"),
        ("", context_tar("FROM busybox")[:600], 400, "unexpected EOF"),
        ("", context_tar("FROM busybox", {"../../x": "evil"}), 400, "outside of the context"),
        ("", context_tar(""), 400, "the Dockerfile (Dockerfile) cannot be empty"),
        ("", context_tar("FROM busybox\n" + "#" * 5_000_000), 400, "at most"),
        ("remote=git://u:p@nowhere/x.git", b"", 501, "contexts from git repositories are not supported yet"),
        ("remote=ftp://nowhere/x", b"", 400, "unsupported protocol scheme"),
        ("remote=http://127.0.0.1:1/x", b"", 500, "error downloading remote context http://127.0.0.1:1/x: "),
    ],
)
def test_what_is_refused_at_once(engine, query, body, status, message):
    with RawClient(engine.socket) as raw:
        sent = context_tar("FROM busybox") if body is None else body
        answer = raw.ask("POST", f"/build?{query}", sent, content_type="application/x-tar")
    assert (answer.status, message in answer.message) == (status, True), answer.message
    assert list((engine.data_root / "tmp").iterdir()) == []


def test_contexts_and_files_from_the_web(engine, build, tmp_path):
    (tmp_path / "context.tar").write_bytes(context_tar("FROM busybox\nCOPY f /f\nRUN cat /f", {"f": "from a tar\n"}))
    (tmp_path / "plain").write_text("FROM busybox\nRUN echo from a file\n")
    (tmp_path / "page.txt").write_text("from the web\n")

    command = ["nsenter", f"--net=/run/netns/{engine.namespace}", "python3", "-m", "http.server", "--bind",
               "127.0.0.1", "--directory", str(tmp_path), "8099"]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: engine.inside("bash", "-c", ">/dev/tcp/127.0.0.1/8099", check=False).returncode == 0, "it serves"
        )
        with RawClient(engine.socket) as raw:
            for name in ("context.tar", "plain"):
                remote = quote(f"http://127.0.0.1:8099/{name}")
                answer = raw.ask("POST", f"/build?remote={remote}", b"")
                expected = "from a tar" if name == "context.tar" else "from a file"
                assert expected.encode() in answer.body, answer.body
        done = build("FROM busybox\nADD http://127.0.0.1:8099/page.txt /x/\nRUN ls -l /x; cat /x/page.txt")
        assert "from the web" in done.stdout
        assert any(line.startswith("-rw-------") for line in done.stdout.splitlines())
    finally:
        server.terminate()
        server.wait(10)


def test_dockerignore_and_another_dockerfile(engine, build, tmp_path):
    files = {
        ".dockerignore": "Docker*\n.dockerignore\nsecret\n",
        "secret": "s",
        "sub/Other": "FROM busybox\nRUN echo other",
    }
    done = build("FROM busybox\nCOPY . /c\nRUN find /c -type f", files=files)
    assert [line for line in done.stdout.splitlines() if line.startswith("/c/")] == ["/c/sub/Other"]
    assert "other" in build("FROM x", "-f", str(tmp_path / "context/sub/Other"), files=files).stdout.splitlines()


def test_images_of_steps_are_hidden_and_go_with_the_last(engine, build):
    build("FROM busybox\nENV HIDDEN=1\nENV HIDDEN=2\nENV HIDDEN=3", "-t", "hiding")
    listed = engine.out("images", "-q", "--no-trunc").split()
    everything = engine.out("images", "-aq", "--no-trunc").split()
    made = image(engine, "hiding")
    parent = image(engine, made["Parent"])
    assert {made["Id"]} <= set(listed)
    assert parent["Id"] in set(everything) - set(listed)
    assert parent["Id"] not in engine.out("images", "-q", "--no-trunc", "-f", "dangling=true").split()
    gone = engine.out("rmi", "hiding").splitlines()
    assert gone[0] == "Untagged: hiding:latest"
    assert f"Deleted: {parent['Id']}" in gone
    assert len(gone) == 4
    assert engine.docker("image", "inspect", "busybox").returncode == 0


def test_what_others_hear_of_it(engine, build):
    build("FROM busybox\nRUN echo heard", "-t", "heard", "--no-cache")
    until = str(int(time.time()) + 1)
    lines = engine.out("events", "--since", "0", "--until", until, "--format", "{{.Type}} {{.Action}}").splitlines()
    assert lines[-1] == "image tag"
    assert [line for line in lines if line.startswith("container")][-4:] == [
        "container create", "container start", "container die", "container destroy",
    ]  # fmt: skip


def test_steps_may_come_from_another_image(engine, build):
    text = "FROM busybox\nENV FROM_CACHE=1\nRUN echo x >/cached\nCMD a"
    build(text, "-t", "source", "--no-cache")
    archive = engine.docker("save", "source").stdout
    engine.docker("rmi", "source")
    engine.docker("load", "-q", stdin=archive)
    assert build(text).stdout.count("Using cache") == 0
    engine.docker("image", "prune", "-f")
    assert build(text, "--cache-from", "source", "-t", "restored").stdout.count("Using cache") == 3
    assert image(engine, "restored")["Id"] == image(engine, "source")["Id"]
    changed = text.replace("CMD a", "CMD b")
    assert build(changed, "--cache-from", "source", "-t", "restored").stdout.count("Using cache") == 2
    assert engine.out("run", "--rm", "restored", "cat", "/cached") == "x"


@pytest.mark.parametrize("until", ["Step 2/2", "begun"])
def test_a_client_that_leaves_ends_it(engine, build, tmp_path, until):
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 1000")
    client = subprocess.Popen(
        ["docker", "-H", f"unix://{engine.socket}", "build", str(context)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLASSIC,
    )  # fmt: skip
    assert client.stdout is not None
    while not client.stdout.readline().startswith(until):
        assert client.poll() is None
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=20)
    wait_until(lambda: kept(engine) == [], "its container is gone")
    wait_until(lambda: list((engine.data_root / "tmp").iterdir()) == [], "its directory is gone")
    assert build("FROM busybox\nRUN echo begun; true", "--no-cache").returncode == 0


def test_a_killed_daemon_leaves_nothing_of_it(engine, build, tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM busybox\nENV LEFT=1\nRUN echo begun; sleep 1000")
    client = subprocess.Popen(
        ["docker", "-H", f"unix://{engine.socket}", "build", "--rm=false", str(context)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLASSIC,
    )  # fmt: skip
    assert client.stdout is not None
    while client.stdout.readline() != "begun\n":
        assert client.poll() is None
    engine.restart()
    client.communicate(timeout=20)
    wait_until(lambda: kept(engine) == [], "its containers are gone")
    assert list((engine.data_root / "tmp").iterdir()) == []
    with RawClient(engine.socket) as raw:
        lines = raw.ask("GET", "/shiplog/events?from=1&follow=false").body.decode().splitlines()
    ends = [line for line in lines if f'"{b.BuildFailed.TYPE}"' in line]
    assert "the engine was interrupted" in ends[-1]


def test_passwords_are_kept_out_of_the_log(engine, build):
    secret = "very-secret-password"
    config = base64.urlsafe_b64encode(json.dumps({"127.0.0.1:1": {"username": "u", "password": secret}}).encode())
    with RawClient(engine.socket) as raw:
        body = context_tar("FROM 127.0.0.1:1/nope\n")
        answer = raw.ask(
            "POST", "/build?buildargs=" + quote(json.dumps({"TOKEN": secret})), body, x_registry_config=config.decode()
        )
        assert answer.status == 200
        assert "error" in json.loads(answer.body.splitlines()[-1])
        assert secret.encode() not in raw.ask("GET", "/shiplog/events?from=1&follow=false").body
    build(
        "FROM busybox\nARG TOKEN\nRUN echo $TOKEN; exit 1", "--build-arg", f"TOKEN={secret}", "--force-rm", check=False
    )
    with RawClient(engine.socket) as raw:
        assert secret.encode() not in raw.ask("GET", "/shiplog/events?from=1&follow=false").body
    assert secret not in engine.log()


def test_nothing_to_prune(engine):
    assert "Total reclaimed space: 0B" in engine.out("builder", "prune", "-f")


def test_builds_at_once(engine, tmp_path):
    codes = {}

    def one(number):
        with RawClient(engine.socket, 60.0) as raw:
            body = context_tar(f"FROM busybox\nRUN echo {number} >/n\nRUN cat /n")
            codes[number] = raw.ask("POST", f"/build?t=at-once:{number}", body).body

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"Successfully tagged at-once:{number}".encode() in body for number, body in codes.items())
