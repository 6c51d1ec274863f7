"""Which passwords and hashes setup takes."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

import pytest
from ansible_collections.anywhere.notebook.plugins.filter.jupyter_password_hash import (
    jupyter_password_hash,
)
from ansible_collections.anywhere.notebook.plugins.filter.jupyter_password_hash_problem import (
    FilterModule as HashFilters,
)
from ansible_collections.anywhere.notebook.plugins.filter.jupyter_password_problem import (
    FilterModule as PasswordFilters,
)
from jupyter_server.auth import security

from tests.support import CHECKOUT

jupyter_password_problem = PasswordFilters().filters()["jupyter_password_problem"]
jupyter_password_hash_problem = HashFilters().filters()["jupyter_password_hash_problem"]

# Jupyter has no types for them.
passwd: Callable[..., str] = security.passwd
passwd_check: Callable[[str, str], bool] = security.passwd_check

SHOWN = ["workstation01.example.com", "", ["marie.curie", None, ["statistics"]], 8888]
SHORT = "is too short"
COMMON = "is among the 20,000 most common ones"
UNTYPED = "begins or ends with a blank"
NAME = "is the name of the host or of the account"
OURS = "is a part of what this collection and Ansible print"

SALT, DIGEST = "c29tZXNhbHRzb21l", "A" * 43


@pytest.mark.parametrize(
    "password",
    [
        "a password with spaces",
        "Tr0ub4dor&3",
        "Pässwörd 密码密码",
        "workstation01.example.com is mine",
        "made of notebooks",
        "1b3fa7c9d2",
    ],
)
def test_a_password_that_is_hard_to_guess_will_do(password: str) -> None:
    assert jupyter_password_problem(password, SHOWN) == ""


def test_a_password_that_setup_has_made_will_do() -> None:
    """As Ansible's lookup makes it, in roles/jupyter/vars."""
    chance = random.Random(1)
    letters = string.ascii_letters + string.digits

    made = ["".join(chance.choices(letters, k=24)) for _ in range(200)]

    assert [word for word in made if jupyter_password_problem(word, SHOWN)] == []


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", SHORT),
        ("1234567", SHORT),
        ("s3cr-7x", SHORT),
        (1234567, SHORT),
        ("password", COMMON),
        ("PassWord123", COMMON),
        (12345678, COMMON),
        ("notebook", COMMON),
        ("zzzzzzzzzzz", "is one character again and again"),
        (" four words of mine", UNTYPED),
        ("four words of mine\n", UNTYPED),
        ("four words\tof mine", UNTYPED),
        ("workstation01", NAME),
        ("Example.com", NAME),
        ("marie.curie", NAME),
        ("STATISTICS", NAME),
        ("Repaired:", OURS),
        ("the same URL as before", OURS),
        ("Select Kernel > Existing Jupyter Server", OURS),
        ("without a notebook", OURS),
        ("anywhere.notebook.setup", OURS),
        ("Set up Jupyter", OURS),
        ("memory_available", OURS),
        ("outputs_kept", OURS),
        ("unreachable", OURS),
        ("PLAY RECAP", OURS),
        ("127.0.0.1", OURS),
        ("JupyterLab", OURS),
    ],
)
def test_a_password_that_is_easy_to_guess_is_refused(password: object, why: str) -> None:
    assert jupyter_password_problem(password, SHOWN).startswith(why)


def test_no_word_of_what_is_printed_will_do() -> None:
    """Each piece of the templates that stands between two values, as it is shown."""
    files = [CHECKOUT / f"playbooks/templates/{name}.txt.j2" for name in ("attention", "card")]
    text = "\n".join(file.read_text() for file in files)
    shown = [
        line.strip() for line in text.splitlines() if len(line.strip()) >= 8 and "{" not in line
    ]

    assert len(shown) > 10
    assert [line for line in shown if not jupyter_password_problem(line)] == []


