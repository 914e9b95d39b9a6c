"""Local trees that break naive code, and comparing a tree with what a bucket holds."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path

from tests.support.servers import Server

NFC = unicodedata.normalize("NFC", "é")
NFD = unicodedata.normalize("NFD", "é")

PLAIN_NAMES = ("a.txt", "b/c.txt", "b/d/e.bin", "a-b", "a0", "z/last")

ODD_NAMES = (
    "space in name.txt",
    " leading space",
    "trailing space ",
    f"nfc-{NFC}.txt",
    f"nfd-{NFD}.txt",
    "日本語/ファイル.txt",
    "emoji-🚀",
    "new\nline.txt",
    "tab\tname",
    "percent%41.txt",
    "plus+sign",
    "question?mark",
    "hash#mark",
    "amp&ersand",
    "quote'and\"double",
    "back\\slash",
    "star*and[bracket]",
    "tilde~and$dollar",
    "semi;colon:colon,comma",
    "<angle>",
    "--dash",
    ".hidden/.file",
    "...",
    "a.b..c",
)
"""Names that every S3 server must keep and every POSIX disk can hold."""


def write_tree(root: Path, files: dict[str, bytes]) -> Path:
    """Writes each file below `root`; a name that ends in `/` makes an empty directory."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return root


def plain_tree(root: Path) -> Path:
    """A handful of ordinary files in a few directories."""
    return write_tree(root, {name: name.encode() for name in PLAIN_NAMES})


def odd_tree(root: Path, *, empty_dirs: bool = False) -> Path:
    """Every odd name, empty files, and (if asked for) empty directories."""
    files = {name: name.encode() for name in ODD_NAMES} | {"empty": b"", "dir/empty": b""}
    if empty_dirs:
        files |= {"void/": b"", "deep/void/": b""}
    return write_tree(root, files)


def deep_tree(root: Path, depth: int = 60) -> Path:
    """One file at the end of a long chain of directories, and one half-way."""
    chain = [f"d{level}" for level in range(depth)]
    leaf = "/".join([*chain, "leaf"])
    middle = "/".join([*chain[: depth // 2], "middle"])
    return write_tree(root, {leaf: b"leaf", middle: b"middle"})


def many_files(root: Path, count: int, size: int = 0, per_directory: int = 200) -> Path:
    """`count` files of `size` bytes, each with a content of its own."""
    for number in range(count):
        path = root / f"{number // per_directory:04}" / f"{number:06}"
        if number % per_directory == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pseudo_random(size, seed=number))
    return root


def pseudo_random(size: int, seed: int = 0) -> bytes:
    """`size` bytes that look random and are the same for the same seed."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


def longest_name(prefix: str = "") -> str:
    """A relative name with which `prefix` makes a key of exactly 1024 bytes, each segment legal on a disk."""
    left = 1024 - len(prefix.encode())
    segments = []
    while left > 200:
        segments.append("k" * 199)
        left -= 200
    return "/".join([*segments, "k" * left])


def contents(root: Path) -> dict[str, bytes]:
    """Every regular file below `root` with its content, by its posix path relative to `root`."""
    return {
        str(Path(folder, name).relative_to(root).as_posix()): Path(folder, name).read_bytes()
        for folder, _, names in os.walk(root)
        for name in names
        if Path(folder, name).is_file()
    }


def empty_directories(root: Path) -> set[str]:
    """Directories below `root` that hold nothing at all."""
    return {
        Path(folder).relative_to(root).as_posix()
        for folder, folders, names in os.walk(root)
        if not folders and not names and Path(folder) != root
    }


def assert_same(local: Path, server: Server, bucket: str, prefix: str, *, empty_dirs: bool = True) -> None:
    """Fails unless the tree and the keys below `prefix/` hold the same files with the same bytes.

    With `empty_dirs`, on a server that holds markers, empty directories and markers must agree too; a marker
    for anything but an empty directory is always a failure.
    """
    base = prefix.strip("/") + "/" if prefix.strip("/") else ""
    keys = [key[len(base) :] for key in server.keys(bucket, base)]
    markers = {key.rstrip("/") for key in keys if key.endswith("/") or not key} - {""}
    remote = {key: server.get(bucket, base + key) for key in keys if key and not key.endswith("/")}
    here = contents(local)
    problems = [f"only local: {name!r}" for name in sorted(here.keys() - remote.keys())]
    problems += [f"only remote: {name!r}" for name in sorted(remote.keys() - here.keys())]
    problems += [
        f"differs: {name!r}: {len(here[name])} bytes local, {len(remote[name])} remote"
        for name in sorted(here.keys() & remote.keys())
        if here[name] != remote[name]
    ]
    hollow = empty_directories(local)
    problems += [f"marker without an empty directory: {name!r}" for name in sorted(markers - hollow)]
    if empty_dirs and server.traits.markers:
        problems += [f"empty directory without a marker: {name!r}" for name in sorted(hollow - markers)]
    assert not problems, f"{local} and s3://{bucket}/{base} differ:\n" + "\n".join(problems)
