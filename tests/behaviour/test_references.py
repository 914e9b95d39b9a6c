"""Which URL a local path stands for, and how it is found again elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.support import Latency, Proxy, RcloneServer, S3Site, contents, on, write_tree

PutBefore = Callable[..., Proxy]


def opened(root: Path, **options: object) -> pos3.mirror:
    return pos3.mirror(root, show_progress=False, **options)  # type: ignore[arg-type]


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({"data/a/one.csv": b"1", "data/a/two.csv": b"22", "data/b/three.csv": b"333"})
    return rclone_site


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The cache of another machine."""
    return tmp_path / "elsewhere"


def reference_to(url: str, cache: Path, below: str = "") -> pos3.Reference:
    with opened(cache):
        found = pos3.reference(pos3.download(url) / below)
    assert found is not None
    return found


def test_a_path_of_a_registration_has_a_url(site: S3Site, here: Path, tmp_path: Path) -> None:
    with opened(here):
        data = pos3.download(site.url("data"))
        chosen = pos3.download(site.url("data/b"), tmp_path / "chosen")
        out = pos3.upload(site.url("out/model.pt"))
        assert pos3.url_of(data) == site.url("data/")
        assert pos3.url_of(data / "a") == site.url("data/a/")
        assert pos3.url_of(str(data / "a" / "one.csv")) == site.url("data/a/one.csv")
        assert pos3.url_of(chosen / "three.csv") == site.url("data/b/three.csv")
        assert pos3.url_of(out) == site.url("out/model.pt")
        assert pos3.url_of(tmp_path) is None
        assert pos3.url_of(here / "_" / site.bucket) is None


