"""Makes the pictures of Prefect's UI in docs/images, from a real run on a Prefect server and an S3 server of its own.

    python docs/screenshots.py

It needs ``chromium`` on PATH (Debian's package) and about two minutes. Look at the pictures before you commit them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PATIENCE_SECONDS = 300
BUCKET = "robot-lab"


def eventually(ask: Callable[[], Any], what: str) -> Any:
    """The first answer that is true. Connection errors count as no answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if answer := ask():
                return answer
        except OSError:
            pass
        time.sleep(0.3)
    raise SystemExit(f"{what}: not within {PATIENCE_SECONDS} s")


def asked(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def prefect_server() -> Iterator[str]:
    """The address of a server with its UI. The variables of this process lead to it."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    os.environ["PREFECT_API_URL"] = f"{url}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with started(command):
        eventually(lambda: asked(f"{url}/api/health"), "the Prefect server")
        yield url


class Browser:
    """A headless Chromium that is driven by its debugging protocol."""

    def __init__(self, address: str):
        self._socket = connect(address, max_size=None)
        self._calls = 0

    def call(self, method: str, **parameters: Any) -> Any:
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE_SECONDS))
            if answer.get("id") == self._calls:
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, url: str, shows: str, width: int, height: int) -> None:
        """Opens a page, and waits until it shows a text."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=url)
        self.wait_for(shows)

    def wait_for(self, text: str) -> None:
        eventually(
            lambda: self.evaluate(f"document.body.innerText.includes({json.dumps(text)})"), f"{text!r} in the UI"
        )

    def click(self, title: str) -> None:
        """Clicks the tab with this title, when it is there."""
        tab = f"[...document.querySelectorAll('.p-tab')].find(each => each.innerText.trim() == {json.dumps(title)})"
        eventually(lambda: self.evaluate(f"{tab} && ({tab}.click(), true)"), f"the tab {title!r}")

    def save(self, name: str, left: int, top: int, right: int, bottom: int) -> None:
        """Writes a part of what is shown as docs/images/<name>."""
        time.sleep(2)  # Prefect's UI fades in.
        clip = {"x": left, "y": top, "width": right - left, "height": bottom - top, "scale": 1}
        picture = self.call("Page.captureScreenshot", format="png", clip=clip)["data"]
        (IMAGES / name).write_bytes(base64.b64decode(picture))


@contextmanager
def browser(home: Path) -> Iterator[Browser]:
    program = shutil.which("chromium") or "chromium"
    port = free_port()
    options = [f"--remote-debugging-port={port}", f"--user-data-dir={home}", "--hide-scrollbars", "--no-first-run"]
    # Chromium's sandbox does not work for root, and the only pages are those of the server above.
    options += ["--no-sandbox"] if os.getuid() == 0 else []
    with started([program, "--headless=new", *options, "about:blank"]):
        pages = eventually(lambda: asked(f"http://127.0.0.1:{port}/json/list"), "Chromium")
        yield Browser(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))


def run_flow(cache: Path) -> None:
    """A training whose first attempt fails. Its uploads are slow, so that their progress is shown."""
    from prefect import task

    import pos3
    from pos3.orchestration import pos3_flow

    @task
    def fit(data: Path) -> Path:
        checkpoints = pos3.sync(f"s3://{BUCKET}/runs/grasp-net-7/checkpoints", interval=3)
        logs = pos3.upload(f"s3://{BUCKET}/runs/grasp-net-7/logs", interval=3)
        done = len(list(checkpoints.iterdir()))
        for epoch in range(done, 6):
            (checkpoints / f"epoch-{epoch}.pt").write_bytes(os.urandom(25_000_000))
            (logs / f"epoch-{epoch}.log").write_text(f"loss {1 / (epoch + 1):.3f}\n")
            time.sleep(1)
            if done == 0 and epoch == 2:
                raise RuntimeError("the machine has a bad day")
        return checkpoints

    @task
    def evaluate(checkpoints: Path, data: Path) -> int:
        time.sleep(2)
        return len(list(checkpoints.iterdir()))

    @pos3_flow(name="train", retries=1, retry_delay_seconds=3, cache_root=cache, max_upload_bytes_per_second=6_000_000)
    def train(dataset: str) -> int:
        data = pos3.download(dataset)
        return evaluate(fit(data), data)

    train(f"s3://{BUCKET}/datasets/grasping-v2")


def take_pictures(url: str, chromium: Browser, flow_run: threading.Thread) -> None:
    def artifact(kind: str) -> dict[str, Any] | None:
        wanted = {"artifacts": {"type": {"any_": [kind]}}, "sort": "UPDATED_DESC"}
        found = asked(f"{url}/api/artifacts/filter", wanted)
        return next(iter(found), None)

    def under_way() -> dict[str, Any] | None:
        found = artifact("progress")
        return found if found and 20 < float(found["data"]) < 80 else None

    progress = eventually(under_way, "a transfer that is under way")
    chromium.open(f"{url}/artifacts/artifact/{progress['id']}", "Progress", 1500, 700)
    chromium.save("progress.png", 250, 0, 1500, 240)

    flow_run.join()
    table = eventually(lambda: artifact("table"), "the table of transfers")
    chromium.open(f"{url}/artifacts/artifact/{table['id']}", "direction", 1700, 700)
    chromium.save("transfers.png", 250, 0, 1700, 450)

    run = table["flow_run_id"]
    chromium.open(f"{url}/runs/flow-run/{run}", "Completed", 1300, 1000)
    chromium.click("Artifacts")
    chromium.wait_for("24 downloaded")
    chromium.save("flow-run.png", 250, 0, 1300, 930)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    with ExitStack() as stack:
        home = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="pos3-pictures-", ignore_cleanup_errors=True))
        )
        # Prefect reads its settings when it is first imported.
        os.environ |= {
            "DO_NOT_TRACK": "1",
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        }
        from tests.support import RcloneServer

        s3 = stack.enter_context(RcloneServer())
        os.environ |= s3.environment()
        s3.create_bucket(BUCKET)
        s3.put_all(BUCKET, {f"datasets/grasping-v2/part-{part:02}.bin": os.urandom(3_000_000) for part in range(24)})
        url = stack.enter_context(prefect_server())
        chromium = stack.enter_context(browser(home / "chromium"))
        flow_run = threading.Thread(target=run_flow, args=(home / "cache",), daemon=True)
        flow_run.start()
        take_pictures(url, chromium, flow_run)


if __name__ == "__main__":
    main()
