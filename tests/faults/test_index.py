"""A memory that is lost, spoiled or cannot be written costs comparisons and no file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.base import PutBefore, fetched, small_files
from tests.support import (
    S3Site,
    contents,
)
from tests.support.trees import pseudo_random


def spoil_with_garbage(index: Path) -> None:
    index.write_bytes(pseudo_random(8192))


def cut_in_half(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 2)


def make_empty(index: Path) -> None:
    index.write_bytes(b"")


def make_newer(index: Path) -> None:
    connection = sqlite3.connect(index)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()


def spoil_a_page(index: Path) -> None:
    with index.open("r+b") as file:
        file.seek(4096)
        file.write(pseudo_random(index.stat().st_size - 4096))


@pytest.mark.parametrize("harm", [spoil_with_garbage, cut_in_half, make_empty, make_newer, spoil_a_page])
def test_a_spoiled_index_costs_a_comparison_and_no_file(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, harm: Callable[[Path], None]
) -> None:
    files = small_files(40, 10)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    path = fetched(rclone_site, tmp_path)
    (path / "1/001").write_bytes(b"0123456789")
    [index] = (tmp_path / "cache" / ".pos3").glob("*.sqlite")
    harm(index)
    proxy = proxied(rclone_site)
    assert contents(fetched(rclone_site, tmp_path)) == files
    assert proxy.count("GET") == 1
    proxy.clear()
    fetched(rclone_site, tmp_path)
    assert proxy.kinds == {"LIST": 1}
