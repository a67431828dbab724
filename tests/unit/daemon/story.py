"""A small engine whose past a test writes event by event; queries and streams then run on the real log and state."""

from typing import Any

import msgspec

from daemon.shapes.containers import View
from daemon.shapes.layout import Layout
from daemon.watch import StreamWatcher
from events.base import Event
from events.envelope import Actor, Cause, Recorded
from events.log import Append
from events.memory_log import MemoryLog
from events.messages import container as c
from events.messages import exec as x
from events.messages import image as i
from events.messages import layer as y
from events.messages import network as n
from events.messages import volume as v
from events.projections.containers import Container
from events.projections.state import State
from tests.fakes.keyring import MemoryKeyring

SECOND = 1_000_000_000
NOON = 1_795_453_200 * SECOND  # 2026-11-23T17:00:00Z
CLIENT = Actor(kind="unix", uid=1000, gid=1000, pid=7)
LAYOUT = Layout(data_root="/data", exec_root="/run/s", storage_driver="overlay2")
IMAGE = "sha256:" + "1a" * 32
BRIDGE, HOST, NONE = "b" * 64, "c" * 64, "d" * 64
BUSYBOX = "docker.io/library/busybox:latest"


def as_seen(shape: object) -> Any:
    """What a client gets."""
    return msgspec.json.decode(msgspec.json.encode(shape))


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.time_ns = NOON

    def now_ns(self) -> int:
        return self.time_ns

    def pass_s(self, seconds: float) -> None:
        self.time_ns += int(seconds * SECOND)


