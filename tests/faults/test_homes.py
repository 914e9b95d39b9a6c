"""Caches that cannot be written, users without a home directory, and processes that write names as ASCII."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support import S3Site, contents, write_tree
from tests.support.program import ROOT, Ran, run_program

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
RIGHTS = "-dac_override,-dac_read_search"


def run_without_rights(script: str, *arguments: str | Path) -> Ran:
    """The script, run by somebody for whom permissions count, even if that is root."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may write everything, and there is no setpriv to take that right away")
        command = ["setpriv", f"--inh-caps={RIGHTS}", f"--bounding-set={RIGHTS}", *command]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def make_unwritable(cache: Path, how: str) -> None:
    """A cache that is read-only, of another user, or a file."""
    if how == "file":
        cache.write_bytes(b"in the way")
        return
    state = cache / ".pos3"
    state.mkdir(parents=True)
    if how == "read-only":
        state.rmdir()
        cache.chmod(0o555)
    elif how == "another-users-state":
        if os.geteuid() != 0:
            pytest.skip("only root can give a directory away")
        os.chown(state, 65534, 65534)
        state.chmod(0o700)
    elif how == "another-users":
        if os.geteuid() != 0:
            pytest.skip("only root can give a directory away")
        os.chown(cache, 65534, 65534)
        cache.chmod(0o755)
        state.rmdir()


UNWRITABLE = pytest.mark.parametrize("how", ["read-only", "another-users", "another-users-state", "file"])

TRANSFERS = """
import logging, os, sys
import pos3
logging.basicConfig(format="%(message)s")
url, cache, place = sys.argv[1:]
os.chdir(place)
for _ in range(2):
    with pos3.mirror(cache, show_progress=False, cache_limit="1GB") as mirror:
        data = pos3.download(f"{url}/data", "data")
        one = pos3.download(f"{url}/one", "one")
        both = pos3.sync(f"{url}/both", "both", interval=None)
        (both / "mine").write_text("mine")
        out = pos3.upload(f"{url}/out", "out", interval=0.05)
        (out / "new").write_text("new")
        pos3.flush()
        pos3.publish(f"{url}/set", data)
        complete = pos3.download(f"{url}/set/", "set", require_marker="_SUCCESS")
print(mirror.report().downloaded_files)
"""


@UNWRITABLE
def test_transfers_with_places_of_their_own_go_on_where_the_cache_cannot_be_written(
    s3: S3Site, tmp_path: Path, how: str
) -> None:
    s3.put_all({"data/a": b"1", "data/b/c": b"2", "one": b"3", "both/theirs": b"4"})
    place = write_tree(tmp_path / "place", {})
    make_unwritable(tmp_path / "cache", how)
    ran = run_without_rights(TRANSFERS, s3.url(), tmp_path / "cache", place)
    assert (ran.status, ran.stdout) == (0, "0\n"), ran.stderr
    here = contents(place)
    assert {name: here[name] for name in ("data/a", "data/b/c", "one", "both/theirs", "set/a")} == {
        "data/a": b"1",
        "data/b/c": b"2",
        "one": b"3",
        "both/theirs": b"4",
        "set/a": b"1",
    }
    assert s3.objects("both/") == {"theirs": b"4", "mine": b"mine"}
    assert s3.objects("out/") == {"new": b"new"}
    assert ran.stderr.count("nothing is remembered") == 1
    assert "cannot use the index" not in ran.stderr


IN_CACHE = """
import sys
import pos3
url, cache, call = sys.argv[1:]
with pos3.mirror(cache, show_progress=False):
    try:
        getattr(pos3, call)(url)
    except (OSError, pos3.Pos3Error) as error:
        print(type(error).__name__, error)
"""


@UNWRITABLE
@pytest.mark.parametrize("call", ["download", "upload", "sync"])
def test_a_transfer_into_a_cache_that_cannot_be_written_is_one_error_that_says_what_to_do(
    rclone_site: S3Site, tmp_path: Path, how: str, call: str
) -> None:
    rclone_site.put("data/a", b"1")
    make_unwritable(tmp_path / "cache", how)
    ran = run_without_rights(IN_CACHE, rclone_site.url("data"), tmp_path / "cache", call)
    kind = "NotADirectoryError" if how == "file" else "PermissionError"
    assert ran.stdout.startswith(f"{kind} [Errno ")
    assert "name another cache with cache_root=..." in ran.stdout
    assert str(tmp_path / "cache") in ran.stdout
    assert (ran.status, ran.stdout.count("\n"), ran.stderr) == (0, 1, "")
    assert rclone_site.objects("data/") == {"a": b"1"}


# -- no home directory

