"""Which storage driver keeps the layers: the one that is asked for, else the one that has some, else the first fit."""

from collections.abc import Callable, Mapping
from pathlib import Path

from daemon import values
from daemon.flags import ConfigurationInvalid
from events.errors import EngineError, SystemFailure
from handlers.layers.ports import GraphDriver

PREFERENCE = ("overlay2", "fuse-overlayfs", "btrfs", "zfs", "vfs")  # dockerd's; the others only when asked for
_IGNORED = frozenset(("overlay2.override_kernel_check",))  # dockerd takes it, too, and does nothing

_MADE_BEFORE_LAYERS = (".skeletons", "l", "empty", "subvolumes", "graph", "data", "metadata", "layers", "base", "mnt")


class StorageOptions:
    """--storage-opt of the daemon; each driver takes what it knows, and nothing may be left."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._taken: set[str] = set()

    def text(self, name: str) -> str:
        """A setting as it was given, "" when it wasn't."""
        self._taken.add(name)
        return self._given.get(name, "")

    def size_bytes(self, name: str) -> int:
        """A setting like `10G`, 0 when it wasn't given. Raises ConfigurationInvalid."""
        try:
            return values.size_bytes(self.text(name)) if name in self._given else self._absent(name)
        except ValueError as error:
            raise ConfigurationInvalid(f"storage-opts: {name}: {error}") from error

    def check(self, driver: str) -> None:
        """Raises ConfigurationInvalid for a setting that the driver doesn't know."""
        for name in self._given:
            if name not in self._taken | _IGNORED:
                raise ConfigurationInvalid(f"storage-opts: {driver}: unknown option {name}")

    def _absent(self, name: str) -> int:
        self._taken.add(name)
        return 0


MakeGraphDriver = Callable[[Path, StorageOptions], GraphDriver]
Chosen = tuple[GraphDriver, tuple[tuple[str, str], ...]]


async def choose_graph_driver(
    drivers: Mapping[str, MakeGraphDriver], data_root: Path, asked: str, options: Mapping[str, str]
) -> Chosen:
    """The driver, ready for use, and rows for `docker info` that tell why it is this one.

    Raises SystemFailure when it can't be used, or when several have layers here; ConfigurationInvalid for an option
    that it doesn't know.
    """
    if asked:
        return await _ready(drivers[asked], asked, data_root, options), (("Chosen", "by --storage-driver"),)
    found = [name for name in drivers if has_layers(data_root / name)]
    if len(found) > 1:
        raise SystemFailure(
            f"{data_root} contains several valid graphdrivers: {', '.join(found)}; cleanup or explicitly choose "
            "storage driver (-s <DRIVER>)"
        )
    if found:
        driver = await _ready(drivers[found[0]], found[0], data_root, options)
        return driver, (("Chosen", "it has layers here already"),)
    return await _first_fit(drivers, data_root, options)


def has_layers(root: Path) -> bool:
    """Whether a driver has kept anything below its directory."""
    try:
        return any(path.name not in _MADE_BEFORE_LAYERS or _has_some(path) for path in root.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _has_some(path: Path) -> bool:
    return path.is_dir() and any(entry.name not in _MADE_BEFORE_LAYERS for entry in path.iterdir())


async def _ready(make: MakeGraphDriver, name: str, data_root: Path, options: Mapping[str, str]) -> GraphDriver:
    settings = StorageOptions(options)
    driver = make(data_root / name, settings)
    settings.check(name)
    await driver.prepare()
    return driver


async def _first_fit(drivers: Mapping[str, MakeGraphDriver], data_root: Path, options: Mapping[str, str]) -> Chosen:
    refused: list[tuple[str, str]] = []
    for name in PREFERENCE:
        try:
            driver = await _ready(drivers[name], name, data_root, options)
        except ConfigurationInvalid:
            raise
        except EngineError as error:
            refused.append((f"Not {name}", str(error)))
        else:
            return driver, (("Chosen", "automatically: the first that works here"), *refused)
    raise SystemFailure("\n".join(("no storage driver can be used:", *(text for _, text in refused))))