class Story:
    """What happened so far."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.log = MemoryLog(self.clock)
        self.state = State()
        self.watcher = StreamWatcher()
        self.keyring = MemoryKeyring()
        self.log.listen(self.state.apply)
        self.log.listen(self.watcher.notify)

    def view(self, version: tuple[int, int] = (1, 51)) -> View:
        return View(state=self.state, keyring=self.keyring, layout=LAYOUT, version=version, now_ns=self.clock.now_ns())

    async def tell(self, stream: str, *events: Event, command_id: str = "1") -> Recorded:
        cause = Cause(actor=CLIENT, command_id=command_id, correlation_id=command_id)
        recorded = await self.log.append((Append(stream=stream, events=events),), cause=cause)
        return recorded[-1]

    # ---- images

    async def image(
        self,
        image_id: str = IMAGE,
        *references: str,
        config: i.ImageConfig | None = None,
        layers: tuple[str, ...] = (),
        size: int = 1000,
        origin: str = "load",
    ) -> None:
        config = config or i.ImageConfig(created="2026-11-23T16:00:00Z", os="linux", architecture="amd64")
        for depth, chain_id in enumerate(layers):
            await self.layer(chain_id, layers[depth - 1] if depth else "", image_id)
        await self.tell(
            f"image/{image_id}",
            i.ImageCreateRequested(image_id=image_id, origin=origin),
            i.ImageCreated(image_id=image_id, config=config, layers=layers, size_bytes=size, origin=origin),
        )
        for reference in references:
            await self.tell(f"image/{image_id}", i.ImageTagged(image_id=image_id, reference=reference, asked=False))

    async def layer(self, chain_id: str, parent: str = "", holder: str = IMAGE, size: int = 500) -> None:
        if self.state.layers.get(chain_id):
            await self.tell(f"layer/{chain_id}", y.LayerHeld(chain_id=chain_id, holder=holder))
            return
        requested = y.LayerApplyRequested(
            chain_id=chain_id,
            diff_id=f"sha256:{chain_id}",
            parent=parent,
            cache_id=f"cache-{chain_id}",
            driver="overlay2",
            holder=holder,
        )
        await self.tell(f"layer/{chain_id}", requested, y.LayerApplied(chain_id=chain_id, size_bytes=size))

    # ---- networks and volumes

    async def predefined_networks(self) -> None:
        pool = (n.Subnet(subnet="10.202.77.0/24", gateway="10.202.77.1"),)
        rows = ((BRIDGE, "bridge", "bridge", pool), (HOST, "host", "host", ()), (NONE, "none", "null", ()))
        for network_id, name, driver, subnets in rows:
            await self.network(network_id, name, driver, subnets)

    async def network(
        self, network_id: str, name: str, driver: str = "bridge", subnets: tuple[n.Subnet, ...] = ()
    ) -> None:
        requested = n.NetworkCreateRequested(network_id=network_id, name=name, driver=driver, subnets=subnets)
        await self.tell(f"network/{network_id}", requested, n.NetworkCreated(network_id=network_id))

    async def volume(
        self, name: str, *, anonymous: bool = False, secret_options: dict[str, str] | None = None, **labels: str
    ) -> None:
        options = secret_options and await self.keyring.seal(f"volume/{name}", msgspec.json.encode(secret_options))
        requested = v.VolumeCreateRequested(
            name=name, driver="local", anonymous=anonymous, labels=labels, options=options or None
        )
        await self.tell(f"volume/{name}", requested)
        await self.tell(f"volume/{name}", v.VolumeCreated(name=name, mountpoint=f"/data/volumes/{name}/_data"))

    # ---- containers

    async def container(
        self,
        container_id: str,
        name: str,
        *,
        config: c.ContainerConfig | None = None,
        host: c.HostConfig | None = None,
        secrets: c.ContainerSecrets | None = None,
        endpoints: dict[str, c.EndpointConfig] | None = None,
        mounts: tuple[c.MountPoint, ...] = (),
        image_id: str = IMAGE,
        reference: str = "busybox",
    ) -> None:
        sealed = await self.keyring.seal(
            f"container/{container_id}", msgspec.json.encode(secrets or c.ContainerSecrets(cmd=("sleep", "600")))
        )
        requested = c.ContainerCreateRequested(
            container_id=container_id,
            name=name,
            image_id=image_id,
            image_reference=reference,
            config=config or c.ContainerConfig(),
            host=host or c.HostConfig(network_mode="bridge", log_config=c.LogConfig(type="json-file")),
            secrets=sealed,
            endpoints=endpoints or {},
            mounts=mounts,
        )
        stream = f"container/{container_id}"
        await self.tell(stream, requested)
        await self.tell(stream, c.ContainerCreated(container_id=container_id))

    def known(self, container_id: str) -> Container:
        found = self.state.containers.get(container_id)
        assert found is not None
        return found

    async def start(
        self, container_id: str, *, pid: int = 4711, run: int = 1, ports: tuple[n.PublishedPort, ...] = ()
    ) -> None:
        stream = f"container/{container_id}"
        await self.tell(stream, c.ContainerStartRequested(container_id=container_id, run=run))
        if self.state.networks.get(BRIDGE):
            await self.connect(container_id, ports)
        started = c.ContainerStarted(container_id=container_id, pid=pid, started_at_ns=self.clock.now_ns())
        await self.tell(stream, started)

    async def connect(self, container_id: str, ports: tuple[n.PublishedPort, ...] = ()) -> None:
        endpoint = n.Endpoint(
            endpoint_id="e" * 64,
            network_id=BRIDGE,
            network_name="bridge",
            interface="eth0",
            address="10.202.77.2",
            prefix_length=24,
            gateway="10.202.77.1",
            mac_address="02:42:0a:ca:4d:02",
        )
        requested = n.SandboxRequested(container_id=container_id, mode="bridge", endpoints=(endpoint,), ports=ports)
        await self.tell(f"sandbox/{container_id}", requested)
        await self.tell(f"sandbox/{container_id}", n.SandboxConnected(container_id=container_id))

    async def die(self, container_id: str, exit_code: int = 0, *, oom: bool = False) -> None:
        stream, now_ns = f"container/{container_id}", self.clock.now_ns()
        began_ns = self.known(container_id).started_at_ns
        observed = c.ContainerExitObserved(
            container_id=container_id, exit_code=exit_code, oom_killed=oom, finished_at_ns=now_ns
        )
        await self.tell(stream, observed)
        if self.state.sandboxes.get(container_id):
            await self.tell(f"sandbox/{container_id}", n.SandboxDisconnected(container_id=container_id))
        run_s = (now_ns - began_ns) // SECOND
        await self.tell(stream, c.ContainerDied(container_id=container_id, exit_code=exit_code, run_s=run_s))

    async def fail_to_start(self, container_id: str, error: str, exit_code: int = 127, run: int = 1) -> None:
        stream = f"container/{container_id}"
        await self.tell(stream, c.ContainerStartRequested(container_id=container_id, run=run))
        failed = c.ContainerStartFailed(container_id=container_id, exit_code=exit_code, error=error)
        await self.tell(stream, failed)

    async def remove(self, container_id: str) -> None:
        stream = f"container/{container_id}"
        await self.tell(stream, c.ContainerRemoveRequested(container_id=container_id, volumes=False))
        await self.tell(stream, c.ContainerRemoved(container_id=container_id))

    # ---- execs

    async def exec(self, exec_id: str, container_id: str, *cmd: str, config: x.ExecConfig | None = None) -> None:
        secrets = await self.keyring.seal(f"container/{container_id}", msgspec.json.encode(x.ExecSecrets(cmd=cmd)))
        created = x.ExecCreated(
            exec_id=exec_id, container_id=container_id, run=1, config=config or x.ExecConfig(), secrets=secrets
        )
        await self.tell(f"exec/{exec_id}", created)

    async def start_exec(self, exec_id: str) -> None:
        stream = f"exec/{exec_id}"
        await self.tell(stream, x.ExecStartRequested(exec_id=exec_id))
        await self.tell(stream, x.ExecStarted(exec_id=exec_id, pid=99))

    async def end_exec(self, exec_id: str, exit_code: int = 0) -> None:
        await self.tell(f"exec/{exec_id}", x.ExecExited(exec_id=exec_id, exit_code=exit_code))
