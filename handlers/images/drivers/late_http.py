"""Loads what speaks HTTP when it is first asked; without it every idle engine would hold 2 MB for a pull to come."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from importlib import import_module

from events.messages.image import Credentials
from handlers.images.ports import Found, Registries, Repository, Sources, Stream
from handlers.images.registry_settings import RegistrySettings

_DRIVERS = "handlers.images.drivers"


class LateHttp:
    """`Registries` and `Sources` of handlers/images/ports.py. `settings` is asked at every use."""

    def __init__(self, settings: Callable[[], RegistrySettings]) -> None:
        self._settings = settings

    @cached_property
    def _loaded(self) -> tuple[Registries, Sources]:
        transport = import_module(f"{_DRIVERS}.transport").Transport(self._settings)
        registries = import_module(f"{_DRIVERS}.http_registry").HttpRegistries(transport)
        return registries, import_module(f"{_DRIVERS}.http_sources").HttpSources(transport)

    def repository(self, name: str, credentials: Credentials) -> AbstractAsyncContextManager[Repository]:
        """See Registries."""
        return self._loaded[0].repository(name, credentials)

    async def login(self, registry: str, credentials: Credentials) -> str:
        """See Registries."""
        return await self._loaded[0].login(registry, credentials)

    async def search(self, registry: str, term: str, limit: int, credentials: Credentials) -> tuple[Found, ...]:
        """See Registries."""
        return await self._loaded[0].search(registry, term, limit, credentials)

    def open(self, url: str, credentials: Credentials) -> AbstractAsyncContextManager[Stream]:
        """See Sources."""
        return self._loaded[1].open(url, credentials)
