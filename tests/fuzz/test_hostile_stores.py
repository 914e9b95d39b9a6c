"""Whatever a store answers, in pages, headers, errors and bodies: a result, or an error of pos3, soon and in bounds."""

from __future__ import annotations

import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pos3
from tests.support import Request, write_tree
from tests.support.hostile import ORDINARY, HostileStore, Play, Wire, element, error, found, page, raw

MIB = 1 << 20
SECONDS = 5.0
MOST_MIB = 300
# An example takes as long as hundreds of those that only parse.
EXAMPLES = max(15, settings.default.max_examples // 20 if settings.default else 15)

LISTED = (
    element("data/a"),
    element("data/b/c", 5, "d41d8cd98f00b204e9800998ecf8427e-2"),
    element("data/d\n\u202e\x1b[2J", 0),
    element("data/ü/文", 300_000),
)
BASES: dict[str, tuple[bytes, ...]] = {
    "LIST": (
        raw(200, page(*LISTED), b"Date: Thu, 01 Jan 2026 00:00:00 GMT"),
        raw(200, page(*LISTED[:2], token="more")),
        raw(200, page(token="more")),
        error("AccessDenied", "no", 403),
        error("NoSuchBucket", "no", 404),
        raw(301, b"", b"Location: http://127.0.0.1:9/"),
        raw(200, b"<html>"),
    ),
    "GET": (
        found(),
        found(b"x" * 5, b"d41d8cd98f00b204e9800998ecf8427e-2"),
        found(b""),
        error("NoSuchKey", "gone", 404),
        error("SlowDown", "later", 503),
        raw(206, b"x" * 5, b"Content-Range: bytes 0-4/5", b'ETag: "x"'),
    ),
    "HEAD": (found(), raw(404), raw(403), found(b"", b"x", b"x-amz-mp-parts-count: 2")),
    "HEAD ?partNumber": (found(), raw(400)),
    "PUT": (found(b""), error("InvalidDigest", "no"), error("PreconditionFailed", "no", 412), raw(200)),
    "PUT ?partNumber": (found(b""), raw(200), error("NoSuchUpload", "no", 404)),
    "POST ?uploads": (raw(200, b"<Begun><UploadId>id</UploadId></Begun>"), raw(200), error("Odd", "no", 501)),
    "POST ?uploadId": (raw(200, b"<Done><ETag>&quot;e&quot;</ETag></Done>"), raw(200, b"<Error><Code>InternalError")),
    "POST ?delete": (
        raw(200, b"<DeleteResult/>"),
        raw(200, b"<DeleteResult><Error><Key>data/a</Key><Code>No</Code></Error></DeleteResult>"),
        raw(501),
    ),
    "DELETE": (raw(204), raw(404), error("AccessDenied", "no", 403)),
    "GET ?uploads": (raw(200, b"<ListMultipartUploadsResult/>"), raw(404)),
}
NASTY = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\x00",
        b"\xff\xfe",
        b"\x1b[2J",
        b"<",
        b">",
        b"&",
        b"&#0;",
        b"&#13;&#10;X: y",
        b"%00",
    ),
    *(b"%2e%2e%2f", b"../", b"/", b"//", b"<!DOCTYPE x>", b"<![CDATA[", b"]]>", b"<!--", b"<?xml version='1.1'?>"),
    *(b"<Contents>", b"</Contents>", b"<Key>", b"<Error>", b"<Code>", b"</Code>", b"<Message>", b"<IsTruncated>true"),
    *(
        b"-1",
        b"9" * 25,
        b"9" * 5000,
        b"0" * 100,
        b"1e9",
        b"NaN",
        b" " * 5000,
        b"\t",
        b"[" * 5000,
        b"a-" * 3000,
        b"<a>" * 3000,
    ),
    *(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: x\r\n",
    ),
    *(
        b"Content-Length: 3\r\n",
        b"Content-Length: -3\r\n",
        b"Content-Range: bytes 0-\r\n",
        b"Retry-After: 99999999\r\n",
    ),
    *(b"x-amz-bucket-region: \x1b\r\n", b"Location: //\r\n", b'ETag: W/"\r\n', b"Date: \xff\r\n", b"x" * 70_000),
    *(
        b"0001-01-01T00:00:00Z",
        b"9999-12-31T23:59:59Z",
        b"2026-02-30T00:00:00Z",
        b"url</EncodingType>",
        b"%",
        b"\xf0\x9f",
    ),
)
STATUSES = (
    b"100",
    b"101",
    b"199",
    b"200",
    b"204",
    b"206",
    b"299",
    b"304",
    b"307",
    b"400",
    b"403",
    b"404",
    b"409",
    b"412",
)
MORE_STATUSES = (b"416", b"429", b"500", b"501", b"503", b"599", b"999", b"0", b"", b"xyz", b"2000")


