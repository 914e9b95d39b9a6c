"""A Prefect worker that loses nothing when it is stopped: ``python -m pos3.orchestration.worker``.

It is configured by environment variables alone (see :mod:`pos3.orchestration.worker.settings`). At start it pushes what
a killed process left in the cache, and puts that process's flow runs back into the queue. On SIGTERM it takes no more
work, lets each flow run push what ``sync_on_error`` covers, puts it back into the queue, and ends.
"""
