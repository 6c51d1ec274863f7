"""The login page, and what the guard tells without a login and with one."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
from urllib.parse import quote, urlencode

import pytest

from tests.support.guarded import PASSWORD, THIEF, TOKEN, Guarded

# Strangers are let try, one wait is as long as it can get.
SETTINGS = "limits.SHARED_SECONDS, limits.FIRST_WAIT = 0.001, limits.LONGEST_WAIT"
NONCE = "0123456789abcdefABCDEF0123456789"


def type_password(
    server: Guarded, password: str, path: str = "/login", **headers: str
) -> tuple[int, dict[str, list[str]], str]:
    """Status, headers and text of the answer."""
    page, _ = server.ask("/login", **headers)
    (cookie,) = (text for text in page.headers.get_all("Set-Cookie", []) if "_xsrf" in text)
    xsrf = cookie.partition(";")[0]
    form = f"{xsrf}&{urlencode({'password': password})}".encode()
    kind = "application/x-www-form-urlencoded"
    answer, text = server.ask(path, "POST", form, Cookie=xsrf, Content_Type=kind, **headers)
    found: dict[str, list[str]] = {}
    for name, value in answer.getheaders():
        found.setdefault(name, []).append(value)
    return answer.status, found, text.decode()


def test_the_page_says_whose_machine_it_is_needs_nothing_else_and_has_no_word_of_tokens(
    server: Guarded,
) -> None:
    answer, content = server.ask("/login?next=%2Flab%2Ftree%2Fa%20b%22%3E.ipynb")
    text = content.decode()
    account, host = pwd.getpwuid(os.geteuid()).pw_name, socket.gethostname()
    assert f"<title>{account}@{host}: log in</title>" in text
    assert f"<h1>Notebook of {account} on {host}</h1>" in text
    assert '<label for="password">Password</label>' in text
    assert 'name="viewport"' in text
    assert "token" not in text.lower()
    assert not re.search(r"(src|href)=", text)
    assert 'action="/login?next=%2Flab%2Ftree%2Fa%20b%22%3E.ipynb"' in text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("target", "landing"),
    [
        ("/api/status?x=1", "/api/status?x=1"),
        ("//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("\\\\evil.example", "/"),
    ],
)
def test_after_the_login_one_is_where_one_wanted_to_be_on_this_server(
    target: str, landing: str, server: Guarded
) -> None:
    status, headers, _ = type_password(server, PASSWORD, f"/login?next={quote(target)}")
    assert (status, headers["Location"]) == (302, [landing])


@pytest.mark.parametrize("protocol", ["http", "https"])
def test_no_other_site_no_script_and_no_network_gets_a_cookie(
    protocol: str, server: Guarded
) -> None:
    status, headers, _ = type_password(server, PASSWORD, X_Forwarded_Proto=protocol)
    page, _ = server.ask("/login", X_Forwarded_Proto=protocol)
    secure = protocol == "https"
    assert status == 302
    cookies = [*headers["Set-Cookie"], *page.headers.get_all("Set-Cookie", [])]
    names = [re.sub("(-[0-9]+)+$", "", cookie.partition("=")[0]) for cookie in cookies]
    assert sorted(names) == ["_xsrf", "known-username", "username"]
    for name, cookie in zip(names, cookies, strict=True):
        assert "; SameSite=Lax" in cookie
        assert ("; Secure" in cookie) is secure
        # Pages have to send this one back in a header.
        assert ("; HttpOnly" in cookie) is (name != "_xsrf")
    assert ("Strict-Transport-Security" in headers) is secure
    assert ("Strict-Transport-Security" in page.headers) is secure


@pytest.mark.parametrize("given", ["a wrong one", "", TOKEN, " " + PASSWORD])
def test_what_is_not_the_password_is_said_not_to_be(given: str, server: Guarded) -> None:
    before = server.state()["failed_logins"]
    status, headers, text = type_password(server, given, X_Forwarded_For=f"192.0.2.{len(given)}")
    assert status == 401
    assert not [text for text in headers.get("Set-Cookie", []) if text.startswith("username")]
    assert '<p role="alert" id="alert">This is not the password.</p>' in text
    assert 'aria-invalid="true" aria-describedby="alert hint"' in text
    assert server.state()["failed_logins"] == before + 1


@pytest.mark.parametrize("more", [{"new_password": "x"}, {"password": ["x", PASSWORD]}])
def test_the_last_password_of_a_form_counts_and_no_new_one_is_taken(
    more: dict[str, object], server: Guarded
) -> None:
    form = {"password": PASSWORD} | more
    extra = urlencode(form, doseq=True)
    hashed = (server.base / "password_hash").read_text()
    page, _ = server.ask("/login")
    (cookie,) = page.headers.get_all("Set-Cookie", [])
    xsrf = cookie.partition(";")[0]
    kind = "application/x-www-form-urlencoded"
    answer, _ = server.ask(
        "/login", "POST", f"{xsrf}&{extra}".encode(), Cookie=xsrf, Content_Type=kind
    )
    assert answer.status == 302
    assert (server.base / "password_hash").read_text() == hashed


def test_who_guesses_too_often_is_told_how_long_to_wait(server: Guarded) -> None:
    for _ in range(5):
        assert type_password(server, "guess", X_Forwarded_For=THIEF)[0] == 401
    # Not even the right one is looked at, else a guess would tell.
    status, headers, text = type_password(server, PASSWORD, X_Forwarded_For=THIEF)
    assert status == 429
    assert 240 < int(headers["Retry-After"][0]) <= 300
    assert "Too many logins have failed" in text
    assert "Try again in 5 minutes." in text
    # A visitor cannot say to be somebody else: what is last, the agent says.
    assert type_password(server, "x", X_Forwarded_For=f"1.2.3.4, {THIEF}")[0] == 429
    assert type_password(server, "x", X_Forwarded_For=THIEF, X_Real_Ip="1.2.3.4")[0] == 429
    assert server.visitor().log_in()


def test_a_wrong_token_counts_as_a_failed_login_and_gets_nothing(server: Guarded) -> None:
    before = server.state()["failed_logins"]
    for path in ("/api/status", "/api/status?token=wrong"):
        assert server.ask(path, Authorization="token wrong")[0].status == 403
    assert server.ask("/api/status")[0].status == 403
    after = server.state()
    assert after["failed_logins"] == before + 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", after["last_failed_login"])


def test_a_session_with_another_programs_token_is_no_failed_login(server: Guarded) -> None:
    owner = server.owner()
    before = server.state()["failed_logins"]
    owner._forwarded["Authorization"] = "Bearer of another program"
    owner.api("GET", "/api/status")
    assert server.state()["failed_logins"] == before


def test_nobody_without_a_login_learns_of_failed_ones(server: Guarded) -> None:
    assert server.ask("/api/notebook-guard")[0].status == 403


@pytest.mark.parametrize("nonce", [NONCE, "f" * 128])
def test_the_server_proves_without_a_login_that_it_has_the_token(
    nonce: str, server: Guarded
) -> None:
    answer, text = server.ask(f"/notebook-proof?nonce={nonce}")
    assert answer.status == 200
    assert json.loads(text) == {"proof": server.proof(nonce)}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?nonce=",
        "?nonce=" + "f" * 31,
        "?nonce=" + "f" * 129,
        "?nonce=" + "g" * 32,
        f"?nonce={NONCE}%0A",
        f"?nonce=%20{NONCE}",
        f"?nonce={NONCE}&nonce={NONCE}",
        "?nonce=browser%0A" + "f" * 32,
        "?nonce=" + "%C3%A4" * 32,
    ],
)
def test_to_anything_else_it_has_no_proof(query: str, server: Guarded) -> None:
    answer, text = server.ask(f"/notebook-proof{query}")
    assert answer.status == 400
    assert b"proof" not in text