def mutated(answer: bytes, dice: random.Random) -> bytes:
    """The answer, spoiled in some places. The length that it tells is mostly made true again."""
    head, _, body = answer.partition(b"\r\n\r\n")
    for _ in range(dice.choice((0, 1, 1, 2, 3, 6))):
        in_body = dice.random() < 0.6 and bool(body)
        text = bytearray(body if in_body else head)
        at, span = dice.randrange(len(text) + 1), dice.randrange(40)
        match dice.randrange(6):
            case 0:
                text[at:at] = dice.choice(NASTY)
            case 1:
                text[at : at + span] = b""
            case 2:
                text[at : at + 1] = bytes([dice.randrange(256)])
            case 3:
                text[at : at + span] = dice.choice(NASTY)
            case 4:
                text[at:at] = text[at : at + span] * dice.choice((1, 2, 50))
            case 5 if not in_body:
                text[9:12] = dice.choice(STATUSES + MORE_STATUSES)
        head, body = (head, bytes(text)) if in_body else (bytes(text), body)
    if dice.random() < 0.7:
        told, length, rest = head.partition(b"Content-Length: ")
        head = told + length + (b"%d" % len(body) + rest[len(rest.split(b"\r\n")[0]) :] if length else b"")
    wire = head + b"\r\n\r\n" + body
    return wire[: dice.randrange(len(wire) + 1)] if dice.random() < 0.1 else wire


def ls(mirror: pos3.Mirror, _local: Path) -> None:
    mirror.ls("s3://bucket/data", recursive=True)
    mirror.ls("s3://bucket/data")


def download(mirror: pos3.Mirror, local: Path) -> None:
    mirror.download("s3://bucket/data", local / "down", exclude=["**/x/**/y/**/z"])


def upload(mirror: pos3.Mirror, local: Path) -> None:
    mirror.upload("s3://bucket/data", write_tree(local / "up", {"a": b"1", "sub/b": b"2"}), interval=None, delete=True)


def upload_in_parts(mirror: pos3.Mirror, local: Path) -> None:
    mirror.upload("s3://bucket/data", write_tree(local / "up", {"big": b"1" * (9 * MIB)}), interval=None)


class Stage:
    """A store whose plays are replaced; it shows as nothing, since hypothesis shows what a test was given."""

    def __init__(self) -> None:
        self.plays: dict[str, Play] = {}
        self.server = HostileStore({kind: self._now(kind) for kind in {*BASES, *ORDINARY}})

    def __repr__(self) -> str:
        return "Stage()"

    def _now(self, kind: str) -> Play:
        def answer(request: Request) -> Wire:
            play = self.plays.get(kind, ORDINARY.get(kind, raw(501)))
            return play(request) if callable(play) else play

        return answer

    def set(self, dice: random.Random) -> None:
        """Chooses three answers for each kind of request."""
        self.server.asked.clear()
        numbers = iter(range(30))
        for kind, bases in BASES.items():
            answers = [mutated(dice.choice(bases[: dice.choice((1, 2, 9))]), dice) for _ in range(3)]
            self.plays[kind] = lambda _request, answers=answers: answers[min(next(numbers, 29) // 3, 2)]  # type: ignore[misc]


def act(stage: Stage, call: Callable[[pos3.Mirror, Path], None], seed: int, local: Path) -> tuple[float, int]:
    """How many seconds of processor time, and how many MiB, the call took at the most; errors of pos3 are ordinary."""
    stage.set(random.Random(seed))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    mirror = pos3.Mirror(pos3.MirrorOptions(local / "cache", show_progress=False)).open()
    with suppress(pos3.Pos3Error, OSError):
        try:
            call(mirror, local)
            mirror.close()
        except BaseException as failure:
            mirror.close(failure)
            raise
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    return time.process_time() - began, grown_kib // 1024


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    with made.server:
        yield made


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> None:
    """Failures that may pass are tried again once, and at once."""
    for name, value in stage.server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pos3.store.s3.http.ATTEMPTS", 2)
    monkeypatch.setattr("pos3.store.retry._FIRST_PAUSE_SECONDS", 0.0)


@pytest.mark.parametrize("call", [ls, download, upload, upload_in_parts])
@given(seed=st.integers(0, 1 << 60))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_answers_are_a_result_or_an_error_of_pos3_soon_and_in_bounds(
    tmp_path: Path,
    in_a_hurry: None,
    stage: Stage,
    capfd: pytest.CaptureFixture[str],
    call: Callable[[pos3.Mirror, Path], None],
    seed: int,
) -> None:
    local = tmp_path / str(seed)
    seconds, mib = act(stage, call, seed, local)
    assert seconds < SECONDS
    assert mib < MOST_MIB
    assert capfd.readouterr().err == ""
    assert {path.name for path in tmp_path.iterdir()} <= {str(seed)}
    shutil.rmtree(local, ignore_errors=True)
