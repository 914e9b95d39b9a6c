"""Credentials that may only write are enough for flows that only upload."""

from __future__ import annotations

from pathlib import Path

from prefect import task

import pos3
from pos3.orchestration import pos3_flow
from tests.support import S3Site, Status


@task(persist_result=True)
def make(url: str, name: str) -> str:
    (pos3.upload(url, interval=None, delete=False) / name).write_text(name)
    return name


def test_a_flow_that_only_uploads_needs_the_right_to_write_alone(rclone_site: S3Site, cache: Path, proxied) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=lambda request: request.kind != "PUT"))

    @pos3_flow(cache_root=cache)
    def run() -> None:
        make(rclone_site.url("data"), "first")
        assert rclone_site.objects() == {"data/first": b"first"}
        make(rclone_site.url("data"), "second")
        (pos3.upload(rclone_site.url("more"), interval=None, delete=False) / "third").write_text("third")

    run()
    assert rclone_site.objects() == {"data/first": b"first", "data/second": b"second", "more/third": b"third"}
