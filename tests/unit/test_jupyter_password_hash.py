"""What the filter jupyter_password_hash promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import argon2
import pytest
from ansible_collections.anywhere.notebook.plugins.filter.jupyter_password_hash import FilterModule

COLLECTIONS = Path(__file__).resolve().parents[2] / ".venv/collections"

jupyter_password_hash = FilterModule().filters()["jupyter_password_hash"]

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
