"""Laws of plans, over made-up listings: what they copy, what they delete, and what they never touch."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pos3.entries import Entry, Record
from pos3.errors import InvalidArgumentError, PlanRefusedError, UnsafeKeysError
from pos3.plan import (
    Direction,
    Plan,
    Policy,
    check_max_delete,
    merge_listings,
    parse_max_delete,
    plan_download,
    plan_push,
    plan_upload,
)

OWNER = "this-mirror"

names = st.sampled_from(["a", "b", "a-", "a0", "ab"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
versions = st.integers(1, 6)
raw_trees = st.dictionaries(paths, versions, max_size=8)


def content(version: int) -> bytes:
    """Few sizes, so that different contents of the same size are common."""
    return b"%d" % (version % 5) + b"x" * (version % 2)


def etag(version: int) -> str:
    return hashlib.md5(content(version)).hexdigest()


def without_clashes(tree: dict[str, int]) -> dict[str, int]:
    """The tree without the names that lie below one of its files."""
    return {path: version for path, version in tree.items() if not any(above in tree for above in parents(path))}


def parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


trees = raw_trees.map(without_clashes)
filled_trees = trees.filter(bool)


@dataclass(frozen=True)
class World:
    """Both sides and what is remembered of the last sync; a version stands for content, time and inode."""

    local: dict[str, int]
    remote: dict[str, int]
    known: dict[str, int]

    def locals(self) -> list[Entry]:
        return [
            Entry(path, len(content(version)), version * 10**9, inode=version)
            for path, version in sorted(self.local.items())
        ]

    def remotes(self) -> list[Entry]:
        return [
            Entry(path, len(content(version)), version * 10**9, etag(version))
            for path, version in sorted(self.remote.items())
        ]

    def records(self) -> list[Record]:
        return [
            Record(path, len(content(version)), version * 10**9, version, etag(version), OWNER)
            for path, version in sorted(self.known.items())
        ]

    def policy(self, *, delete: bool = True) -> Policy:
        def proven_equal(local: Entry, remote: Entry) -> bool:
            return etag(self.local[local.path]) == remote.etag

        return Policy("upload", "s3://bucket/x", delete=delete, proven_equal=proven_equal)

    def download(self, *, delete: bool = True) -> Plan:
        policy = replace(self.policy(delete=delete), direction="download")
        return plan_download(self.locals(), self.remotes(), self.records(), policy)

    def upload(self, *, delete: bool = True) -> Plan:
        return plan_upload(self.locals(), self.remotes(), self.records(), self.policy(delete=delete))

    def after_download(self, plan: Plan) -> World:
        local, known = dict(self.local), dict(self.known)
        for obstacle in plan.obstacles:
            local = {path: v for path, v in local.items() if path != obstacle and not path.startswith(f"{obstacle}/")}
        for action in plan.deletes:
            local.pop(action.path, None)
            known.pop(action.path, None)
        for action in (*plan.copies, *plan.last_copies):
            local[action.path] = known[action.path] = self.remote[action.path]
        for record in plan.confirmed:
            known[record.path] = self.local[record.path]
        for path in plan.forgotten:
            known.pop(path, None)
        assert local == without_clashes(local)
        return World(local, self.remote, known)

    def after_upload(self, plan: Plan) -> World:
        remote, known = dict(self.remote), dict(self.known)
        for action in (*plan.copies, *plan.last_copies):
            remote[action.path] = known[action.path] = self.local[action.path]
        for action in plan.deletes:
            remote.pop(action.path, None)
            known.pop(action.path, None)
        for record in plan.confirmed:
            known[record.path] = self.local[record.path]
        for path in plan.forgotten:
            known.pop(path, None)
        return World(self.local, remote, known)


def contents(tree: dict[str, int]) -> dict[str, bytes]:
    return {path: content(version) for path, version in tree.items()}


worlds = st.builds(World, trees, trees, trees)


# -- merging


entries = st.dictionaries(paths, st.none()).map(lambda found: [Entry(path) for path in sorted(found)])
records = st.dictionaries(paths, st.none()).map(lambda found: [Record(path, 0, 0, 0, "") for path in sorted(found)])


@given(local=entries, remote=entries, known=records)
def test_a_merge_visits_every_path_once_in_order_with_all_that_is_known_of_it(
    local: list[Entry], remote: list[Entry], known: list[Record]
) -> None:
    steps = list(merge_listings(local, remote, known))
    visited = [path for path, *_ in steps]
    assert visited == sorted({entry.path for entry in (*local, *remote)} | {record.path for record in known})
    assert [here for _, here, _, _ in steps if here is not None] == local
    assert [there for _, _, there, _ in steps if there is not None] == remote
    assert [record for _, _, _, record in steps if record is not None] == known
    for path, *found in steps:
        assert {item.path for item in found if item is not None} == {path}


# -- downloads


@given(world=worlds.filter(lambda world: bool(world.remote)))
def test_a_download_makes_the_local_side_equal_to_the_remote_one(world: World) -> None:
    after = world.after_download(world.download())
    assert contents(after.local) == contents(world.remote)


@given(world=worlds.filter(lambda world: bool(world.remote)))
def test_after_a_download_there_is_nothing_left_to_do(world: World) -> None:
    again = world.after_download(world.download()).download()
    assert again.is_empty
    assert again.unchanged == len(world.remote)
    assert again.obstacles == ()


@given(world=worlds)
def test_a_download_without_delete_keeps_every_local_file(world: World) -> None:
    try:
        plan = world.download(delete=False)
    except UnsafeKeysError:
        clashing = {**world.local, **world.remote}
        assert without_clashes(clashing) != clashing
        return
    assert plan.deletes == ()
    assert plan.obstacles == ()
    after = world.after_download(plan)
    assert contents(after.local) == contents(world.local | world.remote)


@given(world=worlds)
def test_a_download_deletes_only_what_the_remote_side_lacks(world: World) -> None:
    plan = world.download()
    deleted = {action.path for action in plan.deletes}
    assert deleted <= world.local.keys() - world.remote.keys()
    assert deleted == (world.local.keys() - world.remote.keys() if world.remote else set())


@given(world=worlds)
def test_an_empty_remote_side_deletes_nothing_and_says_what_it_kept(world: World) -> None:
    plan = World(world.local, {}, world.known).download()
    assert plan.is_empty
    assert {kept.path for kept in plan.kept} == set(world.local)


@given(world=worlds)
def test_what_makes_way_is_replaced_by_something_of_the_other_kind(world: World) -> None:
    plan = world.download()
    for obstacle in plan.obstacles:
        assert obstacle not in world.remote or any(obstacle in parents(path) for path in world.local)


# -- uploads


@given(world=worlds.filter(lambda world: bool(world.local)))
def test_an_upload_makes_the_remote_side_equal_to_the_local_one(world: World) -> None:
    plan = world.upload()
    assert contents(world.after_upload(plan).remote) == contents(world.local)


@given(world=worlds.filter(lambda world: bool(world.local)))
def test_after_an_upload_there_is_nothing_left_to_do(world: World) -> None:
    after = world.after_upload(world.upload())
    assert after.upload().is_empty
    push = plan_push(after.locals(), after.records(), OWNER, after.policy())
    assert push.is_empty


@given(world=worlds)
def test_an_upload_deletes_only_what_the_local_side_lacks(world: World) -> None:
    deleted = {action.path for action in world.upload().deletes}
    assert deleted == (world.remote.keys() - world.local.keys() if world.local else set())


@given(world=worlds)
def test_an_empty_local_side_deletes_nothing_and_says_what_it_kept(world: World) -> None:
    plan = World({}, world.remote, world.known).upload()
    assert plan.is_empty
    assert {kept.path for kept in plan.kept} == set(world.remote)


@given(world=worlds, protected=st.sets(paths))
def test_nothing_protected_is_ever_deleted_or_overwritten_by_a_file_that_did_not_change(
    world: World, protected: set[str]
) -> None:
    policy = replace(world.policy(), protects=lambda remote, record: "theirs" if remote.path in protected else "")
    plan = plan_upload(world.locals(), world.remotes(), world.records(), policy)
    if plan.problems:
        stays = protected & world.remote.keys()
        assert any(one in parents(other) for one in stays for other in world.local) or any(
            one in parents(other) for one in world.local for other in stays
        )
        assert plan.deletes == ()
        copied = {action.path for action in (*plan.copies, *plan.last_copies)}
        assert not any(one in parents(other) or other in parents(one) for one in copied for other in world.remote)
        return
    assert not {action.path for action in plan.deletes} & protected
    for path in protected & world.local.keys() & world.remote.keys():
        if world.known.get(path) == world.local[path] and etag(world.known[path]) != etag(world.remote[path]):
            assert path not in {action.path for action in plan.copies}
            assert path in {kept.path for kept in plan.kept}


@given(world=worlds, unusable=st.sets(paths, min_size=1))
def test_the_twin_of_what_cannot_be_read_is_kept_with_all_below_it(world: World, unusable: set[str]) -> None:
    kinds = without_clashes({**world.local, **dict.fromkeys(unusable, 1)})
    local = [
        Entry(path, unusable="a FIFO") if path in unusable else Entry(path, len(content(v)), v * 10**9, inode=v)
        for path, v in sorted(kinds.items())
    ]
    world = World(kinds, world.remote, world.known)
    plan = plan_upload(local, world.remotes(), world.records(), world.policy())
    for path in world.remote:
        if any(above in unusable & kinds.keys() for above in (path, *parents(path))):
            assert path not in {action.path for action in plan.deletes}
    assert not {action.path for action in plan.copies} & unusable & kinds.keys()


@given(world=worlds, owners=st.dictionaries(paths, st.sampled_from([OWNER, "another"])))
def test_a_background_push_copies_what_changed_and_deletes_only_what_is_its_own(
    world: World, owners: dict[str, str]
) -> None:
    known = [record._replace(owner=owners.get(record.path, OWNER)) for record in world.records()]
    plan = plan_push(world.locals(), known, OWNER, world.policy())
    changed = {path for path, version in world.local.items() if world.known.get(path) != version}
    assert {action.path for action in (*plan.copies, *plan.last_copies)} == changed
    gone = {path for path in world.known.keys() - world.local.keys() if owners.get(path, OWNER) == OWNER}
    assert {action.path for action in plan.deletes} == (gone if world.local else set())
    kept = plan_push(world.locals(), known, OWNER, world.policy(delete=False))
    assert kept.deletes == ()


@given(world=worlds, last=st.sets(paths))
def test_every_copy_is_planned_once_and_what_goes_last_is_apart(world: World, last: set[str]) -> None:
    policy = replace(world.policy(), last=lambda path: path in last)
    plan = plan_upload(world.locals(), world.remotes(), world.records(), policy)
    first, then = [action.path for action in plan.copies], [action.path for action in plan.last_copies]
    assert len({*first, *then}) == len(first) + len(then) == plan.copy_files
    assert not set(first) & last
    assert set(then) <= last


@given(world=worlds, always=st.sets(paths))
def test_what_is_always_overwritten_is_copied_whether_it_changed_or_not(world: World, always: set[str]) -> None:
    policy = replace(world.policy(), overwrite=lambda path: path in always)
    plan = plan_upload(world.locals(), world.remotes(), world.records(), policy)
    assert always & world.local.keys() <= {action.path for action in plan.copies}


def planned(make: Callable[..., Plan], world: World, policy: Policy) -> Plan | None:
    """None if there can be no plan."""
    with contextlib.suppress(UnsafeKeysError):
        return make(world.locals(), world.remotes(), world.records(), policy)
    return None


@pytest.mark.parametrize(("direction", "make"), [("download", plan_download), ("upload", plan_upload)])
@given(trees, raw_trees, trees, st.booleans())
def test_what_is_passed_over_as_a_whole_is_planned_as_if_each_file_were_looked_at(
    direction: Direction,
    make: Callable[..., Plan],
    local: dict[str, int],
    there_too: dict[str, int],
    known: dict[str, int],
    delete: bool,
) -> None:
    world = World(local, {**there_too, **local}, {**known, **local})
    policy = replace(world.policy(delete=delete), direction=direction)
    one_by_one = replace(policy, overwrite=lambda path: False)
    assert policy.trusts_records
    assert not one_by_one.trusts_records
    assert planned(make, world, policy) == planned(make, world, one_by_one)


@given(world=worlds)
def test_a_plan_accounts_for_every_file(world: World) -> None:
    for plan, source, destination in (
        (world.download(), world.remote, world.local),
        (world.upload(), world.local, world.remote),
    ):
        assert plan.source_files == len(source) == plan.copy_files + plan.unchanged
        assert plan.destination_files == len(destination)
        assert plan.copy_bytes == sum(len(content(source[action.path])) for action in plan.copies)
        for action in (*plan.copies, *plan.deletes):
            assert action.reason


# -- directories


def test_a_marker_is_planned_for_a_directory_that_is_empty_on_both_sides() -> None:
    local = [Entry("a", 1), Entry("full/"), Entry("void/")]
    remote = [Entry("full/x", 1, etag="e")]
    plan = plan_upload(local, remote, [], Policy("upload", "x", protects=lambda remote, record: "theirs"))
    assert [action.path for action in plan.directories] == ["void/"]


def test_a_marker_that_exists_is_left_alone() -> None:
    plan = plan_upload([Entry("a", 1), Entry("void/")], [Entry("void/")], [], Policy("upload", "x", delete=True))
    assert plan.directories == plan.deletes == ()


def test_a_directory_that_the_upload_empties_gets_its_marker_in_the_same_run() -> None:
    local, remote = [Entry("a", 1), Entry("void/")], [Entry("void/x", 1, etag="e")]
    plan = plan_upload(local, remote, [], Policy("upload", "x", delete=True))
    assert [action.path for action in plan.directories] == ["void/"]
    assert [action.path for action in plan.deletes] == ["void/x"]


def test_a_marker_goes_with_the_last_object_below_it() -> None:
    remote = [Entry("d/"), Entry("d/e/"), Entry("d/e/x", 1, etag="e")]
    plan = plan_upload([Entry("a", 1)], remote, [], Policy("upload", "x", delete=True))
    assert {action.path for action in plan.deletes} == {"d/", "d/e/", "d/e/x"}


@pytest.mark.parametrize(
    ("local", "protected"),
    [
        pytest.param([Entry("a", 1), Entry("d/e/y", 1)], "", id="a-file-stays-below"),
        pytest.param([Entry("a", 1)], "d/e/x", id="an-object-stays-below"),
    ],
)
def test_a_marker_stays_with_what_stays_below_it(local: list[Entry], protected: str) -> None:
    remote = [Entry("d/"), Entry("d/e/w", 1, etag="e"), Entry("d/e/x", 1, etag="e")]
    policy = Policy("upload", "x", delete=True, protects=lambda there, _: "theirs" if there.path == protected else "")
    plan = plan_upload(local, remote, [], policy)
    assert "d/" not in {action.path for action in plan.deletes}
    assert "d/e/w" in {action.path for action in plan.deletes}


def test_a_directory_that_nothing_empties_gets_no_marker() -> None:
    """The source has no file, so nothing is deleted."""
    local, remote = [Entry("full/"), Entry("void/")], [Entry("full/x", 1, etag="e")]
    plan = plan_upload(local, remote, [], Policy("upload", "x", delete=True))
    assert plan.deletes == ()
    assert [action.path for action in plan.directories] == ["void/"]


@pytest.mark.parametrize("delete", [False, True])
def test_a_marker_that_stays_is_in_no_files_way(delete: bool) -> None:
    local, remote = [Entry("d/deep/void/"), Entry("d/x", 1)], [Entry("d/")]
    policy = Policy("upload", "x", delete=delete, protects=lambda remote, record: "theirs")
    plan = plan_upload(local, remote, [], policy)
    assert [action.path for action in plan.copies] == ["d/x"]
    assert [action.path for action in plan.directories] == ["d/deep/void/"]


def test_an_empty_remote_directory_is_planned_once() -> None:
    policy = Policy("download", "x", delete=True)
    plan = plan_download([], [Entry("a", 1, etag="e"), Entry("void/")], [], policy)
    assert [action.path for action in plan.directories] == ["void/"]
    plan = plan_download([Entry("a", 1), Entry("void/")], [Entry("a", 1, etag="e"), Entry("void/")], [], policy)
    assert plan.directories == plan.deletes == ()


@given(world=worlds, empty=st.sets(paths))
def test_an_empty_directory_goes_only_when_nothing_belongs_below_it(world: World, empty: set[str]) -> None:
    taken = {above for path in world.local for above in (path, *parents(path))}
    hollow = {path for path in empty if path not in taken and not any(above in world.local for above in parents(path))}
    hollow = {path for path in hollow if not any(path in parents(other) for other in hollow)}
    local = sorted([*world.locals(), *(Entry(f"{path}/") for path in hollow)], key=lambda entry: entry.path)
    policy = replace(world.policy(), direction="download")
    plan = plan_download(local, world.remotes(), world.records(), policy)
    for action in plan.deletes:
        if action.path.endswith("/"):
            assert not any(path.startswith(action.path) for path in world.remote)
    assert {action.path for action in plan.deletes if not action.path.endswith("/")} == (
        world.local.keys() - world.remote.keys() if world.remote else set()
    )


# -- limits


@given(deletes=st.integers(1, 50), others=st.integers(0, 50), limit=st.integers(0, 120))
def test_a_count_allows_exactly_that_many_deletes(deletes: int, others: int, limit: int) -> None:
    world = World(
        {f"old-{number}": 1 for number in range(deletes)} | {f"same-{number}": 1 for number in range(others)},
        {f"same-{number}": 1 for number in range(others)} | {"new": 1},
        {},
    )
    plan = world.download()
    if deletes <= limit:
        check_max_delete(plan, limit, "s3://b/x")
    else:
        with pytest.raises(PlanRefusedError, match=f"{deletes} of {deletes + others} files"):
            check_max_delete(plan, limit, "s3://b/x")


@given(share=st.integers(0, 100), total=st.integers(0, 10**6))
def test_a_share_never_allows_more_than_its_part_of_the_files(share: int, total: int) -> None:
    limit = parse_max_delete(f"{share}%", total)
    assert limit is not None
    assert limit * 100 <= share * total
    assert (limit + 1) * 100 > share * total


@given(text=st.text(max_size=6))
def test_any_text_is_a_limit_or_an_argument_error(text: str) -> None:
    with contextlib.suppress(InvalidArgumentError):
        limit = parse_max_delete(text, 100)
        assert limit is not None
        assert limit >= 0
