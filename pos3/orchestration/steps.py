"""Steps for ``prefect.yaml``. They push flow code to S3 at ``prefect deploy``, and pull it before each run.

The steps have the arguments and results of the steps with the same names in prefect-aws. In place of credentials, they
take a URL and a profile of pos3.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urlsplit

from prefect.utilities.filesystem import filter_files

import pos3
from pos3.orchestration.runtime import blocks_as_profiles

ProfileChoice = str | pos3.Profile | Mapping[str, Any]


class PushToS3Output(TypedDict):
    """The result of :func:`push_to_s3`."""

    url: str
    bucket: str
    folder: str


class PullFromS3Output(TypedDict):
    """The result of :func:`pull_from_s3`. Prefect changes to ``directory``."""

    url: str
    bucket: str
    folder: str
    directory: str


def push_to_s3(
    url: str | None = None,
    profile: ProfileChoice | None = None,
    ignore_file: str | None = ".prefectignore",
    *,
    bucket: str | None = None,
    folder: str | None = None,
    delete: bool = False,
) -> PushToS3Output:
    """Makes the objects below a URL match the files of the working directory. Returns when all files are stored.

    Args:
        url: a URL such as ``s3://lab@bucket/flows``. Give either ``url`` or ``bucket``.
        profile: the name of a profile or of a Pos3Profile block. The template
            ``{{ prefect.blocks.pos3-profile.lab }}`` gives the block itself.
        ignore_file: the name of a file with patterns as in ``.gitignore``. Files that match are left out.
        bucket, folder: the bucket and the prefix, instead of ``url``.
        delete: remove objects below the URL that have no local file.

    Raises:
        InvalidArgumentError: there is no URL, or both a URL and a bucket.
        TransferError: some files failed.
    """
    url = _url(url, bucket, folder)
    with _mirror() as mirror, tempfile.TemporaryDirectory(prefix="pos3-push-") as staged:
        for name in _files(Path.cwd(), ignore_file):
            target = Path(staged, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, target)
        mirror.upload(url, staged, interval=None, delete=delete, profile=_profile(profile))
        mirror.finish()
    bucket, folder = _parts(url)
    return {"url": url, "bucket": bucket, "folder": folder}


def pull_from_s3(
    url: str | None = None,
    profile: ProfileChoice | None = None,
    *,
    bucket: str | None = None,
    folder: str | None = None,
) -> PullFromS3Output:
    """Downloads the objects below a URL to the working directory. Other files there stay.

    Args:
        url: a URL such as ``s3://lab@bucket/flows``. Give either ``url`` or ``bucket``.
        profile: as for :func:`push_to_s3`.
        bucket, folder: the bucket and the prefix, instead of ``url``.

    Raises:
        InvalidArgumentError: there is no URL, or both a URL and a bucket.
        RemoteNotFoundError: nothing is at the URL.
        TransferError: some files failed.
    """
    url = _url(url, bucket, folder)
    here = os.getcwd()
    with _mirror() as mirror:
        mirror.download(f"{url.rstrip('/')}/", here, delete=False, adopt=True, profile=_profile(profile))
    bucket, folder = _parts(url)
    return {"url": url, "bucket": bucket, "folder": folder, "directory": here}


@contextlib.contextmanager
def _mirror() -> Iterator[pos3.Mirror]:
    """A mirror that leaves no record: the directories of flow runs are temporary, and few of them come again."""
    with tempfile.TemporaryDirectory(prefix="pos3-step-") as cache, blocks_as_profiles():
        mirror = pos3.Mirror(pos3.MirrorOptions(cache_root=cache, show_progress=False).or_environment()).open()
        try:
            yield mirror
        finally:
            mirror.close(push=False)


def _url(url: str | None, bucket: str | None, folder: str | None) -> str:
    if (url is None) == (bucket is None):
        raise pos3.InvalidArgumentError(
            "the step needs either a url, or a bucket with an optional folder; set one of them in prefect.yaml",
            argument="url",
        )
    if url is not None:
        if folder is not None:
            raise pos3.InvalidArgumentError(
                f"url={url!r} and folder={folder!r}: a url includes the folder; remove one of them", argument="folder"
            )
        return url
    return f"s3://{bucket}/{(folder or '').strip('/')}".rstrip("/")


def _parts(url: str) -> tuple[str, str]:
    parsed = urlsplit(url)
    return parsed.netloc.rpartition("@")[2], parsed.path.strip("/")


def _profile(choice: ProfileChoice | None) -> str | pos3.Profile | None:
    if not isinstance(choice, Mapping):
        return choice
    # Prefect gives the fields of a block that a template names.
    from pos3.orchestration.blocks import Pos3Profile

    given = {name: value for name, value in choice.items() if value is not None}
    return Pos3Profile(**{"local_name": "step", **given}).to_profile()


def _files(directory: Path, ignore_file: str | None) -> Iterator[Path]:
    """The files below a directory, relative to it, without those that the ignore file names."""
    kept = None
    if ignore_file and (directory / ignore_file).exists():
        patterns = [line.strip() for line in (directory / ignore_file).read_text().splitlines()]
        kept = filter_files(str(directory), patterns)
    for root, _, names in os.walk(directory):
        for name in names:
            path = Path(root, name).relative_to(directory)
            if (kept is None or str(path) in kept) and Path(root, name).is_file():
                yield path
