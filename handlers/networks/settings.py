"""What the daemon's flags say about networks; without it every part would have its own idea of the defaults."""

import msgspec


class AddressPool(msgspec.Struct, frozen=True, kw_only=True):
    """A range that subnets of `size` bits are cut from (`--default-address-pool`)."""

    base: str  # CIDR
    size: int  # prefix length of each subnet


# https://docs.docker.com/engine/network/#subnet-allocation
DEFAULT_POOLS = (
    *(AddressPool(base=f"172.{second}.0.0/16", size=16) for second in range(17, 32)),
    AddressPool(base="192.168.0.0/16", size=20),
)


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Names are those of dockerd's flags; what is empty is left to the engine or taken from the host."""

    bip: str = ""  # the default bridge's own address with its prefix length
    address_pools: tuple[AddressPool, ...] = DEFAULT_POOLS
    mtu: int = 1500
    iptables: bool = True  # False: no firewall rules at all
    userland_proxy: bool = True
    ip_masquerade: bool = True
    inter_container: bool = True
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_gateway: str = ""  # what `host-gateway` stands for; "": the default bridge's gateway
