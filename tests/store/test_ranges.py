"""The division of a listing into ranges, without a server: whatever comes when, it is the sequential listing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pos3.entries import Entry
from pos3.store.base import Landmarks, UnsortedListingError, nothing_known
from pos3.store.s3.page import Page
from pos3.store.s3.ranges import Ranges, StartAfterError, Wanted

PREFIX = "data/"
# Few different names, so that directories hold several, and a key is often right behind another.
NAMES = st.lists(st.text("ab/", min_size=1, max_size=6), min_size=2, max_size=60, unique=True)
PATHS = st.text("abc/", max_size=6)


class Bucket:
    """Answers like a store, in memory; counts what it is asked for."""

    def __init__(self, keys: Sequence[str], page_keys: int):
        self.keys = sorted(keys)
        self.page_keys = page_keys
        self.pages = self.looks = 0

    def page(self, prefix: str, after: str, token: str, delimiter: str) -> Page:
        self.looks += bool(delimiter)
        self.pages += not delimiter
        begin = max(bisect_right(self.keys, token or after), bisect_left(self.keys, prefix))
        end = bisect_left(self.keys, f"{prefix}\U0010ffff")
        if not delimiter:
            shown = self.keys[begin : min(end, begin + self.page_keys)]
            is_last = begin + len(shown) >= end
            return Page(prefix, [Entry(key) for key in shown], [], "" if is_last else shown[-1], 0.0)
        cut = len(prefix)
        names = list(dict.fromkeys(key[: key.find("/", cut) + 1] or key for key in self.keys[begin:end]))
        more = len(names) > self.page_keys
        names = names[: self.page_keys]
        return Page(prefix, [], [name for name in names if name.endswith("/")], "more" if more else "", 0.0)

    def answer(self, wanted: Wanted) -> Page:
        return self.page(wanted.prefix, wanted.after, wanted.token, wanted.delimiter)


def known(keys: Sequence[str]) -> Landmarks:
    """The landmarks of an index that holds these keys."""
    recorded = sorted(keys)

    def landmark(after: str, steps: int) -> str:
        at = bisect_right(recorded, after) + steps - 1
        return recorded[at] if at < len(recorded) else ""

    return landmark


def listed(
    bucket: Bucket,
    landmarks: Landmarks = nothing_known,
    at_once: int = 4,
    dice: Random | None = None,
    answer: Callable[[Wanted], Page] | None = None,
    until: str = "",
) -> list[str]:
    """All keys, listed by ranges; with dice, the answers come in any order."""
    first = bucket.page(PREFIX, "", "", "")
    keys = [entry.path for entry in first.entries]
    if not first.next_token or len(keys) < 2 or (until and keys[-1] >= until):
        return keys
    ranges = Ranges(PREFIX, first, landmarks, at_once, until)
    asked: list[Wanted] = []
    while not ranges.is_done:
        asked += ranges.wanted()
        assert len(asked) <= at_once
        while (page := ranges.take()) is not None:
            assert page.entries
            keys += [entry.path for entry in page.entries]
        if asked:
            wanted = asked.pop(dice.randrange(len(asked)) if dice else 0)
            if wanted.delimiter and dice and dice.random() < 0.1:
                ranges.look_failed(wanted)
            else:
                ranges.answered(wanted, (answer or bucket.answer)(wanted))
    return keys


@settings(max_examples=400)
@example(["a", "/", "ba"], ["aa", "b", "b"], 2, 2, Random(0))
@given(NAMES, st.lists(PATHS, max_size=30), st.integers(2, 7), st.integers(2, 8), st.randoms(use_true_random=False))
def test_any_keys_with_any_landmarks_and_pages_of_any_size_are_listed_whole_and_in_order(
    names: list[str], landmarks: list[str], page_keys: int, at_once: int, dice: Random
) -> None:
    keys = sorted(PREFIX + name for name in names)
    bucket = Bucket(keys, page_keys)
    assert listed(bucket, known([PREFIX + path for path in landmarks]), at_once, dice) == keys


@settings(max_examples=400)
@given(
    NAMES, st.lists(PATHS, max_size=30), PATHS, st.integers(2, 7), st.integers(2, 8), st.randoms(use_true_random=False)
)
def test_a_listing_up_to_any_key_has_all_keys_up_to_it_in_order_and_none_of_later_pages(
    names: list[str], landmarks: list[str], until: str, page_keys: int, at_once: int, dice: Random
) -> None:
    keys = sorted(PREFIX + name for name in names)
    bucket = Bucket(keys, page_keys)
    found = listed(bucket, known([PREFIX + path for path in landmarks]), at_once, dice, until=PREFIX + until)
    wanted = bisect_right(keys, PREFIX + until)
    assert found[:wanted] == keys[:wanted]
    # Only the first page is handed over as it is.
    assert len(found) <= max(wanted, page_keys)


def test_a_listing_asks_for_no_page_behind_its_end() -> None:
    bucket = Bucket([f"{PREFIX}{number:03}" for number in range(300)], 10)
    found = listed(bucket, known(bucket.keys), until=f"{PREFIX}049")
    assert found == bucket.keys[:50]
    # One more shows what follows.
    assert bucket.pages <= 7


@settings(max_examples=400)
@example(["a", "b", "ba", "bb", "c", "ca", "cb", "d"], None, 3, 1, 1, False, Random(0))
@given(
    NAMES,
    st.none() | st.lists(PATHS, max_size=30),
    st.integers(2, 7),
    st.integers(2, 8),
    st.integers(0, 12),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_key_that_one_range_does_not_begin_with_is_found_out(
    names: list[str],
    landmarks: list[str] | None,
    page_keys: int,
    at_once: int,
    begun_before: int,
    is_short: bool,
    dice: Random,
) -> None:
    """Without landmarks of its own, the listing is that of an index in which all is as it was."""
    keys = sorted(PREFIX + name for name in names)
    bucket = Bucket(keys, page_keys)
    begun, dropped = 0, ""

    def answer(wanted: Wanted) -> Page:
        nonlocal begun, dropped
        page = bucket.answer(wanted)
        if wanted.token or wanted.delimiter:
            return page
        begun += 1
        if begun != begun_before + 1 or not page.entries:
            return page
        dropped = page.entries[0].path
        return replace(page, entries=page.entries[1:]) if is_short else bucket.page(PREFIX, dropped, "", "")

    points = known(keys if landmarks is None else [PREFIX + path for path in landmarks])
    try:
        assert listed(bucket, points, at_once, dice, answer) == keys
        assert not dropped
    except StartAfterError:
        assert dropped


def tree(directories: int, files: int, above: str = "") -> list[str]:
    return [f"{PREFIX}{above}{one:05}/{other:05}" for one in range(directories) for other in range(files)]


def pages_in_turn(keys: Sequence[str], page_keys: int) -> int:
    return -(-len(keys) // page_keys)


@pytest.mark.parametrize(
    ("keys", "most_extra"),
    [
        pytest.param(tree(1, 20_000), 0.001, id="flat"),
        pytest.param(tree(200, 100), 0.15, id="directories-of-a-page"),
        pytest.param(tree(2_000, 10), 0.06, id="small-directories"),
        pytest.param(tree(300, 150), 0.1, id="directories-of-a-page-and-a-half"),
        pytest.param(tree(40, 2_000), 0.06, id="large-directories"),
        pytest.param([*tree(300, 50, "train/"), *tree(300, 50, "val/")], 0.08, id="two-levels"),
    ],
)
def test_a_listing_of_unknown_keys_needs_few_requests_more(keys: list[str], most_extra: float) -> None:
    bucket = Bucket(keys, 100)
    assert listed(bucket, at_once=10) == sorted(keys)
    assert bucket.pages + bucket.looks <= pages_in_turn(keys, 100) * (1 + most_extra) + 3


@pytest.mark.parametrize("known_before", [True, False])
@pytest.mark.parametrize("pages", [2, 3])
def test_a_listing_of_few_pages_needs_no_request_more(pages: int, known_before: bool) -> None:
    keys = tree(pages * 10 - 1, 10)
    bucket = Bucket(keys, 100)
    assert listed(bucket, known(keys) if known_before else nothing_known) == keys
    assert bucket.pages + bucket.looks == pages


def test_a_listing_of_known_keys_needs_one_request_more() -> None:
    keys = tree(30, 1_000)
    bucket = Bucket(keys, 1_000)
    assert listed(bucket, known(keys), at_once=10) == keys
    assert (bucket.pages, bucket.looks) == (31, 0)


@pytest.mark.parametrize("share", [0.01, 0.3, 2.0])
def test_keys_that_have_come_since_cost_few_further_requests(share: float) -> None:
    before = tree(100, 1_000)
    dice = Random(1)
    added = {f"{dice.choice(before)}-{number}" for number in range(int(share * len(before)))}
    bucket = Bucket([*before, *added], 1_000)
    assert listed(bucket, known(before), at_once=10) == bucket.keys
    assert bucket.pages + bucket.looks <= pages_in_turn(bucket.keys, 1_000) * 1.25 + 3


def test_keys_that_have_gone_since_cost_few_further_requests() -> None:
    before = tree(100, 1_000)
    left = before[:40_000:10] + before[90_000:]
    bucket = Bucket(left, 1_000)
    assert listed(bucket, known(before), at_once=10) == left
    assert bucket.pages <= pages_in_turn(left, 1_000) * 2 + 20


@pytest.mark.parametrize(
    ("keys", "landmarks"),
    [
        pytest.param(tree(100, 1_000), known(tree(100, 1_000)), id="known"),
        pytest.param(tree(1_000, 100), nothing_known, id="unknown"),
        pytest.param(tree(50, 2_000), nothing_known, id="large-directories"),
    ],
)
def test_many_pages_are_under_way_at_once_and_few_are_held(keys: list[str], landmarks: Landmarks) -> None:
    bucket = Bucket(keys, 1_000)
    first = bucket.page(PREFIX, "", "", "")
    ranges = Ranges(PREFIX, first, landmarks, 10)
    rounds, most_held = 1, 0
    while not ranges.is_done:
        # Whatever is asked for takes one round.
        asked = list(ranges.wanted())
        for wanted in asked:
            ranges.answered(wanted, bucket.answer(wanted))
        most_held = max(most_held, ranges._held)
        while ranges.take() is not None:
            pass
        rounds += 1
    assert rounds <= 22
    assert most_held <= 64


def test_a_listing_that_ends_early_asks_for_nothing_behind_its_end() -> None:
    before = tree(100, 1_000)
    bucket = Bucket(before[:3_500], 1_000)
    assert listed(bucket, known(before), at_once=4) == before[:3_500]
    assert bucket.pages <= 9


def test_a_store_that_begins_at_the_beginning_is_found_out() -> None:
    bucket = Bucket(tree(10, 10), 7)
    with pytest.raises(StartAfterError):
        listed(bucket, answer=lambda wanted: bucket.page(wanted.prefix, wanted.token, "", wanted.delimiter))


@pytest.mark.parametrize("skipped", [1, 3])
def test_a_store_that_begins_too_late_is_found_out(skipped: int) -> None:
    bucket = Bucket(tree(10, 10), 7)

    def late(wanted: Wanted) -> Page:
        if wanted.token or wanted.delimiter:
            return bucket.answer(wanted)
        after = bucket.keys[min(bisect_right(bucket.keys, wanted.after) + skipped - 1, len(bucket.keys) - 1)]
        return bucket.page(wanted.prefix, after, "", "")

    with pytest.raises(StartAfterError):
        listed(bucket, known(bucket.keys), answer=late)


def test_a_store_that_lists_in_another_order_is_found_out() -> None:
    bucket = Bucket(tree(10, 10), 7)

    def turned(wanted: Wanted) -> Page:
        page = bucket.answer(wanted)
        return Page(page.prefix, [*page.entries[:2], *page.entries[:1:-1]], page.directories, page.next_token, 0.0)

    with pytest.raises(UnsortedListingError):
        listed(bucket, known(bucket.keys), answer=turned)
