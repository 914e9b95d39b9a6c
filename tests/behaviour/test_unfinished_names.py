"""Objects whose keys look like names of unfinished files: left out on both sides, and told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore
from tests.support import S3Site, contents, write_tree

NAME = ".pos3-0123abcd-1234-0123456789ab.tmp"
OBJECTS = {"a": b"1", NAME: b"theirs", f"d/{NAME}": b"theirs", f"d/{NAME}/x": b"theirs"}
LOOKALIKES = {".pos3-note.tmp": b"2", f"{NAME}.bak": b"3", f"x{NAME}": b"4", f"{NAME}\n": b"5"}


@pytest.fixture
def site(s3: S3Site) -> S3Site:
    s3.put_all({f"data/{name}": body for name, body in OBJECTS.items() if s3.server.traits.any_key or "/x" not in name})
    return s3


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def told(mirror: pos3.Mirror) -> list[str]:
    return [kept.path for kept in mirror.report().kept if "unfinished" in kept.reason]


def test_such_an_object_is_never_fetched_and_told_once(site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(site)
    for _ in range(2):
        with opened(tmp_path) as mirror:
            path = pos3.download(site.url("data"))
        assert told(mirror) == [NAME]
        assert contents(path) == {"a": b"1"}
    assert [request.key for request in proxy.requests if request.kind == "GET"] == ["data/a"]
    with opened(tmp_path):
        plan = pos3.plan_download(site.url("data"), tmp_path / "local")
    assert [source for source, _ in plan.to_copy] == [site.url("data/a")]


def test_an_upload_deletes_no_such_object(site: S3Site, tmp_path: Path) -> None:
    site.put("data/old", b"1")
    before = site.objects("data/")
    tree = write_tree(tmp_path / "tree", {"a": b"1", "new": b"2", NAME: b"mine"})
    for _ in range(2):
        with opened(tmp_path) as mirror:
            pos3.upload(site.url("data"), tree, interval=None)
        assert told(mirror) == [NAME]
        assert site.objects("data/") == {name: body for name, body in before.items() if name != "old"} | {"new": b"2"}


def test_a_sync_leaves_such_objects_where_they_are(site: S3Site, tmp_path: Path) -> None:
    before = site.objects("data/")
    with opened(tmp_path) as mirror:
        path = pos3.sync(site.url("data"), tmp_path / "local", interval=0.05)
        assert contents(path) == {"a": b"1"}
        (path / "a").unlink()
        (path / "b").write_bytes(b"2")
    assert told(mirror) == [NAME]
    assert site.objects("data/") == {name: body for name, body in before.items() if name != "a"} | {"b": b"2"}


def test_a_prefix_that_holds_nothing_else_is_there_and_keeps_the_copy(s3: S3Site, tmp_path: Path) -> None:
    s3.put(f"data/{NAME}", b"theirs")
    local = write_tree(tmp_path / "local", {"a": b"1"})
    with opened(tmp_path) as mirror:
        pos3.download(s3.url("data"), local, adopt=True)
    assert NAME in told(mirror)
    assert contents(local) == {"a": b"1"}


def test_excluded_ones_are_not_told(site: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path) as mirror:
        pos3.download(site.url("data"), exclude="**/*.tmp*")
    assert told(mirror) == []


def test_names_that_are_only_alike_are_content(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({f"data/{name}": body for name, body in LOOKALIKES.items()})
    with opened(tmp_path) as mirror:
        path = pos3.sync(moto_site.url("data"), tmp_path / "local", interval=None)
        assert contents(path) == LOOKALIKES
        (path / f"{NAME}.bak").unlink()
    assert moto_site.objects("data/") == {name: body for name, body in LOOKALIKES.items() if name != f"{NAME}.bak"}
    assert told(mirror) == []


def test_an_object_that_is_asked_for_by_such_a_name_is_downloaded(s3: S3Site, tmp_path: Path) -> None:
    s3.put(f"data/{NAME}", b"theirs")
    with opened(tmp_path):
        assert pos3.download(s3.url(f"data/{NAME}"), tmp_path / "mine").read_bytes() == b"theirs"


def test_a_set_beside_such_objects_can_be_published_and_read(site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "b": b"2"})
    with opened(tmp_path):
        pos3.publish(site.url("data"), tree)
        pos3.publish(site.url("alone"), tree)
    with opened(tmp_path):
        path = pos3.download(site.url("data"), require_marker="_SUCCESS")
        assert {name: body for name, body in contents(path).items() if name != "_SUCCESS"} == contents(tree)
        # No two markers are the same.
        there, alone = (pos3.fingerprint(site.url(name), exclude="/_SUCCESS") for name in ("data", "alone"))
        assert there == alone is not None
    assert f"data/{NAME}" in site.keys()
