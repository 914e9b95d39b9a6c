"""The paths that mirrors return: what they are, and what they become when they are loaded elsewhere."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import pickletools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pos3
from pos3.mirrors import arrive, is_arriving
from tests.support import Proxy, S3Site, contents


@contextmanager
def opened(cache: Path) -> Iterator[None]:
    with pos3.mirror(cache, show_progress=False):
        yield


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({"data/a/one.csv": b"1", "data/a/two.tmp": b"22", "data/b/three.csv": b"333"})
    return rclone_site


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The cache of another machine."""
    return tmp_path / "there"


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From this call on, this process is on another machine."""
    return lambda: monkeypatch.setattr("pos3.mirrors.paths.machine", lambda: "elsewhere 1")


def test_a_path_is_as_any_other(site: S3Site, here: Path) -> None:
    with opened(here):
        data = pos3.download(site.url("data"))
    plain = Path(str(data))
    assert isinstance(data, Path)
    assert data == plain
    assert hash(data) == hash(plain)
    assert repr(data) == repr(plain)
    assert {data: 1}[plain] == 1
    assert sorted([data / "b", plain / "a"]) == [plain / "a", plain / "b"]
    assert type(Path(data)) is type(plain)
    assert copy.copy(data) is copy.deepcopy(data) is data
    assert not [name for _, name, _ in pickletools.genops(pickle.dumps(Path(data))) if "pos3" in str(name).split("/")]


MADE_OF_IT: dict[str, Callable[[Path], Path]] = {
    "itself": lambda data: data,
    "joined": lambda data: data / "a" / "one.csv",
    "the parent": lambda data: (data / "a" / "one.csv").parent,
    "a child": lambda data: next(iter(data.glob("a"))),
    "another name": lambda data: (data / "a" / "x.csv").with_name("one.csv"),
    "resolved": lambda data: (data / "a" / ".." / "b").resolve(),
}


@pytest.mark.parametrize("made", MADE_OF_IT.values(), ids=MADE_OF_IT)
def test_what_is_made_of_a_path_travels(
    made: Callable[[Path], Path], site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(here):
        data = pos3.download(site.url("data"))
        pickled = pickle.dumps(made(data))
    below = made(data).relative_to(data)
    assert pickle.loads(pickled) == made(data), "it is the same on the same machine, without a mirror too"
    move()
    with opened(there):
        arrived = pickle.loads(pickled)
        assert not there.exists(), "loading sends no request"
        assert arrived.name == made(data).name
        assert arrived == there / "_" / site.bucket / "data" / below
        assert arrived.exists()
        assert not is_arriving(arrived)
        if below.suffix:
            assert contents(there / "_") == {f"{site.bucket}/data/a/one.csv": b"1"}, "nothing else is downloaded"


@dataclasses.dataclass
class Split:
    path: Path


CONTAINERS: dict[str, Callable[[Path], Any]] = {
    "list": lambda path: [path],
    "dict": lambda path: {"x": ({"y": path},)},
    "dataclass": Split,
}


@pytest.mark.parametrize("hold", CONTAINERS.values(), ids=CONTAINERS)
def test_it_arrives_by_its_first_use_wherever_it_is_held(
    hold: Callable[[Path], Any], site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(here):
        pickled = pickle.dumps(hold(pos3.download(site.url("data")) / "b"))
    move()
    with opened(there):
        assert pickle.loads(pickled) == hold(there / "_" / site.bucket / "data" / "b")
    if hold is Split:
        assert dataclasses.asdict(pickle.loads(pickled))["path"]


def test_a_set_that_was_loaded_without_a_mirror_is_made_anew(
    site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(here):
        pickled = pickle.dumps({pos3.download(site.url("data"))})
    move()
    (loaded,) = pickle.loads(pickled)
    with opened(there):
        (arrived,) = {arrive(loaded)}
        assert arrived == there / "_" / site.bucket / "data"
        assert {arrived: 1}[there / "_" / site.bucket / "data"] == 1


def test_without_a_mirror_it_has_the_text_that_it_had_and_arrives_later(
    site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(here):
        data = pos3.download(site.url("data"))
        pickled = pickle.dumps(data)
    move()
    loaded = pickle.loads(pickled)
    assert str(loaded) == str(data)
    assert loaded.exists()
    assert repr(loaded) == repr(Path(data))
    again = pickle.loads(pickle.dumps(loaded))
    with opened(there):
        assert loaded == again == there / "_" / site.bucket / "data"


def test_what_another_machine_has_of_old_is_brought_up_to_date(
    site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(there):
        pos3.download(site.url("data"))
    site.put("data/b/three.csv", b"newer")
    site.delete("data/a/two.tmp")
    with opened(here):
        pickled = pickle.dumps(pos3.download(site.url("data")))
    move()
    with opened(there):
        assert contents(pickle.loads(pickled)) == {"a/one.csv": b"1", "b/three.csv": b"newer"}


def test_what_a_filter_leaves_out_does_not_travel(
    site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(here):
        data = pos3.download(site.url("data"), exclude=["*.tmp", "/b"])
        pickled = pickle.dumps(data), pickle.dumps(data / "a")
    move()
    with opened(there):
        assert contents(pickle.loads(pickled[0])) == {"a/one.csv": b"1"}
    with opened(there.with_name("third")):
        assert contents(pickle.loads(pickled[1])) == {"one.csv": b"1"}


def test_one_download_serves_all(
    site: S3Site, here: Path, there: Path, move: Callable[[], None], proxied: Callable[..., Proxy]
) -> None:
    with opened(here):
        pickled = pickle.dumps(pos3.download(site.url("data")))
    proxy = proxied(site)
    move()
    for _ in range(2):
        with opened(there):
            for _ in range(3):
                assert contents(pickle.loads(pickled))["b/three.csv"] == b"333"
    assert proxy.count("GET") == 3


def test_what_is_written_below_an_upload_that_has_travelled_is_pushed(
    site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(here):
        out = pos3.upload(site.url("out"), exclude="*.tmp")
        pickled = pickle.dumps([out, out / "sub" / "new"])
        move()
        with opened(there):
            arrived, new = pickle.loads(pickled)
            assert arrived == there / "_" / site.bucket / "out"
            assert new == arrived / "sub" / "new"
            new.parent.mkdir()
            new.write_text("x")
            (arrived / "left.tmp").write_text("x")
        assert site.objects("out/") == {"sub/new": b"x"}
        assert contents(out) == {}
    assert site.objects("out/") == {"sub/new": b"x"}, "the first writer does not delete what the second has added"


def test_what_another_machine_has_of_earlier_runs_is_not_pushed_again(
    site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(there):
        for name in ("yesterday", "kept"):
            (pos3.upload(site.url("out")) / name).write_text("x")
    site.delete("out/yesterday")
    with opened(here):
        out = pos3.upload(site.url("out"), delete=False)
        (out / "today").write_text("x")
        pos3.flush()
        pickled = pickle.dumps([out, out / "today"])
        move()
        with opened(there):
            arrived, today = pickle.loads(pickled)
            assert today.read_text() == "x"
            (arrived / "more").write_text("x")
    assert set(site.keys("out/")) == {"out/today", "out/more", "out/kept"}


def test_a_file_that_is_replaced_while_it_travels_again_and_again_is_always_the_newest(
    site: S3Site, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(here):
        out = pos3.upload(site.url("out"))
        for number in range(4):
            (out / "file").write_text(f"version {number}")
            pos3.flush()
            pickled = pickle.dumps(out / "file")
            with monkeypatch.context() as moved, opened(there):
                moved.setattr("pos3.mirrors.paths.machine", lambda: "elsewhere 1")
                assert pickle.loads(pickled).read_text() == f"version {number}"


def test_what_was_pushed_elsewhere_is_downloaded_into_the_upload_of_this_mirror(
    site: S3Site, here: Path, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(here):
        out = pos3.upload(site.url("out"), tmp_path / "chosen")
        (out / "mine").write_text("mine")
        pos3.flush()
        sent = pickle.dumps(out)
        with monkeypatch.context() as moved, opened(there):
            moved.setattr("pos3.mirrors.paths.machine", lambda: "elsewhere 1")
            path = pickle.loads(sent)
            (path / "theirs").write_text("theirs")
            pos3.flush()
            back = pickle.dumps(path / "theirs")
        arrived = pickle.loads(back)
        assert arrived.read_text() == "theirs"
        assert arrived == out / "theirs"
    assert site.objects("out/") == {"mine": b"mine", "theirs": b"theirs"}


def test_a_path_that_was_not_there_brings_nothing(
    site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(here):
        pickled = pickle.dumps(pos3.download(site.url("data")) / "later")
    move()
    with opened(there):
        later = pickle.loads(pickled)
        assert not later.exists()
        assert later == there / "_" / site.bucket / "data" / "later"
    assert not contents(there)


def test_what_is_gone_is_an_error_that_names_both_sides(
    site: S3Site, here: Path, there: Path, move: Callable[[], None]
) -> None:
    with opened(here):
        data = pos3.download(site.url("data"))
        pickled = pickle.dumps(data / "b" / "three.csv")
    site.delete("data/b/three.csv")
    move()
    with opened(there):
        gone = pickle.loads(pickled)
        with pytest.raises(pos3.RemoteNotFoundError) as failure:
            gone.read_text()
        assert str(data / "b" / "three.csv") in str(failure.value)
        assert site.url("data/b/three.csv") in str(failure.value)


def test_a_path_without_a_url_stays_what_it_is(here: Path, tmp_path: Path, move: Callable[[], None]) -> None:
    with opened(here):
        path = pos3.upload(str(tmp_path / "plain"))
        pickled = pickle.dumps(path)
        move()
        assert pickle.loads(pickled) == path


def test_no_secret_travels(site: S3Site, here: Path) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    key, secret = (os.environ[name] for name in names)
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    pos3.register_profile("travelling", endpoint=endpoint, access_key=key, secret_key=secret)
    with opened(here):
        pickled = pickle.dumps([pos3.download(site.url("data"), profile="travelling"), pos3.upload(site.url("out"))])
    assert b"travelling" in pickled
    assert secret.encode() not in pickled


@pytest.mark.parametrize("part", ["", "sub", "sub/old"], ids=["all of it", "a directory", "a file"])
def test_what_was_brought_with_a_path_of_an_upload_replaces_no_newer_object(
    site: S3Site, here: Path, there: Path, move: Callable[[], None], part: str
) -> None:
    with pos3.mirror(here, show_progress=False) as first:
        out = pos3.upload(site.url("out"), interval=None)
        (out / "sub").mkdir()
        (out / "sub" / "old").write_text("old")
        pos3.flush()
        pickled = pickle.dumps(out / part)
        move()
        with opened(there):
            arrive(pickle.loads(pickled))
            root = there / "_" / site.bucket / "out"
            assert (root / "sub" / "old").read_text() == "old"
            (root / "mine").write_text("mine")
            (out / "sub" / "old").write_text("new")
            first.flush()
    assert site.objects("out/") == {"mine": b"mine", "sub/old": b"new"}
