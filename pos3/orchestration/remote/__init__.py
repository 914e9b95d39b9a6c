"""Calls of a flow run's mirror from other processes of the same user on the same machine.

The process of the flow serves its mirror on a socket; this is the broker. The context of the run carries the address of
the socket. In another process, a proxy has the methods of a mirror, and sends each call to the broker. A task run there
has a task mirror, which uses the proxy, and opens a mirror of its own when the flow's mirror is gone.
:mod:`pos3.orchestration.runtime` decides which of these a call of pos3 uses.
"""

from pos3.orchestration.remote.address import MirrorAddress
from pos3.orchestration.remote.broker import Broker, NoBroker
from pos3.orchestration.remote.proxies import Arguments, BrokeredMirror, MirrorGoneError, MirrorProxy, NoMirror
from pos3.orchestration.remote.task_mirrors import TaskMirror, mirror_of_task_run, mirror_of_try

__all__ = [
    "Arguments",
    "Broker",
    "BrokeredMirror",
    "MirrorAddress",
    "MirrorGoneError",
    "MirrorProxy",
    "NoBroker",
    "NoMirror",
    "TaskMirror",
    "mirror_of_task_run",
    "mirror_of_try",
]
