"""What Prefect shows of a mirror at work: lines in the run's log, artifacts, and the lineage of assets.

Nothing here fails a run or holds it up for more than a few seconds. It follows a mirror as its observer and knows no
other package of :mod:`pos3.orchestration`.
"""

from pos3.orchestration.ui.lineage import note_reference
from pos3.orchestration.ui.progress import Log, say
from pos3.orchestration.ui.view import RunView

__all__ = [
    "Log",
    "RunView",
    "note_reference",
    "say",
]
