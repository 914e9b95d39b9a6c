"""The rules by which mirrors are opened, push, and end, with the laws of each of these steps."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import pos3
from tests.model.model import Terms
from tests.model.stage import attempt
from tests.model.storms import Storms, storms
from tests.model.trees import CHOICES, Choice, Tree

terms = st.builds(
    Terms,
    st.sampled_from(["download", "upload", "sync", "sync"]),
    st.sampled_from(CHOICES),
    st.sampled_from([True, True, False]),
    st.sampled_from([True, True, False]),
    st.booleans(),
)


class Mirrors(Storms):
    def a_step_of_a_run(
        self, opening: Terms, forgetful: bool, step: str, error: type[BaseException], storm: str | None
    ) -> None:
        """Opens a mirror if there is none; otherwise does something with it."""
        if self.mirror is None:
            if forgetful:
                self.forget_the_index()
            self.open_a_mirror(opening, storm)
        elif step == "push" and self.model.terms.kind != "download":
            self.push_in_the_background(storm)
        elif step == "close with an error":
            self.close_with_an_error(error("of the body"), storm)
        elif step == "finish":
            self.finish(storm)
        else:
            self.close(storm)

    # Twice, so that half of all steps are pos3's.
    one_step, another_step = (
        rule(
            opening=terms,
            forgetful=st.sampled_from([False] * 9 + [True]),
            step=st.sampled_from(
                ["push"] * 5 + ["finish", "close", "close", "close with an error", "close with an error"]
            ),
            error=st.sampled_from([ValueError, KeyboardInterrupt, SystemExit]),
            storm=storms,
        )(step)
        for step in (a_step_of_a_run, a_step_of_a_run)
    )

    @precondition(lambda self: self.mirror is None and self.model.brought is not None)
    @rule(choice=st.sampled_from(CHOICES))
    def an_offline_mirror_downloads(self, choice: Choice) -> None:
        """It sends no request and changes nothing; it returns what was brought, if all of that is still here."""
        self.world.strike_what_is_left()
        assert self.model.brought is not None
        brought_by, tree = self.model.brought
        local = self.world.local()
        self.proxy.clear()
        mirror = self.world.new_mirror(offline=True)
        error = attempt(lambda: mirror.download(self.world.url, exclude=list(choice.exclude)))
        mirror.close()
        assert not self.proxy.kinds
        self.check_local(local)
        expected = choice.view(tree)
        # Without filters, it has brought what any choice takes.
        if expected and (choice == brought_by or not brought_by.exclude):
            is_here = expected.items() <= local.items()
            assert (error is None) is is_here, f"{error!r}"

    def open_a_mirror(self, terms: Terms, storm: str | None) -> None:
        self.model.begin(terms)
        # What a failed end left is kept by whoever comes next; the model of several mirrors knows that.
        self.world.strike_what_is_left()
        self.mirror = mirror = self.world.new_mirror()
        local, remote = self.world.local(), self.world.remote
        expected = self.model.after_download() if terms.kind != "upload" else local
        error = self.attempt(lambda: self.register(mirror), storm)
        if storm:
            self.ride_out(error, local, remote, [] if expected is None else [expected], [remote])
        elif error is not None:
            assert expected is None, f"{error!r}"
            assert isinstance(error, pos3.UnsafeKeysError), f"{error!r}"
            mirror.close()
            self.mirror = None
            self.check_local(local)
        else:
            assert expected is not None, "a clash of names was not noticed"
            self.check_local(expected)
            if terms.kind != "upload":
                self.model.know_downloaded(local)
                self.check_that_nothing_is_left_to_do("download")

    def push_in_the_background(self, storm: str | None) -> None:
        assert self.mirror is not None
        local, remote = self.world.local(), self.world.remote
        outcomes = self.model.after_push()
        self.model.brought = None
        error = self.attempt(self.mirror.flush, storm)
        self.check_local(local)
        if storm:
            self.ride_out(error, local, remote, [local], outcomes)
        elif self.went_as_expected(error, outcomes):
            self.model.know_pushed(local, remote)
            self.check_that_another_push_asks_for_nothing(self.mirror)

    def close(self, storm: str | None) -> None:
        mirror, self.mirror = self.mirror, None
        assert mirror is not None
        self.push_all(mirror.close, storm)

    def finish(self, storm: str | None) -> None:
        assert self.mirror is not None
        self.push_all(self.mirror.finish, storm)

    def push_all(self, call: Callable[[], object], storm: str | None) -> None:
        """What a clean end does."""
        local, remote, terms = self.world.local(), self.world.remote, self.model.terms
        pushes = terms.kind != "download"
        outcomes = self.model.after_upload(delete=terms.delete_remote) if pushes else [remote]
        locals_after = self.model.after_clean_end() if pushes and outcomes else [local]
        if pushes:
            self.model.brought = None
        error = self.attempt(call, storm)
        self.check_local(*(locals_after if error is None else [local, *locals_after]))
        if storm:
            self.ride_out(error, local, remote, locals_after, outcomes)
        elif self.went_as_expected(error, outcomes) and pushes:
            all_mine = not self.model.protected(local, remote, or_maybe=True)
            self.model.know_uploaded(local, remote)
            if all_mine:
                self.check_that_nothing_is_left_to_do("upload")
            if all_mine and self.mirror is None:
                self.check_that_a_second_run_moves_nothing()

    def close_with_an_error(self, raised: BaseException, storm: str | None) -> None:
        mirror, self.mirror = self.mirror, None
        assert mirror is not None
        local, remote, terms = self.world.local(), self.world.remote, self.model.terms
        pushes = terms.kind != "download" and terms.sync_on_error
        if pushes:
            self.model.brought = None
        outcomes = self.model.after_upload(delete=False) if pushes else [remote]
        self.attempt(lambda: mirror.close(raised), storm)
        self.check_local(local)
        failure = pos3.Pos3Error(*raised.__notes__) if hasattr(raised, "__notes__") else None
        if storm:
            self.ride_out(failure, local, remote, [local], outcomes)
        elif self.went_as_expected(failure, outcomes) and pushes:
            self.model.know_uploaded(local, remote)

    def went_as_expected(self, error: pos3.Pos3Error | None, outcomes: list[Tree]) -> bool:
        """Whether the bucket holds one of the outcomes; without any the call must have been refused."""
        if outcomes and error is None:
            self.settle_remote(outcomes)
            return True
        assert not outcomes, f"{error!r}"
        assert error is not None, "a clash of names was not noticed"
        return False

    # What must hold of both sides when a step is done

    def check_that_nothing_is_left_to_do(self, direction: str) -> None:
        terms = self.model.terms
        delete = terms.delete_local if direction == "download" else terms.delete_remote
        source = self.world.remote if direction == "download" else self.world.local()
        if not source:
            return
        mirror = self.world.new_mirror()
        with pos3.activate(mirror):
            ask = pos3.plan_download if direction == "download" else pos3.plan_upload
            plan = ask(self.world.url, exclude=list(terms.choice.exclude))
        mirror.close()
        assert plan.to_copy == []
        assert not delete or plan.to_delete == []

    def check_that_another_push_asks_for_nothing(self, mirror: pos3.Mirror) -> None:
        self.proxy.clear()
        mirror.flush()
        assert not self.proxy.kinds

    def check_that_a_second_run_moves_nothing(self) -> None:
        self.proxy.clear()
        mirror = self.world.new_mirror()
        self.register_upload(mirror)
        mirror.close()
        assert self.proxy.kinds.keys() <= {"LIST"}, self.proxy.kinds
