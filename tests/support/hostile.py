"""A store that plays a part: for each kind of request it writes just those bytes that a test gives it, however many."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote

from tests.support.request import Request
from tests.support.scripted import Handler, ScriptedServer

Wire = bytes | Iterable[bytes]
Play = Wire | Callable[[Request], Wire]

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
MD5_OF_ABC = "900150983cd24fb0d6963f7d28e17f72"
BLOCK = b"x" * (1 << 18)


def raw(status: int, body: bytes = b"", *headers: bytes, length: int | None = None) -> bytes:
    """An answer as it stands on the wire: headers are taken as they are."""
    size = b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    return b"HTTP/1.1 %d Said\r\n" % status + size + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def endless(status: int, begin: bytes, again: bytes = BLOCK, *headers: bytes) -> Iterator[bytes]:
    """An answer whose body never ends; it tells no length."""
    head = b"".join(header + b"\r\n" for header in headers)
    yield b"HTTP/1.1 %d Said\r\n" % status + head + b"Connection: close\r\n\r\n" + begin
    yield from itertools.repeat(again)


def element(key: str, size_bytes: int | str = 3, etag: str = MD5_OF_ABC, modified: str = "2026-01-01T00:00:00Z") -> str:
    """One object of a page; the key is quoted as in URLs, and the rest stands as it is."""
    return (
        f"<Contents><Key>{quote(key, safe='/')}</Key><LastModified>{modified}</LastModified>"
        f"<ETag>&quot;{etag}&quot;</ETag><Size>{size_bytes}</Size></Contents>"
    )


def page(*elements: str, token: str = "") -> bytes:
    """A page of a listing."""
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        "<ListBucketResult><EncodingType>url</EncodingType>"
        f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>{more}{''.join(elements)}</ListBucketResult>"
    ).encode("utf-8", "surrogateescape")


def error(code: str, message: str, status: int = 400) -> bytes:
    """A refusal; both texts stand in its XML as they are."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return raw(status, body.encode("utf-8", "surrogateescape"))


def found(body: bytes = b"abc", etag: bytes = MD5_OF_ABC.encode(), *more: bytes) -> bytes:
    """An object."""
    return raw(200, body, b'ETag: "' + etag + b'"', b"Last-Modified: " + DATE.encode(), *more)


ORDINARY: dict[str, Play] = {
    "LIST": raw(200, page(element("data/a"))),
    "GET": found(),
    "HEAD": found(),
    "HEAD ?partNumber": found(),
    "PUT": found(b""),
    "PUT ?partNumber": found(b""),
    "POST ?uploads": raw(200, b"<Begun><UploadId>id</UploadId></Begun>"),
    "POST ?uploadId": raw(200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"),
    "POST ?delete": raw(200, b"<DeleteResult></DeleteResult>"),
    "DELETE": raw(204),
    "DELETE ?uploadId": raw(204),
}


class HostileStore(ScriptedServer):
    """`with HostileStore({"LIST": raw(200, page(...)), "GET": endless(...)}) as store:`

    Each play is what goes out for that kind of request (see `Request.kind`): bytes, several of them, or a function of
    the request; what is not named is answered as by an ordinary store with the one object data/a. A connection ends
    with its answer. `asked` holds the requests.
    """

    def __init__(self, plays: dict[str, Play] | None = None):
        every = {**ORDINARY, **(plays or {})}
        asked: list[Request] = []
        self.asked = asked

        class Hostile(Handler):
            def respond(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request.parse(self.command, self.path, headers)
                asked.append(request)
                self.body()
                self.close_connection = True
                play: Any = every.get(request.kind, raw(501))
                wire = play(request) if callable(play) else play
                for piece in [wire] if isinstance(wire, bytes) else wire:
                    head, end, _ = piece.partition(b"\r\n\r\n")
                    if self.command == "HEAD":
                        self.wfile.write(head + end)
                        return
                    self.wfile.write(piece)

        super().__init__(Hostile)

    def environment(self) -> dict[str, str]:
        """What points pos3 at it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "hunter2/secret+key/hunter2",
            "AWS_REGION": "us-east-1",
        }
