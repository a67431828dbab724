"""What the network handler's verbs share: its drivers and settings."""

import msgspec

from handlers.instance import Instance
from handlers.networks.ports import NameFiles, Namespaces, NetworkDriver, PortPublisher
from handlers.networks.settings import NetworkSettings


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Drivers and settings; made once by the daemon's composition."""

    settings: NetworkSettings
    instance: Instance
    driver: NetworkDriver
    publisher: PortPublisher
    namespaces: Namespaces
    name_files: NameFiles
