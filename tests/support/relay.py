"""A line between a client and a server that changes bytes on their way, or takes its time over them."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Self

Change = Callable[[bytes], bytes]


class Relay:
    """Carries bytes between clients and a server, through `up` and `down`, which may change them or take their time."""

    def __init__(self, endpoint_url: str, *, up: Change = lambda data: data, down: Change = lambda data: data):
        host, port = endpoint_url.removeprefix("http://").split(":")

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection((host, int(port))) as upstream:
                    back = threading.Thread(target=carry, args=(upstream, self.request, down), daemon=True)
                    back.start()
                    carry(self.request, upstream, up)
                    back.join()

        def carry(source: socket.socket, target: socket.socket, change: Change) -> None:
            try:
                while data := source.recv(1 << 18):
                    target.sendall(change(data))
                target.shutdown(socket.SHUT_WR)
            except OSError:
                target.close()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
        self._server.daemon_threads = True
        self._server.block_on_close = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"
