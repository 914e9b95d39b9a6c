"""The recipes work with the real libraries, delete nobody's data, and are what their pages show.

A library that is heavy is not installed for the tests. Its recipe runs where it is installed.
"""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import S3Site, contents
from tests.support.pages import fenced
from tests.support.program import ROOT

RECIPES = ROOT / "examples" / "recipes"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "recipes").glob("*.md"))
SHOWN_IN = {
    "huggingface_datasets.py": "docs/recipes/huggingface-datasets.md",
    "joblib_memory.py": "docs/recipes/joblib.md",
    "opencv_frames.py": "docs/recipes/opencv.md",
    "pandas_tables.py": "docs/recipes/pandas.md",
    "pytorch_checkpoint.py": "docs/recipes/pytorch-checkpoint.md",
    "pytorch_dataset.py": "docs/recipes/pytorch-dataset.md",
    "tar_archive.sh": "docs/recipes/shell.md",
}
RIDES = b"city,minutes\nBern,10\nBern,20\nUlm,5\n"

RunRecipe = Callable[..., str]


@pytest.fixture
def run_recipe(rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRecipe:
    """Runs a recipe to its end, as on a machine of that name, and returns its stdout."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pos3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pos3.cli "$@"\n')
    (programs / "pos3").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)

    def run(name: str, *arguments: str, machine: str = "first") -> str:
        home = home_of(tmp_path, machine)
        home.mkdir(exist_ok=True)
        program = "bash" if name.endswith(".sh") else sys.executable
        ran = subprocess.run(
            [program, str(RECIPES / name), *arguments],
            cwd=home,
            env={**os.environ, "HOME": str(home), "HF_DATASETS_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=110,
            stdin=subprocess.DEVNULL,
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    return run


def home_of(tmp_path: Path, machine: str) -> Path:
    return tmp_path / machine


def cached(tmp_path: Path, site: S3Site, machine: str = "first") -> Path:
    """Where the objects of the bucket lie on a machine."""
    return home_of(tmp_path, machine) / ".cache" / "positronic" / "s3" / "_" / site.bucket


def needs(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def test_pandas_reads_and_writes_csv(rclone_site: S3Site, run_recipe: RunRecipe, tmp_path: Path) -> None:
    rclone_site.put_all({"rides.csv": RIDES, "means/earlier.csv": b"earlier"})
    run_recipe("pandas_tables.py", rclone_site.url("rides.csv"), rclone_site.url("means/new.csv"))
    means = b"city,minutes\nBern,15.0\nUlm,5.0\n"
    assert rclone_site.objects() == {"rides.csv": RIDES, "means/earlier.csv": b"earlier", "means/new.csv": means}
    assert contents(cached(tmp_path, rclone_site)) == {"rides.csv": RIDES, "means/new.csv": means}


def test_pandas_reads_and_writes_parquet(rclone_site: S3Site, run_recipe: RunRecipe) -> None:
    needs("pyarrow")
    rclone_site.put("rides.csv", RIDES)
    csv, parquet, again = (rclone_site.url(name) for name in ("rides.csv", "means.parquet", "again.csv"))
    run_recipe("pandas_tables.py", csv, parquet)
    assert rclone_site.get("means.parquet").startswith(b"PAR1")
    run_recipe("pandas_tables.py", parquet, again)
    assert rclone_site.get("again.csv") == b"city,minutes\nBern,15.0\nUlm,5.0\n"


def test_opencv_saves_frames_of_a_video(rclone_site: S3Site, run_recipe: RunRecipe, tmp_path: Path) -> None:
    import cv2
    import numpy

    film = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 16))
    for number in range(25):
        film.write(numpy.full((16, 32, 3), number * 10, numpy.uint8))
    film.release()
    rclone_site.put("film.avi", (tmp_path / "film.avi").read_bytes())
    rclone_site.put("frames/earlier.png", b"earlier")
    run_recipe("opencv_frames.py", rclone_site.url("film.avi"), rclone_site.url("frames"))
    pictures = rclone_site.objects("frames/")
    assert pictures.pop("earlier.png") == b"earlier"
    assert list(pictures) == ["000000.png", "000010.png", "000020.png"]
    assert contents(cached(tmp_path, rclone_site) / "frames") == pictures
    for number, picture in zip((0, 100, 200), pictures.values(), strict=True):
        pixels = cv2.imdecode(numpy.frombuffer(picture, numpy.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert pixels.shape == (16, 32, 3)
        assert abs(pixels.mean() - number) < 5


def test_joblib_computes_what_no_machine_has_computed(rclone_site: S3Site, run_recipe: RunRecipe) -> None:
    rclone_site.put_all({"texts/a.txt": b"one two", "texts/b.txt": b"three"})
    texts, results = rclone_site.url("texts"), rclone_site.url("results")
    first = run_recipe("joblib_memory.py", texts, results)
    # Two threads print, and one line may begin in the other.
    assert (first.count("counting"), first.endswith("words: 3\n")) == (2, True)
    kept = rclone_site.objects("results/")
    rclone_site.put("texts/c.txt", b"four five six")
    second = run_recipe("joblib_memory.py", texts, results, machine="second")
    assert second.splitlines() == ["counting", "words: 6"]
    assert kept.items() <= rclone_site.objects("results/").items()


def test_tar_packs_what_is_in_s3(rclone_site: S3Site, run_recipe: RunRecipe) -> None:
    rclone_site.put_all({"data/a.txt": b"one", "data/sub/b.txt": b"two", "archives/earlier.tar.gz": b"earlier"})
    run_recipe("tar_archive.sh", rclone_site.url("data"), rclone_site.url("archives/data.tar.gz"))
    assert rclone_site.get("archives/earlier.tar.gz") == b"earlier"
    with tarfile.open(fileobj=io.BytesIO(rclone_site.get("archives/data.tar.gz"))) as archive:
        files = {item.name: archive.extractfile(item) for item in archive if item.isfile()}
        packed = {name: file.read() for name, file in files.items() if file is not None}
    assert packed == {"./a.txt": b"one", "./sub/b.txt": b"two"}


def test_pytorch_reads_a_dataset(rclone_site: S3Site, run_recipe: RunRecipe) -> None:
    needs("torch")
    import torch

    for number in range(6):
        sample = io.BytesIO()
        torch.save(torch.full((3,), number), sample)
        rclone_site.put(f"samples/{number}.pt", sample.getvalue())
    shapes = run_recipe("pytorch_dataset.py", rclone_site.url("samples"))
    assert shapes.splitlines() == ["torch.Size([4, 3])", "torch.Size([2, 3])"]
    assert len(rclone_site.keys("samples/")) == 6


def test_pytorch_goes_on_from_the_last_checkpoint_on_another_machine(
    rclone_site: S3Site, run_recipe: RunRecipe, tmp_path: Path
) -> None:
    needs("torch")
    rclone_site.put("run/notes.txt", b"notes")
    url = rclone_site.url("run")
    assert run_recipe("pytorch_checkpoint.py", url, "2").splitlines() == ["epoch 0", "epoch 1"]
    assert run_recipe("pytorch_checkpoint.py", url, "3", machine="second").splitlines() == ["epoch 2"]
    assert run_recipe("pytorch_checkpoint.py", url, "3").splitlines() == []
    assert set(rclone_site.keys("run/")) == {"run/last.pt", "run/notes.txt"}
    assert contents(cached(tmp_path, rclone_site) / "run") == rclone_site.objects("run/")


def test_hugging_face_datasets_reads_and_saves_a_directory(
    rclone_site: S3Site, run_recipe: RunRecipe, tmp_path: Path
) -> None:
    needs("datasets")
    import datasets

    rclone_site.put_all({"texts/a.csv": b"text\nshort\n", "texts/b.csv": b"text\nmuch longer than twenty\n"})
    rclone_site.put("dataset/notes.txt", b"notes")
    run_recipe("huggingface_datasets.py", rclone_site.url("texts"), rclone_site.url("dataset"))
    assert rclone_site.get("dataset/notes.txt") == b"notes"
    assert {"dataset/state.json", "dataset/dataset_info.json"} < rclone_site.keys("dataset/").keys()
    rows = datasets.load_from_disk(str(cached(tmp_path, rclone_site) / "dataset"))
    assert list(rows["text"]) == ["short"]


# What the pages show


def test_each_recipe_has_a_page() -> None:
    assert {path.name for path in RECIPES.iterdir() if path.is_file()} == SHOWN_IN.keys()
    assert {*SHOWN_IN.values(), "docs/recipes/README.md"} == set(PAGES)


@pytest.mark.parametrize("name", sorted(SHOWN_IN))
def test_a_page_shows_the_code_of_its_recipe_and_is_short(name: str) -> None:
    page, source = ROOT / SHOWN_IN[name], (RECIPES / name).read_text(encoding="utf-8")
    if name.endswith(".py"):
        # The page says what the docstring says, and how the script is called.
        source = source.partition('"""\n\n')[2].partition('\n\n\nif __name__ == "__main__":\n')[0] + "\n"
    assert [snippet.text for snippet in fenced(SHOWN_IN[name])] == [source]
    text = page.read_text(encoding="utf-8")
    assert text.count("\n") <= 30
    assert f"](../../examples/recipes/{name})" in text


def test_the_list_of_recipes_leads_to_each_page() -> None:
    text = (ROOT / "docs" / "recipes" / "README.md").read_text(encoding="utf-8")
    assert [page for page in SHOWN_IN.values() if f"]({page.rpartition('/')[2]})" not in text] == []
