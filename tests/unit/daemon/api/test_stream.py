"""The stream of the log itself, for our own clients."""

import anyio
import anyio.lowlevel
import pytest

from daemon.http.messages import StreamResponse
from events.errors import Conflict, InvalidParameter
from events.lines import read_line
from events.messages.container import ContainerAccessed
from tests.unit.daemon.api.support import Api, WireRequest
from tests.unit.daemon.story import NOON, SECOND, Story


async def told(count: int = 5, every_s: float = 60) -> Api:
    story = Story()
    for number in range(count):
        await story.tell("container/a", ContainerAccessed(container_id="a", action=str(number)))
        story.clock.pass_s(every_s)
    return Api(story)


async def sequences(api: Api, query: str, limit: int | None = None) -> list[int]:
    answer = await api.call(WireRequest("GET", f"/shiplog/events?{query}"))
    assert isinstance(answer, StreamResponse)
    assert answer.content_type == "application/x-ndjson"
    found: list[int] = []
    async for chunk in answer.chunks:
        found += [read_line(line).sequence for line in chunk.splitlines()]
        if limit is not None and len(found) >= limit:
            break
    await answer.chunks.aclose()  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("query", "kind", "text"),
    [
        ("from=7", InvalidParameter, "event 7 is not in the log, which ends with event 5"),
        ("from=0", InvalidParameter, "event 0 is not in the log"),
        ("from=1&to=6", InvalidParameter, "event 6 is not in the log"),
        ("from=99999999999999999999", InvalidParameter, "is no event's sequence"),
        ("from=yesterday", InvalidParameter, "neither an event's sequence"),
        ("from=2020-01-01", InvalidParameter, r"is before the log begins \(2026-11-23T17:00:00Z, event 1\)"),
        ("from=1&to=2020-01-01", InvalidParameter, "is before the log begins"),
        ("from=4&to=2", InvalidParameter, r"'to' \(2\) is before 'from' \(4\)"),
        ("from=1&log=abc", Conflict, "your position is in abc"),
    ],
)
async def test_a_place_that_is_not_there_is_refused_in_words(query, kind, text):
    api = await told()
    with pytest.raises(kind, match=text):
        await api.call(WireRequest("GET", f"/shiplog/events?{query}"))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("from=1&follow=false", [1, 2, 3, 4, 5]),
        ("from=4&follow=0", [4, 5]),
        ("from=2&to=4", [2, 3, 4]),
        (f"from=@{(NOON + 60 * SECOND) // SECOND}&follow=false", [2, 3, 4, 5]),
        ("from=2026-11-23T17:01:01Z&follow=false", [3, 4, 5]),
        ("from=1&to=2026-11-23T17:01:59Z", [1, 2]),
        ("from=150s&follow=false", [4, 5]),
        ("from=6&follow=false", []),
        ("follow=false", []),
    ],
)
async def test_from_any_place_to_any_place(query, expected):
    assert await sequences(await told(), query) == expected


async def test_catching_up_then_live():
    api = await told()
    found: list[int] = []

    async def follow() -> None:
        found.extend(await sequences(api, f"from=3&log={api.story.log.id}", limit=5))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            for _ in range(2):
                await anyio.lowlevel.checkpoint()
                await api.story.tell("container/a", ContainerAccessed(container_id="a", action="more"))
    assert found == [3, 4, 5, 6, 7]


async def test_a_time_is_found_though_the_clock_was_set_back():
    api = await told(4)
    api.story.clock.pass_s(-3600)
    for _ in range(3):
        await api.story.tell("container/a", ContainerAccessed(container_id="a", action="after"))
    assert await sequences(api, "from=2026-11-23T17:03:00Z&follow=false") == [4, 5, 6, 7, 8]
    assert await sequences(api, "from=1&to=2026-11-23T17:02:30Z") == [1, 2, 3]


async def test_what_log_it_is():
    api = await told(3)
    facts = await api.get("/shiplog/log")
    assert facts == {
        "id": api.story.log.id,
        "events": 3,
        "first": {"sequence": 1, "time": "2026-11-23T17:00:00Z"},
        "last": {"sequence": 3, "time": "2026-11-23T17:02:00Z"},
    }


async def test_an_empty_log_has_no_past():
    api = Api(Story())
    assert await api.get("/shiplog/log") == {"id": api.story.log.id, "events": 0}
    with pytest.raises(InvalidParameter, match="no event yet"):
        await api.call(WireRequest("GET", "/shiplog/events?from=1&to=1h"))
