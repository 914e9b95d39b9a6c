"""What can go wrong between a client and an S3 server, as small objects that a Proxy is given.

A fault strikes a request when its `match` accepts it, its dice roll is under `rate`, it has struck fewer than `times`
times, and fewer than `spares_after` times a request of the same kind for the same key. Several faults may strike one
request; delays add up, and the earliest end wins.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.support.request import Request

Match = Callable[[Request], bool]


def on(*kinds: str, key: str = "", method: str = "") -> Match:
    """Matches requests of one of `kinds` (none: any) whose key contains the pattern `key`."""
    pattern = re.compile(key, re.DOTALL)

    def match(request: Request) -> bool:
        return (
            (not kinds or request.kind in kinds)
            and (not method or request.method == method)
            and pattern.search(request.key) is not None
        )

    return match


def anything(_request: Request) -> bool:
    return True


def later_pages(request: Request) -> bool:
    """Matches the pages of a listing that do not begin at its beginning."""
    return request.kind == "LIST" and not {"continuation-token", "start-after"}.isdisjoint(request.query)


OBJECTS = on("GET")
LISTINGS = on("LIST")
LARGEST_SKEW_SECONDS = 15 * 60


@dataclass(frozen=True)
class Refusal:
    """An S3 error that the proxy answers by itself."""

    status: int
    code: str
    message: str = "injected"


@dataclass
class Sabotage:
    """All that the faults decided to do to one request."""

    delay: float = 0.0
    hang: float = 0.0
    reset_before: bool = False
    refusal: Refusal | None = None
    reset_after: bool = False
    refusal_after: Refusal | None = None
    """An S3 error that stands in place of the server's answer."""
    answer_delay: float = 0.0
    """Seconds that the server's answer waits, after its work was done."""
    keep: float | None = None
    """Share of the response body to let through before closing."""
    flip: bool = False
    announced: float | None = None
    """Share of the response body that is announced and sent, as if it were all."""
    bytes_per_second: float = 0.0
    """The rate of the response body; 0 for as fast as it goes."""
    clock_ahead: float = 0.0
    """Seconds by which the server's clock is ahead."""
    query: dict[str, str] = field(default_factory=dict)
    """Parameters that the server gets with other values; "" for not at all."""
    unseen: set[str] = field(default_factory=set)
    """Headers that the server does not get, in lower case."""
    says: dict[str, str] = field(default_factory=dict)
    """Headers of the response, in lower case, in place of the server's own; "" for none."""
    names: list[str] = field(default_factory=list)


@dataclass
class Fault:
    """Base of all faults; alone it only counts the requests that it would strike."""

    rate: float = 1.0
    match: Match = anything
    times: int | None = None
    spares_after: int | None = field(default=None, kw_only=True)
    struck: int = field(default=0, init=False)
    _struck_alike: Counter[tuple[str, str]] = field(default_factory=Counter, init=False, repr=False)

    def strikes(self, request: Request, dice: Random) -> bool:
        alike = request.kind, request.key
        if not self.match(request) or (self.times is not None and self.struck >= self.times):
            return False
        if self.spares_after is not None and self._struck_alike[alike] >= self.spares_after:
            return False
        if self.rate < 1.0 and dice.random() >= self.rate:
            return False
        self.struck += 1
        self._struck_alike[alike] += 1
        return True

    def apply(self, sabotage: Sabotage) -> None:
        """Adds this fault's doing to what happens to the request."""


@dataclass
class Slowdown(Fault):
    """503 SlowDown, the request not forwarded."""

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.refusal = sabotage.refusal or Refusal(503, "SlowDown", "Please reduce your request rate.")


