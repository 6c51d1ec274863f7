"""What the filter jupyter_password_hash promises."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import argon2
import pytest
from ansible_collections.anywhere.notebook.plugins.filter.jupyter_password_hash import FilterModule
from jupyter_server.auth import security

COLLECTIONS = Path(__file__).resolve().parents[2] / ".venv/collections"

jupyter_password_hash = FilterModule().filters()["jupyter_password_hash"]

# Jupyter has no types for it.
passwd: Callable[..., str] = security.passwd

# Runs the filter where a package is not installed.
WITHOUT = """
import sys
sys.path.insert(0, sys.argv[1])
sys.modules[sys.argv[2]] = None
from ansible.errors import AnsibleFilterError
from ansible_collections.anywhere.notebook.plugins.filter import jupyter_password_hash
try:
    jupyter_password_hash.jupyter_password_hash("correct horse", "host")
except AnsibleFilterError as exc:
    print(exc)
"""


def salt_of(text: str) -> str:
    return text.split("$")[4]


def test_the_hash_has_jupyter_s_format_and_parameters() -> None:
    text = jupyter_password_hash("correct horse", "host")

    assert text.startswith("argon2:$argon2id$v=19$m=10240,t=10,p=8$")


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("correct horse", id="words"),
        pytest.param("Pässwörd 密码", id="letters"),
        pytest.param("x" * 200, id="long"),
    ],
)
def test_the_password_fits_its_hash(password: str) -> None:
    text = jupyter_password_hash(password, "host")

    assert argon2.PasswordHasher().verify(text.removeprefix("argon2:"), password)


def test_another_password_does_not_fit() -> None:
    text = jupyter_password_hash("correct horse", "host")

    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(text.removeprefix("argon2:"), "correct house")


def test_the_same_password_on_the_same_host_has_the_same_hash() -> None:
    first = jupyter_password_hash("correct horse", "host")

    assert jupyter_password_hash("correct horse", "host") == first


@pytest.mark.parametrize(
    ("password", "host"),
    [
        pytest.param("correct horse", "host2", id="other-host"),
        pytest.param("battery staple", "host", id="other-password"),
    ],
)
def test_another_host_or_password_has_another_salt(password: str, host: str) -> None:
    first = jupyter_password_hash("correct horse", "host")

    assert salt_of(jupyter_password_hash(password, host)) != salt_of(first)


def test_the_salt_tells_no_faster_than_the_hash_whether_a_guess_is_right() -> None:
    salt = salt_of(jupyter_password_hash("correct horse", "host"))
    found = base64.b64decode(salt + "==")

    for fast in (hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.sha512):
        for text in ("host\0correct horse", "hostcorrect horse", "correct horse", "host"):
            assert not fast(text.encode()).digest().startswith(found)


def test_without_a_text_each_hash_has_a_salt_of_its_own() -> None:
    assert jupyter_password_hash("correct horse") != jupyter_password_hash("correct horse")


@pytest.mark.parametrize(
    "there",
    [
        pytest.param(jupyter_password_hash("correct horse", "another name"), id="another name"),
        pytest.param(passwd("correct horse"), id="jupyter"),
        pytest.param(
            f"argon2:{argon2.PasswordHasher(memory_cost=7168, time_cost=5).hash('correct horse')}",
            id="other parameters",
        ),
    ],
)
def test_a_hash_that_the_password_fits_is_kept(there: str) -> None:
    assert jupyter_password_hash("correct horse", kept=there) == there
    assert jupyter_password_hash("correct horse", "host", f" {there}\n") == there

    assert jupyter_password_hash("battery staple", kept=there) != there


@pytest.mark.parametrize(
    "there",
    [
        pytest.param("", id="none"),
        pytest.param("argon2:$argon2id$", id="half"),
        pytest.param("$argon2id$v=19$m=10240,t=10,p=8$c29tZXNhbHRzb21l$" + "A" * 43, id="odd"),
        pytest.param(passwd("correct horse", "sha1"), id="the old kind"),
        pytest.param(
            f"argon2:{argon2.PasswordHasher(memory_cost=64, time_cost=1).hash('correct horse')}",
            id="weak",
        ),
    ],
)
def test_a_hash_that_setup_would_refuse_is_not_kept(there: str) -> None:
    made = jupyter_password_hash("correct horse", kept=there)

    assert made != there
    assert argon2.PasswordHasher().verify(made.removeprefix("argon2:"), "correct horse")


@pytest.mark.parametrize("package", ["passlib", "argon2"])
def test_without_its_packages_it_names_the_command_that_gets_them(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT, str(COLLECTIONS), package],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert "pip install passlib argon2-cffi" in done.stdout, done.stderr
