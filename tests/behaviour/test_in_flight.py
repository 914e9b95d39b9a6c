"""How many requests a server has to carry out at once: as many as pay, or at most as many as were asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pos3
from pos3.store import open_store
from pos3.url import Location
from tests.faults.base import PutBefore, opened, run_python
from tests.support import Fault, Latency, Proxy, ResetBefore, S3Site, Slowdown, contents, on, write_tree
from tests.support.request import Request

LATENCY_SECONDS = 0.1


@dataclass
class Watched(Fault):
    """Breaks nothing; notes when each request came."""

    came: list[float] = field(default_factory=list)

    def strikes(self, request: Request, dice: object) -> bool:
        if self.match(request):
            self.came.append(time.monotonic())
        return False

    @property
    def at_first(self) -> int:
        """How many came before any of them can have been answered."""
        return sum(moment < self.came[0] + LATENCY_SECONDS for moment in self.came)


def tree(count: int) -> dict[str, bytes]:
    return {f"{number // 100}/{number:04}": b"%d" % number for number in range(count)}


def far(site: S3Site, proxied: PutBefore, *faults: Fault) -> tuple[Proxy, Watched]:
    watched = Watched(match=on("GET", "PUT"))
    return proxied(site, Latency(seconds=LATENCY_SECONDS), watched, *faults), watched


def test_a_store_that_is_far_away_is_asked_for_ever_more_at_once(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    files = tree(800)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    proxy, watched = far(rclone_site, proxied)
    with opened(tmp_path):
        assert contents(pos3.download(rclone_site.url("data"))) == files
        assert watched.at_first == 32
        assert 96 < proxy.peak <= 256
        # Most of the connections are of no use any more.
        assert proxy.connections <= 32


def test_what_is_uploaded_goes_out_in_the_same_way(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    files = tree(400)
    write_tree(tmp_path / "out", files)
    proxy, watched = far(rclone_site, proxied)
    with opened(tmp_path):
        pos3.upload(rclone_site.url("out"), tmp_path / "out", interval=None)
    assert rclone_site.objects("out/") == files
    assert watched.at_first <= 32
    assert 64 <= proxy.peak <= 256


@pytest.mark.parametrize("how", ["argument", "environment"])
@pytest.mark.parametrize("workers", [3, 10])
def test_a_number_that_was_asked_for_is_never_exceeded(
    rclone_site: S3Site,
    tmp_path: Path,
    proxied: PutBefore,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    how: str,
) -> None:
    """Also if it is the default."""
    rclone_site.put_all({f"data/{name}": data for name, data in tree(60).items()})
    proxy = proxied(rclone_site, Latency(seconds=0.05))
    if how == "environment":
        monkeypatch.setenv("POS3_MAX_WORKERS", str(workers))
    with opened(tmp_path, **({"max_workers": workers} if how == "argument" else {})):
        path = pos3.download(rclone_site.url("data"))
        pos3.upload(rclone_site.url("copy"), path, interval=None)
    assert rclone_site.objects("copy/") == tree(60)
    assert proxy.peak == workers


@pytest.mark.parametrize("kind", [Slowdown, ResetBefore])
def test_a_server_that_takes_only_so_much_at_once_is_soon_not_asked_for_more(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, kind: type[Fault]
) -> None:
    files = tree(600)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    proxy = proxied(rclone_site)
    crowded = kind(match=lambda request: request.kind == "GET" and proxy.under_way > 40)
    proxy.inject(Latency(seconds=LATENCY_SECONDS / 2), crowded)
    with opened(tmp_path):
        assert contents(pos3.download(rclone_site.url("data"))) == files
    late = [request for request in proxy.requests if request.kind == "GET"][-200:]
    assert crowded.struck > 0
    assert sum(kind.__name__ in request.faults for request in late) < 40


LIMITED = """
import resource, sys, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
import pos3
def download(name):
    with pos3.mirror(sys.argv[2] + "/" + name, show_progress=False):
        pos3.download(sys.argv[3] + "/" + name)
threads = [threading.Thread(target=download, args=(name,)) for name in sys.argv[4:]]
for each in threads:
    each.start()
for each in threads:
    each.join()
"""


@pytest.mark.parametrize("names", [["data"], ["data", "more", "most"]], ids=["one", "three"])
def test_requests_take_at_most_half_of_the_descriptors_of_the_process(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, names: list[str]
) -> None:
    files = tree(300)
    for name in names:
        rclone_site.put_all({f"{name}/{path}": data for path, data in files.items()})
    proxy, _ = far(rclone_site, proxied)
    program = run_python(LIMITED, 120, tmp_path / "cache", rclone_site.url(""), *names)
    output, _ = program.communicate(timeout=120)
    assert output == ""
    assert sum(path.is_file() and ".pos3" not in path.parts for path in (tmp_path / "cache").rglob("*")) == 300 * len(
        names
    )
    # Each lists as well.
    assert 40 < proxy.peak <= 60 + len(names)


@pytest.mark.parametrize("given", [None, 4])
@pytest.mark.parametrize("scheme", ["s3", "memory"])
def test_stores_say_how_many_requests_may_be_under_way(rclone_site: S3Site, scheme: str, given: int | None) -> None:
    store = open_store(Location(scheme, rclone_site.bucket, ""), None, given)
    assert store.run(lambda: store.most_in_flight(0), given) == (given or 10)
