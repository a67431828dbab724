"""Kept answers equal those made afresh, whatever happens, and go with their container."""

import gc
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.api.answers import json_line
from daemon.api.kept_answers import INSPECTIONS_KEPT, KeptAnswers
from daemon.shapes.containers import View, inspection, summary
from events.envelope import Recorded
from events.messages import container as c
from events.messages import image as i
from events.messages import network as n
from events.messages import volume as v
from events.messages.network import PublishedPort, Subnet
from handlers.policies.health import Health
from tests.unit.daemon.api.support import Api
from tests.unit.daemon.story import BRIDGE, BUSYBOX, IMAGE, Story

WEB, DB, JOB = "a3" * 32, "b4" * 32, "7f" * 32
OTHER = "sha256:" + "2b" * 32
VERSIONS = ((1, 24), (1, 43), (1, 45), (1, 47), (1, 51))
RENAMED = "docker.io/library/else:latest"
Step = Callable[[Story], Awaitable[object]]


async def scene() -> Story:
    """Three containers with all that their answers can speak of."""
    story = Story()
    await story.predefined_networks()
    await story.image(IMAGE, BUSYBOX, layers=("base", "top"))
    await story.image(OTHER)
    await story.volume("data")
    point = c.MountPoint(type="volume", name="data", source="/old", destination="/data", driver="local")
    host = c.HostConfig(network_mode="bridge", links=(f"{DB}:store",), annotations={"a": "b"})
    probe = i.HealthcheckConfig(test=("CMD", "true"), start_interval=5)
    await story.container(DB, "db", config=c.ContainerConfig(labels={"ä": "\u2028"}), mounts=(point,))
    await story.container(WEB, "web", host=host, config=c.ContainerConfig(healthcheck=probe, exposed_ports={"80": {}}))
    await story.container(JOB, "job", reference=IMAGE)
    return story


async def toggle_run(story: Story, container_id: str) -> None:
    container = story.state.containers.get(container_id)
    if container is None:
        return
    if container.is_live:
        await story.die(container_id, 3)
    else:
        port = PublishedPort(host_address="0.0.0.0", host_port=80, container_port=80, protocol="tcp")
        await story.start(container_id, run=container.run + 1, ports=(port,))


async def rename(story: Story, container_id: str) -> None:
    name = f"name-{story.log.head}"
    await story.tell(f"container/{container_id}", c.ContainerRenamed(container_id=container_id, old_name="", name=name))


async def update(story: Story) -> None:
    host = c.HostConfig(network_mode="none", memory=story.log.head)
    await story.tell(f"container/{JOB}", c.ContainerUpdated(container_id=JOB, host=host))


async def remove(story: Story) -> None:
    if story.state.containers.get(JOB):
        await story.remove(JOB)
    else:
        await story.container(JOB, "job")


async def retag(story: Story, image_id: str, reference: str) -> None:
    for other in story.state.images:
        if reference in other.references:
            untagged = i.ImageUntagged(image_id=other.id, reference=reference)
            await story.tell(f"image/{other.id}", untagged)
    await story.tell(f"image/{image_id}", i.ImageTagged(image_id=image_id, reference=reference, asked=True))


async def exec_(story: Story) -> None:
    exec_id = f"{story.log.head:064x}"
    await story.exec(exec_id, DB, "true")
    await story.start_exec(exec_id)


async def end_execs(story: Story) -> None:
    for process in story.state.execs.of(DB):
        await story.end_exec(process.id)


async def volume(story: Story) -> None:
    if story.state.volumes.get("data"):
        await story.tell("volume/data", v.VolumeRemoveRequested(name="data"), v.VolumeRemoved(name="data"))
    else:
        await story.volume("data")


async def reconfigure(story: Story) -> None:
    pool = (Subnet(subnet=f"10.0.{story.log.head % 256}.0/24", gateway=""),)
    await story.tell(f"network/{BRIDGE}", n.NetworkReconfigured(network_id=BRIDGE, subnets=pool, options={}))


async def second_bridge(story: Story) -> None:
    """From now on the name is ambiguous."""
    await story.network("e" * 64, "bridge")


async def health(story: Story, status: str) -> None:
    await story.tell(f"container/{WEB}", c.ContainerHealthChanged(container_id=WEB, status=status))


async def unlink(story: Story) -> None:
    await story.tell(f"container/{WEB}", c.ContainerLinkRemoved(container_id=WEB, alias="store"))


