"""The life of one mirror: its pushes in the background, and what happens at its end."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Collection
from typing import Self

from pos3.errors import NoMirrorError, PlanRefusedError, PushTimeoutError, TransferError
from pos3.jobs import Link, Registered, Registration, check_timeout, combined, settle
from pos3.local import call_within
from pos3.mirrors.conclusion import how_to_push_the_rest, pushed_and_deleted
from pos3.mirrors.parts import MirrorParts
from pos3.mirrors.unclosed import hold, release
from pos3.options import DEFAULT_CACHE_ROOT, StrPath
from pos3.reports import Report
from pos3.state import bound_cache
from pos3.transfer import Terms

logger = logging.getLogger("pos3")


class MirrorLife(MirrorParts):
    """What a :class:`pos3.Mirror` does by itself, from :meth:`open` to :meth:`close`."""

    def open(self) -> Self:
        """Makes the mirror usable. Nothing is created or asked for yet.

        Raises:
            NoMirrorError: it was opened before.
        """
        with self._lock:
            if self._state != "new":
                raise NoMirrorError(f"this mirror is {self._state} already; make a new one")
            self._state = "open"
        self._bound_cache()
        return self

    def close(self, error: BaseException | None = None, *, push: bool = True) -> None:
        """Ends the mirror, once; further calls do nothing.

        Without ``error``, everything registered for upload is pushed and stale objects are deleted, as by
        :meth:`finish`. With one, only what was registered with ``sync_on_error`` is pushed, nothing is deleted, and
        what fails is logged and added to ``error`` as a note. With ``push=False``, nothing is pushed. In a forked child
        nothing is pushed either. What the mirror has pushed and deleted is told in one line.

        Raises:
            TransferError: a final push failed (only without ``error``); it says how to push what is left.
        """
        self._close(error, lambda: self._push_at_end(error, push))

    def _close(self, error: BaseException | None, push: Callable[[], None]) -> None:
        with self._lock:
            if self._state != "open":
                return
            self._state = "closing"
        if sys.is_finalizing():
            # No thread runs any more. What is registered is left to recovery, as if the process had been killed.
            self._state = "closed"
            return
        try:
            if os.getpid() == self._pid:
                push()
        finally:
            if os.getpid() == self._pid:
                self._tell_what_was_done()
            try:
                # Who is being stopped from outside has had the time for it.
                if os.getpid() == self._pid and (error is None or isinstance(error, Exception)):
                    self._abort_unfinished()
            finally:
                self._end()

    def _tell_what_was_done(self) -> None:
        line = pushed_and_deleted(self.registrations())
        if line:
            self.tell(line)

    def close_at_exit(self, error: BaseException | None) -> None:
        """Ends a mirror that nobody has closed, at the interpreter's exit. Nothing is deleted, no thread is started.

        Everything registered for upload is pushed; if ``error`` has ended the program, only what was registered with
        ``sync_on_error``. What happens is logged, since nobody can be told any more. In a forked child nothing happens.
        """
        if os.getpid() != self._pid:
            return
        if self._state == "closing":
            # By a thread that the exit would cut off.
            self._closed.wait(self.options.shutdown_timeout)
            return
        links = self._registry.pushing()
        told = "it is open at the interpreter's exit. Close it, or use 'with pos3.mirror():'"
        if error is None:
            logger.warning("%r: %s. Pushed now, without deletes: %s", self, told, _listed(links))
            self._close(None, self._push_at_exit)
        else:
            pushed = [link for link in links if link.registration.sync_on_error]
            rest = [link for link in links if not link.registration.sync_on_error]
            logger.warning(
                "%r: %s. The program has ended with %s. Pushed now, without deletes: %s. Not pushed, without "
                "sync_on_error: %s",
                self,
                told,
                type(error).__name__,
                _listed(pushed),
                _listed(rest),
            )
            self.close(error)

    def _push_at_exit(self) -> None:
        links = self._registry.pushing()
        self._due = {link.registration for link in links}
        self._engine.end_pushes(at_once=False)
        for failure in self._push_each(links, lambda: None, delete=False):
            logger.error("%s; 'pos3 recover' pushes what is left", failure)

    def _abort_unfinished(self) -> None:
        for store in list(self._stores.values()):
            store.abort_unfinished(stopped=True)

    def _end(self) -> None:
        self._journal.end(self._due)
        with self._lock:
            self._state = "closed"
        release(self)
        self._closed.set()
        for link in self._registry.links():
            if link.registration in self._due:
                link.held.leave()
            link.end_use()
        if self._part_of is None:
            self._claims.end()
        self._bound_cache()

    def _push_at_end(self, error: BaseException | None, push: bool) -> None:
        to_push = [link for link in self._registry.pushing() if error is None or link.registration.sync_on_error]
        self._due = {link.registration for link in to_push} if push else set()
        self._engine.end_pushes(at_once=error is not None)
        if error is None:
            if push:
                self._push_at_clean_end()
            return
        failures = [failure for link in self._registry.links() for failure in link.failed_pushes[-1:]]
        if push:
            # When the process is being stopped from outside, there is only so much time.
            seconds = None if isinstance(error, Exception) else self.options.shutdown_timeout
            with self._engine.deadline(seconds):
                failures += self._push_each(to_push, lambda: None, delete=False)
        told = list(map(str, failures))
        if told and self._due:
            told[-1] += f". {self._advice()}"
        for text in told:
            logger.error("after %s: %s", type(error).__name__, text)
            error.add_note(f"pos3: {text}")

    def _push_at_clean_end(self) -> None:
        try:
            self._push_finally(lambda: None)
        except PlanRefusedError:
            # All was pushed, and only deletes were refused.
            raise
        except TransferError as failure:
            raise TransferError(failure.operation, failure.failures, self._advice()) from failure.failures[0]
        except BaseException as failure:
            failure.add_note(f"pos3: {self._advice()}")
            raise

    def _advice(self) -> str:
        default = os.path.realpath(os.path.expanduser(DEFAULT_CACHE_ROOT))
        return how_to_push_the_rest(self.cache_root, default, is_noted=self._journal.is_written)

    def finish(self, *, delete: bool = True) -> Report:
        """Pushes everything and deletes stale objects, as a clean end does, and leaves the mirror open.

        With ``delete=False``, nothing is deleted. A :meth:`close` with an error, from another thread, stops it: what
        has not begun then is not pushed.

        Raises:
            TransferError: some of it failed.
        """
        self._check_open()
        if os.getpid() != self._pid:
            return Report()
        try:
            return self._push_finally(self._check_open, delete=delete)
        finally:
            for link in self._registry.pushing():
                link.held.go_on()

    def _push_finally(self, check: Callable[[], None], *, delete: bool = True) -> Report:
        before = self.report()
        links = self._registry.pushing()
        _raise_any(self._push_each(links, check, delete=delete))
        for link in links:
            link.failed_pushes.clear()
        return self.report() - before

    def _push_each(self, links: list[Link], check: Callable[[], None], *, delete: bool) -> list[Exception]:
        pushed: list[Registration] = []

        def push(link: Link, terms: Terms) -> None:
            # Here, where whoever stops all transfers knows of this one already.
            check()
            link.push_finally(terms, delete=delete)
            self._due.discard(link.registration)
            pushed.append(link.registration)

        failures = self._engine.run_each(links, push)
        settle(self.cache_root, pushed)
        return failures

    def _bound_cache(self) -> None:
        limit_bytes = self.options.cache_limit_bytes
        if limit_bytes is not None:
            try:
                bound_cache(self.cache_root, limit_bytes)
            except OSError as error:
                logger.warning("cannot bring the cache down to cache_limit: %s", error)

    def _begin_pushes(self, link: Link) -> None:
        if os.getpid() != self._pid:
            return
        entry = link.noted()
        with self._lock:
            # From here on an end pushes it, and one that has begun already would not.
            self._check_open()
            link.has_begun = True
        # A sync is noted only now: what an unfinished download left here is nothing to push.
        self._journal.note(entry)
        hold(self)
        interval_seconds = link.registration.interval_seconds
        if interval_seconds is not None:

            def may_push() -> bool:
                # Another call may have asked for a shorter interval since.
                return self._state == "open" and link.registration.interval_seconds == interval_seconds

            self._engine.push_every(interval_seconds, link, may_push)

    def _join(self, link: Link, merged: Registration) -> None:
        """Another call has asked for the same pushes: the shorter interval and the safer flag hold from now on."""
        before, link.registration = link.registration, merged
        if before == merged:
            return
        is_sooner = before.interval_seconds != merged.interval_seconds
        if is_sooner:
            self._begin_pushes(link)
        else:
            self._journal.note(link.noted())

    def flush(self, path_or_url: StrPath | None = None, timeout: float | None = None) -> Report:
        """Pushes what has changed, now, and returns when it is in the store: what was pushed meanwhile.

        As a background push does: unchanged files cost no request, and only what this mirror itself had transferred is
        deleted.

        Args:
            path_or_url: what to push: a registered URL or local path, or one inside it; None for all.
            timeout: seconds to wait; None waits for the end.

        Raises:
            InvalidArgumentError: nothing that is registered for upload holds ``path_or_url``.
            PushTimeoutError: it has not ended in time, and goes on.
            TransferError: some files failed; the others were pushed.
        """
        self._check_open()
        check_timeout(timeout)
        if os.getpid() != self._pid:
            return Report()
        links = self._registry.chosen(path_or_url)
        before = self.report()
        failures: list[Exception] = []

        def push() -> None:
            failures.extend(self._engine.run_each(links, Link.push))

        if timeout is None:
            push()
        else:
            self._within(timeout, push, f"the push of {', '.join(map(str, links))}")
        _raise_any(failures)
        return self.report() - before

    def _push_additions(self, urls: Collection[str]) -> Report:
        """Pushes what is new or has changed at registered places, now, and deletes nothing.

        Args:
            urls: of registrations, as :meth:`_pushed_places` tells them.

        Raises:
            NoMirrorError: the mirror is closed.
            TransferError: some files failed; the others were pushed.
        """
        self._check_open()
        if os.getpid() != self._pid:
            return Report()
        before = self.report()
        links = [link for link in self._registry.pushing() if str(link.registration.location) in urls]
        _raise_any(self._engine.run_each(links, Link.push_additions))
        return self.report() - before

    def _pushed_places(self) -> tuple[tuple[str, str], ...]:
        """The URL and the local path of each registration for upload."""
        registered = [link.registration for link in self._registry.pushing()]
        return tuple((str(each.location), each.local) for each in registered)

    def _within(self, timeout_seconds: float, call: Callable[[], object], what: str) -> None:
        began = time.monotonic()
        goes_on = "it goes on"

        def push_here() -> None:
            nonlocal goes_on
            goes_on = "it was stopped"
            with self._engine.deadline(timeout_seconds):
                call()

        if not call_within(timeout_seconds, call, "pos3-flush", instead=push_here):
            raise PushTimeoutError(f"{what} did not end within {time.monotonic() - began:.0f} s; {goes_on}")

    def report(self) -> Report:
        """What this mirror has moved, deleted, kept and failed so far, all registrations together."""
        return self._engine.total

    def registrations(self) -> tuple[Registered, ...]:
        """What is registered, and what each registration has moved; those that failed included."""
        return tuple(link.seen() for link in self._registry.links_and_failed())


def _listed(links: list[Link]) -> str:
    return ", ".join(map(str, links)) or "nothing"


def _raise_any(failures: list[Exception]) -> None:
    if failures:
        raise combined(failures) from failures[0]
