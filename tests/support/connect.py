"""A proxy for HTTPS that says more about its tunnels than it must."""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import Self


class ConnectProxy:
    """`with ConnectProxy("Date: ...") as proxy:` answers CONNECT with these headers, and then passes bytes on."""

    def __init__(self, *head: str):
        self.tunnels = 0
        proxy = self
        answer = "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 Connection established", *head, "")).encode()

        class Tunnel(socketserver.StreamRequestHandler):
            rbufsize = 0

            def handle(self) -> None:
                method, address, _ = self.rfile.readline().decode().split(" ")
                assert method == "CONNECT"
                while self.rfile.readline().strip():
                    pass
                host, _, port = address.rpartition(":")
                proxy.tunnels += 1
                with socket.create_connection((host, int(port))) as upstream:
                    self.wfile.write(answer)
                    back = threading.Thread(target=_carry, args=(upstream, self.request), daemon=True)
                    back.start()
                    _carry(self.request, upstream)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _carry(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 18):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        target.close()
