"""What is transferred: trees and large files with reproducible content, and the indexes that the server lists."""

from __future__ import annotations

import base64
import hashlib
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from awscrt import checksums

MIB = 1024 * 1024
MODIFIED_SECONDS = 1_767_225_600  # 2026-01-01; in the past, so that no file counts as newer than its object
_PER_DIRECTORY = 100


@dataclass(frozen=True)
class Object:
    """An object as the server lists it; ``name`` is the key below the prefix.

    ``crc64nvme`` is what the server tells those who ask for checksums; it tells none if that is "".
    """

    name: str
    size_bytes: int
    etag: str
    modified_seconds: int = MODIFIED_SECONDS
    file: str = ""
    crc64nvme: str = ""


def flat_names(count: int) -> list[str]:
    """Names in directories of a hundred, in order."""
    digits = max(6, len(str(count)))
    return [f"{number // _PER_DIRECTORY:0{digits - 2}}/{number:0{digits}}" for number in range(count)]


def deep_names(count: int) -> list[str]:
    """Names of a dataset as found in practice: splits, classes, scenes, and a few files in each."""
    return sorted(
        f"{'train' if number % 10 else 'val'}/class-{number % 17:02}/scene-{number % 101:03}/camera/"
        f"{number % 3}/frame-{number:06}.jpg"
        for number in range(count)
    )


def content(number: int, size_bytes: int, version: int = 0) -> bytes:
    return random.Random(number * 1000 + version).randbytes(size_bytes)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def crc64nvme_text(value: int) -> str:
    """The checksum as it stands in a header."""
    return base64.b64encode(value.to_bytes(8, "big")).decode()


def write_tree(root: Path, names: Sequence[str], size_bytes: int) -> list[Object]:
    """Writes a file for each name; the objects are in order of their names."""
    objects = []
    made: set[str] = set()
    for number, name in enumerate(names):
        path = os.path.join(root, name)
        folder = os.path.dirname(path)
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        objects.append(write_file(path, name, content(number, size_bytes)))
    return objects


def write_file(path: str, name: str, data: bytes, modified_seconds: int = MODIFIED_SECONDS) -> Object:
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, (modified_seconds, modified_seconds))
    return Object(name, len(data), md5(data), modified_seconds, path, crc64nvme_text(checksums.crc64nvme(data)))


def empty_tree(root: Path, names: Sequence[str]) -> list[Object]:
    """Creates an empty file for each name."""
    etag = md5(b"")
    for name in names:
        path = os.path.join(root, name)
        try:
            os.mknod(path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path))
            os.mknod(path)
        os.utime(path, (MODIFIED_SECONDS, MODIFIED_SECONDS))
    return [Object(name, 0, etag) for name in names]


def write_large(path: Path, size_bytes: int, part_bytes: int = 8 * MIB) -> Object:
    """A large file, with the ETag that it has after an upload in parts."""
    block = random.Random(0).randbytes(part_bytes)
    sums, crc64nvme = [], 0
    with path.open("wb") as file:
        for number in range(0, size_bytes, part_bytes):
            # No two parts are equal.
            part = (number.to_bytes(8, "big") + block[8:])[: size_bytes - number]
            file.write(part)
            sums.append(hashlib.md5(part, usedforsecurity=False).digest())
            crc64nvme = checksums.crc64nvme(part, crc64nvme)
    os.utime(path, (MODIFIED_SECONDS, MODIFIED_SECONDS))
    etag = f"{md5(b''.join(sums))}-{len(sums)}"
    return Object(path.name, size_bytes, etag, MODIFIED_SECONDS, str(path), crc64nvme_text(crc64nvme))


def synthetic(names: Iterable[str], size_bytes: int = 4096) -> Iterator[Object]:
    """Objects that are listed only."""
    for number, name in enumerate(names):
        yield Object(name, size_bytes, f"{number:032x}")


def write_index(path: Path, prefix: str, objects: Iterable[Object]) -> Path:
    """What ``Front.bind`` reads."""
    with path.open("w") as file:
        for item in objects:
            fields = (f"{prefix}{item.name}", item.size_bytes, item.etag, item.modified_seconds, item.crc64nvme)
            file.write("\t".join(map(str, (*fields, item.file))) + "\n")
    return path


def remove_tree(root: Path) -> None:
    """Faster than shutil.rmtree for a hundred thousand files, and silent about what is not there."""
    if not root.exists():
        return
    for folder, folders, files in os.walk(root, topdown=False):
        for name in files:
            os.unlink(os.path.join(folder, name))
        for name in folders:
            os.rmdir(os.path.join(folder, name))
    root.rmdir()
