"""What pos3 relies on inside of Prefect and of CPython, and what their documentation does not promise.

Each module relies on one thing, and its docstring says on what. ``tests/orchestration/test_internals.py`` and
``test_engine.py`` pin it, so a new version that changes it fails there first, with a message that says what to do. The
control channel of a worker is the one exception that stands elsewhere, in
:mod:`pos3.orchestration.worker.control_channel`, because only the worker may load it.
"""
