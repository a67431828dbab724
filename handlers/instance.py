"""Everything whose name must differ between two engines on one host; derived here and nowhere else."""

import hashlib
from pathlib import Path

import msgspec


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One engine on this host."""

    name: str  # [a-z0-9-]{1,32}; "default" unless --instance says otherwise
    data_root: Path
    exec_root: Path

    @property
    def mark(self) -> str:
        """Four hexadecimal digits that tell this instance's kernel objects from others'."""
        return hashlib.sha256(f"{self.name}\0{self.data_root}".encode()).hexdigest()[:4]

    @property
    def bridge(self) -> str:
        """Interface name of the default bridge (15 characters at most, IFNAMSIZ)."""
        return "shiplog0" if self.name == "default" else f"shiplog-{self.mark}"

    @property
    def firewall_table(self) -> str:
        """Name of the nftables tables."""
        return "shiplog" if self.name == "default" else f"shiplog-{self.mark}"

    @property
    def cgroup_parent(self) -> str:
        """Default parent cgroup of containers."""
        return "/shiplog" if self.name == "default" else f"/shiplog-{self.mark}"

    @property
    def link_prefix(self) -> str:
        """Prefix of host-side interface names; eight characters are left for the endpoint."""
        return f"sl{self.mark}-"