@dataclass
class Status(Fault):
    """Any S3 error, the request not forwarded: `Status(403, "AccessDenied", match=on("GET"))`."""

    rate: float = field(default=1.0, kw_only=True)
    match: Match = field(default=anything, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    code: int = 500
    error_code: str = "InternalError"
    message: str = field(default="injected", kw_only=True)

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.refusal = sabotage.refusal or Refusal(self.code, self.error_code, self.message)


@dataclass
class ResetBefore(Fault):
    """The connection is reset (RST) before the server sees the request."""

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.reset_before = True


@dataclass
class ResetAfter(Fault):
    """The server carries the request out, and the client gets a reset (RST) in place of the response."""

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.reset_after = True


@dataclass
class OtherAnswer(Fault):
    """The server carries the request out, and the client gets this S3 error in place of the response."""

    rate: float = field(default=1.0, kw_only=True)
    match: Match = field(default=anything, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    code: int = 500
    error_code: str = "InternalError"

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.refusal_after = Refusal(self.code, self.error_code)


@dataclass
class LateAnswer(Fault):
    """The server carries the request out at once, and the client gets the response `seconds` later."""

    rate: float = field(default=1.0, kw_only=True)
    match: Match = field(default=anything, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    seconds: float = 60.0

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.answer_delay = self.seconds


@dataclass
class OtherHeaders(Fault):
    """The response has these headers in place of the server's own: `OtherHeaders({"etag": ""})`."""

    headers: dict[str, str] = field(default_factory=dict)
    match: Match = field(default=anything, kw_only=True)
    rate: float = field(default=1.0, kw_only=True)
    times: int | None = field(default=None, kw_only=True)

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.says |= self.headers


@dataclass
class Truncate(Fault):
    """The response body stops after the share `keep` of it, then the connection closes."""

    keep: float = 0.5

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.keep = self.keep


@dataclass
class Short(Fault):
    """The response announces and carries only the share `keep` of its body: a message that is whole, but too short."""

    match: Match = OBJECTS
    keep: float = 0.5

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.announced = self.keep


@dataclass
class Flip(Fault):
    """One bit of the response body is inverted, lengths and headers unchanged; by default of objects only."""

    match: Match = OBJECTS

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.flip = True


@dataclass
class Hang(Fault):
    """The first `times` requests that match get no answer for `seconds`, then a reset.

    The server never sees them. A client that gives up earlier is let go at once.
    """

    rate: float = field(default=1.0, kw_only=True)
    match: Match = field(default=anything, kw_only=True)
    times: int | None = 1
    seconds: float = 3600.0

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.hang = max(sabotage.hang, self.seconds)


@dataclass
class Trickle(Fault):
    """The response body comes at `bytes_per_second`, in small pieces and without a pause."""

    rate: float = field(default=1.0, kw_only=True)
    match: Match = field(default=OBJECTS, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    bytes_per_second: float = 100_000.0

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.bytes_per_second = self.bytes_per_second


@dataclass
class SkewedClock(Fault):
    """The server's clock is `seconds` ahead of ours; beyond 15 minutes it refuses what is signed, as S3 does.

    What it dates (responses, objects, listings) is dated by that clock.
    """

    rate: float = field(default=1.0, kw_only=True)
    match: Match = field(default=anything, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    seconds: float = 3600.0

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.clock_ahead = self.seconds
        if abs(self.seconds) > LARGEST_SKEW_SECONDS:
            sabotage.refusal = sabotage.refusal or Refusal(403, "RequestTimeTooSkewed", "The difference is too large.")


@dataclass
class Latency(Fault):
    """The request is forwarded `seconds` late."""

    rate: float = field(default=1.0, kw_only=True)
    match: Match = field(default=anything, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    seconds: float = 0.1

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.delay += self.seconds


@dataclass
class OtherQuery(Fault):
    """The server sees other parameters than were sent, as if it did not know them, or knew better.

    For servers that do not check signatures.
    """

    query: dict[str, str] = field(default_factory=dict)
    match: Match = field(default=LISTINGS, kw_only=True)
    rate: float = field(default=1.0, kw_only=True)
    times: int | None = field(default=None, kw_only=True)

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.query |= self.query


@dataclass
class Unseen(Fault):
    """The server does not see the headers `headers`, as if it did not know them: `Unseen(headers=("if-match",))`.

    For servers that do not check signatures.
    """

    headers: tuple[str, ...] = ()
    match: Match = field(default=anything, kw_only=True)
    rate: float = field(default=1.0, kw_only=True)
    times: int | None = field(default=None, kw_only=True)

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.unseen |= set(self.headers)


@dataclass
class FailPage(Fault):
    """The `page`-th page (from 1) of every listing fails each time it is asked for, until `times` ends it."""

    rate: float = field(default=1.0, kw_only=True)
    match: Match = field(default=LISTINGS, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    page: int = 2
    status: int = 500
    error_code: str = "InternalError"
    _pages: dict[tuple[str, str, str], int] = field(default_factory=dict, init=False, repr=False)
    _latest: dict[tuple[str, str], int] = field(default_factory=dict, init=False, repr=False)

    def strikes(self, request: Request, dice: Random) -> bool:
        if not self.match(request) or self._page_of(request) != self.page:
            return False
        return super().strikes(request, dice)

    def apply(self, sabotage: Sabotage) -> None:
        sabotage.refusal = sabotage.refusal or Refusal(self.status, self.error_code)

    def _page_of(self, request: Request) -> int:
        listing = (request.bucket, request.query.get("prefix", ""))
        query = request.query
        token = query.get("continuation-token") or query.get("marker") or query.get("start-after") or ""
        if not token:
            self._latest[listing] = 1
            return 1
        page = self._pages.get((*listing, token))
        if page is None:
            page = self._latest.get(listing, 1) + 1
            self._pages[(*listing, token)] = page
        self._latest[listing] = page
        return page
