"""Nothing is written, deleted or read outside the target, whatever the keys are and whatever lies there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.support import S3Site, contents, write_tree

HOSTILE = (
    "../evil", "../../evil", "x/../../evil", "./evil", "x/./evil", "..", ".", "/evil", "//evil", "x//evil", "/",
    "../target2/evil", "nul\x01/../../evil", "x/..", "..//evil", "a/../b", "/tmp/evil", "~/../evil",
)  # fmt: skip


def everything(root: Path) -> dict[str, tuple[int, bytes]]:
    """All that lies below a directory, links as such, except pos3's own memory."""
    found = {}
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name != ".pos3"]
        for name in [*names, *files]:
            path = Path(directory, name)
            status = path.lstat()
            body = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(root))] = (status.st_mode, body)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Files beside the target that nobody may touch."""
    return write_tree(tmp_path / "outside", {"a": b"mine", "sub/b": b"mine"})


@pytest.mark.parametrize("key", HOSTILE, ids=repr)
def test_a_hostile_key_writes_nothing_anywhere(moto_site: S3Site, tmp_path: Path, outside: Path, key: str) -> None:
    moto_site.put_all({"data/good": b"1", f"data/{key}": b"evil"})
    before = everything(tmp_path)
    with pos3.mirror(tmp_path / "cache", show_progress=False), pytest.raises(pos3.UnsafeKeysError):
        pos3.download(moto_site.url("data"), tmp_path / "target")
    assert everything(tmp_path).keys() - before.keys() <= {"cache"}
    assert everything(outside) == {
        "a": before["outside/a"],
        "sub": before["outside/sub"],
        "sub/b": before["outside/sub/b"],
    }


def refusal(call: Callable[[], object], tmp_path: Path) -> pos3.Pos3Error | None:
    """How the call in a mirror of its own was refused; None if it was carried out."""
    try:
        with pos3.mirror(tmp_path / "cache", show_progress=False):
            call()
    except (pos3.PlanRefusedError, pos3.TransferError, pos3.UnsafeKeysError) as error:
        return error
    return None


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        pytest.param("sub", "outside/sub", id="directory"),
        pytest.param("sub", "outside", id="directory-above"),
        pytest.param("b", "outside/a", id="file"),
        pytest.param("sub", "nowhere", id="dangling"),
    ],
)
@pytest.mark.parametrize("delete", [True, False], ids=["delete", "keep"])
def test_a_link_in_the_targets_way_is_never_written_through(
    rclone_site: S3Site, tmp_path: Path, outside: Path, link: str, leads_to: str, delete: bool
) -> None:
    rclone_site.put_all({"data/sub/b": b"theirs", "data/b": b"theirs"})
    target = tmp_path / "target"
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("data"), target)
    rclone_site.put_all({"data/sub/b": b"newer!", "data/b": b"newer!"})
    before = everything(outside)
    if (target / link).is_dir():
        (target / link / "b").unlink()
        (target / link).rmdir()
    else:
        (target / link).unlink()
    (target / link).symlink_to(tmp_path / leads_to)
    refused = refusal(lambda: pos3.download(rclone_site.url("data"), target, delete=delete), tmp_path)
    if refused is None:
        assert contents(target) == {"sub/b": b"newer!", "b": b"newer!"}
        assert not (target / link).is_symlink()
    else:
        assert link in str(refused)
    assert everything(outside) == before
    assert not (tmp_path / "nowhere").exists()


def test_a_delete_neither_follows_nor_removes_links(rclone_site: S3Site, tmp_path: Path, outside: Path) -> None:
    rclone_site.put("data/good", b"1")
    target = tmp_path / "target"
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("data"), target)
    (target / "stale").write_bytes(b"1")
    (target / "to-directory").symlink_to(outside)
    (target / "to-file").symlink_to(outside / "a")
    before = everything(tmp_path)
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("data"), target)
    del before["target/stale"]
    assert everything(tmp_path) == before


def test_the_cache_evicts_a_root_and_not_what_its_links_lead_to(
    rclone_site: S3Site, tmp_path: Path, outside: Path
) -> None:
    rclone_site.put("data/good", b"1" * 1000)
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        path = pos3.download(rclone_site.url("data"))
    before = everything(outside)
    (path / "link").symlink_to(outside)
    with pos3.mirror(tmp_path / "cache", show_progress=False, cache_limit=1):
        pos3.download(rclone_site.url("data"), tmp_path / "elsewhere")
    assert everything(outside) == before


@pytest.mark.parametrize("marker", ["../evil", "/evil", "x/../../evil", "..", "", "a//b"], ids=repr)
def test_a_marker_that_is_no_name_below_the_url_is_refused(rclone_site: S3Site, tmp_path: Path, marker: str) -> None:
    write_tree(tmp_path / "set", {"a": b"1"})
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call in (
            lambda: pos3.publish(rclone_site.url("set"), tmp_path / "set", marker=marker),
            lambda: pos3.download(rclone_site.url("set"), require_marker=marker),
        ):
            with pytest.raises(pos3.InvalidArgumentError):
                call()
    assert rclone_site.objects() == {}


@pytest.mark.parametrize(
    "url",
    ["s3://../x", "s3://.../x", "s3://..@bucket/x", "memory://../x", "memory://./x", "memory://../.pos3/journal"],
)
def test_no_url_leads_to_another_part_of_the_cache(tmp_path: Path, url: str) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False), pytest.raises(pos3.InvalidArgumentError):
        pos3.upload(url, interval=None)
    assert list(tmp_path.iterdir()) == []
