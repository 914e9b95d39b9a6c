"""Connections for single requests, and for several at once, whose caller waits for the answers itself."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

import pycurl

from pos3.store.s3.exchange import Exchange, landed, wait
from pos3.store.s3.requests import Request, Requests, Response

T = TypeVar("T")
_GLANCE_SECONDS = 0.05


class Line:
    """One connection, asked one thing at a time; the caller may do something else before it takes the answer."""

    def __init__(self, requests: Requests):
        self._requests = requests
        self._exchange = Exchange.of(requests, signs=True)
        self._multi = pycurl.CurlMulti()

    def send(self, request: Request) -> None:
        """Sends a request, or at least begins to."""
        self._exchange = self._exchange.fit_for(request)
        self._exchange.begin(request, self)
        self._multi.add_handle(self._exchange.handle)
        self._multi.perform()

    def receive(self, read: Callable[[Response], T]) -> T:
        """What ``read`` makes of the response. The request is repeated while this fails for reasons that may pass.

        Raises:
            Exception: the last error; the line is hung up.
        """
        request = self._exchange.request
        patience = None
        while True:
            try:
                return read(self._response())
            except Exception as error:
                patience = patience or self._requests.patience()
                pause_seconds = patience.pause_seconds(error)
                if pause_seconds is None:
                    self.close()
                    raise
            except BaseException:
                self.close()
                raise
            time.sleep(pause_seconds)
            self.send(request)

    def _response(self) -> Response:
        while True:
            self._multi.perform()
            if ended := landed(self._multi):
                break
            wait(self._multi, _GLANCE_SECONDS)
        [(handle, code, message)] = ended
        self._multi.remove_handle(handle)
        return self._exchange.result(code, message)

    @property
    def wait_seconds(self) -> float:
        """How long the last answer let itself be waited for, once the request could be sent."""
        return self._exchange.wait_seconds

    def close(self) -> None:
        """Hangs up, whatever is under way."""
        with suppress(pycurl.error):
            self._multi.remove_handle(self._exchange.handle)
        self._exchange.handle.close()
        self._multi.close()


class Bundle:
    """Several connections that are driven together, each asked one thing at a time."""

    def __init__(self, requests: Requests):
        self._requests = requests
        self._multi = pycurl.CurlMulti()
        self._idle: list[Exchange] = []
        self._flying: dict[pycurl.Curl, Exchange] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._flying

    def send(self, request: Request, owner: Any) -> None:
        """Begins to send a request. ``owner`` comes back with its response."""
        idle = self._idle.pop() if self._idle else Exchange.of(self._requests, signs=True)
        exchange = idle.fit_for(request)
        exchange.begin(request, owner)
        self._flying[exchange.handle] = exchange
        self._multi.add_handle(exchange.handle)

    def receive(self, seconds: float) -> Iterator[tuple[Any, Response | Exception]]:
        """The owners whose responses have come, with these or with the errors; waits for the first at most so long."""
        self._multi.perform()
        ended = landed(self._multi)
        if not ended and seconds and self._flying:
            wait(self._multi, min(seconds, _GLANCE_SECONDS))
            self._multi.perform()
            ended = landed(self._multi)
        for handle, code, message in ended:
            self._multi.remove_handle(handle)
            exchange = self._flying.pop(handle)
            self._idle.append(exchange)
            try:
                response = exchange.result(code, message)
            except Exception as error:  # noqa: BLE001 - the owner's to handle
                yield exchange.owner, error
            else:
                yield exchange.owner, response

    def close(self) -> None:
        """Hangs up, whatever is under way."""
        for handle in self._flying:
            with suppress(pycurl.error):
                self._multi.remove_handle(handle)
        for exchange in (*self._flying.values(), *self._idle):
            exchange.handle.close()
        self._multi.close()


C = TypeVar("C", bound=Line | Bundle)
_of_parents: list[Line | Bundle] = []


class ConnectionPool(Generic[C]):
    """Connections, kept alive for whoever needs one next. Safe to use from several threads, and after a fork."""

    def __init__(self, connect: Callable[[], C]):
        self._connect = connect
        self._idle: deque[tuple[int, C]] = deque()

    def take(self) -> C:
        """
        Raises:
            CredentialsError: there are none.
        """
        with suppress(IndexError):
            pid, connection = self._idle.pop()
            if pid == os.getpid():
                return connection
            # To hang up would end the parent's connection, so it is left as it is.
            _of_parents.append(connection)
        return self._connect()

    def give_back(self, connection: C) -> None:
        """Keeps a connection on which nothing is under way."""
        self._idle.append((os.getpid(), connection))


def asked(lines: ConnectionPool[Line], request: Request) -> Response:
    """The response to a request, which is repeated while its failure may pass.

    Raises:
        StoreError: the last answer was an error, or there was none.
    """
    line = lines.take()
    line.send(request)
    response = line.receive(lambda response: response)
    lines.give_back(line)
    return response
