"""Where the engine keeps a container's files; inspect tells people and log collectors."""

import msgspec

from daemon.shapes.go_values import JsonObject
from events.projections.layers import Layer
from handlers.layers.decide import container_cache_id


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Absolute paths below the engine's roots, and the graph driver's name."""

    data_root: str
    exec_root: str
    storage_driver: str

    def container_file(self, container_id: str, name: str) -> str:
        """A file of the container: `output.log`, `hosts`, `hostname`, `resolv.conf`."""
        return f"{self.data_root}/containers/{container_id}/{name}"

    def namespace_path(self, container_id: str) -> str:
        """The pinned network namespace."""
        return f"{self.exec_root}/netns/{container_id}"

    def upper_directory(self, container_id: str) -> str:
        """Where a container's own changes are; "" where the driver doesn't keep them apart."""
        root = f"{self.data_root}/{self.storage_driver}"
        return f"{root}/{container_cache_id(container_id)}/diff" if self.storage_driver == "overlay2" else ""

    def container_graph(self, container_id: str, lineage: tuple[Layer, ...]) -> JsonObject:
        """The `GraphDriver` object of a container's own layer upon its image's (top first)."""
        return self.graph(container_cache_id(container_id), lineage)

    def graph(self, cache_id: str, lineage: tuple[Layer, ...]) -> JsonObject:
        """The `GraphDriver` object of a layer upon `lineage` (top first)."""
        root = f"{self.data_root}/{self.storage_driver}"
        if self.storage_driver != "overlay2":
            return {"Name": self.storage_driver, "Data": None}
        own = f"{root}/{cache_id}"
        data = {"MergedDir": f"{own}/merged", "UpperDir": f"{own}/diff", "WorkDir": f"{own}/work"}
        if lineage:
            data = {"LowerDir": ":".join(f"{root}/{layer.cache_id}/diff" for layer in lineage)} | data
        return {"Name": self.storage_driver, "Data": data}
