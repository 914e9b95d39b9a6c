"""Faults of the network and the server, and what must hold after a call that met them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

import pos3
from tests.model.stage import Stage, attempt
from tests.model.trees import Tree, files, settled
from tests.support import Fault, Flip, ResetAfter, ResetBefore, Slowdown, Status, Truncate, on

STORMS: dict[str, Callable[[], Fault]] = {
    "some refused": lambda: Slowdown(0.15),
    "some reset before": lambda: ResetBefore(0.15),
    "some reset after": lambda: ResetAfter(0.15),
    "some truncated": lambda: Truncate(0.3, match=on("GET", "LIST")),
    "some flipped": lambda: Flip(0.3),
    "half of the puts forbidden": lambda: Status(403, "AccessDenied", match=on("PUT"), rate=0.5),
    "half of the gets forbidden": lambda: Status(403, "AccessDenied", match=on("GET"), rate=0.5),
    "deletes forbidden": lambda: Status(403, "AccessDenied", match=on("POST ?delete", "DELETE")),
    "listings forbidden": lambda: Status(403, "AccessDenied", match=on("LIST"), rate=0.5),
}
storms = st.sampled_from([None] * 5 * len(STORMS) + list(STORMS))


class Storms(Stage):
    """Where a failure left it open how far a transfer came, the next run must put it right."""

    def attempt(self, call: Callable[[], object], storm: str | None) -> pos3.Pos3Error | None:
        """The error with which ``call`` ended under a storm, if it is one that pos3 raises on purpose."""
        self.world.faulty(*([STORMS[storm]()] if storm else []))
        try:
            return attempt(call)
        finally:
            self.world.faulty()

    def ride_out(
        self,
        error: pos3.Pos3Error | None,
        local: Tree,
        remote: Tree,
        locals_after: list[Tree],
        remotes_after: list[Tree],
    ) -> None:
        """After a storm: all is done, or the call has failed and nothing is half or lost. The next run makes it good.

        Whether the call failed depends on the moment, so the history goes on from the same state in both cases.
        """
        mirror, self.mirror = self.mirror, None
        if mirror is not None:
            mirror.close(push=False)
        here, there = self.world.local(), self.world.stored()
        if error is None:
            assert here in [settled(tree) for tree in locals_after]
            self.between(there, remotes_after)
        self.check_partial(here, local, locals_after)
        self.check_partial(there, remote, remotes_after)
        self.world.settle(there)
        self.model.doubt()
        if not self.converge():
            self.world.lose_all_files()
            for name in list(self.world.remote):
                self.world.delete(name)
        self.forget_the_index()

    def check_partial(self, found: Tree, before: Tree, after: list[Tree]) -> None:
        """Each file is as before or as it should become, and nothing is deleted before all copies are there."""
        for name, data in files(found).items():
            allowed = [tree.get(name) for tree in (before, *after)]
            assert data in allowed, f"{name} is {data!r}, allowed is {allowed}"
        lost = files(before).keys() - found.keys()
        if lost:
            done = [
                tree
                for tree in after
                if files(tree).items() <= found.items() and not any(name in tree for name in lost)
            ]
            assert done, f"deleted before the copies were complete: {lost}"

    def converge(self) -> bool:
        """Does what was tried once more; whether both sides may be mirrors of each other at all."""
        terms = self.model.terms
        if terms.kind == "download":
            expected = self.model.after_download()
            if expected is None:
                return False
            self.world.strike_what_is_left()
            self.mirror = self.world.new_mirror()
            self.register(self.mirror)
            self.check_local(expected)
        else:
            # Of a sync, only its push.
            self.model.terms = replace(terms, kind="upload")
            outcomes = self.model.after_upload(delete=terms.delete_remote)
            if not outcomes:
                return False
            self.mirror = self.world.new_mirror()
            self.register_upload(self.mirror)
            locals_after = self.model.after_clean_end()
            self.mirror.close()
            self.check_local(*locals_after)
            self.settle_remote(outcomes)
        self.mirror.close()
        self.mirror = None
        return True

    def forget_the_index(self) -> None:
        for path in (self.world.cache / ".pos3").glob("*.sqlite*"):
            path.unlink()
        self.model.forget()

    def register(self, mirror: pos3.Mirror) -> None:
        terms, url = self.model.terms, self.world.url
        exclude = list(terms.choice.exclude)
        if terms.kind == "download":
            mirror.download(url, delete=terms.delete_local, exclude=exclude, missing_ok=True)
        elif terms.kind == "upload":
            self.register_upload(mirror)
        else:
            mirror.sync(
                url,
                interval=None,
                delete_local=terms.delete_local,
                delete_remote=terms.delete_remote,
                sync_on_error=terms.sync_on_error,
                exclude=exclude,
            )

    def register_upload(self, mirror: pos3.Mirror) -> None:
        terms = self.model.terms
        mirror.upload(
            self.world.url,
            interval=None,
            delete=terms.delete_remote,
            sync_on_error=terms.sync_on_error,
            exclude=list(terms.choice.exclude),
        )
