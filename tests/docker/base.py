"""A base image without a registry: Python and a minimal Debian, packed from the packages of the machine itself.

It has what the official slim images of Python have, as far as docker/Dockerfile needs it. The Python is Debian's, or
another one of this machine, which then lies in /usr/local as in those images. Needs root on Debian.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

WANTED = (
    *("apt", "base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "debianutils", "dpkg"),
    *("findutils", "grep", "gzip", "hostname", "libc-bin", "login", "mawk", "passwd", "perl-base", "sed", "tar"),
    *("tini", "tzdata", "util-linux"),
)
DEBIANS_PYTHON = ("python3", "python3-venv")
# What package scripts have made, and what leads to the Python package index from this machine.
MADE = (
    *("/etc/alternatives", "/etc/ld.so.cache"),
    *("/etc/ssl/certs", "/usr/local/share/ca-certificates", "/etc/pip.conf"),
    *("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr/bin/awk", "/usr/bin/which"),
)
EMPTY = ("/dev", "/proc", "/root", "/run", "/sys", "/tmp", "/var/tmp", "/home")
# Parts of an interpreter that no server needs, and what its site-packages have on this machine.
LEFT_OUT_OF_PYTHON = re.compile(
    r"/(site-packages|test|tests|idlelib|tkinter|turtledemo|lib2to3|config-[^/]*|__pycache__)/|\.a$|/_tkinter[^/]*$"
)
LEFT_OUT = re.compile(r"/usr/share/(doc|man|locale|info|lintian|bug)/|/usr/share/(doc|man|locale|info)$")


def installed() -> dict[str, list[str]]:
    """Each package of this machine with the names that it depends on; the first of alternatives."""
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\t${Pre-Depends}, ${Depends}\n"],
        check=True,
        capture_output=True,
        text=True,
    )
    found = {}
    for line in listed.stdout.splitlines():
        name, status, depends = line.split("\t")
        if status == "installed":
            found[name] = [re.split(r"[ :|(]", item.strip())[0] for item in depends.split(",") if item.strip()]
    return found


def closure(names: Iterable[str]) -> list[str]:
    """The packages with all that they depend on, as far as it is installed."""
    known = installed()
    missing = sorted(set(names) - set(known))
    if missing:
        raise RuntimeError(f"not installed here: {', '.join(missing)}")
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found.add(name)
            waiting += known[name]
    return sorted(found)


def files_of(packages: list[str]) -> list[str]:
    listed = subprocess.run(["dpkg-query", "-L", *packages], check=True, capture_output=True, text=True)
    paths = {line for line in listed.stdout.splitlines() if line.startswith("/") and line != "/."}
    return sorted(path for path in paths if not LEFT_OUT.search(path))


def _name(path: str) -> str:
    """Where a path goes: /bin and the like are links into /usr, so nothing may be written through them."""
    return str(Path(path).parent.resolve() / Path(path).name).lstrip("/")


def files_of_python(python: str) -> dict[str, str]:
    """The files of an interpreter and of the libraries that it loads, with the places where they go."""
    script = "import sys, sysconfig; print(sys.base_prefix, sysconfig.get_path('stdlib'))"
    asked = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    prefix, library = asked.stdout.split()
    patterns = ("bin/python*", "lib/libpython*", f"{os.path.relpath(library, prefix)}/**/*")
    files = [str(path) for pattern in patterns for path in sorted(Path(prefix).glob(pattern))]
    kept = [path for path in files if not LEFT_OUT_OF_PYTHON.search(path)]
    binaries = [path for path in kept if re.search(r"\.so[.0-9]*$", path) or path == f"{prefix}/bin/python3"]
    linked = subprocess.run(["ldd", *binaries], check=True, capture_output=True, text=True).stdout
    libraries = {path for path in re.findall(r"=> (/\S+)", linked) if not path.startswith(prefix)}
    return {path: f"usr/local/{os.path.relpath(path, prefix)}" for path in kept} | {
        os.path.realpath(path): _name(path) for path in sorted(libraries)
    }


def write_base(out: IO[bytes], python: str = "") -> None:
    """Writes the root file system as a tar archive, with Debian's Python or with the interpreter ``python``."""
    seen: set[str] = set()
    with tarfile.open(fileobj=out, mode="w|") as archive:

        def add(path: str) -> None:
            name = _name(path)
            if name not in seen and os.path.lexists(path):
                seen.add(name)
                archive.add(path, arcname=name, recursive=False)

        for path in MADE:
            for found in [path, *map(str, sorted(Path(path).rglob("*")) if not Path(path).is_symlink() else [])]:
                add(found)
        for path in files_of(closure((*WANTED, *(() if python else DEBIANS_PYTHON)))):
            add(path)
        for path, name in files_of_python(python).items() if python else ():
            if name not in seen:
                seen.add(name)
                archive.add(path, arcname=name, recursive=False)
        for name in ("passwd", "group"):
            # Without the users of this machine.
            archive.add(f"/usr/share/base-passwd/{name}.master", arcname=f"etc/{name}")
        for path in EMPTY:
            if _name(path) not in seen:
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if path.endswith("tmp") else 0o755
                archive.addfile(entry)
        for link in () if python else ("usr/local/bin/python", "usr/local/bin/python3"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/usr/bin/python3"
            archive.addfile(entry)
