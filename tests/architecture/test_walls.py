"""Who may import whom, and where the host may be touched: the map of the code, held by tests."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST_MODULES = {"ctypes", "fcntl", "multiprocessing", "pty", "pyroute2", "socket", "subprocess"}
STRUCTURE = [path for top in ("daemon", "handlers", "events", "clients") for path in sorted((ROOT / top).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Top-level packages that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.slow
def test_the_contracts_between_packages_hold():
    program = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_drivers_and_the_kernel_package_touch_the_host():
    outside = [
        path
        for path in (ROOT / "handlers").rglob("*.py")
        if "drivers" not in path.parts and path.parent.name != "kernel"
    ]
    assert {name(path): imported(path) & HOST_MODULES for path in outside if imported(path) & HOST_MODULES} == {}


def test_only_the_kernel_package_loads_c_libraries():
    loading = {name(path) for path in STRUCTURE if "ctypes" in imported(path)}
    assert {path for path in loading if not path.startswith("handlers/kernel/")} == set()


def test_nobody_passes_by_anyio():
    """asyncio is what anyio runs on; tasks and processes started there would have no owner."""
    assert {name(path) for path in STRUCTURE if "asyncio" in imported(path)} == set()


def test_every_module_says_what_it_is_for():
    silent = {
        name(path)
        for path in STRUCTURE
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    }
    assert silent == set()


def test_the_tables_of_handlers_are_the_only_way_to_a_command():
    """A noun's handler is reached by a command on the bus: no handler imports another noun's."""
    nouns = {path.name for path in (ROOT / "handlers").iterdir() if (path / "handler.py").exists()}
    assert nouns
    crossing = {
        name(path)
        for noun in nouns
        for path in (ROOT / "handlers" / noun).rglob("*.py")
        for other in nouns - {noun}
        if f"handlers.{other}" in path.read_text()
    }
    assert crossing == set()


def test_an_engine_loads_nothing_that_it_can_do_without():
    """Each of these takes megabytes of every idle engine."""
    script = "import sys, daemon.__main__; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert {"httpx2", "click", "rich", "unittest", "pyroute2.ndb"} & set(done.stdout.split()) == set()
