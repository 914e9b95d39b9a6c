"""A Prefect worker that loses nothing when it is stopped: ``python -m pos3.orchestration.worker``.

It is configured by environment variables only (see :mod:`pos3.orchestration.worker.settings`). When it starts, it
pushes what killed processes have left in the cache, and reschedules their flow runs. On SIGTERM, it takes no more work,
lets each flow run push its ``sync_on_error`` registrations, reschedules the flow runs, and ends.
"""
