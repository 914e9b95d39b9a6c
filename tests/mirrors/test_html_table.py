"""What a notebook shows of a mirror: its registrations as a table of HTML."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

import pos3
from pos3.mirrors.html_table import mirror_as_html
from tests.support import Proxy, S3Site, Status, on


class Cells(HTMLParser):
    """The texts of the cells of all rows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._is_in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.add(tag)
        self._is_in_cell = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self._is_in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_in_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_in_cell:
            self.rows[-1][-1] += data


def test_each_registration_is_a_row_with_what_was_moved_and_when_all_was_pushed(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    rclone_site.put_all({"data/a": b"12", "data/b": b"3"})
    with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        data, out = pos3.download(rclone_site.url("data")), pos3.upload(rclone_site.url("out"), interval=None)
        (out / "x").write_bytes(b"1234")
        before = Cells(mirror._repr_html_()).rows
        pos3.flush()
        after = Cells(mirror._repr_html_()).rows
    url, local = rclone_site.url("data"), str(data)
    assert before[0] == ["call", "URL", "local path", "equal on both sides", "moved", "everything pushed"]
    assert before[1] == after[1] == ["download", url, local, "2 files, 3 B", "2 downloaded (3 B)", ""]
    assert before[2] == ["upload", rclone_site.url("out"), str(out), "0 files, 0 B", "nothing", "not yet"]
    assert after[2][3:5] == ["1 file, 4 B", "1 uploaded (4 B)"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", after[2][5])
    assert ", closed, " in mirror._repr_html_()


@pytest.mark.usefixtures("short_pauses")
def test_a_failed_push_is_in_the_row(rclone_site: S3Site, tmp_path: Path, proxied: Callable[..., Proxy]) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT")))
    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False)).open()
    (mirror.upload(rclone_site.url("out"), interval=None) / "x").write_bytes(b"1")
    with pytest.raises(pos3.TransferError):
        mirror.flush()
    row = Cells(mirror._repr_html_()).rows[1]
    mirror.close(push=False)
    assert "the last transfer failed: " in row[4]
    assert row[5] == "not yet"


def test_names_are_shown_as_text_whatever_they_are(rclone_site: S3Site, tmp_path: Path) -> None:
    place = tmp_path / "<script>alert(1)&\udcff\x1b[2J"
    place.mkdir()
    rclone_site.put("<img src=x onerror=alert(1)>/a", b"1")
    with pos3.mirror(place, show_progress=False) as mirror:
        pos3.download(rclone_site.url("<img src=x onerror=alert(1)>"))
        page = mirror._repr_html_()
    assert Cells(page).tags == {"div", "b", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert Cells(page).rows[1][1] == rclone_site.url("<img src=x onerror=alert(1)>")
    assert page.encode("utf-8").isascii()
    assert "\x1b" not in page


def test_of_many_registrations_the_newest_are_shown() -> None:
    registered = [pos3.Registered("download", f"s3://bucket/{number}", f"/cache/{number}") for number in range(52)]
    page = mirror_as_html("open", "/cache", registered)
    rows = Cells(page).rows[1:]
    assert [row[1] for row in rows] == [item.url for item in registered[2:]]
    assert "2 earlier ones are not shown" in page


def test_it_sets_no_colour_so_that_it_can_be_read_on_light_and_on_dark_pages(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        pos3.upload(rclone_site.url("out"), interval=None)
        page = mirror._repr_html_()
    assert set(re.findall(r'style="([^"]*)"', page)) == {"text-align: left"}
