"""Addresses: what is a URL, what it names, and that nothing of a key is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import pos3
from pos3.jobs import local_root
from pos3.local import are_nested
from pos3.url import Location, is_url, local_path, parse, profile_of_all_buckets
from tests.support import S3Site

buckets = st.from_regex(r"[a-z0-9][a-z0-9.-]{2,20}", fullmatch=True)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(lambda text: text.strip("/"))
regions = st.sampled_from(["eu-west-1", "us-east-1"])
accounts = st.sampled_from(["123456789012", "210987654321"])
names = st.sampled_from(["point", "point-1", "outpost", "accesspoint", "op-1"])
profiles = st.from_regex(r"[A-Za-z0-9_-]{0,8}", fullmatch=True)


@given(bucket=buckets, key=keys, slash=st.booleans(), profile=profiles)
def test_a_url_gives_back_bucket_key_and_profile_as_they_stand(
    bucket: str, key: str, slash: bool, profile: str
) -> None:
    found = parse(f"s3://{profile}{'@' if profile else ''}{bucket}/{key}{'/' if slash else ''}")
    assert (found.bucket, found.key, found.profile) == (bucket, key, profile)
    assert found.is_prefix == (slash or not key)


@given(bucket=buckets, key=keys)
def test_a_location_written_as_text_names_the_same_place(bucket: str, key: str) -> None:
    location = parse(f"s3://{bucket}/{key}")
    assert parse(str(location)) == location


@given(bucket=buckets, key=keys, path=keys.filter(bool))
def test_a_child_lies_below_its_location_and_has_the_joined_key(bucket: str, key: str, path: str) -> None:
    location = parse(f"s3://{bucket}/{key}")
    child = parse(location.child(path))
    assert child.key == (f"{key}/{path}" if key else path)
    assert location.overlaps(child)
    assert child.overlaps(location)


@given(first=keys, second=keys)
def test_two_keys_overlap_exactly_when_one_is_above_the_other_by_whole_segments(first: str, second: str) -> None:
    one, other = Location("s3", "bucket", first), Location("s3", "bucket", second)
    above = first in ("", second) or second.startswith(f"{first}/")
    below = second in ("", first) or first.startswith(f"{second}/")
    assert one.overlaps(other) == (above or below)
    assert not one.overlaps(Location("s3", "other", second))


@pytest.mark.parametrize("key", ["a?b=c", "a#b", "a%20b", "a b", "a+b", "a:b@c", "é", "日本/語"], ids=str)
def test_no_character_of_a_key_is_special(key: str) -> None:
    assert parse(f"s3://bucket/{key}").key == key


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param("   ", "empty", id="blank"),
        pytest.param("s3:///key", "bucket", id="no-bucket"),
        pytest.param("s3:/bucket/key", "s3://", id="one-slash"),
        pytest.param("s3:bucket/key", "s3://", id="no-slashes"),
        pytest.param("S3://bucket/key", "lower case", id="upper-case-scheme"),
        pytest.param("s3://@bucket/key", "profile", id="empty-profile"),
        pytest.param("s3://who@/key", "bucket", id="profile-but-no-bucket"),
        pytest.param("s3://b/key", "b", id="one-letter-bucket"),
        pytest.param("s3://ab/key", "ab", id="two-letter-bucket"),
        pytest.param("s3://bad bucket/key", "bad bucket", id="space-in-bucket"),
        pytest.param("s3://bucket:9000/key", "bucket:9000", id="port"),
    ],
)
def test_an_address_that_names_no_place_is_refused_with_a_hint(address: str, hint: str, tmp_path: Path) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call in (pos3.download, pos3.upload, pos3.sync, pos3.ls, pos3.plan_download, pos3.plan_upload):
            with pytest.raises(pos3.InvalidURLError, match=re.escape(hint)):
                call(address)
    assert list(tmp_path.iterdir()) == []


def test_the_scheme_for_other_libraries_is_told_from_that_of_pos3(tmp_path: Path) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call in (pos3.download, pos3.upload, pos3.sync, pos3.ls):
            with pytest.raises(pos3.InvalidURLError, match="is for libraries that read through fsspec; pos3 itself"):
                call("pos3://bucket/key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["s3://", "s3a://", "s3://who@"])
def test_all_buckets_together_are_for_listings_alone(address: str, tmp_path: Path) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call in (pos3.download, pos3.upload, pos3.sync, pos3.plan_download, pos3.plan_upload, pos3.fingerprint):
            with pytest.raises(pos3.InvalidURLError, match="names no bucket"):
                call(address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "profile"),
    [
        pytest.param("s3://", "", id="all"),
        pytest.param("s3n://", "", id="hadoop"),
        pytest.param("s3://who@", "who", id="profile"),
        pytest.param("s3://who:secret@", "who", id="secret"),
        pytest.param("s3://@", None, id="empty-profile"),
        pytest.param("s3:///", None, id="slash"),
        pytest.param("s3://bucket", None, id="bucket"),
        pytest.param("s3://who@bucket", None, id="bucket-of-profile"),
        pytest.param("gs://", None, id="other-scheme"),
        pytest.param("s3", None, id="no-scheme"),
    ],
)
def test_a_url_of_all_buckets_tells_the_profile(address: str, profile: str | None) -> None:
    assert profile_of_all_buckets(address) == profile


@pytest.mark.parametrize("address", [None, 7, b"s3://bucket/key", ["s3://bucket/key"]], ids=repr)
def test_an_address_of_another_type_is_a_type_error(address: object, tmp_path: Path) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call in (pos3.download, pos3.upload, pos3.sync, pos3.ls):
            with pytest.raises(TypeError, match=type(address).__name__):
                call(address)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "remote"),
    [
        pytest.param("s3://bucket/key", True, id="s3"),
        pytest.param("gs://bucket/key", True, id="other-scheme"),
        pytest.param("file:///tmp/x", False, id="file"),
        pytest.param("/tmp/x", False, id="absolute"),
        pytest.param("data/x", False, id="relative"),
        pytest.param("~/x", False, id="home"),
        pytest.param("C:\\data", False, id="drive"),
        pytest.param(Path("data"), False, id="path-object"),
    ],
)
def test_local_paths_and_urls_are_told_apart(address: str | Path, remote: bool) -> None:
    assert is_url(address) is remote


def test_a_path_object_made_from_a_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call in (pos3.upload, pos3.download, pos3.sync):
            with pytest.raises(pos3.InvalidURLError, match="s3://"):
                call(Path("s3://bucket/key"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("file:///data/a%20b", "/data/a b", id="file-url"),
        pytest.param("~/x", "{home}/x", id="home"),
        pytest.param("rel/x", "{cwd}/rel/x", id="relative"),
    ],
)
def test_local_addresses_become_absolute_paths(address: str, expected: str, isolated_home: Path) -> None:
    assert local_path(address) == expected.format(home=isolated_home, cwd=Path.cwd())


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        pytest.param("https://data.s3.amazonaws.com/a/b%20c.txt", "s3://data/a/b c.txt", id="virtual-host"),
        pytest.param("https://my.data.s3.eu-north-1.amazonaws.com/a", "s3://my.data/a", id="region"),
        pytest.param("http://s3.us-west-2.amazonaws.com/data/a/", "s3://data/a/", id="path-style"),
        pytest.param("https://data.s3-us-west-2.amazonaws.com", "s3://data", id="old-region-form"),
        pytest.param("https://data.s3.dualstack.eu-west-1.amazonaws.com/a", "s3://data/a", id="dual-stack"),
        pytest.param("https://data.s3.cn-north-1.amazonaws.com.cn/a", "s3://data/a", id="china"),
        pytest.param("https://data.s3.amazonaws.com/a?X-Amz-Signature=hunter2", "s3://data/a", id="presigned"),
        pytest.param("https://s3.amazonaws.com/", "s3://bucket/key", id="no-bucket"),
    ],
)
def test_the_web_address_of_an_object_is_refused_with_its_url(address: str, meant: str, tmp_path: Path) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call in (pos3.download, pos3.upload, pos3.sync, pos3.ls, pos3.plan_download):
            with pytest.raises(pos3.InvalidURLError, match=f"write it as '{re.escape(meant)}'$") as failure:
                call(address)
            assert "hunter2" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9000/bucket/key",
        "https://example.com/s3.amazonaws.com/x",
        "https://s3.amazonaws.com.example.org/x?signature=hunter2",
        "https://me:hunter2@storage.example.com/bucket/key",
    ],
)
def test_any_other_web_address_is_refused_with_the_place_where_it_belongs(address: str) -> None:
    with pytest.raises(pos3.InvalidURLError, match="AWS_ENDPOINT_URL or the endpoint of a profile") as failure:
        parse(address)
    assert "hunter2" not in str(failure.value)


def test_a_secret_in_a_url_never_shows(tmp_path: Path) -> None:
    for address in ("s3://who:hunter2@bucket/key", "s3://who:hunter2@bad bucket/key", "s3://who:hunter2@/key"):
        with (
            pos3.mirror(tmp_path / "cache", show_progress=False),
            pytest.raises(pos3.InvalidArgumentError) as failure,
        ):
            pos3.download(address)
        assert "hunter2" not in f"{failure.value!r}{failure.value}"


DAMAGED = [
    '"s3://bucket/key"',
    "'s3://bucket/key'",
    "`s3://bucket/key`",
    "\u201cs3://bucket/key\u201d",
    "\u2018s3://bucket/key\u2019",
    "\u00abs3://bucket/key\u00bb",
    '"s3://bucket/key',
    "<s3://bucket/key>",
    "(s3://bucket/key)",
    "[data](s3://bucket/key)",
    "[a/b](s3://bucket/key)",
    "[s3://bucket/key](s3://bucket/key)",
    " s3://bucket/key",
    "\ts3://bucket/key",
    "\ns3://bucket/key",
    "\xa0s3://bucket/key",
    "\ufeffs3://bucket/key",
    "\u200bs3://bucket/key",
    "s3\u200b://bucket/key",
    "s3:\u200b//bucket/key",
    "s3//bucket/key",
    "s3a//bucket/key",
    "gs//bucket/key",
    "https//bucket/key",
    "s3:/bucket/key",
    "s3a:/bucket/key",
    "gs:/bucket/key",
    "file:/data/key",
    "s3:bucket/key",
    "s3:\\\\bucket\\key",
    "s3;//bucket/key",
    "s3.//bucket/key",
    "s3=//bucket/key",
    "s3 ://bucket/key",
    "s3: //bucket/key",
    "s3:/ /bucket/key",
    "s3\uff1a//bucket/key",
    "\uff533://bucket/key",
    "3://bucket/key",
    "://bucket/key",
    "S3://bucket/key",
    "S3//bucket/key",
    "S3:/bucket/key",
    "S3A://bucket/key",
    "url=s3://bucket/key",
    "url: s3://bucket/key",
    "data/s3://bucket/key",
    "./s3://bucket/key",
    "/data/s3://bucket/key",
    ' "file:///data/key"',
]
CALLS: list[Callable[[str], object]] = [
    pos3.download,
    pos3.upload,
    pos3.sync,
    pos3.ls,
    pos3.plan_download,
    pos3.plan_upload,
    pos3.fingerprint,
    pos3.flush,
    lambda address: pos3.publish(address, "tree"),
]


@pytest.mark.parametrize("address", DAMAGED, ids=ascii)
def test_a_damaged_url_is_refused_and_shown_and_is_never_a_local_path(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call in CALLS:
            with pytest.raises(pos3.InvalidURLError) as failure:
                call(address)
            assert repr(address) in str(failure.value)
        for register in (pos3.download, pos3.upload, pos3.sync):
            with pytest.raises(pos3.InvalidArgumentError, match=re.escape(f"local={address!r}")):
                register("s3://bucket/key", address)
    assert list(tmp_path.iterdir()) == []


@given(
    before=st.text(st.sampled_from(" \t\n\ufeff\u200b\u00ad\u2060\"'`\u201c\u2018\u00ab<([{"), min_size=1, max_size=4),
    bucket=buckets,
    key=keys,
)
def test_nothing_that_stands_before_a_url_makes_it_a_local_path(before: str, bucket: str, key: str) -> None:
    address = f"{before}s3://{bucket}/{key}"
    with pytest.raises(pos3.InvalidURLError) as failure:
        is_url(address)
    assert ":" in key or repr(address) in str(failure.value)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "s3/bucket/key",
            "./s3//bucket",
            "./s3:/bucket",
            "s3",
            "s3-data/x",
            "s3.txt",
            "s3_data//x",
            "my s3/x",
            "a:b/c",
        ),
        *("data (s3)/x", "'quoted'/x", " leading", "x[1]/y", "gs/x", "a//b", "C:/data", "//data/x", "it's s3:30/x"),
    ],
)
def test_local_paths_that_only_resemble_urls_stay_local_paths(address: str) -> None:
    assert is_url(address) is False


@pytest.mark.parametrize("scheme", ["s3a", "s3n"])
def test_the_schemes_of_hadoop_mean_s3(scheme: str, s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1"})

    def url(key: str) -> str:
        return s3.url(key).replace("s3://", f"{scheme}://")

    with pos3.mirror(tmp_path / "cache", show_progress=False):
        path = pos3.download(url("data"))
        assert path == pos3.download(s3.url("data")) == tmp_path / "cache" / "_" / s3.bucket / "data"
        assert pos3.url_of(path) == s3.url("data/")
        assert pos3.ls(url("data")) == [s3.url("data/a")]
        assert pos3.fingerprint(url("data")) == pos3.fingerprint(s3.url("data"))
        out = pos3.upload(url("out"), interval=None)
        (out / "b").write_bytes(b"2")
        assert pos3.flush(s3.url("out")).uploaded_files == 1
        with pytest.raises(pos3.ConflictError):
            pos3.upload(s3.url("out/below"), tmp_path / "elsewhere", interval=None)
    assert s3.objects() == {"data/a": b"1", "out/b": b"2"}
    assert parse(f"{scheme}://who@bucket/key/") == Location("s3", "bucket", "key")


# Access points

ACCOUNT = "123456789012"
POINTS = [
    pytest.param(f"arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/point", id="access-point"),
    pytest.param(f"arn:aws-cn:s3:cn-north-1:{ACCOUNT}:accesspoint/point", id="china"),
    pytest.param(f"arn:aws:s3::{ACCOUNT}:accesspoint/mfzwi23gnjvgw.mrap", id="multi-region"),
    pytest.param(f"arn:aws:s3-object-lambda:eu-west-1:{ACCOUNT}:accesspoint/point", id="object-lambda"),
    pytest.param(f"arn:aws:s3-outposts:eu-west-1:{ACCOUNT}:outpost/op-012345/accesspoint/point", id="outpost"),
]


@pytest.mark.parametrize("arn", POINTS)
@pytest.mark.parametrize("profile", ["", "lab"])
@pytest.mark.parametrize("key", ["", "a", "a/b@c:d", "a/arn:aws:s3:x/y"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_an_access_point_stands_where_a_bucket_does(arn: str, profile: str, key: str, slash: str) -> None:
    at = f"{profile}@" if profile else ""
    behind = f"/{key}{slash}" if key else slash
    for written in (arn, arn[:20] + arn[20:].replace("/", ":")):
        found = parse(f"s3://{at}{written}{behind}")
        assert (found.bucket, found.key, found.profile) == (arn, key, profile)
        assert found.is_prefix == (bool(slash) or not key)
        assert parse(str(found)) == found
        child = parse(found.child("x/y"))
        assert child.key == (f"{key}/x/y" if key else "x/y")
        assert found.overlaps(child)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(f"s3://arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint", id="no-name"),
        pytest.param(f"s3://arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/", id="empty-name"),
        pytest.param(f"s3://arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint//key", id="two-slashes"),
        pytest.param(f"s3://arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/../key", id="parent"),
        pytest.param(f"s3://arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/a point/key", id="blank"),
        pytest.param(f"s3://arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/point:more/key", id="too-much"),
        pytest.param("s3://arn:aws:s3:eu-west-1:1234:accesspoint/point/key", id="short-account"),
        pytest.param("s3://arn:aws:s3:::bucket/key", id="bucket"),
        pytest.param(f"s3://arn:aws:ec2:eu-west-1:{ACCOUNT}:accesspoint/point", id="another-service"),
        pytest.param(f"s3://arn:aws:s3-outposts:eu-west-1:{ACCOUNT}:outpost/op-1/point", id="outpost-alone"),
        pytest.param("s3://arn:hunter2/key", id="secret"),
        pytest.param("s3://arn:", id="nothing-more"),
        pytest.param("s3://lab@arn:aws", id="profile"),
    ],
)
def test_what_begins_like_an_arn_and_is_none_of_an_access_point_is_refused(address: str, tmp_path: Path) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call in (pos3.download, pos3.upload, pos3.ls):
            with pytest.raises(pos3.InvalidURLError, match="no ARN of an access point; expected 's3://arn:") as failure:
                call(address)
            assert "hunter2" not in f"{failure.value!r}"
    assert list(tmp_path.iterdir()) == []


def test_a_profile_may_be_called_arn_and_its_secret_is_dropped() -> None:
    assert parse("s3://arn:hunter2@bucket/key") == Location("s3", "bucket", "key")
    assert parse("s3://arn@bucket/key").profile == "arn"


ARNS = st.builds(
    "arn:aws:{}".format,
    st.builds("s3:{}:{}:accesspoint/{}".format, regions, accounts, names)
    | st.builds("s3-outposts:{}:{}:outpost/{}/accesspoint/{}".format, regions, accounts, names, names),
)


@given(first=ARNS | buckets, second=ARNS | buckets, key=keys, other=keys)
def test_two_buckets_never_share_a_path_of_the_cache(first: str, second: str, key: str, other: str) -> None:
    assume(first != second)
    roots = []
    for bucket, inside in ((first, key), (second, other)):
        try:
            roots.append(local_root(parse(f"s3://{bucket}/{inside}"), None, "/cache", None))
        except (pos3.InvalidURLError, pos3.UnsafeKeysError):
            return
        assert roots[-1].startswith(f"/cache/_/{bucket.replace('/', ':')}")
    assert not are_nested(*roots)
