"""Which endpoint with which credentials: precedence, files, secrets, and one cache for each endpoint."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.profiles.registry import resolve_profile
from tests.support import Proxy, RcloneServer, S3Site, Status, contents, write_tree

PutBefore = Callable[..., Proxy]
SECRET = "test-secret-key"


@pytest.fixture(autouse=True)
def no_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pos3.profiles.registry._PROFILES", {})


@pytest.fixture
def no_environment(rclone_site: S3Site, monkeypatch: pytest.MonkeyPatch) -> S3Site:
    """A bucket that the environment does not lead to: wrong keys and a closed port."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    return rclone_site


def opened(tmp_path: Path, **options: object) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)  # type: ignore[arg-type]


def profile_of(site: S3Site, name: str = "acme", **changes: object) -> pos3.Profile:
    values = {
        "local_name": name,
        "endpoint": site.server.endpoint_url,
        "access_key": site.server.access_key,
        "secret_key": site.server.secret_key,
        **changes,
    }
    return pos3.Profile(**values)  # type: ignore[arg-type]


def write_profiles(text: str) -> Path:
    path = Path(os.environ["POS3_PROFILES_FILE"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_credentials(site: S3Site, path: Path, section: str, *, secret: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"[{section}]\naws_access_key_id = {site.server.access_key}\n"
        f"aws_secret_access_key = {secret or site.server.secret_key}\n"
    )


def test_a_profile_object_leads_to_its_endpoint_whatever_the_environment_says(
    no_environment: S3Site, tmp_path: Path
) -> None:
    no_environment.put("data/a", b"1")
    with opened(tmp_path):
        path = pos3.download(no_environment.url("data"), profile=profile_of(no_environment))
        write_tree(pos3.upload(no_environment.url("up"), profile=profile_of(no_environment)), {"b": b"2"})
    assert path == tmp_path / "cache" / "acme" / no_environment.bucket / "data"
    assert contents(path) == {"a": b"1"}
    assert no_environment.objects("up/") == {"b": b"2"}


def test_a_default_profile_applies_where_no_other_is_named(no_environment: S3Site, tmp_path: Path) -> None:
    no_environment.put("data/a", b"1")
    with opened(tmp_path, default_profile=profile_of(no_environment)):
        assert contents(pos3.download(no_environment.url("data"))) == {"a": b"1"}
        assert pos3.ls(no_environment.url("data")) == [no_environment.url("data/a")]


def test_the_url_wins_over_the_argument_and_the_argument_over_the_default(
    no_environment: S3Site, tmp_path: Path
) -> None:
    no_environment.put("data/a", b"1")
    wrong = pos3.Profile("wrong", "http://127.0.0.1:9", access_key="x", secret_key="y")
    right = profile_of(no_environment)
    pos3.register_profile("acme", right.endpoint, access_key=right.access_key, secret_key=right.secret_key)
    with opened(tmp_path, default_profile=wrong):
        by_argument = pos3.download(no_environment.url("data"), profile="acme")
        by_url = pos3.plan_download(f"s3://acme@{no_environment.bucket}/data", profile=wrong)
    assert contents(by_argument) == {"a": b"1"}
    assert by_url.to_copy == []


def test_a_profile_in_the_url_and_as_an_argument_is_the_same_registration(
    no_environment: S3Site, tmp_path: Path
) -> None:
    right = profile_of(no_environment)
    pos3.register_profile("acme", right.endpoint, access_key=right.access_key, secret_key=right.secret_key)
    with opened(tmp_path):
        path = pos3.upload(no_environment.url("up"), profile="acme")
        assert pos3.upload(f"s3://acme@{no_environment.bucket}/up") == path
        write_tree(path, {"a": b"1"})
        assert pos3.flush(f"s3://acme@{no_environment.bucket}/up").uploaded_files == 1
    assert no_environment.objects() == {"up/a": b"1"}


def test_results_name_no_profile_so_that_they_are_urls_of_the_bucket(no_environment: S3Site, tmp_path: Path) -> None:
    no_environment.put("data/a", b"1")
    right = profile_of(no_environment)
    pos3.register_profile("acme", right.endpoint, access_key=right.access_key, secret_key=right.secret_key)
    with opened(tmp_path):
        plan = pos3.plan_download(f"s3://acme@{no_environment.bucket}/data")
    assert plan.to_copy[0][0] == no_environment.url("data/a")


@pytest.mark.parametrize(
    "call",
    [pos3.download, pos3.upload, pos3.sync, pos3.ls, pos3.plan_download, pos3.plan_upload],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("way", ["url", "argument"])
def test_an_unknown_profile_is_named_before_anything_is_changed(
    tmp_path: Path, call: Callable[..., object], way: str
) -> None:
    address, options = ("s3://nobody@bucket/x", {}) if way == "url" else ("s3://bucket/x", {"profile": "nobody"})
    with opened(tmp_path), pytest.raises(ValueError, match="nobody") as failure:
        call(address, **options)
    assert isinstance(failure.value, pos3.ProfileError)
    assert "profiles.toml" in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_default_profile_is_an_error_at_the_mirror(tmp_path: Path) -> None:
    with pytest.raises(pos3.ProfileError, match="nobody"), opened(tmp_path, default_profile="nobody"):
        pytest.fail("the body ran")


# -- registration


def test_registering_a_profile_again_is_fine_and_differently_is_an_error() -> None:
    pos3.register_profile("acme", "https://s3.example.com", False, "eu-north-1", "acme-files")
    pos3.register_profile("acme", "https://s3.example.com", region="eu-north-1", local_name="acme-files")
    with pytest.raises(ValueError, match=r"acme.*already"):
        pos3.register_profile("acme", "https://other.example.com")
    assert resolve_profile("acme") == pos3.Profile("acme-files", "https://s3.example.com", False, "eu-north-1")


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        pytest.param(("_", "https://x"), "reserved", id="reserved-name"),
        pytest.param(("", "https://x"), "local_name", id="empty-name"),
        pytest.param(("a/b", "https://x"), "a/b", id="slash-in-name"),
        pytest.param(("..", "https://x"), r"\.\.", id="parent"),
        pytest.param(("acme", "s3.example.com"), "https://", id="endpoint-without-scheme"),
        pytest.param(("acme", "https://x", False, None, "key", None), "together", id="key-without-secret"),
        pytest.param(("acme", "https://x", False, None, None, "secret"), "together", id="secret-without-key"),
        pytest.param(("acme", "https://x", False, None, "", ""), "empty", id="empty-keys"),
    ],
)
def test_a_profile_that_cannot_work_is_refused_when_it_is_made(values: tuple[object, ...], hint: str) -> None:
    with pytest.raises(ValueError, match=hint) as failure:
        pos3.Profile(*values)  # type: ignore[arg-type]
    assert isinstance(failure.value, pos3.ProfileError)
    assert "secret" not in values or "'secret'" not in str(failure.value)


@pytest.mark.parametrize("profile", [7, b"acme", ["acme"]], ids=repr)
def test_a_profile_of_another_type_is_an_error(tmp_path: Path, profile: object) -> None:
    with opened(tmp_path), pytest.raises((pos3.ProfileError, TypeError), match="profile"):
        pos3.download("s3://bucket/x", profile=profile)  # type: ignore[arg-type]


def test_profiles_that_share_a_local_name_but_not_an_endpoint_are_an_error(
    no_environment: S3Site, tmp_path: Path, rclone: RcloneServer
) -> None:
    no_environment.put_all({"one/a": b"1", "two/a": b"2"})
    other = profile_of(no_environment, endpoint=rclone.endpoint_url.replace("127.0.0.1", "localhost"))
    with opened(tmp_path):
        pos3.download(no_environment.url("one"), profile=profile_of(no_environment))
        with pytest.raises(pos3.ConflictError, match="local_name") as failure:
            pos3.download(no_environment.url("two"), profile=other)
    assert no_environment.url("two") in str(failure.value)
    assert not (tmp_path / "cache" / "acme" / no_environment.bucket / "two").exists()


def test_the_same_url_at_two_endpoints_lies_in_two_directories(
    s3: S3Site, private_rclone: tuple[RcloneServer, S3Site], tmp_path: Path
) -> None:
    server, elsewhere = private_rclone
    server.create_bucket(s3.bucket)
    s3.put("data/a", b"here")
    server.put(s3.bucket, "data/a", b"there")
    with opened(tmp_path):
        here = pos3.download(s3.url("data"), profile=profile_of(s3, "here"))
        there = pos3.download(s3.url("data"), profile=profile_of(elsewhere, "there"))
    assert contents(here) == {"a": b"here"}
    assert contents(there) == {"a": b"there"}


# -- the profiles file


@pytest.mark.parametrize("section", ["acme", "default"])
@pytest.mark.parametrize("place", ["absolute", "beside"])
def test_profiles_come_from_the_file_with_keys_from_a_credentials_file(
    no_environment: S3Site, tmp_path: Path, section: str, place: str
) -> None:
    no_environment.put("data/a", b"1")
    file = Path(os.environ["POS3_PROFILES_FILE"])
    credentials = tmp_path / "keys" / "acme.creds" if place == "absolute" else file.parent / "acme.creds"
    write_credentials(no_environment, credentials, section)
    write_profiles(
        f'[profiles.acme]\nendpoint = "{no_environment.server.endpoint_url}"\nregion = "us-east-1"\n'
        f'local_name = "files"\ncredentials_file = "{credentials if place == "absolute" else credentials.name}"\n'
    )
    with opened(tmp_path):
        path = pos3.download(f"s3://acme@{no_environment.bucket}/data")
    assert path == tmp_path / "cache" / "files" / no_environment.bucket / "data"
    assert contents(path) == {"a": b"1"}


@pytest.mark.parametrize("where", ["xdg", "home"])
def test_the_profiles_file_lies_where_0_4_0_looked_for_it(
    isolated_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.delenv("POS3_PROFILES_FILE")
    base = isolated_home / ".config"
    if where == "xdg":
        base = tmp_path / "xdg"
        monkeypatch.setenv("XDG_CONFIG_HOME", str(base))
    (base / "pos3").mkdir(parents=True)
    (base / "pos3" / "profiles.toml").write_text(
        '[profiles.acme]\nendpoint = "https://s3.example.com"\npublic = true\n'
    )
    assert resolve_profile("acme") == pos3.Profile("acme", "https://s3.example.com", True)


def test_a_profile_registered_in_code_wins_over_the_file() -> None:
    write_profiles('[profiles.acme]\nendpoint = "https://file.example.com"\n')
    pos3.register_profile("acme", "https://code.example.com")
    found = resolve_profile("acme")
    assert found is not None
    assert found.endpoint == "https://code.example.com"


def test_a_changed_profiles_file_is_read_again() -> None:
    path = write_profiles('[profiles.acme]\nendpoint = "https://one.example.com"\n')
    resolve_profile("acme")
    write_profiles('[profiles.acme]\nendpoint = "https://two.example.com"\n')
    os.utime(path, (1, 1))
    found = resolve_profile("acme")
    assert found is not None
    assert found.endpoint == "https://two.example.com"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param("[profiles.acme\n", "profiles.toml", id="no-toml"),
        pytest.param("profiles = 3\n", "profiles", id="no-table"),
        pytest.param("[profiles]\nacme = 3\n", "acme", id="no-table-of-the-profile"),
        pytest.param(
            '[profiles.acme]\nregion_name = "x"\nendpoint = "https://x"\n', "region_name", id="unknown-setting"
        ),
        pytest.param("[profiles.acme]\npublic = true\n", "endpoint", id="no-endpoint"),
        pytest.param('[profiles.acme]\nendpoint = "x"\n', "https://", id="bad-endpoint"),
        pytest.param(
            '[profiles.acme]\nendpoint = "https://x"\ncredentials_file = "none"\n', "none", id="no-credentials-file"
        ),
    ],
)
def test_a_profiles_file_that_cannot_work_is_named_with_the_setting(tmp_path: Path, text: str, hint: str) -> None:
    write_profiles(text)
    with opened(tmp_path), pytest.raises(pos3.ProfileError, match=hint):
        pos3.download("s3://acme@bucket/x")


