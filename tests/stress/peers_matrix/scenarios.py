"""All scenarios, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peers_matrix import bodies, deletes, places
from peers_matrix.stage import Stage


@dataclass(frozen=True)
class Scenario:
    """What is played, and how the page tells it.

    ``needs_deletes``: it says nothing of a tool that never deletes. ``many_objects``: a server on which many objects
    are quickly made. ``once``: waiting is most of it.
    """

    text: str
    play: Callable[[Stage], str]
    needs_deletes: bool = False
    many_objects: bool = False
    once: bool = False


_GROUPS: dict[str, tuple[Scenario, ...]] = {
    "Deletes": (
        Scenario("download, the key is mistyped: local files", deletes.mistyped_source, True),
        Scenario("download, the bucket does not exist: local files", deletes.missing_bucket, True),
        Scenario("upload, the local directory is empty: objects", deletes.empty_local, True),
        Scenario("download, one object is refused (403)", deletes.one_refused, True),
        Scenario("download, page 2 of the listing is refused: local files", deletes.second_page_fails, True, True),
        Scenario("upload, page 2 of the listing is refused", deletes.second_page_fails_up, True, True),
        Scenario("upload, a link whose target is gone", places.broken_link_up, True),
    ),
    "What counts as changed": (
        Scenario("nothing has changed, download again", deletes.unchanged_rerun),
        Scenario("object edited, same size, then download", deletes.object_edited),
        Scenario("object edited, same size, local file with a later time, then download", deletes.object_edited_older),
        Scenario("file edited, same size, older time, then upload", deletes.file_edited_older),
        Scenario("file rewritten in place while it is uploaded (64 MiB)", places.file_rewritten),
        Scenario("object replaced while it is downloaded (64 MiB)", bodies.replaced_while_read),
    ),
    "Broken answers": (
        Scenario("first body cut in half", bodies.cut_once),
        Scenario("every body cut in half", bodies.cut_always),
        Scenario("one bit of the first body flipped (1 MiB)", bodies.flipped_small_once),
        Scenario("one bit of every body flipped (1 MiB)", bodies.flipped_small_always),
        Scenario("one bit of the first body flipped (24 MiB)", bodies.flipped_large_once),
        Scenario("every tenth request answered 503, 300 files", bodies.busy_store, many_objects=True),
        Scenario("every tenth connection reset, 300 files", bodies.resets, many_objects=True),
        Scenario("one request never answered, 5 files", bodies.one_hangs, once=True),
    ),
    "Signals": (
        Scenario("Ctrl-C while downloads hang", bodies.ctrl_c, once=True),
        Scenario("SIGKILL in a download: the partial file", bodies.killed_download),
        Scenario(
            "SIGKILL in a download, then an upload of the directory: the partial file",
            bodies.killed_download_then_upload,
        ),
        Scenario("SIGKILL in an upload (64 MiB)", bodies.killed_upload),
        Scenario("Ctrl-C in an upload (64 MiB)", bodies.interrupted_upload),
    ),
    "Keys and disks": (
        Scenario("key `../../evil`", places.parent_keys),
        Scenario("objects `a`, `a/b` and `c`", places.file_and_directory),
        Scenario("object `d/` with content, beside `d/x`", places.marker_with_content),
        Scenario("a symbolic link where a directory belongs", places.link_in_the_way),
        Scenario("FIFO in the uploaded directory", places.fifo_up, once=True),
        Scenario("disk full while a file is replaced", places.disk_full),
        Scenario("a reader while a file is replaced (8 MiB)", places.reader),
    ),
}

SCENARIOS: dict[str, dict[str, Scenario]] = {
    title: {scenario.play.__name__: scenario for scenario in scenarios} for title, scenarios in _GROUPS.items()
}
