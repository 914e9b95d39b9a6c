"""Fixtures of the fault tests."""

from __future__ import annotations

import pytest

from tests.support import RcloneServer, S3Site


@pytest.fixture
def three_pages(rclone: RcloneServer, rclone_site: S3Site) -> S3Site:
    """A bucket with 3,000 objects below `data/`, put into the server's directory at once."""
    folder = rclone.data / rclone_site.bucket / "data"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04}").write_bytes(b"remote")
    return rclone_site
