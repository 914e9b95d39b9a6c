"""HTTP messages on asyncio streams: heads, bodies in either framing, and the ways to end a connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable

CHUNK_BYTES = 256 * 1024
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "expect"}

Headers = list[tuple[str, str]]
Sink = Callable[[bytes], Awaitable[None]]


async def read_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    """The first line and the headers of a message; an empty line when the other side has closed."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as cut:
        if cut.partial:
            raise EOFError from None
        return "", []
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    headers: Headers = []
    for line in lines:
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    return first, headers


def head(line: str, headers: Headers, *, keep_alive: bool) -> bytes:
    kept = [f"{name}: {value}" for name, value in headers if name.lower() not in _HOP_BY_HOP]
    kept.append("Connection: keep-alive" if keep_alive else "Connection: close")
    return ("\r\n".join([line.replace("HTTP/1.0", "HTTP/1.1", 1), *kept]) + "\r\n\r\n").encode("latin-1")


async def copy_body(
    reader: asyncio.StreamReader,
    headers: dict[str, str],
    sink: Sink,
    *,
    until_end: bool = False,
    framing: Sink | None = None,
) -> None:
    """Passes one message body to `sink`, and what frames it to `framing` (None: to `sink` as well).

    Raises EOFError if the other side stops early.
    """
    if "chunked" in headers.get("transfer-encoding", "").lower():
        await _copy_chunks(reader, sink, framing or sink)
        return
    if "content-length" in headers:
        left = int(headers["content-length"])
        while left:
            data = await reader.read(min(left, CHUNK_BYTES))
            if not data:
                raise EOFError
            left -= len(data)
            await sink(data)
        return
    while until_end and (data := await reader.read(CHUNK_BYTES)):
        await sink(data)


async def _copy_chunks(reader: asyncio.StreamReader, sink: Sink, framing: Sink) -> None:
    while True:
        size_line = await reader.readuntil(b"\r\n")
        await framing(size_line)
        left = int(size_line.split(b";")[0], 16)
        if not left:
            while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
                await framing(trailer)
            await framing(b"\r\n")
            return
        while left:
            data = await reader.read(min(left, CHUNK_BYTES))
            if not data:
                raise EOFError
            left -= len(data)
            await sink(data)
        await framing(await reader.readexactly(2))


async def discard(_data: bytes) -> None:
    return None


async def silence(reader: asyncio.StreamReader, seconds: float, ends: asyncio.Event) -> None:
    """Takes what the client sends and answers nothing, until it leaves, `seconds` have passed or the event comes."""

    async def listen() -> None:
        with contextlib.suppress(OSError):
            while await reader.read(CHUNK_BYTES):
                pass

    waiting = [asyncio.ensure_future(listen()), asyncio.ensure_future(ends.wait())]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def abort(writer: asyncio.StreamWriter) -> None:
    """Ends the connection so that the client gets a reset, not an orderly end."""
    if writer.is_closing():
        return
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
