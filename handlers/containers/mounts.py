"""From -v, --mount, --tmpfs, --volumes-from and the image's volumes to one ordered list of mount points. Pure."""

import posixpath
import re
from collections.abc import Callable, Iterable

import msgspec

from events.errors import InvalidParameter, SystemFailure
from events.messages.container import ContainerConfig, HostConfig, Mount, MountPoint
from events.projections.containers import Container

PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_FLAGS = frozenset({"ro", "rw", "z", "Z", "nocopy", "cached", "consistent", "delegated"})
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SHARED_LABEL = "z"  # what Docker gives volumes of its local driver to have on SELinux, and shows everywhere
_TMPFS_DEFAULTS = "noexec,nosuid,nodev"


class MountInvalid(InvalidParameter):
    """A `--mount` that can't be."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f'invalid mount config for type "{kind}": {reason}')


class SpecificationInvalid(InvalidParameter):
    """A `-v` that can't be."""

    def __init__(self, text: str, kind: str, reason: str) -> None:
        super().__init__(f"invalid volume specification: '{text}': {MountInvalid(kind, reason)}")


def plan_mounts(
    config: ContainerConfig,
    host: HostConfig,
    find: Callable[[str], Container],
    new_name: Callable[[], str],
    is_path: Callable[[str], bool],
) -> tuple[MountPoint, ...]:
    """All mount points, parents before children; of several for one place the most explicit wins.

    `find` looks up a container, `new_name` makes the name of an anonymous volume, `is_path` tells whether a host
    path exists (`--mount type=bind` wants it to).
    """
    explicit = [*_binds(host), *(_mount(mount, new_name, is_path) for mount in host.mounts), *_tmpfs(host)]
    _refuse_duplicates(explicit)
    found = {point.destination: point for point in _from_others(host.volumes_from, find)}
    found |= {point.destination: point for point in explicit}
    for destination in config.volumes:
        path = _clean(destination)
        if path not in found:
            found[path] = _anonymous(path, host.volume_driver, new_name)
    return tuple(sorted(found.values(), key=lambda point: (point.destination.count("/"), point.destination)))


def _binds(host: HostConfig) -> Iterable[MountPoint]:
    for text in host.binds:
        point = _bind(text, host.volume_driver)
        if point is not None:
            yield point


def _bind(text: str, volume_driver: str) -> MountPoint | None:
    """`source:destination[:mode]`; a lone destination came with Config.Volumes as well and needs nothing here."""
    parts = text.split(":")
    if len(parts) == 1:
        return None
    if len(parts) > 3 or not parts[0]:
        raise InvalidParameter(f"invalid volume specification: '{text}'")
    source, destination, mode = parts[0], parts[1], parts[2] if len(parts) == 3 else ""
    flags = _flags(mode)
    kind = "bind" if source.startswith("/") else "volume"
    if not destination.startswith("/"):
        raise SpecificationInvalid(text, kind, f"invalid mount path: '{destination}' mount path must be absolute")
    if _clean(destination) == "/":
        raise SpecificationInvalid(text, kind, "invalid specification: destination can't be '/'")
    propagation = next((flag for flag in flags if flag in PROPAGATIONS), "")
    common = MountPoint(
        type=kind,
        destination=_clean(destination),
        mode=mode,
        writable="ro" not in flags,
        propagation=propagation,
    )
    if kind == "bind":
        return msgspec.structs.replace(
            common, source=posixpath.normpath(source), propagation=propagation or "rprivate", create_source=True
        )
    _check_volume_name(source)
    if propagation:
        raise SpecificationInvalid(text, kind, "field BindOptions must not be specified")
    return msgspec.structs.replace(
        common,
        name=source,
        driver=volume_driver or "local",
        no_copy="nocopy" in flags,
        mode=mode or _SHARED_LABEL,
    )


def _flags(mode: str) -> tuple[str, ...]:
    flags = tuple(mode.split(",")) if mode else ()
    if any(flag not in _FLAGS and flag not in PROPAGATIONS for flag in flags) or {"ro", "rw"} <= set(flags):
        raise SystemFailure(f"invalid mode: {mode}")  # dockerd answers 500 here
    return flags


def _check_volume_name(name: str) -> None:
    if not _VOLUME_NAME.fullmatch(name):
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )


def _mount(mount: Mount, new_name: Callable[[], str], is_path: Callable[[str], bool]) -> MountPoint:
    if mount.type not in ("bind", "volume", "tmpfs"):
        raise MountInvalid(mount.type, "mount type unknown")
    if not mount.target:
        raise MountInvalid(mount.type, "field Target must not be empty")
    if not mount.target.startswith("/"):
        raise MountInvalid(mount.type, f"invalid mount path: '{mount.target}' mount path must be absolute")
    if _clean(mount.target) == "/":
        raise MountInvalid(mount.type, "invalid specification: destination can't be '/'")
    common = MountPoint(type=mount.type, destination=_clean(mount.target), writable=not mount.read_only)
    makers = {"bind": _bind_mount, "volume": _volume_mount, "tmpfs": _tmpfs_mount}
    return makers[mount.type](mount, common, new_name, is_path)


