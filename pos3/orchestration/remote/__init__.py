"""Calls of a flow run's mirror from other processes of the same user on the same machine.

The process of the flow serves its mirror on a socket (the broker). An address, which travels with the context of the
run, says where the socket is. In another process a proxy has the methods of a mirror and sends each call to the broker.
A task run there has a task mirror: it uses the proxy, and opens a mirror of its own when the flow's mirror is gone.
Which of these a place in the code gets is for :mod:`pos3.orchestration.runtime`.
"""
