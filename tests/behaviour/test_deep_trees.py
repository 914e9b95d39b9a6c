"""Paths that are longer or deeper than a system allows: named before anything is transferred, or transferred."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pos3
from pos3.local.temporary import temporary_name
from tests.support import MemoryServer, S3Site, contents, write_tree

Serve = Callable[..., MemoryServer]
PATH_BYTES = os.pathconf("/", "PC_PATH_MAX")
DEEP = "d/" * 3000 + "x"


@pytest.fixture(autouse=True)
def _nothing_deep_is_left(tmp_path: Path) -> Iterator[None]:
    """pytest removes the directories of earlier runs by recursion, and fails at a tree that is too deep for it."""
    yield
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def long_root(tmp_path: Path, length: int) -> Path:
    """A directory whose path has so many bytes."""
    root = tmp_path / "root"
    while (left := length - len(os.fsencode(root)) - 1) > 0:
        # No name of one letter is left for the end.
        root /= "r" * (left if left <= 200 else min(200, left - 2))
    assert len(os.fsencode(root)) == length
    return root


@pytest.mark.parametrize("plans", [True, False], ids=["dry-run", "download"])
@pytest.mark.parametrize(
    "key",
    [DEEP, DEEP + "/", "é" * 100 + ("/" + "é" * 100) * 20, "n/" * 1100 + "x" * 250 + ("/" + "y" * 250) * 8],
    ids=["levels", "marker", "letters", "names"],
)
def test_a_key_that_is_too_long_a_path_is_named_and_nothing_is_transferred(
    serve_from_memory: Serve, tmp_path: Path, key: str, plans: bool
) -> None:
    server = serve_from_memory()
    server.put("data/a", b"1")
    server.put(f"data/{key}", b"" if key.endswith("/") else b"2")
    call = pos3.plan_download if plans else pos3.download
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError, match="too long a path") as caught:
        call("s3://bucket/data", tmp_path / "local")
    assert caught.value.problems[0].startswith(repr(key)[:40])
    assert len(caught.value.problems) == 1
    assert not server.moved()
    assert not (tmp_path / "local").exists()


def test_a_key_that_is_too_long_only_below_this_target_is_named(s3: S3Site, tmp_path: Path) -> None:
    key = "/".join(["n" * 100] * 9)
    s3.put_all({f"data/{key}": b"1", "data/a": b"2"})
    root = long_root(tmp_path, PATH_BYTES - 500)
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError, match="nnn"):
        pos3.download(s3.url("data"), root)
    assert not root.exists()
    with opened(tmp_path):
        assert contents(pos3.download(s3.url("data"), tmp_path / "near")) == {key: b"1", "a": b"2"}


def test_the_longest_path_that_is_not_refused_can_be_written(s3: S3Site, tmp_path: Path) -> None:
    """What is made beside a file while it arrives may be longer than the file's own name."""
    s3.put_all({"data/dd/x": b"1", "data/dd/nnnnnnnnnnnnnnnnnnn": b"2"})
    written = refused = False
    for length in range(PATH_BYTES - 100, PATH_BYTES - 4, 8):
        root = long_root(tmp_path, length)
        with opened(tmp_path):
            try:
                path = pos3.download(s3.url("data"), root)
            except pos3.UnsafeKeysError:
                refused = True
                assert not root.exists()
            else:
                written = True
                assert (path / "dd" / "x").read_bytes() == b"1"
    assert written
    assert refused


@pytest.mark.parametrize("url", [f"s3://bucket/{DEEP}", f"s3://bucket/{DEEP.removesuffix('x')}"])
def test_a_url_that_is_too_long_a_path_below_the_cache_is_named(
    serve_from_memory: Serve, tmp_path: Path, url: str
) -> None:
    server = serve_from_memory()
    server.put(DEEP, b"1")
    with opened(tmp_path), pytest.raises(pos3.InvalidURLError, match="too long a path"):
        pos3.download(url)
    assert server.moved() == []
    with opened(tmp_path):
        path = pos3.download(url, tmp_path / "near")
        assert (path if path.is_file() else path / "x").read_bytes() == b"1"


def test_one_object_below_more_levels_than_the_interpreters_stack_has_is_downloaded(
    serve_from_memory: Serve, tmp_path: Path
) -> None:
    key = f"{'d/' * 1500}x"
    serve_from_memory().put(key, b"1")
    with opened(tmp_path):
        assert pos3.download(f"s3://bucket/{key}").read_bytes() == b"1"


def test_no_name_of_an_unfinished_file_is_longer_than_what_is_left_free_for_it() -> None:
    assert len(temporary_name()) + len(str(2**31)) <= 64


def test_a_tree_that_is_deeper_than_the_interpreters_stack_goes_down_and_up_and_away(
    serve_from_memory: Serve, tmp_path: Path
) -> None:
    server = serve_from_memory()
    deep = "d/" * 1500
    for name in ("a", f"{deep}x", f"{deep}y"):
        server.put(f"data/{name}", name[-1].encode())
    local = tmp_path / "local"
    with opened(tmp_path):
        pos3.download("s3://bucket/data", local)
    assert (local / deep / "x").read_bytes() == b"x"
    server.moved()
    with opened(tmp_path):
        pos3.download("s3://bucket/data", local)
    assert server.moved() == []
    with opened(tmp_path):
        problems = pos3.plan_upload("s3://bucket/other", local).problems
    assert all("a key longer than 1,024 bytes" in problem for problem in problems)
    assert len(problems) == 2
    del server.state.objects[f"data/{deep}x"], server.state.objects[f"data/{deep}y"]
    with opened(tmp_path):
        pos3.download("s3://bucket/data", local)
    assert list(local.iterdir()) == [local / "a"]


def test_a_local_tree_that_is_deeper_than_any_path_fails_the_push_and_the_rest_is_uploaded(
    s3: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    s3.put("data/old", b"1")
    monkeypatch.chdir(tree)
    depth = 2 * PATH_BYTES // 200
    for _ in range(depth):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    os.mknod("x")
    os.chdir(tmp_path)
    with pytest.raises(pos3.TransferError, match="too long"), opened(tmp_path):
        pos3.upload(s3.url("data"), tree, interval=None)
    assert s3.objects("data/") == {"a": b"1", "old": b"1"}
