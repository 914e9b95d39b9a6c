"""Says what was probably meant: by a command, an option, a bucket or a prefix that does not exist."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from contextlib import suppress

from pos3.errors import BucketNotFoundError, RemoteNotFoundError
from pos3.url import masked, parse

_SAME_COMMANDS = {
    "dir": "ls",
    "find": "ls -r",
    "get": "download",
    "list": "ls",
    "pull": "download",
    "push": "upload",
    "put": "upload",
    "rsync": "sync",
    "diff": "check",
}
_COPY = (
    "To copy from S3: pos3 download s3://BUCKET/KEY --local PATH. To copy to S3: pos3 upload s3://BUCKET/KEY --local "
    "PATH. To copy between two URLs, use 'rclone copy' or 'aws s3 cp'"
)
_MOVE = "pos3 moves no objects; use 'rclone moveto' or 'aws s3 mv'"
_REMOVE = (
    "pos3 removes no objects by name; use 'rclone delete' or 'aws s3 rm'. 'pos3 upload --delete' removes the objects "
    "that have no local file"
)
_OTHER_TOOLS = {
    "cp": _COPY,
    "copy": _COPY,
    "mv": _MOVE,
    "move": _MOVE,
    "rm": _REMOVE,
    "del": _REMOVE,
    "delete": _REMOVE,
    "mb": "pos3 makes no buckets; use 'rclone mkdir' or 'aws s3 mb'",
    "rb": "pos3 removes no buckets; use 'rclone rmdir' or 'aws s3 rb'",
    "cat": 'To print one object: cat "$(pos3 download s3://BUCKET/KEY)"',
}


def unknown_command(prog: str, word: str, known: Sequence[str]) -> str:
    """The message for a word that is no command of ``prog``: what was probably meant, or which tool does it."""
    first = f"there is no command '{prog} {masked(word)}'"
    if prog == "pos3":
        if word in _OTHER_TOOLS:
            return f"{first}. {_OTHER_TOOLS[word]}"
        if word in _SAME_COMMANDS:
            return f"{first}; did you mean 'pos3 {_SAME_COMMANDS[word]}'?"
    quoted = [f"'{prog} {name}'" for name in _closest(word, known)]
    if quoted:
        return f"{first}; did you mean {_in_words(quoted)}?"
    return f"{first}. Commands: {', '.join(known)}"


def likely_options(unknown: Iterable[str], known: Sequence[str]) -> str:
    """A question with the options that were probably meant; "" if none is similar."""
    words = [word.partition("=")[0] for word in unknown]
    near = [_closest(word, known)[:1] for word in words if word.startswith("--")]
    found = list(dict.fromkeys(name for names in near for name in names))
    return f"did you mean {_in_words(found)}?" if found else ""


def near_as_lines(arguments: Namespace, error: BaseException) -> list[str]:
    """A line with the URLs that were probably meant, if a command has failed because its URL does not exist.

    It asks the store, with at most ten requests. It asks nothing if no request may be sent. Errors are not reported,
    since the command has an error already.
    """
    if type(error) not in (RemoteNotFoundError, BucketNotFoundError):
        return []
    return _near_lines(arguments, is_bucket=isinstance(error, BucketNotFoundError))


def nothing_there_as_lines(arguments: Namespace) -> list[str]:
    """The message for a URL with nothing below it, with the URLs that were probably meant."""
    when = f" as of {arguments.as_of}" if arguments.as_of else ""
    lines = [f"nothing is at {masked(arguments.prefix)}{when}"]
    return lines if when else [*lines, *_near_lines(arguments, is_bucket=False)]


def _near_lines(arguments: Namespace, *, is_bucket: bool) -> list[str]:
    from pos3.cli.stores import profile_of
    from pos3.jobs import near_buckets, near_urls

    urls: list[str] = []
    with suppress(Exception):
        if arguments.options.or_environment().offline is False:
            location = parse(getattr(arguments, "url", "") or getattr(arguments, "prefix", ""))
            profile = profile_of(arguments, location.profile)
            urls = (near_buckets if is_bucket else near_urls)(location, profile)
    return [f"did you mean {_in_words(map(repr, urls))}?"] if urls else []


def _closest(word: str, names: Iterable[str]) -> list[str]:
    # To load it takes longer than to parse the arguments.
    from difflib import get_close_matches

    return get_close_matches(word, list(names), n=2, cutoff=0.6)


def _in_words(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