def _refuse_options(mount: Mount, *fields: str) -> None:
    """Options of another type. Raises MountInvalid."""
    given = {
        "BindOptions": mount.bind_options,
        "VolumeOptions": mount.volume_options,
        "TmpfsOptions": mount.tmpfs_options,
    }
    for field in fields:
        if given[field] is not None:
            raise MountInvalid(mount.type, f"field {field} must not be specified")


def _bind_mount(mount: Mount, common: MountPoint, _: Callable[[], str], is_path: Callable[[str], bool]) -> MountPoint:
    _refuse_options(mount, "VolumeOptions", "TmpfsOptions")
    if not mount.source:
        raise MountInvalid("bind", "field Source must not be empty")
    if not mount.source.startswith("/"):
        raise MountInvalid("bind", f"invalid mount path: '{mount.source}' mount path must be absolute")
    options = mount.bind_options
    creates = options is not None and options.create_mountpoint
    if not creates and not is_path(mount.source):
        raise MountInvalid("bind", f"bind source path does not exist: {mount.source}")
    propagation = options.propagation if options else ""
    if propagation and propagation not in PROPAGATIONS:
        raise MountInvalid("bind", f"invalid propagation mode: {propagation}")
    return msgspec.structs.replace(
        common,
        source=posixpath.normpath(mount.source),
        create_source=creates,
        propagation=propagation or "rprivate",
        non_recursive=options is not None and options.non_recursive,
        read_only_non_recursive=options is not None and options.read_only_non_recursive,
    )


def _volume_mount(
    mount: Mount, common: MountPoint, new_name: Callable[[], str], _: Callable[[str], bool]
) -> MountPoint:
    _refuse_options(mount, "BindOptions", "TmpfsOptions")
    options = mount.volume_options
    driver = options.driver_config.name if options and options.driver_config else ""
    if mount.source:
        _check_volume_name(mount.source)
    subpath = options.subpath if options else ""
    if subpath and (subpath.startswith("/") or ".." in subpath.split("/")):
        raise MountInvalid("volume", f"subpath must be a relative path within the volume: {subpath}")
    return msgspec.structs.replace(
        common,
        name=mount.source or new_name(),
        anonymous=not mount.source,
        driver=driver or "local",
        mode=_SHARED_LABEL if driver in ("", "local") else "",
        subpath=subpath,
        no_copy=options is not None and options.no_copy,
    )


def _tmpfs_mount(mount: Mount, common: MountPoint, _: Callable[[], str], __: Callable[[str], bool]) -> MountPoint:
    _refuse_options(mount, "BindOptions", "VolumeOptions")
    if mount.source:
        raise MountInvalid("tmpfs", "field Source must not be specified")
    words = [_TMPFS_DEFAULTS]
    if options := mount.tmpfs_options:
        words += [f"size={options.size_bytes}"] if options.size_bytes else []
        words += [f"mode={options.mode:o}"] if options.mode else []
        words += ["=".join(option) for option in options.options]
    return msgspec.structs.replace(common, tmpfs_options=",".join(words))


def _tmpfs(host: HostConfig) -> Iterable[MountPoint]:
    for destination, options in host.tmpfs.items():
        if not destination.startswith("/"):
            raise InvalidParameter(f"invalid mount path: '{destination}' mount path must be absolute")
        words = ",".join((_TMPFS_DEFAULTS, options)) if options else _TMPFS_DEFAULTS
        writable = "ro" not in options.split(",")
        yield MountPoint(type="tmpfs", destination=_clean(destination), writable=writable, tmpfs_options=words)


def _from_others(names: tuple[str, ...], find: Callable[[str], Container]) -> Iterable[MountPoint]:
    for text in names:
        name, _, mode = text.partition(":")
        if mode not in ("", "ro", "rw", "z", "Z"):
            raise SystemFailure(f"invalid mode: {mode}")
        for point in find(name).mounts:
            if point.type != "tmpfs":
                yield msgspec.structs.replace(
                    point, writable=point.writable and mode != "ro", anonymous=False, no_copy=True
                )


def _anonymous(destination: str, driver: str, new_name: Callable[[], str]) -> MountPoint:
    return MountPoint(type="volume", name=new_name(), driver=driver or "local", destination=destination, anonymous=True)


def _refuse_duplicates(points: Iterable[MountPoint]) -> None:
    seen = set()
    for point in points:
        if point.destination in seen:
            raise InvalidParameter(f"Duplicate mount point: {point.destination}")
        seen.add(point.destination)


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))
