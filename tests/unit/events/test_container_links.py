"""Who is linked to whom, as it follows from the log."""

import msgspec

from events.base import Event
from events.container_links import links_of, other_names, shown
from events.envelope import Cause, Recorded
from events.messages import container as m
from events.projections.containers import Containers
from tests.unit.events.examples import ACTOR, example


def told(containers: Containers, container_id: str, event: Event) -> None:
    recorded = Recorded(
        sequence=1,
        time_ns=1,
        clock_ns=1,
        stream=f"container/{container_id}",
        version=1,
        event=event,
        cause=Cause(actor=ACTOR, command_id="c", correlation_id="c"),
    )
    containers.apply(recorded)


def made(containers: Containers, name: str, *links: str) -> None:
    requested = example(m.ContainerCreateRequested)
    assert isinstance(requested, m.ContainerCreateRequested)
    host = msgspec.structs.replace(requested.host, links=links)
    told(containers, name, msgspec.structs.replace(requested, container_id=name, name=name, host=host))


def test_links_follow_names_and_end_with_either_side():
    containers = Containers()
    made(containers, "db")
    made(containers, "web", "db:store", "db:db", "gone:x")
    made(containers, "other", "db:base")
    db, web = containers.find("db")[0], containers.find("web")[0]
    assert [(link.alias, link.target.id) for link in links_of(web, containers)] == [("store", "db"), ("db", "db")]
    assert shown(web, containers) == ("/db:/web/store", "/db:/web/db")
    assert other_names(db, containers) == ("/web/store", "/web/db", "/other/base")
    assert other_names(web, containers) == ()
    told(containers, "db", m.ContainerRenamed(container_id="db", old_name="db", name="base"))
    told(containers, "web", m.ContainerRenamed(container_id="web", old_name="web", name="site"))
    assert shown(containers.find("site")[0], containers) == ("/base:/site/store", "/base:/site/db")
    told(containers, "web", m.ContainerRemoved(container_id="web"))
    assert other_names(db, containers) == ("/other/base",)
    told(containers, "db", m.ContainerRemoved(container_id="db"))
    assert shown(containers.find("other")[0], containers) == ()
    told(containers, "other", m.ContainerCreateFailed(container_id="other", error=""))
    assert containers.linking_to("db") == ()
