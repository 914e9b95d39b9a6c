"""Credentials that expire or change, and clocks that differ or go back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, opened, small_files
from tests.support import (
    S3Site,
    Status,
    on,
)


def test_an_expired_token_is_named_with_the_key_and_ends_the_transfer_soon(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put_all({f"data/{name}": data for name, data in small_files(100, 10).items()})
    proxy = proxied(s3, Status(400, "ExpiredToken", match=on("GET")))
    began = time.monotonic()
    with opened(tmp_path), pytest.raises(pos3.TransferError, match=r"data/\d/\d+: ExpiredToken: .*expired") as caught:
        pos3.download(s3.url("data"))
    assert isinstance(caught.value.failures[0], pos3.CredentialsError)
    assert proxy.count("GET") <= 20
    assert time.monotonic() - began < 10