def test_the_list_has_what_is_common_and_says_whose_it_is() -> None:
    text = (CHECKOUT / "plugins/plugin_utils/common_passwords.txt").read_text()
    words = [line for line in text.splitlines() if not (line == "#" or line.startswith("# "))]

    assert {"password1", "iloveyou", "1q2w3e4r5t", "#1stunna"} <= set(words)
    assert (len(words), len(set(words))) == (8346, 8346)
    assert [word for word in words if len(word) < 8 or word != word.casefold()] == []
    assert "SPDX-License-Identifier: BSD-3-Clause" in text
    assert "Copyright (c) Django Software Foundation" in text


@pytest.mark.parametrize(
    "hashed",
    [
        pytest.param(passwd("four words of mine"), id="jupyter"),
        pytest.param(jupyter_password_hash("four words of mine", "host"), id="filter"),
        pytest.param(f"argon2:$argon2id$v=19$m=65536,t=3,p=4${SALT}${DIGEST}", id="argon2-cffi"),
        pytest.param(f" argon2:$argon2id$v=19$m=7168,t=5,p=1${SALT}${DIGEST}\n", id="least"),
        pytest.param(f"argon2:$argon2i$v=19$m=10240,t=10,p=8${SALT}${DIGEST}", id="argon2i"),
    ],
)
def test_a_hash_that_jupyter_can_use_will_do(hashed: str) -> None:
    assert jupyter_password_hash_problem(hashed) == ""
    # It raises an error of a hash that is none.
    assert not passwd_check(hashed.strip(), "others")


@pytest.mark.parametrize(
    ("hashed", "why"),
    [
        ("", "is no hash as Jupyter makes it"),
        ("nonsense:...", "is no hash as Jupyter makes it"),
        ("four words of mine", "is no hash as Jupyter makes it"),
        ("argon2:", "is no hash as Jupyter makes it"),
        ("argon2:$argon2id$", "is no hash as Jupyter makes it"),
        (f"$argon2id$v=19$m=10240,t=10,p=8${SALT}${DIGEST}", "is no hash as Jupyter makes it"),
        (f"argon2:$argon2d$v=19$m=10240,t=10,p=8${SALT}${DIGEST}", "is no hash"),
        (f"argon2:$argon2id$v=16$m=10240,t=10,p=8${SALT}${DIGEST}", "is no hash"),
        (f"argon2:$argon2id$v=19$m=10240,t=10,p=8${SALT}${DIGEST}\nx", "is no hash"),
        (f"argon2:$argon2id$v=19$m=10240,t=10,p=8${SALT}${DIGEST}=", "is no hash"),
        (f"argon2:$argon2id$v=19$m=10240,t=10,p=8${SALT}$AAAAA", "is not whole"),
        (f"argon2:$argon2id$v=19$m=10240,t=10,p=8$AAAA${DIGEST}", "is not whole"),
        (f"argon2:$argon2id$v=19$m=10240,t=10,p=8${SALT}${'A' * 41}", "is not whole"),
        (f"argon2:$argon2id$v=19$m=4194304,t=1,p=1${SALT}${DIGEST}", "takes more memory or time"),
        (f"argon2:$argon2id$v=19$m=10240,t=999999,p=1${SALT}${DIGEST}", "takes more memory"),
        (f"argon2:$argon2id$v=19$m=7168,t=9,p=999${SALT}${DIGEST}", "takes more memory or time"),
        (f"argon2:$argon2id$v=19$m=64,t=1,p=1${SALT}${DIGEST}", "was made with so little memory"),
        (f"argon2:$argon2id$v=19$m=7168,t=4,p=1${SALT}${DIGEST}", "was made with so little"),
        (passwd("four words of mine", "sha1"), "is of the old kind sha1"),
        (passwd("four words of mine", "sha512"), "is of the old kind sha512"),
        ("sha1::a68df677475c2b47b6e86d0467eec97ac5f4b85a", "is of the old kind sha1"),
    ],
)
def test_a_hash_that_will_not_do_is_refused_and_not_shown(hashed: str, why: str) -> None:
    problem = jupyter_password_hash_problem(hashed)

    assert problem.startswith(why)
    assert SALT not in problem
