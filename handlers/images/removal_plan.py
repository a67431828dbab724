"""What RemoveImage may do, by dockerd's rules; pure, so that every rule can be read and tried alone.

By name: the name goes; the image too if it was the last name. By id: all names go if they amount to one, or by force.
By force an image goes although a stopped container uses it; its layers stay until the container is gone. What another
image was committed upon stays, and goes with the last of those if it has no name. (moby, daemon/images/image_delete.go)
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from events import references
from events.lookup import NoSuchImage, names_by_id
from events.projections.images import Image
from events.projections.state import State
from handlers.images.errors import ImageInUse, short_id


class RemovalPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Names to take away (canonical), and whether the image goes too (`later`: when its last container does)."""

    untag: tuple[str, ...]
    delete: bool
    later: bool = False
    parents: tuple[Image, ...] = ()  # that go along, nearest first


def plan_removal(state: State, image: Image, name: str, *, force: bool, prune: bool) -> RemovalPlan:
    """Decide on a removal of `image`, which the client called `name`; with `prune` unneeded parents go along.

    Raises ImageInUse, NoSuchImage.
    """
    if names_by_id(image, name):
        plan = _plan_by_id(state, image, force=force)
    else:
        plan = _plan_by_name(state, image, name, force=force)
    return _with_parents(state, image, plan) if prune else plan


def plan_prune(state: State, image: Image | None, *, dangling: bool) -> RemovalPlan | None:
    """Whether an image may go with all its names: it is there whole, nobody uses it and, if `dangling`, it has no tag.

    One with children loses its names only.
    """
    if image is None or image.status != "ready" or state.images.users(image.id) or (dangling and is_tagged(image)):
        return None
    if image.id in state.images.parents():
        return RemovalPlan(untag=image.references, delete=False) if image.references else None
    return _with_parents(state, image, RemovalPlan(untag=image.references, delete=True))


def is_tagged(image: Image) -> bool:
    """Whether it has a name other than by digest."""
    return any("@" not in name for name in image.references)


def _with_parents(state: State, image: Image, plan: RemovalPlan) -> RemovalPlan:
    if not plan.delete or plan.later:
        return plan
    return msgspec.structs.replace(plan, parents=tuple(_unneeded_parents(state, image)))


def _unneeded_parents(state: State, image: Image) -> Iterator[Image]:
    """What had to stay for an image only: without a name, a container or another child."""
    children = Counter(each.parent for each in state.images if each.status == "ready")
    parent = state.images.parent(image)
    while parent is not None and not _is_needed(state, parent) and children[parent.id] == 1:
        yield parent
        parent = state.images.parent(parent)


def _is_needed(state: State, image: Image) -> bool:
    return bool(image.references or state.images.users(image.id))


def _plan_by_name(state: State, image: Image, name: str, *, force: bool) -> RemovalPlan:
    reference, users = _held(image, name), state.images.users(image.id)
    if users and not force and _is_single(image.references):
        user = short_id(min(users))
        why = f"container {user} is using its referenced image {short_id(image.id)}"
        raise ImageInUse(references.familiar(reference), why, forcible=True)
    untag = (reference, *_orphaned_digests(image, reference))
    last = len(untag) == len(image.references)
    stays = _running(state, image) or image.id in state.images.parents()
    return RemovalPlan(untag=untag, delete=last and not stays, later=bool(users))


def _plan_by_id(state: State, image: Image, *, force: bool) -> RemovalPlan:
    subject, running, users = short_id(image.id), _running(state, image), state.images.users(image.id)
    if image.id in state.images.parents():
        raise ImageInUse(subject, "image has dependent child images", forcible=False)
    if running:
        why = f"image is being used by running container {short_id(running)}"
        raise ImageInUse(subject, why, forcible=False)
    if not force and not _is_single(image.references):
        raise ImageInUse(subject, "image is referenced in multiple repositories", forcible=True)
    if not force and users:
        why = f"image is being used by stopped container {short_id(min(users))}"
        raise ImageInUse(subject, why, forcible=True)
    return RemovalPlan(untag=image.references, delete=True, later=bool(users))


def _held(image: Image, name: str) -> str:
    """The image's reference that a name stands for."""
    reference = references.parse(name).with_default_tag
    for candidate in (reference.canonical, f"{reference.name}@{reference.digest}"):
        if candidate in image.references:
            return candidate
    raise NoSuchImage(reference.familiar)


def _running(state: State, image: Image) -> str:
    """A container that uses the image and has a process, the oldest; "" for none."""
    users = state.images.users(image.id)
    for container in state.containers:
        if container.id in users and container.is_up:
            return container.id
    return ""


def _is_single(names: tuple[str, ...]) -> bool:
    """Whether names amount to one: at most one tag, and digests of the same repository only."""
    tags = [name for name in names if "@" not in name]
    repositories = {_repository(name) for name in names}
    return len(tags) <= 1 and len(repositories) <= 1


def _orphaned_digests(image: Image, removed: str) -> tuple[str, ...]:
    """Digest references that go with the last tag of their repository."""
    if "@" in removed:
        return ()
    same = [name for name in image.references if name != removed and _repository(name) == _repository(removed)]
    return tuple(same) if all("@" in name for name in same) else ()


def _repository(name: str) -> str:
    return references.parse(name).name
