"""Shows the work of a mirror in Prefect: lines in the run's log, artifacts, and the lineage of assets.

Nothing here makes a run fail or delays it for more than a few seconds. The package observes a mirror, and imports no
other package of :mod:`pos3.orchestration`.
"""

from pos3.orchestration.ui.current_run import RunHere, run_here, working_for
from pos3.orchestration.ui.lineage import add_reference, materialized_here, metadata_writer
from pos3.orchestration.ui.log_lines import Log, log_safely
from pos3.orchestration.ui.view import RunView

__all__ = [
    "Log",
    "RunHere",
    "RunView",
    "add_reference",
    "log_safely",
    "materialized_here",
    "metadata_writer",
    "run_here",
    "working_for",
]
