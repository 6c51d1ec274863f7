"""What is looked for before anything is installed: a way to the index, and what AWS takes."""

from __future__ import annotations

import http.server
import importlib.util
import os
import socket
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import CHECKOUT
from tests.support.sites import Site, listener, serving


def program(path: str) -> ModuleType:
    """A program of a role, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, CHECKOUT / "roles" / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = program("jupyter/files/check.py")
aws = program("ec2/files/lacking.py")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have a home without settings, and no proxy and no AWS in the environment."""
    for name in [*os.environ]:
        if name.startswith(("PIP_", "UV_", "AWS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables for pip of a machine that has no settings of its own."""
    monkeypatch.setattr(check, "SECONDS_PER_ADDRESS", 0.5)
    return {"PIP_CONFIG_FILE": os.devnull}


class Proxy(http.server.BaseHTTPRequestHandler):
    """Refuses whoever has no login."""

    def do_HEAD(self) -> None:
        self.send_error(407)

    do_CONNECT = do_HEAD

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of the tests clean."""


def test_an_index_that_answers_is_reached_whatever_it_says(
    site: Site, machine: dict[str, str]
) -> None:
    # It knows neither HEAD nor the path.
    assert check.index_problem(machine | {"PIP_INDEX_URL": f"{site.url}/simple"}) == ""


def test_an_index_that_talks_otherwise_is_there(machine: dict[str, str]) -> None:
    with listener(lambda connection: connection.sendall(b"nonsense\r\n")) as address:
        assert check.index_problem(machine | {"PIP_INDEX_URL": f"http://{address}/"}) == ""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_index_where_nobody_listens_is_named_without_its_login(
    machine: dict[str, str], closed_address: str, scheme: str
) -> None:
    told = machine | {"PIP_INDEX_URL": f"{scheme}://me:s3cret@{closed_address}/simple"}

    assert check.index_problem(told) == f"{closed_address}: Connection refused"


def test_a_name_that_nobody_knows(machine: dict[str, str]) -> None:
    problem = check.index_problem(machine | {"PIP_INDEX_URL": "https://index.invalid/simple"})

    assert problem.startswith("index.invalid: ")
    assert "[Errno" not in problem


def test_one_that_never_answers_is_not_waited_for_long(machine: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()

        problem = check.index_problem(machine | {"PIP_INDEX_URL": f"http://{address}/"})

    assert problem == f"{address}: timed out"
    assert time.monotonic() - begun < 10


def test_nor_is_a_resolver(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SECONDS", 0.1)
    monkeypatch.setattr(check, "why_not", lambda *_: time.sleep(1))

    assert check.index_problem(machine) == "pypi.org: no answer within 0.1 s"


@pytest.mark.parametrize("place", ["pip", "environment"])
def test_a_proxy_is_asked_instead(
    machine: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    site: Site,
    closed_address: str,
    place: str,
) -> None:
    told = machine | {"PIP_INDEX_URL": f"http://{closed_address}/simple"}
    if place == "pip":
        told["PIP_PROXY"] = site.url
    else:
        monkeypatch.setenv("http_proxy", site.url)

    assert check.index_problem(told) == ""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_lets_nobody_through_is_no_way(machine: dict[str, str], scheme: str) -> None:
    with serving(http.server.HTTPServer(("127.0.0.1", 0), Proxy)) as proxy:
        told = machine | {
            "PIP_INDEX_URL": f"{scheme}://index.invalid/simple",
            "PIP_PROXY": f"http://127.0.0.1:{proxy.server_port}",
        }
        problem = check.index_problem(told)

    assert problem.startswith("index.invalid: ")
    assert "Proxy Authentication Required" in problem


@pytest.mark.parametrize(
    "settings",
    [
        {"PIP_NO_INDEX": "1"},
        {"PIP_FIND_LINKS": "/wheels"},
        {"PIP_EXTRA_INDEX_URL": "https://mirror.example.org/simple"},
        {"PIP_INDEX_URL": "file:///srv/index"},
        {"PIP_INDEX_URL": "/srv/index"},
    ],
)
def test_nobody_is_asked_where_packages_come_from_the_machine(
    machine: dict[str, str], monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    monkeypatch.setattr(check, "why_not", lambda *_: "asked")

    assert check.index_problem(machine | settings) == ""


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".config/pip/pip.conf", "[global]\nindex-url = http://{}/simple\n"),
        (".pip/pip.conf", "[install]\nindex_url: http://{}/simple\n"),
        (
            "elsewhere.conf",
            "[global]\nindex-url = http://index.invalid/\n[install]\nindex-url = http://{}/\n",
        ),
    ],
)
def test_the_index_is_the_one_of_pip_s_settings(
    tmp_path: Path, closed_address: str, file: str, text: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(closed_address))
    own = {"PIP_CONFIG_FILE": str(path)} if file == "elsewhere.conf" else {}

    # The machine of the tests may have settings for all.
    told = {"PIP_FIND_LINKS": " ", **own}
    assert check.settings(told)["index-url"].startswith(f"http://{closed_address}/")


def test_settings_that_nobody_can_read_are_none(tmp_path: Path) -> None:
    path = tmp_path / ".config/pip/pip.conf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"index-url = \xff\n[")

    assert isinstance(check.settings({}), dict)


def test_nobody_is_asked_where_jupyter_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "index_problem", lambda _: "index.invalid: nobody")
    assert check.main(str(tmp_path / "new"), 0) == 7
    assert capsys.readouterr().out.splitlines()[1:] == ["index.invalid: nobody"]

    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/complete").touch()
    assert check.main(str(tmp_path), 10**9) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("environ", "region", "files", "lacks"),
    [
        ({}, "", {}, ["packages", "region", "credentials"]),
        ({}, "eu-west-1", {}, ["packages", "credentials"]),
        ({"AWS_REGION": "", "AWS_PROFILE": ""}, "", {}, ["packages", "region", "credentials"]),
        ({"AWS_DEFAULT_REGION": "x", "AWS_ACCESS_KEY_ID": "x"}, "", {}, ["packages"]),
        ({"AWS_PROFILE": "lab"}, "x", {}, ["packages"]),
        ({}, "", {"config": "[default]\nregion = x\n"}, ["packages", "credentials"]),
        ({}, "", {"config": "[profile lab]\nregion = x\nsso_session = y\n"}, ["packages"]),
        ({}, "x", {"credentials": "[default]\naws_access_key_id = x\n"}, ["packages"]),
        # What cannot be read may have everything.
        ({}, "", {"config": "[["}, ["packages"]),
        ({"AWS_CONFIG_FILE": "~/.aws/other"}, "", {"other": "[a]\nregion=x\n"}, None),
    ],
)
def test_what_a_launch_lacks_is_told_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    region: str,
    files: dict[str, str],
    lacks: list[str] | None,
) -> None:
    monkeypatch.setattr(aws, "VENDOR", str(tmp_path / "vendor"))
    (tmp_path / ".aws").mkdir()
    for name, text in files.items():
        (tmp_path / ".aws" / name).write_text(text)

    assert aws.lacking(environ, region) == (lacks or ["packages", "credentials"])


def test_a_machine_of_aws_may_have_what_others_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vendor").write_text("Amazon EC2\n")
    monkeypatch.setattr(aws, "VENDOR", str(tmp_path / "vendor"))

    assert aws.lacking({}) == ["packages"]
