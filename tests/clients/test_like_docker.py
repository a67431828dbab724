"""`shiplog` beside the docker CLI on one engine: the same words give the same output and the same exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
SHIPLOG = Path(sys.executable).with_name("shiplog")
LIMIT_S = 60
FIELDS = "{{.ID}} {{.Image}} {{.Command}} {{.Names}} {{.State}} {{.Ports}} {{.Mounts}} {{.Networks}} {{.Labels}}"
COMMANDS = (
    ("ps", "-q"),
    ("ps", "-aq", "--no-trunc"),
    ("ps", "-a", "--format", FIELDS),
    ("ps", "-a", "--format", "table {{.Names}}\t{{.Image}}"),
    ("ps", "-a", "--filter", "status=exited", "--filter", "label=tier", "--format", "{{.Names}} {{.Size}}"),
    ("ps", "-a", "--filter", "nonsense=1"),
    ("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.Digest}}"),
    ("images", "-q", "--no-trunc"),
    ("history", "-q", "--no-trunc", "busybox"),
    ("history", "--format", "{{.CreatedBy}} {{.Size}} {{.Comment}}", "busybox"),
    ("inspect", "one"),
    ("inspect", "-f", "{{.State.ExitCode}} {{json .Config.Cmd}} {{len .Mounts}}", "one", "nosuch"),
    ("inspect", "--type", "image", "-f", "{{.Os}}", "busybox"),
    ("inspect", "nosuch"),
    ("logs", "one"),
    ("logs", "--tail", "1", "one"),
    ("logs", "nosuch"),
    ("port", "one"),
    ("top", "one"),
    ("diff", "one"),
    ("exec", "one", "true"),
    ("kill", "one"),
    ("stop", "one", "nosuch"),
    ("start", "nosuch"),
    ("restart", "nosuch"),
    ("wait", "one"),
    ("rm", "nosuch"),
    ("rmi", "nosuch"),
    ("tag", "busybox", "copy:1"),
    ("cp", "one:/nosuch", "-"),
    ("create", "--memory", "1", "busybox"),
    ("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 5"),
    ("run", "--rm", "busybox", "/nope"),
    ("run", "--pull", "never", "--rm", "absent"),
    ("run", "--nope"),
    ("volume", "ls", "-q"),
    ("volume", "ls", "--format", "{{.Name}} {{.Driver}} {{.Mountpoint}} {{.Labels}}"),
    ("volume", "inspect", "data"),
    ("volume", "rm", "nosuch"),
    ("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}} {{.ID}}"),
    ("network", "inspect", "bridge"),
    ("network", "rm", "nosuch"),
    ("version", "--format", "{{.Server.APIVersion}} {{.Server.Os}}"),
    ("info", "--format", "{{.Driver}} {{.Images}} {{json .Plugins.Volume}}"),
    ("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"),
)


def test_the_same_words_give_the_same(engine):
    engine.docker("volume", "create", "--label", "of=one", "data")
    engine.docker("run", "--name", "one", "-l", "tier=front", "-v", "data:/data", "busybox", "sh", "-c", "echo a")
    for words in COMMANDS:
        theirs, ours = (told(program, engine, words) for program in ("docker", str(SHIPLOG)))
        assert ours == theirs, words


def told(program: str, engine, words: tuple[str, ...]) -> tuple[int, bytes, bool]:
    """Exit code, output, and whether it complained."""
    command = [program, "-H", f"unix://{engine.socket}", *words]
    done = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    return done.returncode, done.stdout, bool(done.stderr)
