"""Deletes objects, a thousand with one request if the server supports this, and several requests at the same time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from pos3.errors import BucketNotFoundError, RemoteNotFoundError, StoreError, TransferCancelledError
from pos3.store.base import CancelToken
from pos3.store.retry import BusyError, is_shared, is_transient, repeated
from pos3.store.s3.checksums import crc32, encoded
from pos3.store.s3.client import READ_TIMEOUT_SECONDS
from pos3.store.s3.errors import StrangeAnswerError, error_for, read_answer
from pos3.store.s3.http import Client
from pos3.store.s3.requests import Request
from pos3.store.s3.xml import is_kept, text_of, written
from pos3.store.tasks import ended

T = TypeVar("T")
R = TypeVar("R")

_BATCH_KEYS = 1000
# The speed of the slowest server that pos3 supports.
_KEYS_A_SECOND = 25
# S3 allows 3,500 deletes a second below a prefix, and each key of a batch counts.
_BATCHES = 4
# Shorter than the time that a stopped transfer waits for its threads.
_DRAIN_SECONDS = 1.5
_GLANCE_SECONDS = 0.05
# These errors do not show whether the server supports batches.
_FINAL = (BusyError, ConnectionError, PermissionError, RemoteNotFoundError)
_Refused = dict[str, StoreError]


class Deletes:
    """Deletes objects of one bucket."""

    def __init__(self, client: Client, bucket: str):
        self._client = client
        self._where = f"deleting in s3://{bucket}"
        self._knows_batches = True

    async def delete(self, keys: Sequence[str], cancelled: CancelToken) -> list[tuple[str, Exception]]:
        """See :meth:`pos3.store.base.Store.delete`.

        After an error that all other requests would have, no more are sent.
        """
        undone = StoreError(f"{self._where}: left undone")
        stop = _Stop(cancelled)
        fates: dict[str, Exception | None] = dict.fromkeys(keys, undone)
        # A server may read these characters differently, and delete another key.
        alone = [key for key in keys if not is_kept(key)]
        together = [key for key in keys if is_kept(key)] if alone else keys

        def take_batch(batch: Sequence[str], refused: _Refused | None, error: Exception | None) -> None:
            if isinstance(error, StoreError) and not isinstance(error, _FINAL):
                # Not every server supports batches.
                self._knows_batches = False
                alone.extend(batch)
                return
            fates.update(dict.fromkeys(batch, error))
            fates.update(refused or {})
            alone.extend(key for key, refusal in (refused or {}).items() if is_transient(refusal))

        def take_one(key: str, _: None, error: Exception | None) -> None:
            fates[key] = error

        at_once = await self._client.most(0)
        await self._each(self._batches(together, alone), self._batch, take_batch, min(at_once, _BATCHES), stop)
        await self._each(iter(alone), self._one, take_one, at_once, stop)
        failed = [(key, error) for key, error in fates.items() if error is not None]
        stopped = TransferCancelledError(f"{self._where}: stopped")
        cause = next((error for _, error in failed if is_shared(error)), stopped if cancelled.is_set() else undone)
        return [(key, cause if error is undone else error) for key, error in failed]

    async def _each(
        self,
        items: Iterator[T],
        act: Callable[[T], Coroutine[Any, Any, R]],
        take: Callable[[T, R | None, Exception | None], None],
        at_once: int,
        stop: _Stop,
    ) -> None:
        """The results of the items, until a stop, or until an error that all items would have."""

        async def act_unless_stopped(item: T) -> R:
            if stop.is_set():
                raise _StoppedError
            return await act(item)

        async def work() -> None:
            for item in items:
                try:
                    take(item, await repeated(self._client.patience, act_unless_stopped, item), None)
                except _StoppedError:
                    return
                except Exception as error:  # noqa: BLE001 - handed over
                    take(item, None, error)
                    if is_shared(error):
                        stop.set()

        await _ended_unless_stopped([asyncio.create_task(work()) for _ in range(at_once)], stop)

    def _batches(self, keys: Sequence[str], alone: list[str]) -> Iterator[Sequence[str]]:
        """Batches of keys. If the server is known to refuse batches, the keys are added to ``alone`` instead."""
        for start in range(0, len(keys), _BATCH_KEYS):
            batch = keys[start : start + _BATCH_KEYS]
            if self._knows_batches:
                yield batch
            else:
                alone += batch

    async def _batch(self, keys: Sequence[str]) -> _Refused:
        listed = "".join(f"<Object><Key>{written(key)}</Key></Object>" for key in keys)
        body = (
            f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{listed}</Delete>'
        ).encode()
        if self._client.address.has_directories:
            running = crc32().begin()
            running.update(body)
            headers = crc32().headers_of_body(running.digest())
        else:
            # S3 requires a checksum, and every server knows this one.
            headers = (f"Content-MD5: {encoded(hashlib.md5(body, usedforsecurity=False).digest())}",)
        # Some servers delete one key after the other, and answer at the end.
        silence_seconds = READ_TIMEOUT_SECONDS + len(keys) // _KEYS_A_SECOND
        request = Request("POST", "", "delete=", headers, body, where=self._where, silence_seconds=silence_seconds)
        try:
            response = await self._client.send(request)
        except StrangeAnswerError as error:
            # Single deletes will show whether the server can be reached.
            raise StoreError(str(error)) from error
        return self._refusals(response.body, set(keys))

    def _refusals(self, answer: bytes, asked: set[str]) -> _Refused:
        """The keys that the server reports as not deleted. Some servers send no body if there are none."""
        if not answer.strip():
            return {}
        refused: _Refused = {}
        for element in read_answer(answer, "DeleteResult", self._where).iterfind("{*}Error"):
            key, code, message = (text_of(element, name) for name in ("Key", "Code", "Message"))
            if key not in asked:
                raise StoreError(f"{self._where}: the answer names the key {key!r}, which was not asked for")
            if code != "NoSuchKey":
                refused[key] = error_for(code, 0, message, self._client.address.place(key))
        return refused

    async def _one(self, key: str) -> None:
        try:
            await self._client.send(Request("DELETE", key))
        except BucketNotFoundError:
            raise
        except RemoteNotFoundError:
            # The object does not exist. S3 reports no error then, but other servers do.
            pass


async def _ended_unless_stopped(tasks: list[asyncio.Task[None]], stop: _Stop) -> None:
    """Waits for the tasks. After a stop, it waits only briefly. No task is left running."""
    working = asyncio.gather(*tasks, return_exceptions=True)
    try:
        while not working.done() and not stop.is_set():
            await asyncio.wait((working,), timeout=_GLANCE_SECONDS)
        if not working.done():
            await asyncio.wait((working,), timeout=_DRAIN_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
        await ended(working)
    for task in tasks:
        if not task.cancelled():
            task.result()


class _StoppedError(Exception):
    """No further request may be sent."""


class _Stop:
    """A signal that is set by itself, or together with another signal."""

    def __init__(self, other: CancelToken):
        self._other = other
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set or self._other.is_set()
