"""Whatever a server sends as a page of a listing: a page, or an error of the store; never half a page as a whole."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pos3.entries import Entry
from pos3.errors import StoreError
from pos3.store.retry import is_transient
from tests.fuzz.listings import parse_page

_XML_TEXT = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
KEYS = st.text(_XML_TEXT, min_size=1, max_size=20)
ANY_KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
ENTRIES = st.builds(
    Entry,
    KEYS,
    st.integers(0, 5 << 40),
    st.integers(0, 4 * 10**9).map(lambda seconds: seconds * 10**9 + 123_000_000),
    st.from_regex(r"[0-9a-f]{32}(-[0-9]{1,4})?", fullmatch=True),
    st.just(0),
    st.just(""),
    st.sampled_from(["STANDARD", "DEEP_ARCHIVE"]),
    # Pages of the present versions have none.
    st.just(""),
)
_OBJECT = "<Contents><Key>no</Key><Size>1</Size></Contents>"
BETWEEN = (
    "<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes>",
    "<EncodingType>url</EncodingType>",
    "<NextContinuationToken>more</NextContinuationToken>",
    "<Unknown><Size>1</Size></Unknown>",
    f"<!-- {_OBJECT} -->",
    f"<![CDATA[{_OBJECT}]]>",
    f"<?no {_OBJECT}?>",
    "text",
    "\n  ",
)
REQUIRED = ("Key", "Size", "IsTruncated")


def element(entry: Entry, *, quoted: bool = False) -> str:
    moment = datetime.fromtimestamp(entry.modified_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    key = quote_plus(entry.path, safe="/") if quoted else escape(entry.path)
    return (
        f"<Contents><Key>{key}</Key><LastModified>{moment}.123Z</LastModified><ETag>&quot;{entry.etag}&quot;</ETag>"
        f"<Size>{entry.size_bytes}</Size><Owner><ID>someone</ID></Owner>"
        f"<StorageClass>{entry.storage_class}</StorageClass></Contents>"
    )


def page_of(entries: list[Entry], token: str = "", *, quoted: bool = False) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bucket</Name><Prefix></Prefix><KeyCount>{len(entries)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"
        + ("<EncodingType>url</EncodingType>" if quoted else "")
        + (f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else "")
        + "".join(element(entry, quoted=quoted) for entry in entries)
        + "<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes></ListBucketResult>"
    ).encode()


@given(st.lists(ENTRIES, max_size=5), st.text(_XML_TEXT, max_size=20).map(str.strip))
def test_a_page_is_read_as_it_was_written(entries: list[Entry], token: str) -> None:
    page = parse_page(page_of(entries, token))
    assert page.entries == entries
    assert page.next_token == token
    assert page.directories == ["dir/"]


@given(st.lists(ENTRIES | st.sampled_from(BETWEEN), max_size=8), st.sampled_from(["", "\n", "\n" + " " * 8]))
def test_a_page_is_read_alike_whatever_stands_between_its_objects(pieces: list[Entry | str], indent: str) -> None:
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    entries = [piece for piece in pieces if isinstance(piece, Entry)]
    is_truncated, is_quoted = "<NextContinuationToken>" in text, "<EncodingType>" in text
    body = (
        f"<ListBucketResult><IsTruncated>{'true' if is_truncated else 'false'}</IsTruncated>"
        + "".join(
            piece if isinstance(piece, str) else element(piece, quoted=is_quoted).replace("><", f">{indent}<")
            for piece in pieces
        )
        + "</ListBucketResult>"
    )
    page = parse_page(body.encode())
    assert page.entries == entries
    assert page.directories == ["dir/"] * text.count("<CommonPrefixes>")
    assert page.next_token == ("more" if is_truncated else "")
    # Such ends of elements are for expat alone.
    assert parse_page(body.replace("</Contents>", "</Contents >").encode()) == page


@pytest.mark.parametrize("unknown", ["<Unknown>1</Unknown>", "<Unknown/>", "<ETag/>", "<!-- -->", "text"])
def test_an_indented_object_with_something_unknown_in_it_is_read_like_any_other(unknown: str) -> None:
    entry = Entry("a/b", 1, 123_000_000, "e")
    indented = element(entry).replace("><", ">" + "\n" + " " * 40 + "<")
    body = page_of([entry] * 3).replace(
        element(entry).encode(), indented.replace("</Size>", f"</Size>{unknown}").encode()
    )
    page = parse_page(body)
    assert [(found.path, found.size_bytes) for found in page.entries] == [("a/b", 1)] * 3


@given(st.lists(ANY_KEYS, max_size=5))
def test_any_key_survives_url_encoding(keys: list[str]) -> None:
    page = parse_page(page_of([Entry(key, 1, 0, "e") for key in keys], quoted=True))
    assert [entry.path for entry in page.entries] == keys


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"<?xml version='1.0' encoding='utf-7'?><ListBucketResult/>")
@example(b"<?xml version='1.0' encoding='no-such-thing'?><ListBucketResult/>")
def test_any_bytes_are_a_page_or_an_error_of_the_store(body: bytes) -> None:
    with pytest.raises(StoreError):
        parse_page(body)


@given(st.lists(ENTRIES, min_size=1, max_size=4), st.text(_XML_TEXT, max_size=10).map(str.strip), st.data())
def test_a_page_that_is_cut_off_is_never_a_page(entries: list[Entry], token: str, data: st.DataObject) -> None:
    body = page_of(entries, token)
    with pytest.raises(StoreError) as failure:
        parse_page(body[: data.draw(st.integers(0, len(body) - 1))])
    assert is_transient(failure.value)


@given(st.lists(ENTRIES, min_size=1, max_size=4), st.data())
def test_a_page_without_something_that_it_must_have_is_never_a_page(entries: list[Entry], data: st.DataObject) -> None:
    body = page_of(entries)
    name = data.draw(st.sampled_from(REQUIRED))
    found = data.draw(st.sampled_from([*re.finditer(f"<{name}>.*?</{name}>".encode(), body, re.DOTALL)]))
    change = data.draw(st.sampled_from(["missing", "empty", "nonsense"] if name != "Key" else ["missing", "empty"]))
    instead = {"missing": "", "empty": f"<{name}></{name}>", "nonsense": f"<{name}>3x</{name}>"}[change].encode()
    if (name, change) == ("IsTruncated", "missing"):
        # Then it never passes for the last one.
        with suppress(StoreError):
            assert parse_page(body[: found.start()] + body[found.end() :]).next_token
        return
    with pytest.raises(StoreError) as failure:
        parse_page(body[: found.start()] + instead + body[found.end() :])
    assert is_transient(failure.value)


@given(st.lists(ENTRIES, min_size=1, max_size=3), st.text(_XML_TEXT, max_size=5).map(str.strip), st.data())
def test_a_spoiled_page_has_all_its_objects_or_is_an_error_of_the_store(
    entries: list[Entry], token: str, data: st.DataObject
) -> None:
    body = bytearray(page_of(entries, token))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        page = parse_page(bytes(body), data.draw(st.text(max_size=30)))
    except StoreError:
        return
    assert all(entry.path and entry.size_bytes >= 0 for entry in page.entries)
    # A spoiled name of an element may make it another element, but never takes an object away without a word.
    assert len(page.entries) == len(entries)


@pytest.mark.parametrize(
    "doctype",
    [
        pytest.param('<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">', id="external"),
        pytest.param('<!DOCTYPE x [<!ENTITY e "x">]>', id="internal"),
        pytest.param(
            '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
            + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12))
            + "]>",
            id="billion-laughs",
        ),
    ],
)
def test_a_page_that_defines_entities_is_refused(doctype: str) -> None:
    body = page_of([Entry("a", 1, 0, "e")]).replace(b"?>\n", b"?>\n" + doctype.encode())
    with pytest.raises(StoreError):
        parse_page(body.replace(b"<Key>a</Key>", b"<Key>a&m;</Key>"))


@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,9} \d\d:\d\d:\d\d GMT"))
def test_any_date_header_is_a_time_or_none(date: str) -> None:
    assert isinstance(parse_page(page_of([]), date).server_time, float)
