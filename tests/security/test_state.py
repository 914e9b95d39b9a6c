"""No transfer touches a directory in which pos3 keeps its state, and no bucket can put anything there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.faults.base import run_python
from tests.support import Proxy, S3Site, contents, write_tree
from tests.support.program import run_program

PLANTED = ".pos3/journal/planted.jsonl"
Call = Callable[[S3Site, Path], object]


@pytest.fixture
def cache(rclone_site: S3Site, tmp_path: Path) -> Path:
    """The root of a cache that has been used, with an open mirror's journal in it."""
    rclone_site.put("first/a", b"1")
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("first"))
    write_tree(tmp_path / "cache" / ".pos3" / "journal", {"of-another.jsonl": b"{}"})
    return tmp_path / "cache"


def state_of(cache: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(cache / ".pos3").items() if not name.endswith((".lock", ".use"))}


def mirror(cache: Path) -> pos3.mirror:
    return pos3.mirror(cache.parent / "other-cache", show_progress=False)


# What a bucket holds


@pytest.mark.parametrize("key", [PLANTED, "deep/er/.pos3/x", ".pos3/", ".pos3/.locks"])
def test_an_object_in_a_state_directory_is_refused_before_anything_is_changed(
    moto_site: S3Site, tmp_path: Path, key: str
) -> None:
    moto_site.put_all({f"home/{key}": b"evil", "home/a": b"1"})
    with mirror(tmp_path / "cache"), pytest.raises(pos3.UnsafeKeysError, match="keeps its own state") as caught:
        pos3.download(moto_site.url("home"), local=tmp_path / "home")
    assert caught.value.problems[0].startswith(repr(key))
    assert "exclude" in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_a_file_in_place_of_a_state_directory_is_refused_where_one_will_be(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({"home/.pos3": b"in the way", "home/a": b"1"})
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.UnsafeKeysError):
        pos3.download(rclone_site.url("home"), local=tmp_path)
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        elsewhere = pos3.sync(rclone_site.url("home"), local=tmp_path / "data")
    assert contents(elsewhere) == {".pos3": b"in the way", "a": b"1"}


