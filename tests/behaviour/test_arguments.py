"""Bad input: one clear error that names what and where, before anything is changed."""

from __future__ import annotations

import dataclasses
import errno
import inspect
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pos3
from pos3.errors import LocalChangedError, NoSpaceError, NotPushedError
from pos3.jobs import BisyncRequest, DownloadRequest, PublishRequest, Request, SyncRequest, UploadRequest
from tests.support import Handler, Proxy, S3Site, ScriptedServer, Status, contents, on, write_tree

PutBefore = Callable[..., Proxy]
URL = "s3://pos3-test-nobody/data"
REGISTERING = [pos3.download, pos3.upload, pos3.sync]
PUSHING = [pos3.upload, pos3.sync]
PLANNING = [pos3.plan_download, pos3.plan_upload]


def opened(tmp_path: Path, **options: Any) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)


def by_name(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)


TWO_URLS = ("s3://pos3-test-nobody/other", "s3://me:hunter2@pos3-test-nobody/data")


@pytest.mark.parametrize(
    ("call", "places"),
    [
        *(pytest.param(call, TWO_URLS, id=f"{by_name(call)}-two-urls") for call in [*REGISTERING, *PLANNING]),
        *(
            pytest.param(call, ("./data", TWO_URLS[1]), id=f"{by_name(call)}-wrong-way-round")
            for call in [*REGISTERING, pos3.publish]
        ),
    ],
)
def test_a_url_in_place_of_the_local_path_is_refused(
    tmp_path: Path, call: Callable[..., Path], places: tuple[str, str]
) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match="the URL comes first") as failure:
        call(*places)
    assert "hunter2" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", PUSHING, ids=by_name)
