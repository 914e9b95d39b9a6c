"""The client of one bucket. Its requests are awaited, and repeated as long as their failure may be temporary."""

from __future__ import annotations

import asyncio
import copy
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar
from urllib.parse import quote

from pos3.store.apart import Drive, Stopping, called_apart, streamed_apart
from pos3.store.retry import ATTEMPTS, Patience, repeated
from pos3.store.s3 import shares
from pos3.store.s3.address import Address
from pos3.store.s3.engine import Engine
from pos3.store.s3.fellow import Fellow
from pos3.store.s3.handle import Server
from pos3.store.s3.pool import Pool
from pos3.store.s3.requests import Request, Response
from pos3.store.s3.window import Fixed, Window

T = TypeVar("T")

# Reading and hashing release the GIL, so several threads send large bodies.
_MOST_THREADS = min(4, os.cpu_count() or 1)
# Each idle connection holds a descriptor.
_MOST_IDLE_CONNECTIONS = 32


class _Run:
    """The running work of one engine, and its fellows: other engines that are started when they are needed."""

    def __init__(self, client: Client, engine: Engine, window: Fixed | Window, most_fellows: int):
        self._client = client
        self.engine = engine
        engine.begin(window)
        self._most = window.most
        self._fellows: list[Fellow] = []
        self._most_fellows = most_fellows
        self._parts = 0
        self.reading = asyncio.Lock()
        """Who reads a file for its checksum in this loop holds this."""

    async def carried_out(self, part: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """The result of a coroutine, which counts as a request in flight from its beginning to its end.

        It runs in the engine or fellow that has the fewest coroutines.
        """
        # The limit of requests is kept here, also for fellows.
        slots = self.engine.slots
        await slots.take()
        epoch = slots.window.epoch
        try:
            result = await self._carried_out(part(*arguments))
        except BaseException as error:
            slots.failed(epoch, error)
            raise
        slots.answered(epoch)
        return result

    async def _carried_out(self, part: Coroutine[Any, Any, T]) -> T:
        fellow = self._fellow() if self._parts else None
        if fellow is not None:
            return await fellow.carried_out(part)
        self._parts += 1
        try:
            return await part
        finally:
            self._parts -= 1

    def _fellow(self) -> Fellow | None:
        found = min(self._fellows, key=lambda fellow: fellow.parts, default=None)
        if (found is None or found.parts) and len(self._fellows) < self._most_fellows:
            found = self._started() or found
        return found if found is not None and found.parts < self._parts else None

    def _started(self) -> Fellow | None:
        engine = self._client.pool.take()
        fellow = Fellow(engine)
        if not fellow.start():
            self._client.pool.give_back(engine)
            self._most_fellows = 0
            return None
        self._client.runs[engine.loop] = _Run(self._client, engine, Fixed(self._most), 0)
        self._fellows.append(fellow)
        return fellow

    def end(self) -> None:
        for fellow in self._fellows:
            fellow.stop()
            del self._client.runs[fellow.engine.loop]
            self._client.pool.give_back(fellow.engine)


class Client:
    """Sends the requests to one bucket. Its coroutines are awaited inside of ``run``, ``result_of`` or ``stream``.

    Several threads may use it at the same time. Each has its own connections.
    """

    def __init__(self, address: Address):
        self.address = address
        self.server = Server(address)
        self.pool = Pool(self.server)
        self.runs: dict[asyncio.AbstractEventLoop, _Run] = {}
        self._windows: set[Window] = set()
        self._version_query = ""

    def of_version(self, version_id: str) -> Client:
        """A client whose requests read one version of objects. It shares the connections and limits of this client."""
        versioned = copy.copy(self)
        versioned._version_query = f"versionId={quote(version_id, safe='')}"
        return versioned

    @contextmanager
    def driving(self, in_flight: int | None) -> Iterator[Drive]:
        """A function that runs coroutines in the calling thread, with at most ``in_flight`` requests at the same time.

        With None, the number that is fastest is measured.
        """
        with nullcontext(Fixed(in_flight)) if in_flight is not None else self._window() as window:
            engine = self.pool.take()
            run = self.runs[engine.loop] = _Run(self, engine, window, _MOST_THREADS - 1)
            try:
                yield engine.run
            finally:
                run.end()
                del self.runs[engine.loop]
                if in_flight is None and engine.slots.peak > _MOST_IDLE_CONNECTIONS:
                    engine.close()
                else:
                    self.pool.give_back(engine)

    @contextmanager
    def _window(self) -> Iterator[Window]:
        server = self.server
        window = Window(
            server.page_seconds, server.threshold, shares.allowed, time.monotonic, is_alone=not self._windows
        )
        self._windows.add(window)
        shares.enter(window)
        try:
            yield window
        finally:
            shares.leave(window)
            self._windows.discard(window)
            server.threshold = window.threshold

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], in_flight: int | None) -> T:
        """The result of one coroutine, run in the calling thread."""
        with self.driving(in_flight) as drive:
            return drive(main())  # type: ignore[no-any-return]

    def result_of(self, main: Callable[[], Coroutine[Any, Any, T]], in_flight: int | None = 1) -> T:
        """The result of one coroutine, run in a separate thread. So the calling thread may be inside another loop."""
        stopping = Stopping()
        return called_apart(lambda: self.run(lambda: stopping.may_end(main()), in_flight), stopping.stop)

    def stream(self, items: Callable[[], AsyncGenerator[T, None]], in_flight: int) -> Generator[T, None, None]:
        """The items of an asynchronous generator. The next item is made while the caller uses the last one."""
        return streamed_apart(items, lambda: self.driving(in_flight))

    def patience(self) -> Patience:
        """The attempts for one request.

        An endpoint that has never answered is probably wrong, so there are only two.
        """
        return Patience(self.address.most_attempts or (ATTEMPTS if self.server.has_answered else 2))

    async def room(self) -> None:
        """Waits until another request could be sent at once."""
        await self.runs[asyncio.get_running_loop()].engine.slots.room()

    async def most(self, before: int) -> int:
        """The maximum number of requests at the same time. It returns when this number is not ``before``."""
        return await self.runs[asyncio.get_running_loop()].engine.slots.most(before)

    def reading(self) -> asyncio.Lock:
        """Is held in :meth:`spread` while a file is read for its checksum.

        In one thread, files are read one after the other. Otherwise all checksums would be ready at the end, and no
        body could leave before.
        """
        return self.runs[asyncio.get_running_loop()].reading

    async def spread(self, part: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """The result of a coroutine that sends a large body, or reads a file. It may run in another thread.

        It counts as a request in flight. So it begins when its request could be sent, and sends it by
        :meth:`send_within`.

        Bodies of downloads do not use this. libcurl hands them over in pieces of 16 KiB, and each piece needs the GIL,
        so the threads would only wait for each other.
        """
        return await self.runs[asyncio.get_running_loop()].carried_out(part, *arguments)

    async def ask(self, request: Request, read: Callable[[Response], T]) -> T:
        """The result of ``read`` for the response. The request is repeated as long as the failure may be temporary.

        Raises:
            Exception: the last failure.
        """

        async def asked() -> T:
            return read(await self.send(request))

        return await repeated(self.patience, asked)

    async def send(self, request: Request) -> Response:
        """The response to a request, which is sent once.

        Raises:
            StoreError: the answer was an error, or there was no answer.
            CredentialsError: there are no credentials.
        """
        engine = self.runs[asyncio.get_running_loop()].engine
        slots = engine.slots
        if not slots.is_taken_at_once():
            await slots.take()
        epoch = slots.window.epoch
        try:
            response = await self._sent(engine, request)
        except BaseException as error:
            slots.failed(epoch, error)
            raise
        slots.answered(epoch)
        return response

    async def send_within(self, request: Request) -> Response:
        """Like :meth:`send`, for a coroutine of :meth:`spread`, which counts as the request."""
        return await self._sent(self.runs[asyncio.get_running_loop()].engine, request)

    async def _sent(self, engine: Engine, request: Request) -> Response:
        if self._version_query:
            query = f"{request.query}&{self._version_query}" if request.query else self._version_query
            request = request._replace(query=query)
        address = self.address
        caller = address.caller(request)
        handle = engine.handle(signs=address.is_signed_by_libcurl(request, caller))
        try:
            handle.begin(request, caller)
            code, message = await engine.carried(handle)
            return handle.result(code, message)
        finally:
            engine.give_back(handle)


def response_itself(response: Response) -> Response:
    return response
