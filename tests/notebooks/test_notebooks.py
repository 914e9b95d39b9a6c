"""Notebooks, run by nbclient in kernels of their own: one mirror for all cells, its bars, and how it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nbclient.exceptions import CellExecutionError

import pos3
from tests.support import Hang, Proxy, S3Site, on
from tests.support.notebook import Notebook
from tests.support.pages import fenced, replaced

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def notebook(rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """A notebook that has imported pos3 and knows the bucket's URL, as ``url``."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    with Notebook(tmp_path) as opened:
        opened.run(f"import pos3; url = {rclone_site.url()!r}")
        yield opened


# One mirror for all cells


def test_a_mirror_serves_all_cells_until_it_is_closed(
    notebook: Notebook, rclone_site: S3Site, isolated_home: Path
) -> None:
    rclone_site.put_all({"data/a.txt": b"one", "model/old.pt": b"old", "model/kept.pt": b"kept"})
    notebook.run("m = pos3.open_mirror()")
    assert notebook.shown("(pos3.download(url + '/data') / 'a.txt').read_text()").endswith("'one'")
    notebook.run("model = pos3.sync(url + '/model', interval=None)")
    notebook.run("(model / 'new.pt').write_text('new'); (model / 'old.pt').unlink()")
    assert set(rclone_site.keys("model/")) == {"model/old.pt", "model/kept.pt"}

    said = notebook.shown("m.close()")
    assert said.endswith(f"pos3: {rclone_site.url('model')}: 1 uploaded (3 B), 1 deleted remotely\n")
    assert rclone_site.objects("model/") == {"kept.pt": b"kept", "new.pt": b"new"}
    place = isolated_home / ".cache" / "positronic" / "s3" / "_" / rclone_site.bucket
    assert (place / "data" / "a.txt").read_bytes() == b"one"
    with pytest.raises(CellExecutionError, match="NoMirrorError"):
        notebook.run("pos3.download(url + '/data')")


def test_threads_tasks_and_awaited_cells_use_the_mirror_of_the_notebook(
    notebook: Notebook, rclone_site: S3Site
) -> None:
    rclone_site.put_all({"data/a.txt": b"one", "more/b.txt": b"two"})
    notebook.run("m = pos3.open_mirror(); import asyncio, threading")
    notebook.run("assert pos3.download(url + '/data') == await asyncio.to_thread(pos3.download, url + '/data')")
    notebook.run("""
seen = []
async def fetch():
    await asyncio.sleep(0.1)
    seen.append(pos3.current_mirror() is m and (pos3.download(url + "/more") / "b.txt").read_text())
task = asyncio.create_task(fetch())
""")
    notebook.run("await task")
    notebook.run("""
thread = threading.Thread(target=lambda: seen.append(pos3.current_mirror() is m))
thread.start()
thread.join()
""")
    assert notebook.shown("seen") == "['two', True]"


def test_a_with_block_and_an_async_function_have_their_own_mirror_in_a_cell(
    notebook: Notebook, rclone_site: S3Site
) -> None:
    notebook.run("m = pos3.open_mirror()")
    notebook.run("""
with pos3.mirror("other-cache") as inner:
    assert pos3.current_mirror() is inner
    (pos3.upload(url + "/block", interval=None) / "x").write_text("block")
assert pos3.current_mirror() is m
""")
    assert rclone_site.objects("block/") == {"x": b"block"}
    notebook.run("""
@pos3.with_mirror("other-cache")
async def work():
    assert pos3.current_mirror() is not m
    (pos3.upload(url + "/function", interval=None) / "x").write_text("function")
await work()
assert pos3.current_mirror() is m
""")
    assert rclone_site.objects("function/") == {"x": b"function"}


def test_an_exception_in_a_cell_leaves_the_mirror_open(notebook: Notebook, rclone_site: S3Site) -> None:
    notebook.run("m = pos3.open_mirror(); out = pos3.upload(url + '/out', interval=None)")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        notebook.run("1 / 0")
    notebook.run("(out / 'x').write_text('1')")
    notebook.run("m.close()")
    assert rclone_site.objects("out/") == {"x": b"1"}


def test_an_interrupted_download_can_be_called_again(
    notebook: Notebook, rclone_site: S3Site, proxied: Callable[..., Proxy]
) -> None:
    rclone_site.put("data/a.txt", b"one")
    proxy = proxied(rclone_site, Hang(match=on("GET"), times=1))
    notebook.run(f"os.environ['AWS_ENDPOINT_URL'] = {proxy.endpoint_url!r}; m = pos3.open_mirror()")

    def interrupt() -> None:
        while not proxy.count("GET"):
            time.sleep(0.05)
        notebook.interrupt()

    with ThreadPoolExecutor() as pool:
        interrupting = pool.submit(interrupt)
        with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
            notebook.run("pos3.download(url + '/data')")
        interrupting.result()
    assert notebook.shown("(pos3.download(url + '/data') / 'a.txt').read_text()").endswith("'one'")