@pytest.mark.parametrize(
    "interval", [0, -1, 0.0, "60", True, False, math.nan, math.inf, -math.inf, [60], b"60"], ids=repr
)
def test_an_interval_that_is_no_time_is_refused(tmp_path: Path, call: Callable[..., Path], interval: object) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match="interval=") as failure:
        call(URL, interval=interval)
    assert repr(interval) in str(failure.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("calls", "name", "value"),
    [
        pytest.param(REGISTERING, "max_delete", -1, id="max_delete-negative"),
        pytest.param(REGISTERING, "max_delete", True, id="max_delete-bool"),
        pytest.param(REGISTERING, "max_delete", 1.5, id="max_delete-float"),
        pytest.param(REGISTERING, "max_delete", "half", id="max_delete-word"),
        pytest.param(REGISTERING, "max_delete", "%", id="max_delete-no-number"),
        pytest.param(REGISTERING, "max_delete", "101%", id="max_delete-above-all"),
        pytest.param(REGISTERING, "max_delete", "-5%", id="max_delete-negative-share"),
        pytest.param(REGISTERING, "max_delete", "²", id="max_delete-superscript"),
        pytest.param(REGISTERING, "max_delete", "²%", id="max_delete-superscript-share"),
        pytest.param(REGISTERING, "compare", "md5", id="compare-unknown"),
        pytest.param(REGISTERING, "compare", None, id="compare-none"),
        pytest.param(REGISTERING, "compare", ["size"], id="compare-list"),
        pytest.param(REGISTERING, "exclude", "", id="exclude-empty"),
        pytest.param(REGISTERING, "exclude", ["*.tmp", ""], id="exclude-with-an-empty-one"),
        pytest.param(REGISTERING, "exclude", "/", id="exclude-slash"),
        pytest.param(REGISTERING, "exclude", [1], id="exclude-number-in-list"),
        pytest.param(REGISTERING, "exclude", 1, id="exclude-number"),
        pytest.param(REGISTERING, "exclude", b"*.tmp", id="exclude-bytes"),
        pytest.param(REGISTERING, "include", "", id="include-empty"),
        pytest.param(REGISTERING, "include", [None], id="include-none-in-list"),
        pytest.param(PUSHING, "upload_last", "", id="upload_last-empty"),
        pytest.param(PUSHING, "overwrite", [""], id="overwrite-empty"),
        pytest.param(PUSHING, "sync_on_error", "yes", id="sync_on_error-text"),
        pytest.param(PUSHING, "follow_symlinks", 1, id="follow_symlinks-number"),
        pytest.param([pos3.sync], "upload_exclude", [""], id="upload_exclude-empty"),
        pytest.param([pos3.download], "missing_ok", "yes", id="missing_ok-text"),
        pytest.param([pos3.download, pos3.sync], "adopt", 1, id="adopt-number"),
        pytest.param(REGISTERING, "local", 5, id="local-number"),
        pytest.param(REGISTERING, "local", b"data", id="local-bytes"),
        pytest.param(REGISTERING[:2], "delete", "no", id="delete-text"),
        pytest.param(REGISTERING[:2], "delete", None, id="delete-none"),
        pytest.param([pos3.sync], "delete_local", "no", id="delete_local-text"),
        pytest.param([pos3.sync], "delete_remote", 0, id="delete_remote-number"),
        pytest.param(REGISTERING, "local", "", id="local-empty"),
    ],
)
def test_a_value_that_cannot_work_is_named_before_anything_is_changed(
    tmp_path: Path, calls: list[Callable[..., Path]], name: str, value: object
) -> None:
    with opened(tmp_path):
        for call in calls:
            with pytest.raises(pos3.InvalidArgumentError, match=name):
                call(URL, **{name: value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("max_workers", 0, id="no-workers"),
        pytest.param("max_workers", -3, id="negative-workers"),
        pytest.param("max_workers", 2.5, id="half-workers"),
        pytest.param("max_workers", True, id="bool-workers"),
        pytest.param("max_workers", "4", id="text-workers"),
        pytest.param("max_upload_bytes_per_second", 0, id="no-rate"),
        pytest.param("max_upload_bytes_per_second", -1, id="negative-rate"),
        pytest.param("max_upload_bytes_per_second", "1M", id="text-rate"),
        pytest.param("max_upload_bytes_per_second", True, id="bool-rate"),
        pytest.param("max_upload_bytes_per_second", math.nan, id="nan-rate"),
        pytest.param("max_download_bytes_per_second", 0, id="no-download-rate"),
        pytest.param("max_download_bytes_per_second", "1M", id="text-download-rate"),
        pytest.param("cache_limit", 1.5, id="broken-limit"),
        pytest.param("cache_limit", ["50GB"], id="list-limit"),
        pytest.param("cache_root", 5, id="number-root"),
        pytest.param("cache_root", b"cache", id="bytes-root"),
        pytest.param("cache_root", "s3://bucket/cache", id="url-root"),
        pytest.param("cache_root", "'s3://bucket/cache'", id="damaged-url-root"),
        pytest.param("cache_root", print, id="function-root"),
        pytest.param("cache_limit", -1, id="negative-limit"),
        pytest.param("cache_limit", "much", id="word-limit"),
        pytest.param("cache_limit", "", id="empty-limit"),
        pytest.param("cache_limit", True, id="bool-limit"),
        pytest.param("cache_limit", "nan", id="nan-limit"),
        pytest.param("cache_limit", "inf", id="infinite-limit"),
        pytest.param("shutdown_timeout", 0, id="no-shutdown"),
        pytest.param("shutdown_timeout", -1, id="negative-shutdown"),
        pytest.param("shutdown_timeout", "25", id="text-shutdown"),
        pytest.param("shutdown_timeout", math.nan, id="nan-shutdown"),
        pytest.param("cache_root", "", id="empty-root"),
    ],
)
def test_a_mirror_with_a_value_that_cannot_work_does_not_open(tmp_path: Path, name: str, value: object) -> None:
    options: dict[str, Any] = {"cache_root": tmp_path / "cache", name: value}
    with pytest.raises(pos3.InvalidArgumentError, match=name), pos3.mirror(**options):
        pytest.fail("the body ran")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("timeout", ["5", True, math.nan], ids=repr)
def test_a_timeout_that_is_no_time_is_refused(tmp_path: Path, timeout: object) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match=f"timeout={timeout!r}: expected seconds"):
        pos3.flush(timeout=timeout)  # type: ignore[arg-type]