@pytest.mark.parametrize("keys", [{}, {"access_key": "key", "secret_key": "secret"}], ids=["no-keys", "keys"])
def test_a_region_without_an_endpoint_is_refused_unless_the_profile_says_that_aws_is_meant(
    tmp_path: Path, keys: dict[str, str]
) -> None:
    lines = "".join(f'{name} = "{value}"\n' for name, value in keys.items())
    write_profiles(f'[profiles.lab]\nregion = "eu-north-1"\n{lines}')
    with opened(tmp_path), pytest.raises(pos3.ProfileError, match=r"'lab' has a region but no endpoint.*aws_profile"):
        pos3.download("s3://lab@bucket/x")
    assert not (tmp_path / "cache" / "lab").exists()
    for endpoint in (None, ""):
        with pytest.raises(pos3.ProfileError, match="has a region but no endpoint"):
            pos3.register_profile("lab", endpoint, region="eu-north-1", **keys)


def test_a_region_of_aws_goes_with_aws_profile_public_or_the_endpoint_of_the_region() -> None:
    write_profiles(
        '[profiles.research]\nregion = "eu-north-1"\naws_profile = "mine"\n'
        '[profiles.open]\nregion = "eu-north-1"\npublic = true\n'
        '[profiles.named]\nregion = "eu-north-1"\nendpoint = "https://s3.eu-north-1.amazonaws.com"\n'
    )
    for name in ("research", "open", "named"):
        found = resolve_profile(name)
        assert found is not None
        assert found.region == "eu-north-1"
    pos3.register_profile("maps", None, sse_kms_key_id="alias/training")
    found = resolve_profile("maps")
    assert found is not None
    assert found.endpoint is None