async def wait(story: Story, seconds: float) -> None:
    story.clock.pass_s(seconds)


STEPS: tuple[Step, ...] = (
    *(partial(toggle_run, container_id=each) for each in (WEB, DB, JOB)),
    *(partial(rename, container_id=each) for each in (WEB, DB)),
    *(partial(retag, image_id=each, reference=name) for each in (IMAGE, OTHER) for name in (BUSYBOX, RENAMED)),
    *(partial(health, status=each) for each in ("healthy", "unhealthy")),
    *(partial(wait, seconds=each) for each in (0.5, 70, 90_000)),
    *(update, remove, exec_, end_execs, volume, reconfigure, second_bridge, unlink),
)


class Witness:
    """Compares after every event, as the log tells of it."""

    def __init__(self, story: Story, versions: Sequence[tuple[int, int]]) -> None:
        self.kept = KeptAnswers()
        self._story, self._versions = story, versions

    def look(self, batch: Sequence[Recorded]) -> None:
        self.kept.forget(batch)
        for version in self._versions:
            self.compare(msgspec.structs.replace(self._story.view(version), health=self._health))

    def compare(self, view: View) -> None:
        containers = tuple(view.state.containers)
        assert self.kept.listed(containers, view) == json_line([summary(each, view) for each in containers])
        for each in containers:
            assert self.kept.inspected(each, view) == json_line(inspection(each, view))

    def _health(self, container_id: str) -> Health:
        return Health(failing_streak=self._story.clock.now_ns() % 7)


@settings(max_examples=10, deadline=None)
@given(st.permutations((*STEPS, *STEPS)), st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=2))
def test_they_equal_fresh_ones_after_every_event(steps, versions):
    async def tell() -> None:
        story = await scene()
        witness = Witness(story, versions)
        story.log.listen(witness.look)
        for step in steps:
            await step(story)
            witness.look(())

    anyio.run(tell)


async def test_what_is_asked_again_is_not_made_again():
    story = await scene()
    kept, view = KeptAnswers(), story.view()
    first = kept.inspected(story.known(WEB), view)
    assert kept.inspected(story.known(WEB), view) is first
    await story.image(OTHER, RENAMED)
    assert kept.inspected(story.known(WEB), story.view()) is first


async def test_nothing_of_a_container_outlives_it():
    story = await scene()
    kept = KeptAnswers()
    story.log.listen(kept.forget)
    for version in VERSIONS:
        kept.listed((story.known(JOB),), story.view(version))
        kept.inspected(story.known(JOB), story.view(version))
    await story.remove(JOB)
    assert not [each for each in reachable(kept) if isinstance(each, bytes) and JOB.encode() in each]


async def test_a_few_versions_and_inspections_are_kept():
    story = await scene()
    kept, web = KeptAnswers(), story.known(WEB)
    first = kept.inspected(web, story.view())
    for number in range(INSPECTIONS_KEPT):
        kept.inspected(msgspec.structs.replace(web, id=f"{number:064x}"), story.view())
    assert kept.inspected(web, story.view()) is not first
    for minor in range(24, 52):
        kept.listed((web,), story.view((1, minor)))
    assert len([each for each in reachable(kept) if isinstance(each, bytes) and b'"Names"' in each]) <= 2


async def test_the_past_neither_gives_nor_takes():
    story = await scene()
    api = Api(story)
    story.log.listen(api.engine.answers.forget)
    before = story.log.head
    then = await api.send("GET", f"/containers/{WEB}/json")
    await rename(story, WEB)
    now = await api.send("GET", f"/containers/{WEB}/json")
    assert (await api.send("GET", f"/containers/{WEB}/json?at={before}")).body == then.body != now.body
    await story.remove(WEB)
    await story.keyring.destroy(f"container/{WEB}")
    assert "(destroyed)" in (await api.get(f"/containers/{WEB}/json?at={before}"))["Config"]["Cmd"]
    assert (await api.get(f"/containers/json?all=1&at={before}"))[1]["Command"] == "(destroyed)"


def reachable(root: object) -> list[object]:
    """What an object holds in its containers, however deep."""
    found: list[object] = []
    ahead, seen = [root], set[int]()
    while ahead:
        each = ahead.pop()
        if id(each) not in seen and not isinstance(each, type):
            seen.add(id(each))
            found.append(each)
            ahead += gc.get_referents(each)
    return found