def test_an_aws_profile_that_does_not_exist_is_told_with_where_it_was_named(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = pos3.Profile("lab", None, region="us-east-1", aws_profile="gone")
    with opened(tmp_path), pytest.raises(pos3.ProfileError, match="profile 'lab': aws_profile='gone': there is no"):
        pos3.ls(rclone_site.url("data"), profile=profile)
    monkeypatch.setenv("AWS_PROFILE", "nope")
    for call in (*REGISTERING, pos3.ls, pos3.plan_download):
        with opened(tmp_path), pytest.raises(pos3.ProfileError, match=r"^AWS_PROFILE='nope': there is no such profile"):
            call(rclone_site.url("data"))  # type: ignore[operator]
    assert not (tmp_path / "cache" / "_").exists()


@pytest.mark.parametrize("call", [*REGISTERING, pos3.ls, pos3.plan_download, pos3.plan_upload], ids=by_name)
def test_a_missing_bucket_is_named_before_anything_is_changed(
    s3: S3Site, tmp_path: Path, call: Callable[..., object]
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    options: dict[str, Any] = {} if call is pos3.ls else {"local": tree}
    with opened(tmp_path), pytest.raises(FileNotFoundError, match=f"{s3.bucket}-x") as failure:
        call(f"s3://{s3.bucket}-x/data", **options)
    assert isinstance(failure.value, pos3.BucketNotFoundError)
    assert contents(tree) == {"a": b"1"}
    assert not (tmp_path / "cache" / "_").exists()


@pytest.mark.parametrize("call", [*REGISTERING, pos3.ls, pos3.plan_download], ids=by_name)
def test_an_endpoint_that_nobody_listens_at_is_named_within_half_a_minute(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., object]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with opened(tmp_path), pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9") as failure:
        call(rclone_site.url("data"))
    assert time.monotonic() - began < 30
    assert isinstance(failure.value, pos3.EndpointError)
    assert rclone_site.bucket in str(failure.value)
    assert not (tmp_path / "cache" / "_").exists()


STRANGERS = [
    pytest.param(200, b"<html><body>hello</body></html>", "answered 200", id="html"),
    pytest.param(200, b"\n<!DOCTYPE html><br>hello", "answered 200", id="html-that-is-no-xml"),
    pytest.param(200, b'{"hello": "world"}', "answered 200", id="json"),
    pytest.param(404, b"<html><body>404 Not Found</body></html>", "answered 404", id="404-html"),
    pytest.param(404, b"404 page not found\n", "answered 404", id="404-text"),
    pytest.param(404, b"", "answered 404", id="404-nothing"),
    pytest.param(405, b"", "answered 405", id="405-nothing"),
    pytest.param(400, b"<html>plain HTTP request was sent to HTTPS port</html>", "answered 400", id="400-html"),
    pytest.param(302, b"", "redirects to https://console.example.com:9001:", id="redirect"),
]


@pytest.mark.parametrize(("status", "page", "told"), STRANGERS)
def test_an_endpoint_that_speaks_another_language_is_named_and_never_an_empty_source(
    tmp_path: Path, isolated_home: Path, status: int, page: bytes, told: str
) -> None:
    class Stranger(Handler):
        def respond(self) -> None:
            self.answer(
                status, page, **({"Location": "https://console.example.com:9001/a?b=c"} if status == 302 else {})
            )

    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    with ScriptedServer(Stranger) as server:
        profile = pos3.Profile("lab", server.endpoint_url, access_key="key", secret_key="secret")
        calls: list[Callable[[], object]] = [
            lambda: pos3.download("s3://bucket/data", tree, profile=profile, missing_ok=True, adopt=True),
            lambda: pos3.sync("s3://bucket/data", tree, profile=profile, interval=None, adopt=True),
            lambda: pos3.upload("s3://bucket/data", tree, profile=profile, interval=None),
            lambda: pos3.plan_download("s3://bucket/data", tree, profile=profile),
            lambda: pos3.ls("s3://bucket/data", profile=profile),
        ]
        for call in calls:
            began = time.monotonic()
            with opened(tmp_path), pytest.raises(pos3.EndpointError, match=told) as failure:
                call()
            assert time.monotonic() - began < 8
            assert server.endpoint_url in str(failure.value)
            assert "s3://bucket/data" in str(failure.value)
            assert contents(tree) == {"a": b"1"}


@pytest.mark.parametrize("call", REGISTERING, ids=by_name)
def test_a_local_path_that_cannot_be_made_is_named(
    rclone_site: S3Site, tmp_path: Path, call: Callable[..., Path]
) -> None:
    rclone_site.put("data/a", b"1")
    (tmp_path / "file").write_bytes(b"in the way")
    with opened(tmp_path), pytest.raises((OSError, pos3.Pos3Error), match="file"):
        call(rclone_site.url("data"), tmp_path / "file" / "below")
    assert (tmp_path / "file").read_bytes() == b"in the way"


def test_a_cache_root_that_cannot_be_made_is_named(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    (tmp_path / "cache").write_bytes(b"in the way")
    with opened(tmp_path), pytest.raises((OSError, pos3.Pos3Error), match="cache"):
        pos3.download(rclone_site.url("data"))


@pytest.mark.parametrize("target", ["file", "directory"])
def test_what_lies_in_the_way_of_a_download_is_named_and_stays(
    rclone_site: S3Site, tmp_path: Path, target: str
) -> None:
    rclone_site.put_all({"data/a": b"1", "model": b"2"})
    here = tmp_path / "here"
    if target == "file":
        here.write_bytes(b"precious")
    else:
        write_tree(here, {"precious": b"1"})
    with opened(tmp_path), pytest.raises(pos3.Pos3Error, match="here"):
        pos3.download(rclone_site.url("data" if target == "file" else "model"), here)
    assert here.read_bytes() == b"precious" if target == "file" else contents(here) == {"precious": b"1"}


def test_every_error_is_one_of_pos3_and_of_python() -> None:
    expected: dict[type[pos3.Pos3Error], type[Exception]] = {
        pos3.NoMirrorError: RuntimeError,
        pos3.InvalidArgumentError: ValueError,
        pos3.InvalidURLError: ValueError,
        pos3.ProfileError: ValueError,
        pos3.ConflictError: ValueError,
        pos3.UnsafeKeysError: ValueError,
        pos3.PlanRefusedError: ValueError,
        pos3.RemoteNotFoundError: FileNotFoundError,
        pos3.BucketNotFoundError: FileNotFoundError,
        pos3.AccessDeniedError: PermissionError,
        pos3.CredentialsError: PermissionError,
        pos3.EndpointError: ConnectionError,
        pos3.StoreError: OSError,
        pos3.PushTimeoutError: TimeoutError,
    }
    for error, builtin in expected.items():
        assert issubclass(error, builtin)
        assert issubclass(error, pos3.Pos3Error)


@pytest.mark.parametrize(
    "error",
    [
        pos3.TransferError("Upload", [ValueError("x")]),
        pos3.UnsafeKeysError("s3://bucket/x", ["'a': bad"]),
        pos3.RemoteNotFoundError("nothing there"),
        pos3.RemoteNotFoundError("nothing there", url="s3://bucket/x"),
        pos3.InvalidArgumentError("exclude='/'", argument="exclude"),
        pos3.InvalidURLError("local='S3://x'", argument="local", url="S3://x"),
        NotPushedError(errno.EACCES, "not for you", "/a"),
        LocalChangedError("/a was changed", path="/a"),
        NoSpaceError(errno.ENOSPC, "full", path="/a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_the_way_between_processes(error: pos3.Pos3Error) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error) or isinstance(error, pos3.TransferError)


@pytest.mark.parametrize(
    ("argument", "given"),
    [
        ("exclude", {"exclude": ["/"]}),
        ("include", {"include": ["a", "../b/c"]}),
        ("compare", {"compare": "mtime"}),
        ("max_delete", {"max_delete": "half"}),
        ("local", {"local": "s3://bucket/x"}),
        ("local", {"local": "S3://bucket/x"}),
        ("delete", {"delete": "no"}),
    ],
)
def test_an_error_about_an_argument_has_its_name(argument: str, given: dict[str, Any], tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError) as refused:
        pos3.download("s3://bucket/x", **given)
    assert refused.value.argument == argument


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_workers", 0), ("shutdown_timeout", -1), ("cache_limit", "much"), ("cache_root", "~no/x")],
)
def test_an_error_about_an_option_of_a_mirror_has_its_name(option: str, value: Any) -> None:
    with pytest.raises(pos3.InvalidArgumentError) as refused, pos3.mirror(**{option: value}):
        pass
    assert refused.value.argument == option


def test_an_error_about_a_url_has_it_without_its_password(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidURLError) as refused:
        pos3.download("s3://me:secret@b/x")
    assert refused.value.url == "s3://me:***@b/x"


def test_an_error_of_a_store_has_the_url(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    with opened(tmp_path), pytest.raises(pos3.RemoteNotFoundError) as missing:
        pos3.download(rclone_site.url("nothing"))
    assert missing.value.url == rclone_site.url("nothing")
    rclone_site.put("data/a", b"1")
    proxied(rclone_site, Status(403, "AccessDenied", match=on("GET")))
    with opened(tmp_path), pytest.raises(pos3.TransferError) as failed:
        pos3.download(rclone_site.url("data"))
    [denied] = failed.value.failures
    assert isinstance(denied, pos3.AccessDeniedError)
    assert denied.url == rclone_site.url("data/a")


# -- the interface of 0.4.0, and of the unreleased 0.5.0 of the earlier package


@pytest.mark.parametrize(
    ("call", "signature"),
    [
        (
            pos3.mirror,
            (
                "cache_root='~/.cache/positronic/s3/', show_progress=True, max_workers=10, default_profile=None, "
                "max_upload_bytes_per_second=None"
            ),
        ),
        (
            pos3.with_mirror,
            (
                "cache_root='~/.cache/positronic/s3/', show_progress=True, max_workers=10, default_profile=None, "
                "max_upload_bytes_per_second=None"
            ),
        ),
        (pos3.download, "remote, local=None, delete=True, exclude=None, profile=None"),
        (
            pos3.upload,
            (
                "remote, local=None, interval=300, delete=True, sync_on_error=False, exclude=None, profile=None, "
                "overwrite=None"
            ),
        ),
        (
            pos3.sync,
            (
                "remote, local=None, interval=300, delete_local=True, delete_remote=True, sync_on_error=False, "
                "exclude=None, profile=None, overwrite=None, upload_exclude=None"
            ),
        ),
        (pos3.ls, "prefix, recursive=False, profile=None"),
        (pos3.plan_download, "remote, local=None, exclude=None, profile=None"),
        (pos3.plan_upload, "remote, local=None, exclude=None, profile=None, overwrite=None"),
        (pos3.register_profile, "name, endpoint, public=False, region=None, local_name=None"),
        (
            pos3.Profile,
            "local_name, endpoint, public=False, region=None, access_key=None, secret_key=None, session_token=None",
        ),
    ],
    ids=by_name,
)
def test_positional_parameters_are_those_of_the_earlier_package(call: Callable[..., object], signature: str) -> None:
    positional = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(call).parameters.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert ", ".join(str(parameter) for parameter in positional) == signature


def test_a_program_written_for_0_4_0_runs_as_it_stands(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"in/a.txt": b"1", "in/b.log": b"2", "both/c": b"3"})
    with pos3.mirror(str(tmp_path / "cache"), False, 4, None, 10_000_000):
        source = pos3.download(s3.url("in/"), str(tmp_path / "in"), True, ["*.log"], None)
        out = pos3.upload(s3.url("out/"), str(tmp_path / "out"), 60, True, False, ["*.tmp"], None)
        both = pos3.sync(s3.url("both"), str(tmp_path / "both"), None, True, True, True, None, None)
        assert pos3.ls(s3.url("in"), True, None) == [s3.url("in/a.txt"), s3.url("in/b.log")]
        (out / "x").write_bytes((source / "a.txt").read_bytes())
        (both / "d").write_bytes(b"4")
        plan = pos3.plan_upload(s3.url("out"), str(tmp_path / "out"), ["*.tmp"], None)
        assert plan == pos3.TransferPlan(to_copy=[(str(out / "x"), s3.url("out/x"))], to_delete=[])
    assert s3.objects("out/") == {"x": b"1"}
    assert s3.objects("both/") == {"c": b"3", "d": b"4"}
    error = pos3.TransferError("Upload", [ValueError("why")])
    assert (error.operation, [str(failure) for failure in error.failures]) == ("Upload", ["why"])


def test_everything_public_has_a_docstring_and_is_listed() -> None:
    for name in pos3.__all__:
        assert inspect.getdoc(getattr(pos3, name)), name
    assert list(pos3.__all__) == sorted(pos3.__all__)


@pytest.mark.parametrize(
    ("verb", "request_kind"),
    [
        ("download", DownloadRequest),
        ("plan_download", DownloadRequest),
        ("upload", UploadRequest),
        ("sync", SyncRequest),
        ("bisync", BisyncRequest),
        ("plan_bisync", BisyncRequest),
        ("publish", PublishRequest),
    ],
)
def test_every_argument_of_a_verb_is_one_of_its_request_with_the_same_default(
    verb: str, request_kind: type[Request]
) -> None:
    places = {"remote": "s3://bucket/key", "local": "x"}
    made = request_kind(**places)
    parameters = inspect.signature(getattr(pos3, verb)).parameters
    names = {item.name for item in dataclasses.fields(request_kind)}
    assert parameters.keys() == names
    for name in names - places.keys():
        assert (getattr(made, name) or None) == (parameters[name].default or None), name
