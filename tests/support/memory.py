"""A small S3 server in memory, for habits that neither rclone nor moto has: odd ETags, hollow pages, strictness."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.support.scripted import Handler, ScriptedServer

Etag = Callable[[bytes], str]
"""The ETag of a body, with its quotes, as a header shows it."""
_CONDITION_FAILED = "PreconditionFailed"


def md5_etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


def md5_etag_of_text(text: str) -> str:
    return md5_etag(text.encode())


@dataclass(frozen=True)
class Held:
    """One object."""

    body: bytes
    etag: str
    modified: float
    encoding: str = ""


@dataclass
class Habits:
    """What makes this server different.

    Args:
        etag: of objects and parts.
        etag_of_parts: of multipart objects, from the ETags of their parts; by the MD5s as S3 does, if it is None.
        page_keys: how many keys a page has at most.
        truncation: how a page says whether it is the last: "told" as S3 does, "token" by a token alone, "untold" not.
        starts_after: whether a listing begins where it is asked to.
        hollow: which pages an empty page comes before that says that more follow: "first", "each" or none; in
            an "endless" listing, nothing else comes.
        answers_after_seconds: how long a page is waited for.
        listed_etag: how a listing shows an ETag; as it is unless given.
        spoils: what it stores of a body that was sent.
        lists: whether listings are allowed.
        unzips: whether an object with Content-Encoding: gzip is sent unzipped: "to-others" than those who take gzip,
            "weakly" the same with a weak ETag, "always" or never.
        directories: whether it is a directory bucket of AWS: it lists in no order, prefixes that end in "/" alone, from
            the beginning, and knows CRC32 and not MD5.
        forgets: ids of multipart uploads that are gone when they are to be completed.
        closes: whether each connection ends with its first answer.
        hints: a header of an answer 103 that comes before each answer.
        trailer: a header that follows each page, which is then sent in chunks.
        quotes: whether it quotes the keys of unfinished uploads, and not the marker of the next page.
    """

    etag: Etag = md5_etag
    etag_of_parts: Etag | None = None
    page_keys: int = 1000
    truncation: str = "told"
    starts_after: bool = True
    hollow: str = ""
    answers_after_seconds: float = 0.0
    listed_etag: Callable[[str], str] = str
    spoils: Callable[[bytes], bytes] = bytes
    lists: bool = True
    unzips: str = ""
    directories: bool = False
    forgets: tuple[str, ...] = ()
    closes: bool = False
    hints: str = ""
    trailer: str = ""
    quotes: bool = False


@dataclass
class Asked:
    """A request as it arrived, in order."""

    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body_bytes: int
    status: int = 0


@dataclass
class _State:
    habits: Habits
    objects: dict[str, Held] = field(default_factory=dict)
    parts: dict[str, dict[int, Held]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, float]] = field(default_factory=dict)
    encodings: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryServer(ScriptedServer):
    """`with MemoryServer(etag=...) as server:` holds one bucket, whatever its name; it checks what S3 checks.

    Each request must carry the SHA-256 of the body that it comes with, or UNSIGNED-PAYLOAD. A condition is compared
    strongly, as RFC 9110 wants it: a weak ETag never matches.
    """

    def __init__(self, context: ssl.SSLContext | None = None, **habits: Any):
        self.state = _State(Habits(**habits))
        super().__init__(type("_Bound", (_Answers,), {"state": self.state}), context)

    @property
    def objects(self) -> dict[str, bytes]:
        return {key: held.body for key, held in self.state.objects.items()}

    @property
    def asked(self) -> list[Asked]:
        return list(self.state.asked)

    def moved(self) -> list[str]:
        """The keys whose bodies were asked for or sent, since this was called last."""
        seen, self.state.asked[:] = list(self.state.asked), []
        return [each.key for each in seen if each.key and each.method in ("GET", "PUT")]

    @property
    def unfinished(self) -> dict[str, str]:
        """Ids of multipart uploads that are neither completed nor aborted, with their keys."""
        return {name: self.state.uploads[name][0] for name in self.state.parts}

    def put(self, key: str, body: bytes, age_seconds: float = 0.0) -> None:
        self.state.objects[key] = Held(body, self.state.habits.etag(body), time.time() - age_seconds)


class _Answers(Handler):
    state: ClassVar[_State]

    def respond(self) -> None:
        parts = urlsplit(self.path)
        self.key = unquote(parts.path).partition("/")[2].partition("/")[2]
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.sent = self.body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.record = Asked(self.command, self.key, self.query, headers, len(self.sent))
        if not self.key:
            time.sleep(self.state.habits.answers_after_seconds)
        with self.state.lock:
            self.state.asked.append(self.record)
            if self.state.habits.directories and "content-md5" in headers:
                self.refuse(400, "InvalidRequest", "This functionality is not supported for directory buckets.")
                return
            told = headers.get("x-amz-content-sha256", "")
            if "authorization" in headers and told not in ("UNSIGNED-PAYLOAD", hashlib.sha256(self.sent).hexdigest()):
                self.refuse(400, "XAmzContentSHA256Mismatch", f"The hash of the {len(self.sent)} bytes is another.")
                return
            getattr(self, f"on_{self.command.lower()}")()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.record.status = status
        if self.state.habits.closes:
            headers["Connection"] = "close"
        if self.state.habits.hints:
            self.wfile.write(f"HTTP/1.1 103 Early Hints\r\n{self.state.habits.hints}\r\n\r\n".encode())
        if not self.state.habits.trailer or self.command == "HEAD" or not body:
            super().answer(status, body, **headers)
            return
        self.send_response(status)
        for name, value in {**headers, "Transfer_Encoding": "chunked"}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(body), body, self.state.habits.trailer.encode()))

    def refuse(self, status: int, code: str, message: str = "") -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())

    def on_get(self) -> None:
        if not self.key:
            self.list_uploads() if "uploads" in self.query else self.list_page()
            return
        held = self.held()
        if held is None:
            return
        dated = {"ETag": held.etag, "Last_Modified": formatdate(held.modified, usegmt=True)}
        unzips = self.state.habits.unzips
        if held.encoding and unzips and (unzips == "always" or "gzip" not in self.headers.get("Accept-Encoding", "")):
            etag = f"W/{held.etag}" if unzips == "weakly" else held.etag
            self.answer(200, gzip.decompress(held.body), **{**dated, "ETag": etag})
            return
        if held.encoding:
            dated["Content_Encoding"] = held.encoding
        wanted = self.headers.get("Range", "")
        if not wanted or self.command == "HEAD":
            self.answer(200, held.body, **dated)
            return
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        body = held.body[int(start) : int(end) + 1]
        self.answer(206, body, Content_Range=f"bytes {start}-{end}/{len(held.body)}", **dated)

    on_head = on_get

    def held(self) -> Held | None:
        """The object that is asked for; it is answered if there is none, or another."""
        held = self.state.objects.get(self.key)
        if held is None:
            self.refuse(404, "NoSuchKey")
            return None
        condition = self.headers.get("If-Match")
        if condition is not None and (condition != held.etag or held.etag.startswith("W/")):
            self.refuse(412, _CONDITION_FAILED)
            return None
        return held

    def on_put(self) -> None:
        body = self.state.habits.spoils(self.sent)
        held = Held(body, self.state.habits.etag(body), time.time(), self.headers.get("Content-Encoding", ""))
        if "uploadId" in self.query:
            self.state.parts[self.query["uploadId"]][int(self.query["partNumber"])] = held
        else:
            self.state.objects[self.key] = held
        self.answer(200, ETag=held.etag)

    def on_post(self) -> None:
        if "delete" in self.query:
            crc = base64.b64encode(zlib.crc32(self.sent).to_bytes(4, "big")).decode()
            if self.state.habits.directories and self.headers.get("x-amz-checksum-crc32") != crc:
                self.refuse(400, "InvalidRequest", "Missing required header for this request: x-amz-checksum-crc32")
                return
            for found in ElementTree.fromstring(self.sent).iterfind("{*}Object/{*}Key"):
                self.state.objects.pop(found.text or "", None)
            self.answer(200, b"<DeleteResult></DeleteResult>")
        elif "uploads" in self.query:
            upload_id = f"upload-{len(self.state.uploads) + 1:03}"
            self.state.parts[upload_id] = {}
            self.state.uploads[upload_id] = self.key, time.time()
            self.state.encodings[upload_id] = self.headers.get("Content-Encoding", "")
            told = f"<UploadId>{upload_id}</UploadId>"
            self.answer(200, f"<InitiateMultipartUploadResult>{told}</InitiateMultipartUploadResult>".encode())
        elif self.query["uploadId"] in self.state.habits.forgets:
            self.refuse(404, "NoSuchUpload")
        else:
            self.complete(self.state.parts.pop(self.query["uploadId"]))

    def complete(self, parts: dict[int, Held]) -> None:
        listed = [found.text or "" for found in ElementTree.fromstring(self.sent).iterfind("{*}Part/{*}ETag")]
        if listed != [part.etag for _, part in sorted(parts.items())]:
            self.refuse(400, "InvalidPart")
            return
        body = b"".join(part.body for _, part in sorted(parts.items()))
        digests = b"".join(hashlib.md5(part.body).digest() for _, part in sorted(parts.items()))
        etag = f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"'
        if self.state.habits.etag_of_parts is not None:
            etag = self.state.habits.etag_of_parts(body)
        self.state.objects[self.key] = Held(body, etag, time.time(), self.state.encodings[self.query["uploadId"]])
        told = f"<ETag>{escape(etag)}</ETag>"
        self.answer(200, f"<CompleteMultipartUploadResult>{told}</CompleteMultipartUploadResult>".encode())

    def on_delete(self) -> None:
        if "uploadId" in self.query:
            self.state.parts.pop(self.query["uploadId"], None)
        else:
            self.state.objects.pop(self.key, None)
        self.answer(204)

    def list_uploads(self) -> None:
        if self.state.habits.directories and not self.query.get("prefix", "/").endswith("/"):
            self.refuse(400, "InvalidRequest", "This functionality is not supported for directory buckets.")
            return
        after = self.query.get("key-marker", ""), self.query.get("upload-id-marker", "")
        begun = sorted((key, name, at) for name, (key, at) in self.state.uploads.items() if name in self.state.parts)
        left = [each for each in begun if each[0].startswith(self.query.get("prefix", "")) and each[:2] > after]
        page = left[: self.state.habits.page_keys]
        shown, encoding = (quote, "<EncodingType>url</EncodingType>") if self.state.habits.quotes else (escape, "")
        listed = "".join(
            f"<Upload><Key>{shown(key)}</Key><UploadId>{name}</UploadId><Initiated>{_dated(at)}</Initiated></Upload>"
            for key, name, at in page
        )
        more = ""
        if len(page) < len(left):
            key, name, _ = page[-1]
            more = f"<NextKeyMarker>{escape(key)}</NextKeyMarker><NextUploadIdMarker>{name}</NextUploadIdMarker>"
        told = f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{encoding}{more}{listed}"
        self.answer(200, f"<ListMultipartUploadsResult>{told}</ListMultipartUploadsResult>".encode())

    def list_page(self) -> None:
        query, habits = self.query, self.state.habits
        token = unquote(query.get("continuation-token", ""))
        kind, after = token[:1], token[1:] if token else query.get("start-after", "")
        after = after if habits.starts_after or token else ""
        if not habits.lists:
            self.refuse(403, "AccessDenied")
            return
        if habits.directories:
            self.list_directory(most=min(int(query.get("max-keys", "1000")), habits.page_keys))
            return
        if habits.hollow == "endless":
            self.answer(200, _page([], [], f"e{int(after or 0) + 1}"))
            return
        if (habits.hollow == "each" and kind != "h") or (habits.hollow == "first" and not kind):
            self.answer(200, _page([], [], f"h{after}"))
            return
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        most = min(int(query.get("max-keys", "1000")), habits.page_keys)
        objects: list[str] = []
        directories: list[str] = []
        last = ""
        for key in sorted(self.state.objects):
            if not key.startswith(prefix):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            directory = key[: cut + 1] if cut >= 0 else ""
            if key <= after or (directory and directory <= after) or directory in directories[-1:]:
                continue
            if len(objects) + len(directories) == most:
                self.answer(200, self.page(objects, directories, f"r{last}"))
                return
            last = directory or key
            (directories if directory else objects).append(last)
        self.answer(200, self.page(objects, directories, ""))

    def list_directory(self, most: int) -> None:
        query = self.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        if (prefix and not prefix.endswith("/")) or "start-after" in query or delimiter not in ("", "/"):
            self.refuse(400, "InvalidRequest", "This functionality is not supported for directory buckets.")
            return
        below = [key for key in sorted(self.state.objects, key=md5_etag_of_text) if key.startswith(prefix)]
        cuts = [key.find("/", len(prefix)) + 1 if delimiter else 0 for key in below]
        found = list(dict.fromkeys(key[:cut] or key for key, cut in zip(below, cuts, strict=True)))
        begin = int(query.get("continuation-token", "0"))
        page, left = found[begin : begin + most], found[begin + most :]
        keys = [name for name in page if name in self.state.objects]
        directories = [name for name in page if name not in self.state.objects]
        self.answer(200, self.page(keys, directories, str(begin + most) if left else ""))

    def page(self, keys: list[str], directories: list[str], token: str) -> bytes:
        habits = self.state.habits
        objects = [(key, habits.listed_etag(held.etag), held) for key in keys for held in [self.state.objects[key]]]
        page = _page(objects, directories, token)
        if habits.truncation == "told":
            return page
        page = re.sub(b"<IsTruncated>[a-z]+</IsTruncated>", b"", page)
        return page if habits.truncation == "token" else re.sub(b"<Next.*</Next[A-Za-z]+>", b"", page)


def _page(objects: list[tuple[str, str, Held]], directories: list[str], token: str) -> bytes:
    contents = "".join(
        f"<Contents><Key>{quote(key)}</Key><LastModified>{_dated(held.modified)}</LastModified>"
        f"<ETag>{escape(etag, {chr(34): '&quot;'})}</ETag><Size>{len(held.body)}</Size></Contents>"
        for key, etag, held in objects
    )
    below = "".join(f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>" for name in directories)
    more = f"<NextContinuationToken>{quote(token)}</NextContinuationToken>" if token else ""
    return (
        "<ListBucketResult><Name>bucket</Name><EncodingType>url</EncodingType>"
        f"<IsTruncated>{str(bool(token)).lower()}</IsTruncated>{more}{contents}{below}</ListBucketResult>"
    ).encode()


def _dated(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
