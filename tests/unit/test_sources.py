"""From where the installers take packages, whatever else an account has set for them."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roles.jupyter.files import sources

Write = Callable[[str, str], None]
INDEX, MORE = "https://me:s3cr3t@index.invalid/simple", "https://more.invalid/simple"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Put a file below the directory that has ``home`` and ``etc``."""

    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of an account that has set nothing."""
    return {"HOME": str(tmp_path / "home"), "PATH": "/bin"}


USERS = "home/.config/pip/pip.conf"
LOCAL = "home/.config/uv/uv.toml"


@pytest.mark.parametrize(
    ("files", "variables", "settings"),
    [
        pytest.param({}, {}, {}, id="nothing"),
        pytest.param({USERS: "[install]\nuser = true\n"}, {}, {}, id="user"),
        pytest.param(
            {USERS: "[global]\nuser = yes\nno-binary = :all:\nrequire-virtualenv = 1\n"},
            {},
            {},
            id="global-section",
        ),
        pytest.param({}, {"PIP_TARGET": "/x", "PIP_CONSTRAINT": "/nowhere"}, {}, id="variables"),
        pytest.param(
            {USERS: f"[global]\nindex_url = {INDEX}\nprefix = /x\ncert=/ca.pem\n"},
            {"PIP_PROXY": "proxy.invalid:3128", "PIP_CERT": ""},
            {"index-url": INDEX, "cert": "/ca.pem", "proxy": "proxy.invalid:3128"},
            id="index-proxy-and-certificates",
        ),
        pytest.param(
            {
                "etc/pip.conf": f"[global]\nindex-url = {MORE}\ntimeout = 60\n",
                "home/.pip/pip.conf": "[global]\nindex-url = https://older.invalid\n",
                USERS: f"[install]\nindex-url = {INDEX}\n",
                "etc/xdg/pip/pip.conf": "[global]\nconstraint = /nowhere\nretries = 9\n",
            },
            {},
            {"index-url": INDEX, "timeout": "60", "retries": "9"},
            id="of-several-files",
        ),
        pytest.param(
            {USERS: f"[global]\nextra-index-url =\n    {INDEX}\n    {MORE}\n"},
            {"PIP_INDEX_URL": MORE},
            {"extra-index-url": f"\n{INDEX}\n{MORE}", "index-url": MORE},
            id="several-lines",
        ),
        pytest.param(
            {USERS: f"[global]\nindex-url = {INDEX}\n"},
            {"PIP_CONFIG_FILE": "/dev/null"},
            {},
            id="told-to-read-none",
        ),
        pytest.param(
            {USERS: f"[global]\nindex-url = {MORE}\n", "own.conf": f"[global]\nindex-url={INDEX}"},
            {"PIP_CONFIG_FILE": "BASE/own.conf"},
            {"index-url": INDEX},
            id="told-to-read-another",
        ),
        pytest.param(
            {"home/elsewhere/pip/pip.conf": f"[global]\nindex-url = {INDEX}\n"},
            {"XDG_CONFIG_HOME": "BASE/home/elsewhere"},
            {"index-url": INDEX},
            id="elsewhere",
        ),
    ],
)
def test_of_pip_s_settings_only_those_count_that_say_from_where(
    files: dict[str, str],
    variables: dict[str, str],
    settings: dict[str, str],
    write: Write,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    for name, text in files.items():
        write(name, text)
    environment |= {name: value.replace("BASE", str(tmp_path)) for name, value in variables.items()}

    assert sources.pip_settings(environment, f"{tmp_path}/etc") == settings


@pytest.mark.parametrize(
    ("files", "variables", "told", "document"),
    [
        pytest.param({}, {}, {}, {}, id="nothing"),
        pytest.param(
            {LOCAL: 'required-version = ">=99"\nno-such-key = 1\n[pip]\nno-deps = true\n'},
            {"UV_CONSTRAINT": "/nowhere", "UV_PYTHON": "3.99", "UV_OFFLINE": "1"},
            {},
            {},
            id="others",
        ),
        pytest.param(
            {
                LOCAL: f'native-tls = true\n[[index]]\nname = "own"\nurl = "{INDEX}"\n'
                "default = true\nexplicit = false\n[pip]\nno-binary-package = ['numpy']\n"
            },
            {"UV_INDEX_OWN_PASSWORD": "s3cr3t", "UV_HTTP_TIMEOUT": "99"},
            {"UV_INDEX_OWN_PASSWORD": "s3cr3t", "UV_HTTP_TIMEOUT": "99"},
            {
                "native-tls": True,
                "index": [{"name": "own", "url": INDEX, "default": True, "explicit": False}],
            },
            id="index-and-certificates",
        ),
        pytest.param(
            {
                LOCAL: f'extra-index-url = ["{INDEX}"]\nfind-links = ["wheels", "/x"]\n',
                "etc/uv/uv.toml": f'extra-index-url = ["{MORE}"]\nindex-url = "./simple"\n',
            },
            {},
            {},
            {
                "extra-index-url": [INDEX, MORE],
                "find-links": ["BASE/home/.config/uv/wheels", "/x"],
                "index-url": "BASE/etc/uv/simple",
            },
            id="of-two-files",
        ),
        pytest.param(
            {LOCAL: f'index-url = "{MORE}"\n[pip]\nindex-url = "{INDEX}"\nsystem = true\n'},
            {},
            {},
            {"index-url": INDEX},
            id="of-uv-pip",
        ),
        pytest.param(
            {LOCAL: f'index-url = "{INDEX}"\n'}, {"UV_NO_CONFIG": "1"}, {}, {}, id="told-of-none"
        ),
        pytest.param(
            {USERS: f"[global]\nindex-url = {INDEX}\nextra-index-url = {MORE} file:///x\n"},
            {},
            {
                "UV_DEFAULT_INDEX": INDEX,
                "UV_INDEX": MORE,
                "UV_INDEX_STRATEGY": "unsafe-best-match",
            },
            {},
            id="of-pip",
        ),
        pytest.param(
            {USERS: f"[global]\nindex-url = {MORE}\n", LOCAL: f'index-url = "{INDEX}"\n'},
            {},
            {},
            {"index-url": INDEX},
            id="its-own-before-pip-s",
        ),
        pytest.param(
            {USERS: f"[global]\nindex-url = {MORE}\n"},
            {"UV_DEFAULT_INDEX": INDEX},
            {"UV_DEFAULT_INDEX": INDEX},
            {},
            id="its-variable-before-pip-s",
        ),
        pytest.param(
            {USERS: "[global]\nfind-links = /etc /nowhere\nno-index = true\n"},
            {},
            {"UV_NO_INDEX": "1", "UV_FIND_LINKS": "/etc"},
            {},
            id="without-an-index",
        ),
        pytest.param(
            {},
            {
                "PIP_PROXY": "proxy.invalid:3128",
                "PIP_CERT": "/ca.pem",
                "PIP_CLIENT_CERT": "/me.pem",
                "PIP_TRUSTED_HOST": "a.invalid b.invalid",
                "PIP_FIND_LINKS": "/wheels",
            },
            {
                "ALL_PROXY": "http://proxy.invalid:3128",
                "SSL_CERT_FILE": "/ca.pem",
                "SSL_CLIENT_CERT": "/me.pem",
                "UV_INSECURE_HOST": "a.invalid b.invalid",
            },
            {},
            id="proxy-and-certificates-of-pip",
        ),
        pytest.param(
            {},
            {"PIP_PROXY": "http://p.invalid", "https_proxy": "http://q.invalid"},
            {},
            {},
            id="the-machine-s-proxy",
        ),
    ],
)
def test_of_uv_s_settings_only_those_count_that_say_from_where_and_else_pip_s(
    files: dict[str, str],
    variables: dict[str, str],
    told: dict[str, str],
    document: dict[str, Any],
    write: Write,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    for name, text in files.items():
        write(name, text)

    found, text = sources.for_uv(environment | variables, f"{tmp_path}/etc")

    assert found == told
    assert tomllib.loads(text.replace(str(tmp_path), "BASE")) == document


def test_pip_has_uv_s_index_where_it_has_none(environment: dict[str, str], tmp_path: Path) -> None:
    told = sources.for_pip(environment | {"UV_DEFAULT_INDEX": f"own={INDEX}"}, f"{tmp_path}/etc")

    assert told == {
        "PIP_INDEX_URL": INDEX,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_ISOLATED": "1",
    }


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (USERS, "index-url = before any section\n"),
        (USERS, "[global]\nindex-url = 1\nindex-url = 2\n"),
        (LOCAL, 'index-url = "no end\n'),
        (LOCAL, "= 7"),
    ],
)
def test_settings_that_cannot_be_read_are_not_taken_for_none(
    file: str, text: str, write: Write, environment: dict[str, str], tmp_path: Path
) -> None:
    """Without the index that they name, a package of that name could be somebody else's."""
    write(file, text)

    with pytest.raises(sources.Unreadable, match=rf"{file}, which says .* Correct it, and run"):
        sources.for_uv(environment, f"{tmp_path}/etc")


