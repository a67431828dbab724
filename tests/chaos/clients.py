"""Clients that ask for one thing after another until the daemon is gone, and remember what they were told."""

import random
import threading
import time
from collections.abc import Mapping
from urllib.parse import quote

import msgspec
from typing_extensions import override

from tests.chaos.operations import REGISTRY, Request, choose, run
from tests.clients.raw import Answer
from tests.crashing.world import World

COMMAND_HEADER = "x-shiplog-command"


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, by which key, and what came of it; status 0 when the daemon died first."""

    request: Request
    key: str
    answer: Answer

    @property
    def is_confirmed(self) -> bool:
        """Whether the client was told that it is done."""
        return 200 <= self.answer.status < 300

    @property
    def is_stream(self) -> bool:
        """Whether its answer tells of progress, which is never the same."""
        return "fromImage" in self.request.query or self.request.path.endswith("/push")

    @property
    def command_id(self) -> str:
        """The command's; "" where none was sent."""
        return self.answer.headers.get(COMMAND_HEADER, "")

    @override
    def __str__(self) -> str:
        body = self.answer.body[:160].decode(errors="replace")
        return f"{self.request.method} {self.request.path} {self.request.query} -> {self.answer.status} {body}"


class Client(threading.Thread):
    """One of several. Ends by itself when the daemon does."""

    def __init__(self, world: World, registry: str, seed: str, until_s: float) -> None:
        super().__init__(daemon=True)
        self._world, self._registry, self._seed = world, registry, seed
        self._chance = random.Random(seed)
        self._until_s = until_s  # of time.monotonic()
        self.deeds: list[Deed] = []
        self.failure: Exception | None = None

    @override
    def run(self) -> None:
        """Ask until there is nobody to ask, or the time is over."""
        try:
            requests = run(self._chance)
            while self._do(requests) and time.monotonic() < self._until_s:
                requests = choose(self._chance)
        except Exception as error:  # noqa: BLE001  # told by whoever waits for it
            self.failure = error

    def _do(self, requests: tuple[Request, ...]) -> bool:
        """Whether the daemon lives on."""
        made = ""
        for request in requests:
            filled = _filled(request, {"{id}": made, REGISTRY: self._registry})
            deed = ask(self._world, filled, f"{self._seed}/{len(self.deeds)}")
            self.deeds.append(deed)
            if not deed.is_confirmed:
                break
            made = (deed.answer.json or {}).get("Id", "") if deed.answer.status == 201 else made
        return self.deeds[-1].answer.status != 0


def _filled(request: Request, words: Mapping[str, str]) -> Request:
    """With what is only known now."""
    path, query = request.path, request.query
    for placeholder, word in words.items():
        path = path.replace(quote(placeholder), quote(word)).replace(placeholder, word)
        query = {name: value.replace(placeholder, word) for name, value in query.items()}
    return msgspec.structs.replace(request, path=path, query=query)


def ask(world: World, request: Request, key: str) -> Deed:
    """Ask, or ask again by the same key."""
    answer = world.attempt(request.method, request.path, request.body, key=key, **request.query)
    return Deed(request=request, key=key, answer=answer)
