"""A subflow joins its parent's mirror, unless its own options differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import task
from prefect.task_runners import ProcessPoolTaskRunner

import pos3
from pos3.orchestration import Pos3Mirror, pos3_flow
from tests.orchestration.conftest import Mirrors
from tests.support import MotoServer, RcloneServer, S3Site


@pytest.fixture
def two(rclone_site: S3Site, moto: MotoServer, rclone: RcloneServer) -> tuple[S3Site, S3Site]:
    """One bucket name at two endpoints; the environment points at the first, the profile "b" at the second."""
    moto.create_bucket(rclone_site.bucket)
    pos3.register_profile(
        "b", endpoint=moto.endpoint_url, access_key=moto.access_key, secret_key=moto.secret_key, region="us-east-1"
    )
    return rclone_site, S3Site(moto, rclone_site.bucket)


def test_a_subflow_with_another_profile_reads_writes_and_deletes_there(
    two: tuple[S3Site, S3Site], cache: Path, mirrors: Mirrors
) -> None:
    a, b = two
    a.put_all({"in/file": b"a", "out/stale": b"a"})
    b.put_all({"in/file": b"b", "out/stale": b"b"})
    seen = []

    @task
    def look(url: str) -> bytes:
        return (pos3.download(url) / "file").read_bytes()

    @pos3_flow(default_profile="b")
    def child() -> None:
        seen.append(look.submit(a.url("in")).result())
        (pos3.upload(a.url("out")) / "new").write_text("child")

    @pos3_flow(cache_root=cache)
    def parent() -> None:
        child()
        # The end of the subflow is the end of its mirror.
        assert set(b.keys("out/")) == {"out/new"}
        seen.append(look(a.url("in")))
        assert set(a.keys("out/")) == {"out/stale"}

    parent()
    assert seen == [b"b", b"a"]
    assert set(a.keys("out/")) == {"out/stale"}
    assert len(mirrors.opened) == 2
    assert not mirrors.still_open
    # What it says nothing of is as in its parent's.
    assert {Path(mirror.cache_root) for mirror in mirrors.opened} == {cache}


def test_the_mirror_of_a_subflow_that_fails_deletes_nothing_and_stays_through_its_retries(
    two: tuple[S3Site, S3Site], cache: Path, mirrors: Mirrors
) -> None:
    a, b = two
    b.put("out/stale", b"b")
    tries = []

    @pos3_flow(default_profile="b", retries=1)
    def child() -> None:
        tries.append(pos3.current_mirror())
        (pos3.upload(a.url("out")) / "new").write_text("x")
        (pos3.upload(a.url("log"), sync_on_error=True) / "new").write_text("x")
        raise ValueError("mine")

    @pos3_flow(cache_root=cache)
    def parent() -> None:
        assert child(return_state=True).is_failed()

    parent()
    assert tries == [mirrors.opened[1]] * 2
    assert set(b.keys()) == {"out/stale", "log/new"}
    assert not a.keys()


def other_root(child: Any, cache: Path) -> Any:
    return child.with_options(mirror={"cache_root": cache.with_name("other")})


def more_workers(child: Any, cache: Path) -> Any:
    return child.with_options(mirror=pos3.MirrorOptions(max_workers=3))


def the_number_of_workers_that_is_the_default(child: Any, cache: Path) -> Any:
    """Given, it is the most; else there are as many as pay."""
    return child.with_options(mirror={"max_workers": 10})


def block(child: Any, cache: Path) -> Any:
    Pos3Mirror(cache_limit="1GB").save("of-a-subflow", overwrite=True)
    return child.with_options(mirror="of-a-subflow")


def nothing(child: Any, cache: Path) -> Any:
    return child


def written_in_another_way(child: Any, cache: Path) -> Any:
    return child.with_options(mirror={"cache_root": f"{cache}/x/..", "cache_limit": "2 KiB", "default_profile": "b"})


def equal_profile(child: Any, cache: Path) -> Any:
    return child.with_options(
        mirror={"default_profile": pos3.Mirror(pos3.MirrorOptions(default_profile="b")).default_profile}
    )


@pytest.mark.parametrize(
    ("change", "joins"),
    [
        (other_root, False),
        (more_workers, False),
        (the_number_of_workers_that_is_the_default, False),
        (block, False),
        (nothing, True),
        (written_in_another_way, True),
        (equal_profile, True),
    ],
)
def test_a_subflow_joins_if_its_options_come_to_the_same(
    change: Any, joins: bool, two: tuple[S3Site, S3Site], cache: Path, mirrors: Mirrors
) -> None:
    @pos3_flow
    def child() -> object:
        return [pos3.current_mirror()]

    called = change(child, cache)

    @pos3_flow(cache_root=cache, cache_limit=2048, default_profile="b")
    def parent() -> bool:
        by_engine, without = called()[0], called.fn()[0]
        return (by_engine is pos3.current_mirror(), without is pos3.current_mirror())  # type: ignore[return-value]

    assert parent() == (joins, joins)
    assert not mirrors.still_open


def test_options_that_cannot_work_fail_the_subflow_alone(rclone_site: S3Site, cache: Path) -> None:
    @pos3_flow(max_workers=0)
    def child() -> None: ...

    @pos3_flow(cache_root=cache)
    def parent() -> None:
        with pytest.raises(pos3.InvalidArgumentError, match="max_workers"):
            child()

    parent()


@pos3_flow
def joining(url: str) -> str:
    (pos3.upload(url) / "joined").write_text("x")
    return str(pos3.current_mirror())


@pos3_flow(max_workers=3)
def separate(url: str) -> str:
    (pos3.upload(url) / "separate").write_text("x")
    return str(pos3.current_mirror())


@task
def call_both(url: str) -> list[str]:
    return [joining(f"{url}/joined"), separate(f"{url}/separate")]


@pos3_flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def calling_elsewhere(url: str) -> None:
    joined, own = call_both.submit(url).result()
    assert "TaskMirror" in joined
    assert own.startswith("<pos3.Mirror open")
    raise RuntimeError("later")


def test_a_subflow_that_a_task_elsewhere_calls_has_its_own_mirror_if_it_asks_for_one(
    rclone_site: S3Site, cache: Path
) -> None:
    with pytest.raises(RuntimeError, match="later"):
        calling_elsewhere.with_options(mirror={"cache_root": cache})(rclone_site.url())
    assert set(rclone_site.keys()) == {"separate/separate"}
