"""A server's answer on its way to the client: passed on as it is, or spoiled where faults say so."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from random import Random

from tests.support.faults import Sabotage
from tests.support.messages import Headers, copy_body, discard, head
from tests.support.request import Request

_PIECES_PER_SECOND = 20
_LISTED_TIME = re.compile(rb"(?<=<LastModified>)[^<]+")


@dataclass
class Answer:
    """The answer to one request; its body still has to be read from `reader`."""

    request: Request
    sabotage: Sabotage
    status_line: str
    headers: Headers
    reader: asyncio.StreamReader

    def __post_init__(self) -> None:
        self._header = {name.lower(): value for name, value in self.headers}
        self._status = int(self.status_line.split(" ", 2)[1])
        self._bodiless = self.request.method == "HEAD" or self._status in (204, 304)

    @property
    def is_framed(self) -> bool:
        """Whether its end can be told without the end of the connection."""
        return self._bodiless or "content-length" in self._header or "transfer-encoding" in self._header

    @property
    def is_last(self) -> bool:
        """Whether the server takes no further request on this connection."""
        return not self.is_framed or "close" in self._header.get("connection", "").lower()

    async def swallow(self) -> None:
        """Reads the body, and lets nobody have it."""
        if not self._bodiless:
            await copy_body(self.reader, self._header, discard, until_end=True)

    async def pass_on(self, writer: asyncio.StreamWriter, dice: Random) -> None:
        """Writes head and body; EOFError if the body is to stop before its end."""
        self.request.status = self._status
        says = self.sabotage.says
        if says:
            self.headers = [(name, value) for name, value in self.headers if name.lower() not in says]
            self.headers += [(name, value) for name, value in says.items() if value]
        ahead = self.sabotage.clock_ahead
        if ahead:
            self.headers = [(name, _later(name, value, ahead)) for name, value in self.headers]
        if ahead and self.request.kind == "LIST":
            await self._pass_on_page(writer, ahead)
            return
        if self.sabotage.announced is not None and not self._bodiless:
            length = str(int(int(self._header["content-length"]) * self.sabotage.announced))
            self.headers = [(name, length if name.lower() == "content-length" else v) for name, v in self.headers]
        writer.write(head(self.status_line, self.headers, keep_alive=self.is_framed))
        if not self._bodiless:
            await self._pass_on_body(writer, dice)
        await writer.drain()

    async def _pass_on_body(self, writer: asyncio.StreamWriter, dice: Random) -> None:
        request, sabotage = self.request, self.sabotage
        length = int(self._header.get("content-length", "0"))
        stop_at = int(length * sabotage.keep) if sabotage.keep is not None and length else None
        end = length if sabotage.announced is None else int(length * sabotage.announced)
        flip_at = dice.randrange(length) if sabotage.flip and length else None
        rate = sabotage.bytes_per_second
        step = max(1, int(rate / _PIECES_PER_SECOND))

        async def write(piece: bytes) -> None:
            request.received += len(piece)
            writer.write(piece)
            await writer.drain()

        async def down(data: bytes) -> None:
            if flip_at is not None and 0 <= flip_at - request.received < len(data):
                spoiled = bytearray(data)
                spoiled[flip_at - request.received] ^= 1
                data = bytes(spoiled)
            if length:
                data = data[: (end if stop_at is None else stop_at) - request.received]
            if rate:
                for start in range(0, len(data), step):
                    await write(data[start : start + step])
                    await asyncio.sleep(step / rate)
            else:
                await write(data)
            if stop_at is not None and request.received >= stop_at:
                writer.close()
                await writer.wait_closed()
                raise EOFError

        await copy_body(self.reader, self._header, down, until_end=True)

    async def _pass_on_page(self, writer: asyncio.StreamWriter, ahead_seconds: float) -> None:
        """A listing's page as a server would write it whose clock is ahead."""
        page = bytearray()

        async def keep(data: bytes) -> None:
            page.extend(data)

        await copy_body(self.reader, self._header, keep, until_end=True, framing=discard)

        def later(found: re.Match[bytes]) -> bytes:
            moment = datetime.fromisoformat(found[0].decode()) + timedelta(seconds=ahead_seconds)
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()

        body = _LISTED_TIME.sub(later, bytes(page))
        framing = {"content-length", "transfer-encoding"}
        headers = [(name, value) for name, value in self.headers if name.lower() not in framing]
        headers.append(("Content-Length", str(len(body))))
        writer.write(head(self.status_line, headers, keep_alive=self.is_framed) + body)
        self.request.received += len(body)
        await writer.drain()


def _later(name: str, value: str, seconds: float) -> str:
    if name.lower() not in ("date", "last-modified"):
        return value
    return format_datetime(parsedate_to_datetime(value) + timedelta(seconds=seconds), usegmt=True)
