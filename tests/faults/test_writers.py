"""Several writers of one prefix, on hosts that share nothing but the bucket: nobody loses what another has added."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, run_python
from tests.support import Fault, Request, S3Site, contents, write_tree

# Each prints a line when it has done a step, and waits for a line before the next one.
HOST = """
import sys, pos3
kind, cache, url, name = sys.argv[1:]
with pos3.mirror(cache, show_progress=False):
    path = getattr(pos3, kind)(url, interval=0.1)
    print("open", flush=True)
    sys.stdin.readline()
    (path / f"by-{name}").write_text(name)
    (path / "shared").write_text(name)
    pos3.flush()
    print("pushed", flush=True)
    sys.stdin.readline()
    (path / f"late-{name}").write_text(name)
"""


class Host:
    """A process with a cache of its own."""

    def __init__(self, kind: str, cache: Path, url: str, name: str):
        self._program = run_python(HOST, kind, cache, url, name, stdin=subprocess.PIPE)

    def wait_for(self, word: str) -> None:
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        assert line.strip() == word, line + self._program.communicate()[0]

    def go_on(self) -> None:
        assert self._program.stdin is not None
        self._program.stdin.write("\n")
        self._program.stdin.flush()

    def end(self) -> None:
        output, _ = self._program.communicate("\n", timeout=30)
        assert self._program.returncode == 0, output


@pytest.mark.parametrize("kind", ["sync", "upload"])
def test_two_hosts_that_write_one_prefix_at_once_keep_what_both_add(s3: S3Site, tmp_path: Path, kind: str) -> None:
    s3.put_all({"data/base": b"0", "data/shared": b"0"})
    hosts = [Host(kind, tmp_path / f"cache-{name}", s3.url("data"), name) for name in ("one", "two")]
    for host in hosts:
        host.wait_for("open")
    for host in hosts:
        host.go_on()
    for host in hosts:
        host.wait_for("pushed")
    for host in hosts:
        host.end()
    objects = s3.objects("data/")
    assert objects.pop("shared") in (b"one", b"two")
    # An upload takes the local side, so what was there before both of them goes; what they added stays.
    assert objects.pop("base", b"0" if kind == "upload" else None) == b"0"
    assert objects == {f"{when}-{name}": name.encode() for when in ("by", "late") for name in ("one", "two")}


def test_an_object_that_comes_between_listing_and_delete_stays(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    """Another host puts objects while this one is at its final push."""
    moto_site.put_all({"data/stale": b"1", "data/kept": b"1"})
    tree = write_tree(tmp_path / "tree", {"kept": b"1", "new": b"1"})
    seen: list[Request] = []

    def match(request: Request) -> bool:
        if request.kind == "PUT" and not seen:
            seen.append(request)
            moto_site.put_all({"data/theirs": b"2", "data/a/theirs": b"2"})
        return False

    proxied(moto_site, Fault(match=match))
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload(moto_site.url("data"), tree, interval=None)
    assert moto_site.objects("data/") == contents(tree) | {"theirs": b"2", "a/theirs": b"2"}
