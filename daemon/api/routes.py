"""Every path that the engine serves, on one page; what isn't here is answered with 404 page not found."""

from typing import Final

from daemon.api import (
    builds,
    containers,
    execs,
    files,
    images,
    lifecycle,
    networks,
    registries,
    saving,
    swarm,
    system,
    transfers,
    unsupported,
    volumes,
)
from daemon.api.attach import attach
from daemon.api.checkpoint import sign_checkpoint
from daemon.api.engine import Engine, EngineEndpoint
from daemon.api.events import events
from daemon.api.keys import export_keys
from daemon.api.logs import logs
from daemon.api.past import at_any_time, difference, state
from daemon.api.refusals import recorded
from daemon.api.repeats import Repeats
from daemon.api.stats import stats
from daemon.api.stream import log_events, log_facts
from daemon.api.top import top
from daemon.api.update import update_container
from daemon.api.why import why
from daemon.http.messages import Route

TABLE: Final[tuple[tuple[str, str, EngineEndpoint], ...]] = (
    # what isn't there yet; first, since some of it is longer than a path below that would take it for a name
    *((method, pattern, unsupported.refuse) for method, pattern in unsupported.MISSING),
    # the engine
    ("GET", "/_ping", system.ping),
    ("HEAD", "/_ping", system.ping),
    ("GET", "/version", system.version),
    ("GET", "/info", system.info),
    ("GET", "/events", events),
    ("GET", "/system/df", system.disk_usage),
    # containers
    ("GET", "/containers/json", containers.list_containers),
    ("POST", "/containers/create", containers.create_container),
    ("POST", "/containers/prune", containers.prune_containers),
    ("GET", "/containers/{id:path}/json", containers.inspect_container),
    ("GET", "/containers/{id:path}/top", top),
    ("GET", "/containers/{id:path}/logs", logs),
    ("GET", "/containers/{id:path}/stats", stats),
    ("POST", "/containers/{id:path}/update", update_container),
    ("HEAD", "/containers/{id:path}/archive", files.stat_path),
    ("GET", "/containers/{id:path}/archive", files.get_archive),
    ("PUT", "/containers/{id:path}/archive", files.put_archive),
    ("GET", "/containers/{id:path}/export", files.export),
    ("GET", "/containers/{id:path}/changes", files.changes),
    ("POST", "/containers/{id:path}/start", lifecycle.start),
    ("POST", "/containers/{id:path}/stop", lifecycle.stop),
    ("POST", "/containers/{id:path}/restart", lifecycle.restart),
    ("POST", "/containers/{id:path}/kill", lifecycle.kill),
    ("POST", "/containers/{id:path}/pause", lifecycle.pause),
    ("POST", "/containers/{id:path}/unpause", lifecycle.unpause),
    ("POST", "/containers/{id:path}/wait", lifecycle.wait),
    ("POST", "/containers/{id:path}/rename", containers.rename_container),
    ("POST", "/containers/{id:path}/resize", containers.resize_container),
    ("POST", "/containers/{id:path}/attach", attach),
    ("POST", "/containers/{id:path}/exec", execs.create_exec),
    ("DELETE", "/containers/{id:path}", containers.remove_container),
    ("POST", "/commit", files.commit),
    # processes run in them later
    ("POST", "/exec/{id}/start", execs.start_exec),
    ("POST", "/exec/{id}/resize", execs.resize_exec),
    ("GET", "/exec/{id}/json", execs.inspect_exec),
    # images
    ("GET", "/images/json", images.list_images),
    ("POST", "/images/create", images.create_image),
    ("POST", "/images/load", images.load_images),
    ("POST", "/images/prune", images.prune_images),
    ("GET", "/images/get", saving.save_images),
    ("GET", "/images/{name:path}/get", saving.save_image),
    ("GET", "/images/search", registries.search),
    ("POST", "/images/{name:path}/push", transfers.push),
    ("GET", "/images/{name:path}/json", images.inspect_image),
    ("GET", "/images/{name:path}/history", images.image_history),
    ("POST", "/images/{name:path}/tag", images.tag_image),
    ("DELETE", "/images/{name:path}", images.remove_image),
    # builds
    ("POST", "/build", builds.build),
    ("POST", "/build/prune", builds.prune_builds),
    # volumes
    ("GET", "/volumes", volumes.list_volumes),
    ("POST", "/volumes/create", volumes.create_volume),
    ("POST", "/volumes/prune", volumes.prune_volumes),
    ("GET", "/volumes/{name:path}", volumes.inspect_volume),
    ("DELETE", "/volumes/{name:path}", volumes.remove_volume),
    # networks
    ("GET", "/networks", networks.list_networks),
    ("GET", "/networks/", networks.list_networks),
    ("POST", "/networks/create", networks.create_network),
    ("POST", "/networks/prune", networks.prune_networks),
    # registries
    ("POST", "/auth", registries.login),
    ("GET", "/distribution/{name:path}/json", registries.inspect),
    ("GET", "/networks/{id}", networks.inspect_network),
    ("POST", "/networks/{id}/connect", networks.change_network),
    ("POST", "/networks/{id}/disconnect", networks.change_network),
    ("DELETE", "/networks/{id}", networks.remove_network),
    # the log and its readers: Shiplog's own
    ("GET", "/shiplog/log", log_facts),
    ("POST", "/shiplog/checkpoint", sign_checkpoint),
    ("GET", "/shiplog/events", log_events),
    ("GET", "/shiplog/state", state),
    ("GET", "/shiplog/diff", difference),
    ("GET", "/shiplog/why", why),
    ("POST", "/shiplog/keys/export", export_keys),
    # a swarm that isn't there
    ("GET", "/swarm", swarm.refuse),
    ("GET", "/swarm/unlockkey", swarm.refuse),
    ("POST", "/swarm/leave", swarm.refuse),
    ("POST", "/swarm/update", swarm.refuse),
    ("POST", "/swarm/unlock", swarm.refuse),
    ("GET", "/nodes", swarm.refuse),
    ("GET", "/nodes/{id}", swarm.refuse),
    ("GET", "/services", swarm.refuse),
    ("GET", "/services/{id}", swarm.refuse),
    ("GET", "/tasks", swarm.refuse),
    ("GET", "/tasks/{id}", swarm.refuse),
    ("GET", "/secrets", swarm.refuse),
    ("GET", "/secrets/{id}", swarm.refuse),
    ("GET", "/configs", swarm.refuse),
    ("GET", "/configs/{id}", swarm.refuse),
    ("POST", "/services/create", swarm.refuse),
    ("POST", "/secrets/create", swarm.refuse),
    ("POST", "/configs/create", swarm.refuse),
)


def routes(engine: Engine) -> tuple[Route, ...]:
    """The table for one engine."""
    repeats = Repeats()
    return tuple(
        Route(
            method=method,
            pattern=pattern,
            endpoint=recorded(engine, repeats, method, pattern, at_any_time(method, pattern, endpoint)),
        )
        for method, pattern, endpoint in TABLE
    )
