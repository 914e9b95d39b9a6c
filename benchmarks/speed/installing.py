"""What the benchmark needs beside this checkout, each in a place of its own below ``.bench``, and made only once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".bench"

_DEBIAN = (
    "nginx",
    "libnginx-mod-http-lua",
    "libnginx-mod-http-ndk",
    "lua-resty-core",
    "lua-resty-lrucache",
    "libluajit2-5.1-2",
    "libpcre3",
)


class InstallError(RuntimeError):
    """Something that is compared, or the server, cannot be had on this machine."""


@dataclass(frozen=True)
class Nginx:
    """An nginx that runs Lua, unpacked from Debian's packages."""

    root: Path

    @property
    def binary(self) -> Path:
        return self.root / "usr/sbin/nginx"

    @property
    def modules(self) -> Path:
        return self.root / "usr/lib/nginx/modules"

    @property
    def lua(self) -> Path:
        return self.root / "usr/share/lua/5.1"

    @property
    def libraries(self) -> str:
        folders = [*self.root.glob("usr/lib/*-linux-gnu"), *self.root.glob("lib/*-linux-gnu")]
        return ":".join(map(str, folders))


def nginx() -> Nginx:
    """Unpacks the packages without installing them: no root is needed, and the machine stays as it is.

    Raises:
        InstallError: This is no Debian or Ubuntu, or apt has no list of packages yet.
    """
    unpacked = HOME / "nginx"
    ready = unpacked / ".ready"
    wanted = "\n".join(_DEBIAN)
    if not ready.exists() or ready.read_text() != wanted:
        packages = unpacked / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", *_DEBIAN], "nginx with Lua comes from Debian's packages", cwd=packages)
        for package in packages.glob("*.deb"):
            _run(["dpkg", "-x", str(package), str(unpacked)], f"unpacking {package.name}")
        ready.write_text(wanted)
    return Nginx(unpacked)


def environment_of(name: str, *requirements: str) -> Path:
    """A virtual environment with these packages; made again if the list has changed.

    Raises:
        InstallError: pip does not find them.
    """
    folder = HOME / "peers" / name
    ready = folder / ".ready"
    wanted = "\n".join(requirements)
    if not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)], f"the environment of {name}")
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, *requirements], f"installing {', '.join(requirements)}")
        ready.write_text(wanted)
    return folder


def version_in(folder: Path, package: str) -> str:
    script = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run(
        [folder / "bin/python", "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()


def _run(command: list[str], what: str, cwd: Path | None = None) -> None:
    try:
        ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    except OSError as error:
        raise InstallError(f"{what}: {error}") from error
    if ran.returncode:
        raise InstallError(f"{what}: {command[0]} ended with status {ran.returncode}: {ran.stderr[-1000:]}")
