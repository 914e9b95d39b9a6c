"""Deletes: a thousand objects with one request where the server can do that, several such requests in flight."""

from __future__ import annotations

import base64
import functools
import hashlib
import threading
from collections.abc import Iterator, Sequence

from pos3.errors import BucketNotFoundError, RemoteNotFoundError, StoreError, TransferCancelledError
from pos3.store.retry import BusyError, is_shared, is_transient
from pos3.store.s3.client import READ_TIMEOUT_SECONDS
from pos3.store.s3.errors import StrangeAnswerError, error_for, read_answer
from pos3.store.s3.loop import Loop
from pos3.store.s3.requests import Request, Requests, Response
from pos3.store.s3.xml import is_kept, text_of, written
from pos3.store.steps import Done, Job, R, Steps, T

_BATCH_KEYS = 1000
# Of the slowest server that is waited for.
_KEYS_A_SECOND = 25
# S3 carries out 3,500 deletes a second below a prefix, and each key of a batch counts.
_BATCHES = 4
# Less than whoever stops a transfer waits for its threads.
_DRAIN_SECONDS = 1.5
# What says nothing about whether the server knows batches.
_FINAL = (BusyError, ConnectionError, PermissionError, RemoteNotFoundError)
_Refused = dict[str, StoreError]


class Deletes:
    """Deletes objects of one bucket."""

    def __init__(self, requests: Requests, bucket: str, in_flight: int):
        self._requests = requests
        self._in_flight = in_flight
        self._where = f"deleting in s3://{bucket}"
        self._knows_batches = True

    def delete(self, keys: Sequence[str], cancelled: threading.Event) -> list[tuple[str, Exception]]:
        """See :meth:`pos3.store.base.Store.delete`. What would fail for the same reason as another is left undone."""
        undone = StoreError(f"{self._where}: left undone")
        stop = _Stop(cancelled)
        fates: dict[str, Exception | None] = dict.fromkeys(keys, undone)
        # What a server reads differently would be another key.
        alone = [key for key in keys if not is_kept(key)]
        together = [key for key in keys if is_kept(key)] if alone else keys
        batches = self._batches(together, alone)
        for batch, refused, error in self._outcomes(batches, min(self._in_flight, _BATCHES), stop):
            if isinstance(error, StoreError) and not isinstance(error, _FINAL):
                # Not every server knows how to delete many at once.
                self._knows_batches = False
                alone += batch
                continue
            fates.update(dict.fromkeys(batch, error))
            fates.update(refused or {})
            alone += [key for key, refusal in (refused or {}).items() if is_transient(refusal)]
        singles: Iterator[Job[str, None]] = ((key, functools.partial(self._one, key)) for key in alone)
        fates.update((key, error) for key, _, error in self._outcomes(singles, self._in_flight, stop))
        failed = [(key, error) for key, error in fates.items() if error is not None]
        stopped = TransferCancelledError(f"{self._where}: stopped")
        cause = next((error for _, error in failed if is_shared(error)), stopped if cancelled.is_set() else undone)
        return [(key, cause if error is undone else error) for key, error in failed]

    def _outcomes(self, jobs: Iterator[Job[T, R]], in_flight: int, stop: _Stop) -> Iterator[Done[T, R]]:
        """What becomes of the jobs, until they are stopped, or one fails for a reason that is that of all."""
        for item, result, error in Loop(self._requests, in_flight, _DRAIN_SECONDS)(jobs, stop):
            yield item, result, error
            if error is not None and is_shared(error):
                stop.set()

    def _batches(self, keys: Sequence[str], alone: list[str]) -> Iterator[Job[Sequence[str], _Refused]]:
        """Batches as long as the server is not known to refuse them; what is left then is ``alone``."""
        for start in range(0, len(keys), _BATCH_KEYS):
            batch = keys[start : start + _BATCH_KEYS]
            if self._knows_batches:
                yield batch, functools.partial(self._batch, batch)
            else:
                alone += batch

    def _batch(self, keys: Sequence[str]) -> Steps[_Refused]:
        listed = "".join(f"<Object><Key>{written(key)}</Key></Object>" for key in keys)
        body = (
            f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{listed}</Delete>'
        ).encode()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        # S3 insists on one of its checksums, and every server knows this one.
        headers = (f"Content-MD5: {md5}",)
        # Some servers delete one after the other, and answer when they are done with all.
        silence_seconds = READ_TIMEOUT_SECONDS + len(keys) // _KEYS_A_SECOND
        request = Request("POST", "", "delete=", headers, body, where=self._where, silence_seconds=silence_seconds)
        try:
            response: Response = yield request
        except StrangeAnswerError as error:
            # Whether a server is there at all, single deletes will show.
            raise StoreError(str(error)) from error
        return self._refusals(response.body, set(keys))

    def _refusals(self, answer: bytes, asked: set[str]) -> _Refused:
        """What the server says that it has not deleted; some say nothing at all if there is nothing."""
        if not answer.strip():
            return {}
        refused: _Refused = {}
        for element in read_answer(answer, "DeleteResult", self._where).iterfind("{*}Error"):
            key, code, message = (text_of(element, name) for name in ("Key", "Code", "Message"))
            if key not in asked:
                raise StoreError(f"{self._where}: the answer names the key {key!r}, which was not asked for")
            if code != "NoSuchKey":
                refused[key] = error_for(code, 0, message, self._requests.where(Request("DELETE", key)))
        return refused

    def _one(self, key: str) -> Steps[None]:
        try:
            yield Request("DELETE", key)
        except BucketNotFoundError:
            raise
        except RemoteNotFoundError:
            # Gone already. S3 does not even say so, but others do.
            pass


class _Stop(threading.Event):
    """Is set by itself, or by another one."""

    def __init__(self, other: threading.Event):
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or self._other.is_set()