def test_another_broken_profile_in_the_file_does_not_spoil_a_good_one() -> None:
    write_profiles(
        '[profiles.broken]\nendpoint = "https://x"\ncredentials_file = "none"\n'
        '[profiles.acme]\nendpoint = "https://s3.example.com"\n'
    )
    assert resolve_profile("acme") == pos3.Profile("acme", "https://s3.example.com")
    with pytest.raises(pos3.ProfileError, match="none"):
        resolve_profile("broken")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[other]\naws_access_key_id = k\naws_secret_access_key = hunter2\n", id="other-section"),
        pytest.param("[acme]\naws_secret_access_key = hunter2\n", id="no-key"),
        pytest.param("[acme]\naws_access_key_id = hunter2\n", id="no-secret"),
        pytest.param("aws_secret_access_key = hunter2\n", id="no-section"),
        pytest.param("[acme]\nhunter2\n", id="no-value"),
    ],
)
def test_a_credentials_file_that_cannot_work_is_named_without_its_secrets(tmp_path: Path, content: str) -> None:
    (tmp_path / "creds").write_text(content)
    write_profiles(f'[profiles.acme]\nendpoint = "https://x"\ncredentials_file = "{tmp_path / "creds"}"\n')
    with pytest.raises(pos3.ProfileError, match="creds") as failure:
        resolve_profile("acme")
    assert "hunter2" not in str(failure.value)
    assert "hunter2" not in repr(failure.value)


