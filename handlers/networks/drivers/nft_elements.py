"""Published ports as elements of nftables maps; without their comments nobody could tell whose a port is."""

from collections.abc import Iterable

import msgspec

from events.messages.network import PublishedPort
from handlers.networks.port_choice import WILDCARDS

_ANY_ADDRESS = "pub"
_ONE_ADDRESS = "pubip"
MAPS = (_ANY_ADDRESS, _ONE_ADDRESS)


class Element(msgspec.Struct, frozen=True, kw_only=True):
    """One published IPv4 port in the kernel."""

    container_id: str
    container_address: str
    port: PublishedPort

    @property
    def map(self) -> str:
        """The map that it is in."""
        return _ANY_ADDRESS if self.port.host_address in WILDCARDS else _ONE_ADDRESS

    @property
    def key(self) -> str:
        """What packets are looked up by."""
        key = f"{self.port.protocol} . {self.port.host_port}"
        return key if self.map == _ANY_ADDRESS else f"{self.port.host_address} . {key}"

    @property
    def text(self) -> str:
        """The whole element, as nft wants it."""
        return f'{self.key} comment "{self.container_id}" : {self.container_address} . {self.port.container_port}'


def elements_of(container_id: str, address: str, ports: Iterable[PublishedPort]) -> tuple[Element, ...]:
    """What the kernel can serve of a container's ports: those on IPv4."""
    return tuple(
        Element(container_id=container_id, container_address=address, port=port)
        for port in ports
        if ":" not in port.host_address
    )


class _Key(msgspec.Struct, kw_only=True):
    concat: list[str | int]


class _Value(msgspec.Struct, kw_only=True):
    val: _Key
    comment: str


class _Wrapped(msgspec.Struct, kw_only=True):
    elem: _Value


class _Target(msgspec.Struct, kw_only=True):
    concat: tuple[str, int]


class _Map(msgspec.Struct, kw_only=True):
    elem: list[tuple[msgspec.Raw, msgspec.Raw]] = []


class _Entry(msgspec.Struct, kw_only=True):
    map: _Map | None = None


class _Listing(msgspec.Struct, kw_only=True):
    nftables: list[_Entry]


def parse(listing: str) -> list[Element]:
    """The elements in a listing of a map, as libnftables-json(5) has it; those that others added are left out."""
    entries = msgspec.json.decode(listing, type=_Listing).nftables
    elements = [_element(key, target) for entry in entries if entry.map for key, target in entry.map.elem]
    return [element for element in elements if element is not None]


def _element(key: msgspec.Raw, target: msgspec.Raw) -> Element | None:
    """None for one that this engine didn't make: it has no comment."""
    try:
        value = msgspec.json.decode(key, type=_Wrapped).elem
        container_address, container_port = msgspec.json.decode(target, type=_Target).concat
    except msgspec.MsgspecError:
        return None
    *address, protocol, host_port = value.val.concat
    return Element(
        container_id=value.comment,
        container_address=container_address,
        port=PublishedPort(
            container_port=container_port,
            protocol=str(protocol),
            host_address=str(address[0]) if address else WILDCARDS[0],
            host_port=int(host_port),
        ),
    )
