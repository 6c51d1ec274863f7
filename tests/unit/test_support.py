"""What is shown to somebody who helps, and what never is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _support

TOKEN = "0123456789abcdef" * 3
HASH = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"
AUTHTOKEN = "2unitTESTtokenTESTtokenTEST_5XyZ"
HOOK = "https://hooks.example.org/services/T0/B0/s3cretpath"
HOST = "ada.example.org"
RESULT: dict[str, Any] = {"url": f"https://{HOST}", "challenge": {"nonce": "x"}, "problems": []}


@pytest.fixture
def bases(tmp_path: Path) -> tuple[str, str]:
    """What setup leaves on a machine, with two empty logs."""
    jupyter, ngrok = tmp_path / "jupyter", tmp_path / "ngrok"
    for directory in (jupyter / "venv/lib/python3.11/site-packages/idna-3.20.dist-info", ngrok):
        directory.mkdir(parents=True)
    (jupyter / "token").write_text(f"{TOKEN}\n")
    (jupyter / "password_hash").write_text(HASH)
    (jupyter / "cookie_secret").write_text("c00kies3cretc00kie=\n")
    (jupyter / "cell_webhook.json").write_text(json.dumps({"url": HOOK, "minutes": 1}))
    (ngrok / "ngrok.yml").write_text(f'version: 3\nagent:\n  authtoken: "{AUTHTOKEN}"\n')
    (ngrok / "url").write_text(f"https://{HOST}\n")
    return str(jupyter), str(ngrok)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"looking for {TOKEN}", "looking for (hidden)"),
        (f"{TOKEN}{TOKEN}", "(hidden)(hidden)"),
        (f"hash {HASH}.", "hash (hidden)."),
        (f"Your authtoken: {AUTHTOKEN}\\r\\nSee", "Your authtoken: (hidden)\\r\\nSee"),
        (f'"err":"with {AUTHTOKEN} it"', '"err":"with (hidden) it"'),
        (f"POST {HOOK} failed", "POST (hidden) failed"),
        ("POST /services/T0/B0/s3cretpath", "POST /(hidden)"),
        ("to https%3A%2F%2Fhooks.example.org%2Fservices%2FT0%2FB0%2Fs3cretpath", "to (hidden)"),
        (f"https://{HOST}/lab", "https://(hidden)/lab"),
        ("url=https://fc12-1-2.eu.ngrok-free.app/lab", "url=https://(hidden)/lab"),
        ("GET /lab?token=abc&x=1", "GET /lab?token=(hidden)"),
        ("GET /login?next=%2F&_xsrf=2|abc|def x", "GET /login?next=%2F&_xsrf=(hidden) x"),
        ("http://ada:s3cr3t@proxy.example.org:3128", "http://(hidden)@proxy.example.org:3128"),
        ("c00kies3cretc00kie=", "(hidden)"),
        (
            "thesis.ipynb, 127.0.0.1:8888, ERR_NGROK_108",
            "thesis.ipynb, 127.0.0.1:8888, ERR_NGROK_108",
        ),
    ],
)
@pytest.mark.parametrize("log", ["server.log", "agent.log", "status"])
def test_no_secret_and_no_url_is_shown_wherever_it_stands(
    line: str, shown: str, log: str, bases: tuple[str, str]
) -> None:
    result = RESULT | {"problems": [line]}
    if log != "status":
        base = bases[0] if log == "server.log" else bases[1]
        Path(f"{base}/{log}").write_text(f"{line}\n")

    told = _support.bundle(result, *bases)[log]

    if log == "status":
        assert json.loads(told)["problems"] == [shown]
    else:
        assert told == f"{shown}\n"


def test_what_helps_is_there(bases: tuple[str, str]) -> None:
    jupyter, ngrok = bases
    Path(f"{jupyter}/server.log").write_text("".join(f"line {n}\n" for n in range(100_000)))

    told = _support.bundle(RESULT, *bases)

    assert list(told) == ["status", "machine", "files", "packages", "server.log"]
    assert json.loads(told["status"]) == {"url": "https://(hidden)", "problems": []}
    assert "Linux" in told["machine"]
    assert told["packages"] == "idna-3.20"
    assert "-rw-r--r--         49 " in told["files"]
    assert f"{jupyter}/token" in told["files"]
    assert f"{ngrok}/ngrok.yml" in told["files"]
    assert "site-packages" not in told["files"]
    lines = told["server.log"].splitlines()
    assert lines[-1] == "line 99999"
    assert lines[0].startswith("line ")
    assert len(told["server.log"]) < _support.TAIL


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("jupyter/token", ""),
        ("jupyter/token", "a"),
        ("jupyter/cell_webhook.json", "[]"),
        ("jupyter/cell_webhook.json", "{"),
        ("ngrok/ngrok.yml", "authtoken:\n"),
        ("ngrok/url", "http://[::1\n"),
        ("jupyter/server.log", "\xff"),
    ],
)
def test_what_is_odd_harms_nobody(file: str, content: str, bases: tuple[str, str]) -> None:
    path = Path(bases[0]).parent / file
    path.write_bytes(content.encode("latin-1"))

    told = _support.bundle(RESULT, *bases)

    assert json.loads(told["status"])["problems"] == []
    assert HOST not in "".join(told.values())


def test_where_nothing_is_set_up_there_is_a_bundle_too(tmp_path: Path) -> None:
    told = _support.bundle(RESULT, f"{tmp_path}/none", f"{tmp_path}/none")

    assert list(told) == ["status", "machine", "files", "packages"]
