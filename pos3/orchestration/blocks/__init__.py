"""The blocks of Prefect that hold settings of pos3: how an endpoint is reached, and how a mirror works.

It is what the entry point ``prefect.collections`` names. It needs prefect-aws where that is installed, which takes long
to load, so the other packages import this one only when a block is asked for. Which block a flow or a URL means is for
:mod:`pos3.orchestration.runtime`.
"""

from pos3.orchestration.blocks.loading import load_block
from pos3.orchestration.blocks.mirror import Pos3Mirror
from pos3.orchestration.blocks.profile import Pos3Profile

__all__ = ["Pos3Mirror", "Pos3Profile", "load_block"]
