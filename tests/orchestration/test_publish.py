"""``publish`` as a task: a completed task run means a complete set."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import task
from prefect.states import State

import pos3
from pos3.orchestration import pos3_flow, publish
from tests.support import S3Site, Status, on, write_tree


@task
def read(url: str) -> list[str]:
    return sorted(path.name for path in pos3.download(url, require_marker="_SUCCESS").iterdir())


def test_a_publish_task_is_retried_until_the_set_is_complete(
    rclone_site: S3Site, cache: Path, tmp_path: Path, proxied
) -> None:
    local = write_tree(tmp_path / "set", {"a": b"a", "b": b"b"})
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="set/b"), times=1))

    @pos3_flow(cache_root=cache)
    def make() -> tuple[Path, list[str]]:
        path = publish.with_options(retries=1)(rclone_site.url("set"), local)
        assert rclone_site.objects("set/").keys() == {"a", "b", "_SUCCESS"}
        return path, read(rclone_site.url("set"))

    assert make() == (local, ["_SUCCESS", "a", "b"])
    # The flow's own push at the end does not touch the set.
    assert rclone_site.objects("set/").keys() == {"a", "b", "_SUCCESS"}


def test_a_publish_task_that_fails_leaves_no_marker(rclone_site: S3Site, cache: Path, tmp_path: Path, proxied) -> None:
    local = write_tree(tmp_path / "set", {"a": b"a", "b": b"b"})
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="set/b")))

    @pos3_flow(cache_root=cache)
    def make() -> State:
        return publish(rclone_site.url("set"), local, return_state=True)

    with pytest.raises(pos3.TransferError):
        make()
    assert rclone_site.objects("set/").keys() == {"a"}
