"""The session token and the secret key show in no form that a server may quote them in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

import pos3
from tests.security.showing import shown
from tests.support import Request
from tests.support.hostile import HostileStore, Play, element, error, page, raw

Stage = Callable[[dict[str, Play]], HostileStore]
TOKEN = "IQoJb3JpZ2luX2VjEHca/CXVzLWVhc3QtMSJHMEUCIQ+Dq3fZ8vN7pLw0kY5tR2mC9sB4xA6hG1jU=="
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
FORMS = {
    "bare": lambda secret: f"the token {secret} is not good",
    "joined": lambda secret: f"x{secret}y",
    "quoted": lambda secret: f'"token" : "{secret}"',
    "url": lambda secret: f"?X-Amz-Token%3D{quote(secret, safe='')}",
    "lower-url": lambda secret: quote(secret, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "cut": lambda secret: secret[:30],
    "tail": lambda secret: f"...{secret[-30:]}",
    "across-the-cut": lambda secret: "x" * 980 + secret,
    "in-two": lambda secret: f"{secret[:40]} and {secret[40:]}",
    "json": lambda secret: secret.replace("/", "\\/"),
}


def pieces(secret: str) -> set[str]:
    return {secret[at : at + 16] for at in range(len(secret) - 15)}


def leaked(text: str) -> list[str]:
    return [piece for secret in (TOKEN, SECRET) for piece in pieces(secret) if piece in text]


def failure_of_a_download(cache: Path) -> tuple[pos3.Pos3Error, list[str]]:
    """The error, in whose frames is nothing of a test, and what the report tells."""
    with pos3.mirror(cache, show_progress=False) as mirror:
        try:
            mirror.download("s3://bucket/data")
        except pos3.Pos3Error as error:
            return error, list(mirror.report().failures)
    raise AssertionError("nothing was refused")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def put() -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)

    return put


CASES = [
    *(("message", TOKEN, form) for form in FORMS),
    *((where, TOKEN, form) for where in ("code", "location", "key") for form in ("bare", "url", "cut")),
    *(("message", SECRET, form) for form in ("bare", "lower-url")),
]


@pytest.mark.parametrize(
    ("where", "secret", "form"),
    CASES,
    ids=lambda value: "token" if value == TOKEN else "key" if value == SECRET else value,
)
def test_a_server_that_quotes_a_secret_in_any_form_does_not_make_it_show(
    hostile: Stage,
    credentials: Callable[[], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    form: str,
    secret: str,
    where: str,
) -> None:
    caplog.set_level(logging.DEBUG, "pos3")
    text = FORMS[form](secret)
    plays: dict[str, Play] = {
        "message": {"LIST": error("Odd", text)},
        "code": {"LIST": error(text, "x")},
        "location": {"LIST": raw(302, b"", b"Location: http://" + text.encode() + b"/")},
        "key": {"LIST": raw(200, page(element(f"data/{text}"))), "GET": error("AccessDenied", "no", 403)},
    }[where]  # type: ignore[assignment]
    hostile(plays)
    credentials()
    error_of_pos3, failures = failure_of_a_download(tmp_path)
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("pos3"))
    assert leaked("\n".join([str(error_of_pos3), repr(error_of_pos3), logged, *failures])) == []
    if where != "key":
        # A key is data, and stands in the variables of whoever moves it.
        assert leaked(shown(error_of_pos3)) == []


def test_a_token_that_was_given_in_a_profile_is_hidden_as_well(hostile: Stage, tmp_path: Path) -> None:
    def refuse(request: Request) -> bytes:
        return error("ExpiredToken2", f"It was {request.headers['x-amz-security-token']}!")

    store = hostile({"LIST": refuse})
    profile = pos3.Profile("acme", store.endpoint_url, access_key="AKIDEXAMPLE", secret_key=SECRET, session_token=TOKEN)
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.StoreError, match="It was") as failure:
        pos3.ls("s3://bucket/data", profile=profile)
    assert leaked(str(failure.value)) == []
    assert "ExpiredToken2" in str(failure.value)


@pytest.mark.parametrize("code", ["a b", "x" * 65, "a-b", "<b>", "ü", "a\nb", "a" * 64000])
def test_what_is_no_code_is_not_shown_as_one(hostile: Stage, tmp_path: Path, code: str) -> None:
    hostile({"GET": error(code, "the message", 403), "LIST": raw(200, page(element("data/a")))})
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.TransferError) as failure:
        pos3.download("s3://bucket/data")
    assert "the message" in str(failure.value)
    assert f"({code}" not in str(failure.value)
    assert isinstance(failure.value.failures[0], pos3.AccessDeniedError)


def test_short_secrets_of_test_servers_do_not_blot_out_words() -> None:
    profile = pos3.Profile("acme", "http://x", access_key="key", secret_key="secret")
    assert profile.secret_key == "secret"
    assert "secret" in str(pos3.StoreError("the secret word"))