def test_the_cells_of_the_page_run_one_after_the_other(notebook: Notebook, shown: dict[str, str]) -> None:
    notebook.run(f"os.environ |= {dict(os.environ)!r}")
    for snippet in fenced("docs/notebooks.md"):
        notebook.run(replaced(snippet.text, shown))


# Ends without close()


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
def test_a_kernel_that_ends_without_close_deletes_nothing(notebook: Notebook, rclone_site: S3Site, kill: bool) -> None:
    rclone_site.put_all({"model/old.pt": b"old", "model/kept.pt": b"kept"})
    notebook.run("model = pos3.open_mirror().sync(url + '/model', interval=None)")
    notebook.run("(model / 'new.pt').write_text('new'); (model / 'old.pt').unlink()")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        notebook.run("1 / 0")
    notebook.shut_down(kill=kill)
    before = {"old.pt": b"old", "kept.pt": b"kept"}
    assert rclone_site.objects("model/") == (before if kill else {**before, "new.pt": b"new"})
    assert [item.outcome for item in pos3.recover()] == (["pushed"] if kill else [])
    assert rclone_site.objects("model/") == {**before, "new.pt": b"new"}


# What a notebook shows


def test_a_transfer_shows_a_bar_below_its_cell_and_leaves_it_there(notebook: Notebook, rclone_site: S3Site) -> None:
    rclone_site.put_all({"data/a.txt": b"1" * 1000, "data/b.txt": b"2" * 24})
    notebook.run("m = pos3.open_mirror()")
    bars = [output.data for output in notebook.run("pos3.download(url + '/data')") if WIDGET in output.get("data", {})]
    assert len(bars) == 1
    assert bars[0]["text/plain"].startswith(f"Downloading {rclone_site.url('data')}")
    assert any("2/2 files" in text for text in notebook.widget_texts())


def test_without_ipywidgets_the_bar_is_text(notebook: Notebook, rclone_site: S3Site) -> None:
    rclone_site.put_all({"data/a.txt": b"1" * 1000, "data/b.txt": b"2" * 24})
    notebook.run("sys.modules['ipywidgets'] = None; m = pos3.open_mirror()")
    outputs = notebook.run("pos3.download(url + '/data')")
    assert [output.output_type for output in outputs] == ["stream", "execute_result"]
    assert outputs[0].name == "stdout"
    assert outputs[0].text.lstrip("\r").startswith(f"Downloading {rclone_site.url('data')}: 100%")
    assert "2/2 files" in outputs[0].text


def test_a_notebook_without_progress_shows_nothing(notebook: Notebook, rclone_site: S3Site) -> None:
    rclone_site.put("data/a.txt", b"1")
    notebook.run("m = pos3.open_mirror(show_progress=False)")
    assert notebook.run("data = pos3.download(url + '/data'); pos3.upload(url + '/out').joinpath('x').touch()") == []
    assert notebook.run("m.close()") == []


def test_a_mirror_is_shown_as_a_table(notebook: Notebook, rclone_site: S3Site) -> None:
    rclone_site.put("data/a.txt", b"one")
    (empty,) = notebook.run("m = pos3.open_mirror(); m")
    assert "nothing is registered" in empty.data["text/html"]
    notebook.run("pos3.download(url + '/data'); out = pos3.upload(url + '/out', interval=None); m.flush()")
    notebook.run("(out / 'x').write_text('1234')")
    (table,) = notebook.run("m")
    assert table.data["text/plain"].startswith("<pos3.Mirror open, cache_root=")
    assert f">{rclone_site.url('data')}</td>" in table.data["text/html"]


def test_a_forked_child_of_a_kernel_downloads_without_a_word(notebook: Notebook, rclone_site: S3Site) -> None:
    rclone_site.put("data/a.txt", b"one")
    notebook.run("m = pos3.open_mirror(); import multiprocessing")
    shown = notebook.run("""
def work(url):
    return (pos3.download(url + "/data") / "a.txt").read_text()
with multiprocessing.get_context("fork").Pool(1) as pool:
    words = pool.map(work, [url])
""")
    assert shown == []
    assert notebook.shown("words") == "['one']"