# -- secrets


def test_secrets_never_show_in_text_logs_or_errors(
    no_environment: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "pos3")
    profile = profile_of(no_environment, secret_key="hunter2-secret", session_token="hunter2-token")
    said = [repr(profile), str(profile)]
    with opened(tmp_path, default_profile=profile) as mirror:
        for call in (pos3.download, pos3.upload, pos3.sync, pos3.ls):
            with pytest.raises(pos3.CredentialsError) as failure:
                call(no_environment.url("data"))
            error: BaseException | None = failure.value
            while error is not None:
                said += [str(error), repr(error)]
                error = error.__cause__ or error.__context__
        said += [repr(mirror), repr(mirror.report())]
    out, err = capfd.readouterr()
    said += [out, err, *(record.getMessage() for record in caplog.records if record.name.startswith("pos3"))]
    assert not [text for text in said if "hunter2" in text]


# -- what a server says to wrong credentials


@pytest.mark.parametrize("call", [pos3.download, pos3.upload, pos3.sync, pos3.ls], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("keys", "cause"),
    [
        pytest.param({"secret_key": "wrong"}, "SignatureDoesNotMatch", id="wrong-secret"),
        pytest.param({"access_key": "nobody", "secret_key": "wrong"}, "InvalidAccessKeyId", id="unknown-key"),
    ],
)
def test_wrong_credentials_are_named_before_the_body_does_work(
    rclone_site: S3Site, tmp_path: Path, call: Callable[..., object], keys: dict[str, object], cause: str
) -> None:
    with opened(tmp_path), pytest.raises(PermissionError, match=cause) as failure:
        call(rclone_site.url("data"), profile=profile_of(rclone_site, "acme", **keys))
    assert isinstance(failure.value, (pos3.CredentialsError, pos3.AccessDeniedError))
    assert rclone_site.bucket in str(failure.value)
    assert not (tmp_path / "cache" / "acme").exists()