def test_what_is_excluded_is_no_reason_to_refuse(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({f"home/{PLANTED}": b"evil", "home/a": b"1"})
    with mirror(tmp_path / "cache"):
        path = pos3.download(moto_site.url("home"), local=tmp_path / "home", exclude=[".pos3"])
    assert contents(path) == {"a": b"1"}


@pytest.mark.parametrize("name", [".pos3x/a", "a.pos3/b", "pos3/c", ".pos3-notes"])
def test_names_that_only_look_alike_are_moved_as_ever(rclone_site: S3Site, tmp_path: Path, name: str) -> None:
    rclone_site.put(f"data/{name}", b"1")
    with mirror(tmp_path / "cache"):
        path = pos3.sync(rclone_site.url("data"), local=tmp_path / "data")
        write_tree(path, {name: b"22"})
    assert rclone_site.objects("data/") == {name: b"22"}


@pytest.mark.parametrize(
    "call",
    [
        lambda s3, cache: pos3.download(s3.url("x/.pos3/journal")),
        lambda s3, cache: pos3.download(s3.url("a/x.jsonl"), local=cache / ".pos3" / "journal" / "x.jsonl"),
        lambda s3, cache: pos3.download(s3.url("a"), local=cache / ".pos3" / "journal", delete=True, adopt=True),
        lambda s3, cache: pos3.upload(s3.url("a"), local=cache / ".pos3"),
        lambda s3, cache: pos3.upload(s3.url("x/.pos3"), local=cache / "_"),
        lambda s3, cache: pos3.sync(s3.url("a"), local=cache / ".pos3" / "new"),
        lambda s3, cache: pos3.plan_upload(s3.url("a"), local=cache / ".pos3"),
        lambda s3, cache: pos3.publish(s3.url("a"), cache / ".pos3"),
        lambda s3, cache: pos3.download(s3.url("a"), local=cache.parent / "link"),
    ],
    ids=[
        *("download from", "download a file into", "download a directory into", "upload", "upload to", "sync", "plan"),
        *("publish", "through a link"),
    ],
)
def test_a_place_in_a_state_directory_is_refused(rclone_site: S3Site, cache: Path, call: Call) -> None:
    rclone_site.put_all({"a/x.jsonl": b"evil"})
    (cache.parent / "link").symlink_to(cache / ".pos3" / "journal")
    before, objects = state_of(cache), rclone_site.objects()
    with mirror(cache), pytest.raises(pos3.UnsafeKeysError):
        call(rclone_site, cache)
    assert state_of(cache) == before
    assert rclone_site.objects() == objects


def test_the_state_of_this_cache_is_none_before_it_is_there(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("a/x.jsonl", b"evil")
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.UnsafeKeysError):
        pos3.download(rclone_site.url("a"), local=tmp_path / ".pos3" / "journal")
    assert not (tmp_path / ".pos3" / "journal").exists()


# What lies here


@pytest.mark.parametrize("target", ["the cache root", "above it"])
def test_a_download_over_a_cache_leaves_its_state_alone(rclone_site: S3Site, cache: Path, target: str) -> None:
    rclone_site.put("home/a", b"1")
    before = state_of(cache)
    local = cache if target == "the cache root" else cache.parent
    with mirror(cache):
        plan = pos3.plan_download(rclone_site.url("home"), local=local, delete=True)
        assert not any(".pos3" in path for path in plan.to_delete if "other-cache" not in path)
    ran = run_program(
        *("download", rclone_site.url("home"), "--local", local, "--delete", "--adopt"),
        *("--cache-root", cache.parent.parent / "third-cache"),
    )
    assert ran.status == 0, ran.stderr
    assert (local / "a").read_bytes() == b"1"
    assert not (cache / "_").exists()
    assert state_of(cache) == before


def test_a_directory_that_holds_state_is_not_replaced_by_an_object(rclone_site: S3Site, cache: Path) -> None:
    rclone_site.put("home/cache", b"a file")
    before = state_of(cache)
    with mirror(cache), pytest.raises(IsADirectoryError, match="takes no part"):
        pos3.download(rclone_site.url("home"), local=cache.parent, exclude=["other-cache"], adopt=True, delete=True)
    assert state_of(cache) == before


@pytest.mark.parametrize("kind", ["upload", "sync", "publish"])
def test_the_upload_of_a_home_leaves_state_out(rclone_site: S3Site, cache: Path, kind: str) -> None:
    write_tree(cache.parent, {"notes": b"1"})
    with pos3.mirror(cache.parent.parent / "third-cache", show_progress=False):
        if kind == "upload":
            pos3.upload(rclone_site.url("home"), local=cache.parent, interval=None)
        elif kind == "sync":
            pos3.sync(rclone_site.url("home"), local=cache.parent, interval=None)
        else:
            pos3.publish(rclone_site.url("home"), cache.parent)
    names = set(rclone_site.keys("home/"))
    assert {"home/notes", f"home/cache/_/{rclone_site.bucket}/first/a"} <= names
    assert not any(".pos3" in name for name in names)


def test_the_list_of_writers_in_a_home_is_state_as_well(rclone_site: S3Site, tmp_path: Path) -> None:
    write_tree(Path.home(), {"notes": b"1"})
    with mirror(tmp_path / "cache"):
        pos3.upload(rclone_site.url("home"), local=Path.home(), interval=None)
    assert (Path.home() / ".local/state/.pos3" / os.uname().nodename / "claims.log").exists()
    assert set(rclone_site.keys("home/")) & {f"home/{name}" for name in contents(Path.home())} >= {"home/notes"}
    assert not any("claims" in name or ".alive" in name for name in rclone_site.keys())
    rclone_site.put(f"home/.local/state/.pos3/{os.uname().nodename}/claims.log", b"evil")
    with mirror(tmp_path / "cache"), pytest.raises(pos3.UnsafeKeysError):
        pos3.download(rclone_site.url("home"), local=Path.home(), delete=True, adopt=True)


def test_an_upload_tells_what_it_leaves_out(rclone_site: S3Site, cache: Path) -> None:
    write_tree(cache.parent / "tree", {"a": b"1", "sub/.pos3/notes": b"2"})
    with mirror(cache) as opened:
        pos3.upload(rclone_site.url("out"), local=cache.parent / "tree", interval=None)
    assert [kept.path for kept in opened.report().kept if "own state" in kept.reason] == ["sub/.pos3"]


def test_a_set_beside_state_can_be_published_and_read(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put("set/.pos3/index", b"of an older version")
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    with mirror(tmp_path / "cache"):
        pos3.publish(moto_site.url("set"), tree)
    with mirror(tmp_path / "cache"):
        path = pos3.download(moto_site.url("set"), require_marker="_SUCCESS", exclude=[".pos3"])
    assert (path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("target", [".pos3", ".pos3/journal", ".pos3/journal/of-another.jsonl"])
def test_a_link_into_a_state_directory_is_not_followed_by_a_push(
    rclone_site: S3Site, cache: Path, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    tree = write_tree(cache.parent / "tree", {"a": b"1"})
    (tree / "link").symlink_to(cache / target)
    with mirror(cache):
        pos3.upload(rclone_site.url("out"), local=tree, interval=None)
    assert rclone_site.objects("out/") == {"a": b"1"}
    assert "keeps its own state" in caplog.text


@pytest.mark.parametrize("background", [True, False])
def test_a_push_neither_lists_nor_deletes_what_lies_in_state_there(
    moto_site: S3Site, tmp_path: Path, background: bool
) -> None:
    moto_site.put_all({"out/.pos3/index": b"of an older version", "out/gone": b"1"})
    with mirror(tmp_path / "cache"):
        path = write_tree(pos3.upload(moto_site.url("out"), interval=None), {"a": b"1", "b": b"2"})
        if background:
            pos3.flush()
            (path / "b").unlink()
            pos3.flush()
    left = {"a": b"1"} if background else {"a": b"1", "b": b"2"}
    assert moto_site.objects("out/") == {".pos3/index": b"of an older version", **left}


def test_fresh_does_not_empty_a_path_that_holds_the_state_of_another_cache(rclone_site: S3Site, tmp_path: Path) -> None:
    with pos3.mirror(tmp_path, show_progress=False):
        inner = pos3.sync(rclone_site.url("out"), interval=None)
    with pos3.mirror(inner / "cache", show_progress=False):
        pos3.sync(rclone_site.url("in"), interval=None)
    assert (inner / "cache" / ".pos3").is_dir()
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.PlanRefusedError, match="fresh=True"):
        pos3.upload(rclone_site.url("out"), interval=None, fresh=True)
    assert (inner / "cache" / ".pos3").is_dir()


# Journals, and where they send what they name


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "private", {"key": b"secret"})


def plant(cache: Path, site: S3Site, local: Path, endpoint: str | None) -> Path:
    """A journal as a dead mirror would have left it, which no mirror of this machine has written."""
    with pos3.mirror(cache, show_progress=False) as mirror:
        profile = pos3.Profile("evil", endpoint) if endpoint else None
        mirror.upload(site.url("loot"), local, profile=profile, interval=None)
        journal = Path(mirror._components.journal.path)
        lines = journal.read_text().replace(f'"pid": {os.getpid()}', '"pid": 999999').replace("loot", "taken")
        mirror.close(push=False)
    planted = journal.with_name("planted.jsonl")
    planted.write_text(lines)
    planted.chmod(0o600)
    return planted


def test_a_journal_alone_names_no_endpoint_for_the_users_keys(
    rclone_site: S3Site, tmp_path: Path, private: Path
) -> None:
    with Proxy(rclone_site.server) as thief:
        planted = plant(tmp_path / "cache", rclone_site, private, thief.endpoint_url)
        thief.clear()
        (found,) = pos3.recover(tmp_path / "cache", show_progress=False)
        assert found.outcome == "failed"
        assert isinstance(found.error, pos3.ProfileError)
        told = str(found.error)
        assert all(part in told for part in (str(private), rclone_site.url("taken"), thief.endpoint_url, "--yes"))
        assert pos3.recover(tmp_path / "cache", show_progress=False, dry_run=True)[0].outcome == "failed"
        assert not thief.requests
        assert planted.exists()
    assert rclone_site.objects() == {}


@pytest.mark.parametrize("told", ["--yes", "a profile by name", "trust_endpoints"])
def test_whoever_is_told_of_the_endpoint_may_recover(
    rclone_site: S3Site, tmp_path: Path, private: Path, isolated_home: Path, told: str
) -> None:
    endpoint = rclone_site.server.endpoint_url
    planted = plant(tmp_path / "cache", rclone_site, private, endpoint)
    (isolated_home / "profiles.toml").write_text(f'[profiles.lab]\nendpoint = "{endpoint}"\n')
    if told == "trust_endpoints":
        pos3.recover(tmp_path / "cache", show_progress=False, trust_endpoints=True)
    else:
        options = ["--yes"] if told == "--yes" else ["--profile", "lab"]
        ran = run_program("recover", "--cache-root", tmp_path / "cache", *options)
        assert ran.status == 0, ran.stderr
    assert rclone_site.objects() == {"taken/key": b"secret"}
    assert not planted.exists()


def test_a_journal_that_names_no_endpoint_goes_where_the_settings_say(
    rclone_site: S3Site, tmp_path: Path, private: Path
) -> None:
    plant(tmp_path / "cache", rclone_site, private, None)
    assert [found.outcome for found in pos3.recover(tmp_path / "cache", show_progress=False)] == ["pushed"]


def test_what_a_mirror_of_this_machine_wrote_needs_no_word(rclone_site: S3Site, tmp_path: Path, private: Path) -> None:
    script = f"""
import os, pos3
with pos3.mirror({str(tmp_path / "cache")!r}, show_progress=False):
    profile = pos3.Profile("lab", {rclone_site.server.endpoint_url!r})
    pos3.upload({rclone_site.url("out")!r}, {str(private)!r}, profile=profile, interval=None)
    os._exit(9)
"""
    with run_python(script) as program:
        assert program.wait(60) == 9
    assert [found.outcome for found in pos3.recover(tmp_path / "cache", show_progress=False)] == ["pushed"]
    assert rclone_site.objects() == {"out/key": b"secret"}


def test_an_endpoint_that_was_changed_in_a_journal_of_this_machine_is_not_taken(
    rclone_site: S3Site, tmp_path: Path, private: Path
) -> None:
    script = f"""
import os, pos3
with pos3.mirror({str(tmp_path / "cache")!r}, show_progress=False):
    profile = pos3.Profile("lab", {rclone_site.server.endpoint_url!r})
    pos3.upload({rclone_site.url("out")!r}, {str(private)!r}, profile=profile, interval=None)
    os._exit(9)
"""
    with run_python(script) as program:
        assert program.wait(60) == 9
    with Proxy(rclone_site.server) as thief:
        (journal,) = (tmp_path / "cache" / ".pos3" / "journal").iterdir()
        journal.write_text(journal.read_text().replace(rclone_site.server.endpoint_url, thief.endpoint_url))
        assert [found.outcome for found in pos3.recover(tmp_path / "cache", show_progress=False)] == ["failed"]
        assert not thief.requests


def test_a_journal_does_not_push_state(rclone_site: S3Site, cache: Path) -> None:
    planted = plant(cache, rclone_site, write_tree(cache.parent / "x", {"a": b"1"}), None)
    lines = planted.read_text().splitlines()
    record = json.loads(lines[1]) | {"local": str(cache / ".pos3" / "journal")}
    planted.write_text(f"{lines[0]}\n{json.dumps(record)}\n")
    found = [item for item in pos3.recover(cache, show_progress=False) if item.url == rclone_site.url("taken")]
    assert isinstance(found[0].error, pos3.UnsafeKeysError)
    assert not rclone_site.keys("taken/")