NO_HOME = """
import logging, os, sys
import pos3, pos3.jobs.recovery, pos3.store.s3.store
logging.basicConfig(format="%(message)s")
url, place = sys.argv[1:]
# What is loaded only when it is needed may lie where this user cannot read.
with pos3.mirror(f"{place}/warm", show_progress=False):
    pos3.download(f"{url}/data")
os.environ.pop("HOME")
os.environ.pop("POS3_PROFILES_FILE")
os.chmod(place, 0o777)
os.chdir(place)
os.setgid(54321)
os.setuid(54321)
assert os.path.expanduser("~") == "~"
def tried(call):
    try:
        print(call())
    except pos3.Pos3Error as error:
        print(type(error).__name__, error)
with pos3.mirror(show_progress=False):
    tried(lambda: pos3.download(f"{url}/data", "here").name)
    tried(lambda: pos3.url_of("here"))
    tried(lambda: pos3.download(f"{url}/other"))
    tried(lambda: pos3.upload(f"{url}/other"))
    tried(lambda: pos3.plan_download(f"{url}/other"))
    tried(lambda: pos3.download(f"{url}/other", "~/there"))
    tried(lambda: pos3.upload("~/there"))
    tried(lambda: pos3.upload(f"{url}/other", "~nobodyatall/there"))
    tried(lambda: pos3.download(f"{url}/other", "x", profile="lab"))
    out = pos3.upload(f"{url}/out", "out", interval=None)
    (out / "new").write_text("new")
tried(lambda: pos3.mirror("~/cache").__enter__())
print(sorted(os.listdir()))
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that any user can reach."""
    with TemporaryDirectory() as place:
        yield Path(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without an entry")
def test_without_a_home_directory_explicit_places_work_and_nothing_is_called_by_a_tilde(
    s3: S3Site, open_place: Path
) -> None:
    s3.put_all({"data/a": b"1", "other/a": b"2"})
    place = open_place
    command = [sys.executable, "-c", NO_HOME, s3.url(), str(place)]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0, ran.stderr
    assert lines[:2] == ["here", s3.url("data/")]
    for line in lines[2:5]:
        assert line.startswith("InvalidArgumentError")
        assert "no home directory is known" in line
        assert "give cache_root=... or local=..." in line
    assert lines[5].startswith("InvalidArgumentError local='~/there': no home directory is known")
    assert lines[6].startswith("InvalidArgumentError '~/there': no home directory is known")
    assert lines[7].startswith("InvalidArgumentError local='~nobodyatall/there': there is no user 'nobodyatall'")
    assert lines[8].startswith("ProfileError unknown profile 'lab'")
    assert lines[9].startswith("InvalidArgumentError cache_root='~/cache': no home directory is known")
    assert lines[10:] == ["['here', 'out', 'warm']"]
    assert contents(place / "here") == {"a": b"1"}
    assert s3.objects("out/") == {"new": b"new"}
    assert ran.stderr.count("nothing is remembered") == 1


# -- names of files in ASCII


def test_an_ascii_locale_moves_what_it_can_name(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "data/b c": b"2", "dätä/x": b"3"})
    cache = ("--cache-root", tmp_path / "cache")
    ran = run_program("download", "-q", s3.url("data"), "--local", tmp_path / "here", *cache, **ASCII)
    assert (ran.status, ran.stdout) == (0, f"{tmp_path / 'here'}\n")
    # The URL may be what no path can be.
    ran = run_program("download", "-q", s3.url("dätä"), "--local", tmp_path / "there", *cache, **ASCII)
    assert (ran.status, ran.stderr) == (0, "")
    assert contents(tmp_path / "there") == {"x": b"3"}
    ran = run_program("upload", "-q", s3.url("ö"), "--local", tmp_path / "here", *cache, **ASCII)
    assert (ran.status, ran.stderr) == (0, "")
    assert s3.objects("ö/") == {"a": b"1", "b c": b"2"}
    assert run_program("ls", "-r", s3.url("dätä"), **ASCII).lines == [s3.url("dätä/x")]


@pytest.mark.parametrize("key", ["data", "dätä"])
def test_what_an_ascii_locale_cannot_name_is_one_clear_error_before_anything_is_changed(
    s3: S3Site, tmp_path: Path, key: str
) -> None:
    s3.put_all({"data/a": b"1", "data/é": b"2", "dätä/x": b"3"})
    place = ["--local", tmp_path / "here"] if key == "data" else []
    ran = run_program("download", s3.url(key), *place, "--cache-root", tmp_path / "cache", **ASCII)
    assert (ran.status, ran.stdout) == (1, "")
    assert "PYTHONUTF8=1" in ran.stderr
    assert "unexpected" not in ran.stderr
    assert not (tmp_path / "here").exists()
    assert not (tmp_path / "cache" / "_").exists()
    told = "--exclude" if key == "data" else "--local"
    assert told in ran.stderr


def test_a_local_name_that_an_ascii_locale_cannot_read_is_told_as_such(s3: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"é": b"1", "a": b"2"})
    ran = run_program("upload", s3.url("data"), "--local", here, "--cache-root", tmp_path / "cache", **ASCII)
    assert ran.status == 1
    assert "cannot read" in ran.stderr
    assert "PYTHONUTF8=1" in ran.stderr
    assert run_program("upload", s3.url("data"), "--local", here, "--cache-root", tmp_path / "cache").status == 0
    assert s3.objects("data/") == {"é": b"1", "a": b"2"}


def test_a_url_that_is_no_utf_8_is_refused(rclone_site: S3Site) -> None:
    ran = run_program("ls", f"{rclone_site.url()}/\udcff")
    assert ran.status == 1
    assert "is not valid UTF-8" in ran.stderr
    assert "unexpected" not in ran.stderr
