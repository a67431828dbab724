"""Everything that is tried; an operation that isn't here isn't known to survive a crash."""

from typing import Final

from tests.crashing.build_operations import BUILDS
from tests.crashing.container_operations import CONTAINERS
from tests.crashing.file_operations import FILES
from tests.crashing.object_operations import IMAGES, VOLUMES
from tests.crashing.operation import Operation
from tests.crashing.process_operations import PROCESSES
from tests.crashing.transfer_operations import TRANSFERS

OPERATIONS: Final[tuple[Operation, ...]] = (
    *CONTAINERS,
    *PROCESSES,
    *FILES,
    *IMAGES,
    *TRANSFERS,
    *BUILDS,
    *VOLUMES,
)