def test_a_relative_path_and_one_through_a_link_have_the_url_too(
    site: S3Site, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(here):
        data = pos3.download(site.url("data"))
        (tmp_path / "link").symlink_to(data)
        monkeypatch.chdir(tmp_path)
        assert pos3.url_of("link/a/one.csv") == site.url("data/a/one.csv")
        assert pos3.url_of("link") == site.url("data/")


def test_what_the_filter_leaves_out_has_no_url(site: S3Site, here: Path) -> None:
    with opened(here):
        out = write_tree(pos3.upload(site.url("out"), exclude="*.tmp"), {"a.tmp": b"", "a.txt": b""})
        assert pos3.url_of(out / "a.tmp") is None
        assert pos3.url_of(out / "a.txt") == site.url("out/a.txt")


def test_a_path_of_the_cache_has_a_url_without_a_registration(site: S3Site, here: Path) -> None:
    with opened(here):
        data = pos3.download(site.url("data"))
    with opened(here):
        assert pos3.url_of(data / "a" / "one.csv") == site.url("data/a/one.csv")
        assert pos3.url_of(here / "_" / "never" / "seen") is None


def test_a_profile_is_referred_to_by_its_name(rclone: RcloneServer, site: S3Site, here: Path, elsewhere: Path) -> None:
    keys = {"access_key": "AWS_ACCESS_KEY_ID", "secret_key": "AWS_SECRET_ACCESS_KEY"}
    secrets = {name: rclone.environment()[variable] for name, variable in keys.items()}
    pos3.register_profile(site.bucket, rclone.endpoint_url, **secrets)
    nameless = pos3.Profile("nameless", rclone.endpoint_url, region="eu-north-1", **secrets)  # type: ignore[arg-type]
    with opened(here):
        named = pos3.download(f"s3://{site.bucket}@{site.bucket}/data/a")
        found = pos3.reference(named)
        assert pos3.reference(pos3.download(site.url("data/b"), profile=nameless)) is None
    assert found is not None
    assert found.url == f"s3://{site.bucket}@{site.bucket}/data/a/"
    assert not any(secret in repr(found) for secret in secrets.values())
    with opened(here):
        assert pos3.url_of(named / "one.csv") == f"s3://{site.bucket}@{site.bucket}/data/a/one.csv"
    with opened(elsewhere, default_profile=nameless):
        # Whoever restores it has the same default.
        assert pos3.url_of(pos3.download(site.url("data/b"))) == site.url("data/b/")
        restored = pos3.restore(found)
    assert restored == elsewhere / site.bucket / site.bucket / "data" / "a"
    assert contents(restored) == {"one.csv": b"1", "two.csv": b"22"}


def test_what_is_registered_and_there_is_restored_without_a_request(
    site: S3Site, here: Path, proxied: PutBefore
) -> None:
    proxy = proxied(site)
    with opened(here):
        data = pos3.download(site.url("data"))
        found = pos3.reference(data / "a")
        assert found is not None
        proxy.clear()
        assert pos3.restore(found) == data / "a"
        assert proxy.count() == 0


@pytest.mark.parametrize("below", ["", "a", "a/one.csv"])
def test_in_a_later_mirror_of_the_same_cache_no_body_is_moved(
    below: str, site: S3Site, here: Path, proxied: PutBefore
) -> None:
    found = reference_to(site.url("data"), here, below)
    proxy = proxied(site)
    with opened(here):
        assert pos3.restore(found) == here / "_" / site.bucket / "data" / below
        assert proxy.count("GET") == 0
        proxy.clear()
        pos3.restore(found)
        assert proxy.count() == 0


def test_elsewhere_only_what_is_meant_is_downloaded(site: S3Site, here: Path, elsewhere: Path) -> None:
    found = reference_to(site.url("data"), here, "a/one.csv")
    with opened(elsewhere):
        assert pos3.restore(found).read_bytes() == b"1"
    assert contents(elsewhere / "_") == {f"{site.bucket}/data/a/one.csv": b"1"}


def test_an_explicit_place_is_used_again_only_where_the_cache_knows_it(
    site: S3Site, here: Path, elsewhere: Path, tmp_path: Path
) -> None:
    with opened(here):
        found = pos3.reference(pos3.download(site.url("data"), tmp_path / "chosen") / "a")
        assert found is not None
    with opened(here):
        assert pos3.restore(found) == tmp_path / "chosen" / "a"
    with opened(elsewhere):
        assert pos3.restore(found) == elsewhere / "_" / site.bucket / "data" / "a"


def test_what_is_gone_is_an_error_that_names_it(site: S3Site, here: Path, elsewhere: Path) -> None:
    found = reference_to(site.url("data"), here, "b/three.csv")
    site.delete("data/b/three.csv")
    with opened(elsewhere), pytest.raises(FileNotFoundError, match=site.url("data/b/three.csv")):
        pos3.restore(found)


def test_changes_that_were_never_uploaded_are_left_alone(site: S3Site, here: Path) -> None:
    site.put("run/old", b"old")
    mirror = pos3.Mirror(pos3.MirrorOptions(here, show_progress=False)).open()
    found = mirror.reference(write_tree(mirror.sync(site.url("run")), {"old": b"newer", "model": b"precious"}))
    mirror.close(RuntimeError("mine"))
    assert found is not None
    with opened(here):
        assert contents(pos3.restore(found)) == {"old": b"newer", "model": b"precious"}
    assert site.objects("run/") == {"old": b"old"}


def test_what_was_uploaded_is_brought_up_to_date(site: S3Site, here: Path) -> None:
    with opened(here):
        out = write_tree(pos3.upload(site.url("run")), {"model": b"mine"})
        found = pos3.reference(out / "model")
    site.put("run/model", b"theirs")
    assert found is not None
    with opened(here):
        path = pos3.restore(found)
        assert path.read_bytes() == b"theirs"
        path.unlink()
    with opened(here):
        assert pos3.restore(found).read_bytes() == b"theirs"


def test_a_place_that_is_to_be_uploaded_is_not_downloaded_over(site: S3Site, here: Path, elsewhere: Path) -> None:
    found = reference_to(site.url("data"), here, "a/one.csv")
    with opened(elsewhere):
        pos3.upload(site.url("data"), delete=False)
        with pytest.raises(FileNotFoundError, match="use sync"):
            pos3.restore(found)


@pytest.mark.parametrize("register", [pos3.upload, pos3.sync], ids=["upload", "sync"])
@pytest.mark.parametrize("key", ["data", "data/a", "data/a/one.csv"])
def test_a_restored_place_is_no_conflict_for_what_is_registered_later(
    key: str, register: Callable[[str], Path], site: S3Site, here: Path, elsewhere: Path
) -> None:
    found = reference_to(site.url("data"), here, "a")
    with opened(elsewhere):
        pos3.restore(found)
        path = register(site.url(key))
        assert pos3.url_of(path) in (site.url(key), f"{site.url(key)}/")
    assert site.objects("data/a/") == {"one.csv": b"1", "two.csv": b"22"}


def test_a_download_with_other_parameters_follows_a_restored_one(site: S3Site, here: Path, elsewhere: Path) -> None:
    found = reference_to(site.url("data"), here)
    with opened(elsewhere):
        pos3.restore(found)
        assert sorted(contents(pos3.download(site.url("data"), exclude="b/*"))) == [
            "a/one.csv",
            "a/two.csv",
            "b/three.csv",
        ]
        pos3.restore(found)


def test_whoever_registers_a_place_waits_until_it_is_restored(
    site: S3Site, here: Path, elsewhere: Path, proxied: PutBefore
) -> None:
    found = reference_to(site.url("data"), here, "a")
    proxy = proxied(site, Latency(seconds=0.3, match=on("GET")))
    with opened(elsewhere) as mirror:
        thread = threading.Thread(target=mirror.restore, args=(found,))
        thread.start()
        while not proxy.count("GET"):
            time.sleep(0.01)
        mirror.sync(site.url("data"))
        assert sorted(contents(mirror.restore(found))) == ["one.csv", "two.csv"]
        thread.join()


def test_a_local_copy_is_known_without_a_mirror(site: S3Site, here: Path) -> None:
    found = reference_to(site.url("data"), here, "a/one.csv")
    copy = found.local_copy()
    assert copy is not None
    assert copy.read_bytes() == b"1"
    copy.unlink()
    assert found.local_copy() is None


def test_a_fingerprint_changes_exactly_when_the_objects_do(s3: S3Site, here: Path) -> None:
    s3.put_all({"data/a": b"1", "data/b": b"2", "data/log": b"x"})
    url = s3.url("data")
    with opened(here):
        first = pos3.fingerprint(url)
        assert first is not None
        assert pos3.fingerprint(f"{url}/") == first
        s3.put("data/a", b"1")
        assert pos3.fingerprint(url) == first, "written again, with the same content"
        seen = {first}
        for change in (
            lambda: s3.put("data/a", b"3"),
            lambda: s3.put("data/c", b"2"),
            lambda: s3.delete("data/b"),
        ):
            change()
            seen.add(pos3.fingerprint(url) or "")
        assert len(seen) == 4
        without_log = pos3.fingerprint(url, exclude="log")
        s3.put("data/log", b"y")
        assert pos3.fingerprint(url, exclude="log") == without_log
        assert pos3.fingerprint(s3.url("data/a")) == pos3.fingerprint(s3.url("data/a"))
        assert pos3.fingerprint(s3.url("nothing")) is None
        with pytest.raises(pos3.BucketNotFoundError):
            pos3.fingerprint(f"s3://{s3.bucket}-x/data")
        with pytest.raises(pos3.InvalidArgumentError, match="no registration"):
            pos3.fingerprint("data")


def test_a_registered_place_has_the_fingerprint_of_what_was_downloaded(
    s3: S3Site, here: Path, elsewhere: Path, proxied: PutBefore
) -> None:
    s3.put_all({"data/a/one": b"1", "data/a/two": b"2", "data/a-b": b"3", "data/a0": b"4"})
    proxy = proxied(s3)
    urls = [s3.url(key) for key in ("data", "data/a", "data/a/one", "data/a-b")]
    with opened(here):
        listed = [pos3.fingerprint(url) for url in urls]
        data = pos3.download(s3.url("data"))
        proxy.clear()
        assert [pos3.fingerprint(url) for url in urls] == listed
        assert [pos3.fingerprint(path) for path in (data, data / "a", data / "a" / "one", data / "a-b")] == listed
        assert pos3.fingerprint(data, exclude="a/") == pos3.fingerprint(s3.url("data"), exclude="a/") != listed[0]
        assert proxy.count() == 0
        s3.put("data/a/one", b"new")
        assert pos3.fingerprint(urls[0]) == listed[0], "what is here is still the old"
    with opened(here):
        assert pos3.fingerprint(data) == listed[0], "as it lies in the cache"
        assert pos3.fingerprint(urls[0]) != listed[0]
        pos3.restore(pos3.reference(data / "a" / "two"))  # type: ignore[arg-type]
        assert pos3.fingerprint(data / "a" / "two") == pos3.fingerprint(s3.url("data/a/two"))


def test_what_is_not_in_the_store_yet_has_no_fingerprint(s3: S3Site, here: Path) -> None:
    with opened(here):
        out = pos3.upload(s3.url("out"), interval=None, exclude="*.tmp")
        assert pos3.fingerprint(out) is None
        write_tree(out, {"a": b"1", "b.tmp": b""})
        assert pos3.fingerprint(out) is None
        assert pos3.fingerprint(s3.url("out")) is None
        pos3.flush(out)
        pushed = pos3.fingerprint(out)
        assert pushed is not None
        write_tree(out, {"a": b"2"})
        assert pos3.fingerprint(out) is None
        write_tree(out, {"a": b"1"})
        pos3.flush(out)
        assert pos3.fingerprint(out) == pushed
        (out / "a").unlink()
        assert pos3.fingerprint(out) is None
    s3.put("out/a", b"1")
    with opened(here):
        assert pos3.fingerprint(s3.url("out")) == pushed