@pytest.mark.parametrize("call", [pos3.download, pos3.upload, pos3.sync, pos3.ls], ids=lambda f: f.__name__)
def test_a_public_profile_that_is_not_let_in_is_told_so(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, call: Callable[..., object]
) -> None:
    proxy = proxied(moto_site, Status(403, "AccessDenied"))
    with opened(tmp_path), pytest.raises(pos3.AccessDeniedError, match=moto_site.bucket):
        call(moto_site.url("data"), profile=pos3.Profile("open", proxy.endpoint_url, True))
    assert not (tmp_path / "cache" / "open").exists()


def test_no_credentials_at_all_are_an_error_that_says_how_to_give_some(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with opened(tmp_path), pytest.raises(pos3.CredentialsError, match="AWS_ACCESS_KEY_ID"):
        pos3.upload(rclone_site.url("data"))


@pytest.mark.parametrize("keys", [(None, None), ("key", "secret")], ids=["without-keys", "with-keys"])
def test_a_public_profile_signs_no_request(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, keys: tuple[str | None, str | None]
) -> None:
    moto_site.server.s3.put_bucket_acl(Bucket=moto_site.bucket, ACL="public-read")
    moto_site.server.s3.put_object(Bucket=moto_site.bucket, Key="data/a", Body=b"1", ACL="public-read")
    proxy = proxied(moto_site)
    public = pos3.Profile("open", proxy.endpoint_url, True, None, *keys)
    with opened(tmp_path):
        assert contents(pos3.download(moto_site.url("data"), profile=public)) == {"a": b"1"}
    assert proxy.requests
    assert not [request for request in proxy.requests if "authorization" in request.headers]


def test_a_session_token_goes_with_every_request(moto_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    moto_site.put("data/a", b"1")
    proxy = proxied(moto_site)
    profile = profile_of(moto_site, endpoint=proxy.endpoint_url, session_token="the-token")
    with opened(tmp_path):
        pos3.download(moto_site.url("data"), profile=profile)
        write_tree(pos3.upload(moto_site.url("up"), profile=profile), {"a": b"1"})
    assert {request.headers.get("x-amz-security-token") for request in proxy.requests} == {"the-token"}
