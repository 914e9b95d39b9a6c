"""Actions are kept in little memory, and come out as they went in."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pos3.entries import EARLIEST_NS, LATEST_NS, Entry
from pos3.plan import Action, Actions
from pos3.plan.actions import paths_and_reasons

TEXTS = st.text(max_size=5) | st.sampled_from(["", "a\x00b", "\udcff", "same"])
TIMES = st.integers(EARLIEST_NS, LATEST_NS)
ENTRIES = st.builds(Entry, TEXTS, st.integers(0, 2**62), TIMES, TEXTS, st.integers(-(2**63), 2**63 - 1), TEXTS, TEXTS)
ACTIONS = st.builds(
    lambda reason, source, replaces: Action(source.path, reason, source, replaces), TEXTS, ENTRIES, st.none() | ENTRIES
)


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 2048, 3000])
@given(some=st.lists(ACTIONS, min_size=1, max_size=8))
def test_actions_come_out_as_they_went_in(count: int, some: list[Action]) -> None:
    expected = [some[at % len(some)] for at in range(count)]
    actions = Actions(expected)
    assert list(actions) == expected
    assert len(actions) == count
    assert actions == expected
    assert actions.total_bytes == sum(action.source.size_bytes for action in expected)
    for these in (actions, expected):
        assert list(paths_and_reasons(these)) == [(action.path, action.reason) for action in expected]
    for at in {0, 1023, 1024, count - 1} & set(range(count)):
        assert actions[at] == expected[at]
        assert actions[at - count] == expected[at]
    assert actions[1:3] == expected[1:3]
    assert [action.path for action in actions.in_order()] == sorted(action.path for action in expected)
    assert list(actions.without({some[0].path})) == [action for action in expected if action.path != some[0].path]


def test_two_walks_at_once_do_not_disturb_each_other() -> None:
    actions = Actions(Action(str(at), "new", Entry(str(at), at)) for at in range(3000))
    first, second = iter(actions), iter(actions)
    assert [action.path for action in islice(first, 2000)] == [str(at) for at in range(2000)]
    assert next(second).path == "0"
    assert next(first).path == "2000"
