"""The rule by which a download is made by parts: all parts together are the whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.mirrors import Mirrors
from tests.model.model import Terms
from tests.model.trees import CHOICES, Choice, clashes, downloaded_part, files


class Parts(Mirrors):
    @precondition(lambda self: self.mirror is None)
    @rule(
        count=st.integers(1, 4),
        choice=st.sampled_from(CHOICES),
        delete=st.booleans(),
        is_at_once=st.booleans(),
        order=st.integers(0, 2**16),
    )
    def every_part_is_downloaded(self, count: int, choice: Choice, delete: bool, is_at_once: bool, order: int) -> None:
        local, remote = self.world.local(), self.world.remote
        # What is a file on one side and a directory on the other may lie in two parts.
        if not remote or clashes(local, remote) or clashes(remote):
            return
        self.model.begin(Terms("download", choice, delete, True, False))
        self.world.strike_what_is_left()
        mirror = self.world.new_mirror()
        parts = mirror.partition(self.world.url, parts=count, exclude=list(choice.exclude))
        Random(order).shuffle(parts)
        with ThreadPoolExecutor(count if is_at_once else 1) as pool:
            list(pool.map(lambda part: mirror.download(part, delete=delete), parts))
        mirror.close()
        expected = local
        for part in parts:
            expected = downloaded_part(expected, remote, choice, part.within, delete=delete)
        # Directories in which two parts meet may stay when they are empty.
        assert files(self.world.local()) == files(expected)
        self.model.know_downloaded(local)
        # Offline, parts never add up to the whole.
        self.model.brought = None
