"""The Prefect blocks with settings of pos3: how an endpoint is reached, and the options of a mirror.

The entry point ``prefect.collections`` names this package. It imports prefect-aws where that is installed, which takes
long, so the other packages import this one only when a block is used. :mod:`pos3.orchestration.runtime` decides
which block a flow or a URL uses.
"""

from pos3.orchestration.blocks.loading import load_block
from pos3.orchestration.blocks.mirror import Pos3Mirror
from pos3.orchestration.blocks.profile import Pos3Profile

__all__ = ["Pos3Mirror", "Pos3Profile", "load_block"]
