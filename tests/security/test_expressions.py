"""No text from outside takes more time than its length allows: regular expressions, headers, globs."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pos3
from pos3.filters import matching as filters
from pos3.filters.matching import entry_matcher, matcher
from pos3.store.clock import seconds_of
from pos3.store.s3.errors import error_of_body
from pos3.store.s3.requests import Response
from tests.support.hostile import HostileStore, Play, element, error, found, page, raw

Stage = Callable[[dict[str, Play]], HostileStore]
LONG = 100_000
SECONDS = 0.05


def cpu_seconds(call: Callable[[], object]) -> float:
    """The least of three, since others use the machine as well."""
    least = float("inf")
    for _ in range(3):
        began = time.thread_time()
        call()
        least = min(least, time.thread_time() - began)
        if least < SECONDS:
            break
        if least > 1:
            break
    return least


# -- every expression


def expressions() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """All that are compiled in a module of pos3."""
    for module in pkgutil.walk_packages(pos3.__path__, "pos3."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value


PIECES = (
    *(
        " ",
        "\t",
        "\n",
        "a",
        "0",
        "-",
        ".",
        "/",
        ":",
        "<",
        "[",
        "*",
        "é",
        "@",
        "=",
        "a-",
        "a ",
        "://",
        "a.",
        "./",
        "//",
        "a@",
    ),
    *(
        "token ",
        "secret-",
        "<Code>",
        "<Contents> ",
        "<Contents><Key>a</Key>",
        "<Contents><Size>1</Size> ",
        "s3-a.",
        "\r\na:",
    ),
)
BEGINS = (
    "",
    "<Contents><Owner>",
    "<ETag>",
    "token=",
    "s3:",
    "https://s3.",
    ".pos3-01234567-",
    "0123456789abcdef" * 2 + "-",
)


def looks_for(name: str, expression: re.Pattern[Any]) -> list[Callable[[Any], object]]:
    """The ways in which the expression is used: from the beginning of a text, or anywhere in it."""
    module, _, variable = name.rpartition(".")
    source = Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")
    if re.search(rf"\b{variable}\.(search|sub|finditer|findall|split)\b", source):
        return [expression.search, lambda text: all(expression.finditer(text))]
    return [expression.match, expression.fullmatch]


def repeated(begin: str, piece: str, length: int) -> str:
    return (begin + piece * (length // len(piece)))[:length]


@pytest.mark.parametrize("name", dict(expressions()))
def test_no_regular_expression_takes_long_for_100_kb_of_its_worst_input(name: str) -> None:
    expression = dict(expressions())[name]
    uses = looks_for(name, expression)
    is_of_bytes = isinstance(expression.pattern, bytes)

    def seconds(begin: str, piece: str, length: int) -> float:
        text: Any = repeated(begin, piece, length)
        text = text.encode() if is_of_bytes else text
        return cpu_seconds(lambda: [use(text) for use in uses])

    # What is the worst shows with a few kilobytes already.
    tried = sorted(((seconds(begin, piece, 3000), begin, piece) for begin in BEGINS for piece in PIECES), reverse=True)
    slow = [
        (begin, piece) for took, begin, piece in tried[:5] if took > 0.05 or seconds(begin, piece, LONG) > 2 * SECONDS
    ]
    assert slow == []


# -- what servers say


BLANKS = b" " * 90_000


@pytest.mark.parametrize(
    "piece", [*PIECES, "a=" + " " * 1000, "x-token" + " " * 1000], ids=lambda piece: ascii(piece[:10])
)
def test_a_long_message_of_an_error_is_read_at_once(piece: str) -> None:
    body = f"<Error><Code>Odd</Code><Message>{piece * (LONG // len(piece))}</Message></Error>".encode()
    assert cpu_seconds(lambda: error_of_body(400, body, "s3://bucket/key")) < SECONDS


def test_the_message_of_a_refusal_is_cut_to_a_kilobyte(hostile: Stage, tmp_path: Path) -> None:
    hostile({"LIST": error("Odd", "it is odd, " * 5_000)})
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.StoreError, match="odd, it is odd") as failure:
        pos3.ls("s3://bucket/data")
    assert len(str(failure.value)) < 1500


@pytest.mark.parametrize("name", [b"Date", b"ETag", b"Content-Range", b"Last-Modified", b"X"])
@pytest.mark.parametrize("value", [BLANKS + b"x" + BLANKS, b"\t" * 90_000 + b"1", b"1 " * 45_000, b"(" * 90_000])
def test_a_header_of_90_000_blanks_is_read_at_once(name: bytes, value: bytes) -> None:
    response = Response(200, b"HTTP/1.1 200 OK\r\n" + name + b": " + value + b"\r\n\r\n")
    read = [lambda: response.header(name.decode().lower()), lambda: response.etag, lambda: response.modified_ns]
    for each in read:
        assert cpu_seconds(each) < SECONDS


def test_blanks_in_headers_hold_no_download_up(hostile: Stage, tmp_path: Path) -> None:
    hostile(
        {
            "LIST": raw(200, page(element("data/a")), b"Date: " + BLANKS + b"x"),
            "GET": found(b"abc", b"900150983cd24fb0d6963f7d28e17f72", b"Date: x" + BLANKS + b"x", b"Server: x"),
        }
    )
    began = time.process_time()
    with pos3.mirror(tmp_path, show_progress=False):
        assert (pos3.download("s3://bucket/data") / "a").read_bytes() == b"abc"
    assert time.process_time() - began < 2


@pytest.mark.parametrize("header", ["ETag", "etag", "ETAG"])
@pytest.mark.parametrize("blank", ["", " ", "\t  "])
def test_a_header_is_found_whatever_its_case_and_the_blanks_around_its_value(header: str, blank: str) -> None:
    response = Response(
        200, f'HTTP/1.1 200 OK\r\nX-ETag: no\r\n{header}:{blank}"a b"{blank}\r\nEtag: "c"\r\n\r\n'.encode()
    )
    assert response.header("etag") == '"a b"'
    assert response.etag == "a b"
    assert response.header("x-none") == ""


@pytest.mark.parametrize("piece", [" ", "(", "1", ":", "a,", "Thu, 01 Jan 2026 00:00:00 GMT", "\udc80", "-", "+0"])
def test_a_date_of_100_kb_is_no_time(piece: str) -> None:
    assert cpu_seconds(lambda: seconds_of(piece * (LONG // len(piece)))) < SECONDS
    assert seconds_of(piece * (LONG // len(piece))) == 0.0


# -- globs


GLOBS = (
    *("**/a/**/b/**/c", "**/**/**/**/x", "a/**/a/**/a/**/b", "*a*a*a*a*b", "a**a**a**b", "/**/a/**/", "**/*a*/**/*b*"),
    *(
        "**/a*",
        "[!b]*[!b]*[!b]*c",
        "*?*?*?*b",
        "a/*/*/*/*/b/",
        "**/x",
        "x/**/",
        "**a**a**",
        "*a*/",
        "a*b*c*d/e",
        "***a",
    ),
)
PATHS = ("a", "a/", "aa/", "/", "ab", "b/a", "a/b/", "ca", "\n", "é/")


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        *(pytest.param(matcher, pattern, id=pattern) for pattern in GLOBS),
        *(pytest.param(entry_matcher, pattern, id=f"of files {pattern}") for pattern in GLOBS if pattern[-1] != "/"),
    ],
)
def test_no_glob_takes_long_for_a_long_key(make: Callable[[list[str]], Callable[[str], bool]], pattern: str) -> None:
    matches = make([pattern])
    for piece in PATHS:
        key = piece * (1001 // len(piece))
        assert cpu_seconds(lambda key=key: matches(key)) < 0.02, piece  # type: ignore[misc]
        if len(piece) > 1:
            continue
        long = piece * 20_000
        assert cpu_seconds(lambda long=long: matches(long)) < 0.5, piece  # type: ignore[misc]


def test_a_bucket_with_a_long_key_is_downloaded_with_globs_of_several_stars(hostile: Stage, tmp_path: Path) -> None:
    key = "data/" + "a/" * 490 + "b"
    hostile({"LIST": raw(200, page(element(key), element("data/c")))})
    began = time.process_time()
    with pos3.mirror(tmp_path, show_progress=False):
        root = pos3.download("s3://bucket/data", exclude=["**/a/**/a/**/a/**/b"])
    assert [path.name for path in root.iterdir()] == ["c"]
    assert time.process_time() - began < 2


def as_one_expression(pattern: str) -> re.Pattern[str]:
    """What a glob means, told as a regular expression that may take for ever."""
    import fnmatch

    start = "^" if pattern.startswith("/") else "(?:^|/)"
    end = "/" if pattern.endswith("/") else r"(?:/|\Z)"
    segments = pattern.strip("/").split("/")
    translated = ""
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        if segment == "**":
            translated += ".*" if is_last else "(?:.*/)?"
            continue
        for token in re.findall(r"\*\*|\*|\?|\[!?\]?[^\]]*\]|.", segment, re.DOTALL):
            if token in ("**", "*", "?"):
                translated += {"**": ".*", "*": "[^/]*", "?": "[^/]"}[token]
            elif len(token) > 1:
                translated += fnmatch.translate(token)[4:-3]
            else:
                translated += re.escape(token)
        translated += "" if is_last else "/"
    return re.compile(f"{start}{translated}{end}", re.DOTALL)


TOKENS = st.lists(
    st.sampled_from(["*", "**", "?", "a", "b", "/", "/", "/**/", "[ab]", "[!a]", "[!-~]", "[", "]", "é", "\n", "[a"]),
    min_size=1,
    max_size=9,
).map("".join)


@given(
    st.lists(TOKENS.filter(lambda pattern: bool(pattern.strip("/"))), min_size=1, max_size=3),
    st.text(st.sampled_from("aab///cé\n[]"), max_size=14),
)
@example(["**/a"], "b/a")
@example(["/**/a"], "b/a/c")
@example(["a/**"], "a")
@example(["a/**"], "a/b")
@example(["a/**/"], "a/b/c")
@example(["a[!b]c"], "a/c")
@example(["**"], "")
@example(["*/**/**/b/"], "a/b/c")
def test_globs_mean_what_they_always_meant(patterns: list[str], path: str) -> None:
    try:
        matches = filters.matcher(patterns)
    except pos3.InvalidArgumentError:
        return
    assert matches(path) == any(as_one_expression(pattern).search(path) is not None for pattern in patterns)