def test_a_shell_has_what_it_is_told_and_nothing_else_for_an_installer() -> None:
    odd = "it's $HOME\n`so`"
    environment = {
        "PIP_USER": "1",
        "PIP_CACHE_DIR": "/cache",
        "UV_PYTHON": "3.99",
        "PYTHONPATH": "/x",
        "PYTHONHOME": "/x",
        "VIRTUAL_ENV": "/x",
        "PIPELINE": "kept",
        "UVULA": "kept",
        "PATH": "/usr/bin:/bin",
    }
    script = sources.shell_lines([*environment, "PIP_a; exit 7"], {"PIP_INDEX_URL": odd})

    done = subprocess.run(
        ["sh", "-euc", f"{script}\nenv -0"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    found = dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)
    kept = ("PIP_CACHE_DIR", "PIPELINE", "UVULA", "PATH")
    assert {name: found[name] for name in found if name not in ("PWD", "_", "OLDPWD")} == {
        "PIP_INDEX_URL": odd,
        **{name: environment[name] for name in kept},
    }


def test_a_file_of_uv_s_is_written_as_it_was_read() -> None:
    value = {"a": ['q"\\\n\t', "é😀\x7f", 7, 0.5, True, []], "b c": {"d": {}}}

    assert tomllib.loads(f"x = {sources.as_toml(value)}") == {"x": value}
