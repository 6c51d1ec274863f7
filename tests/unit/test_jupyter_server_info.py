"""What the module jupyter_server_info promises, with answers of jupyter_server 2.21."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.sites import Site, serving

Run = Callable[..., dict[str, Any]]

TOKEN = "5f0c2a"
STARTED = "2026-11-23T09:00:00.000000Z"
ACTIVE = "2026-11-23T09:30:00.000000Z"

KERNEL = {
    "id": "7e3a",
    "name": "python3",
    "last_activity": ACTIVE,
    "execution_state": "busy",
    "connections": 1,
}
CONSOLE = KERNEL | {"id": "9b1c", "execution_state": "idle", "connections": 0}
SESSION = {
    "id": "41d5",
    # jupyter-collaboration puts the name of its drive before it.
    "path": "RTC:work/Übung 1.ipynb",
    "name": "Übung 1.ipynb",
    "type": "notebook",
    "kernel": KERNEL,
    "notebook": {"path": "work/Übung 1.ipynb", "name": "Übung 1.ipynb"},
}
FORBIDDEN = {"message": "Forbidden", "reason": None}
PAGE = '<!doctype html><script id="jupyter-config-data" type="application/json">{}</script>'
GUARD = {
    "failed_logins": 3,
    "last_failed_login": "2026-11-23T09:12:00Z",
    "attacked": True,
    "sessions_since": "2026-11-22T08:00:00Z",
}


@pytest.fixture
def info(run_module: Run, site: Site) -> Run:
    """Run the module, against the site unless told otherwise."""

    def run(**args: object) -> dict[str, Any]:
        return run_module("jupyter_server_info", **{"url": site.url} | args)

    return run


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    """A file with the server's token, as an editor leaves it."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return str(file)


@pytest.fixture
def jupyter(site: Site) -> Site:
    """A server with a notebook that computes and a kernel without one."""
    site.answer("/api", {"version": "2.21.1"})
    site.answer(
        "/api/status",
        {"connections": 1, "kernels": 2, "last_activity": ACTIVE, "started": STARTED},
    )
    site.answer("/api/kernels", [KERNEL, CONSOLE])
    site.answer("/api/sessions", [SESSION])
    site.answer("/api/terminals", [{"name": "1", "last_activity": ACTIVE}])
    site.answer("/", "", 302, {"Location": "/lab?"})
    site.answer("/lab", PAGE)
    site.closed.add("/api/status")
    return site


def test_a_server_is_reported_with_its_kernels_and_their_notebooks(
    info: Run, jupyter: Site, token_file: str
) -> None:
    result = info(token_file=token_file)

    said = {"name": "python3", "last_activity": ACTIVE, "died": "", "died_of": ""}
    kernel = {**said, "pid": 0, "memory_mb": 0}
    assert result | {"invocation": 0} == {
        "changed": False,
        "running": True,
        "msg": f"Jupyter server 2.21.1 answers at {jupyter.url}.",
        "url": jupyter.url,
        "answered": True,
        "error_code": "",
        "proven": False,
        "exposed": "",
        "challenge": {},
        "login": "",
        "version": "2.21.1",
        "pid": os.getpid(),
        "started": STARTED,
        "last_activity": ACTIVE,
        "outputs_kept": False,
        "outputs_problem": "",
        "page_problem": "",
        "failed_logins": 0,
        "last_failed_login": "",
        "attacked": False,
        "sessions_since": "",
        "terminals": ["1"],
        "kernels": [
            {
                "id": "7e3a",
                "path": "work/Übung 1.ipynb",
                "execution_state": "busy",
                "idle_seconds": 0,
                **kernel,
            },
            {
                "id": "9b1c",
                "path": "",
                "execution_state": "idle",
                "idle_seconds": result["kernels"][1]["idle_seconds"],
                **kernel,
            },
        ],
        "invocation": 0,
    }


@pytest.mark.parametrize(
    ("problems", "kept"), [([], True), (["jupyterlab is too new", "so is the rest"], False)]
)
def test_whether_outputs_are_kept_is_what_the_keeper_says(
    info: Run, jupyter: Site, token_file: str, problems: list[str], kept: bool
) -> None:
    jupyter.answer("/api/notebook-keeper", {"problems": problems})

    result = info(token_file=token_file)

    assert (result["outputs_kept"], result["outputs_problem"]) == (kept, "; ".join(problems))


def test_how_long_a_kernel_has_been_idle_and_that_it_died_is_told(
    info: Run, jupyter: Site, token_file: str
) -> None:
    jupyter.answers.pop("/api/kernels")
    earlier = datetime.now(UTC) - timedelta(seconds=90)
    idle = CONSOLE | {"last_activity": earlier.isoformat().replace("+00:00", "Z")}
    jupyter.answer("/api/kernels", [KERNEL | {"last_activity": idle["last_activity"]}, idle])
    death = {"died": ACTIVE, "died_of": "signal 9"}
    jupyter.answer("/api/notebook-keeper", {"problems": [], "deaths": {"9b1c": death}})

    busy, idle = info(token_file=token_file)["kernels"]

    assert busy["idle_seconds"] == 0
    assert 90 <= idle["idle_seconds"] < 100
    assert [kernel["died_of"] for kernel in (busy, idle)] == ["", "signal 9"]


def test_a_server_without_terminals_has_none(info: Run, site: Site, token_file: str) -> None:
    site.answer("/api", {"version": "2.21.1"})
    site.answer("/api/status", {"last_activity": ACTIVE, "started": STARTED})
    site.answer("/api/kernels", [])
    site.answer("/api/sessions", [])
    site.closed.add("/api/status")

    assert info(token_file=token_file)["terminals"] == []


@pytest.mark.usefixtures("jupyter")
def test_without_a_token_only_what_needs_no_login_is_reported(info: Run) -> None:
    result = info()

    assert (result["running"], result["version"]) == (True, "2.21.1")
    assert (result["kernels"], result["started"]) == ([], "")


def test_a_slash_at_the_end_of_the_url_changes_nothing(info: Run, jupyter: Site) -> None:
    assert info(url=f"{jupyter.url}/")["url"] == jupyter.url


def test_nothing_that_runs_is_no_failure(info: Run, closed_address: str) -> None:
    result = info(url=f"http://{closed_address}")

    assert "failed" not in result
    assert result["running"] is False
    assert result["msg"] == f"http://{closed_address} does not answer: Connection refused."


def test_a_name_that_does_not_exist_is_no_failure(info: Run) -> None:
    result = info(url="http://unit.invalid")

    assert "failed" not in result
    assert result["msg"].startswith("http://unit.invalid does not answer: ")


def test_a_token_file_is_not_needed_where_nothing_runs(
    info: Run, closed_address: str, tmp_path: Path
) -> None:
    result = info(url=f"http://{closed_address}", token_file=str(tmp_path / "missing"))

    assert result["running"] is False


@pytest.mark.usefixtures("jupyter")
def test_every_result_has_the_same_keys(info: Run, closed_address: str, token_file: str) -> None:
    assert set(info(url=f"http://{closed_address}")) == set(info(token_file=token_file))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(404, "ERR_NGROK_3200", id="offline"),
        pytest.param(502, "ERR_NGROK_8012", id="no-upstream"),
        pytest.param(200, "ERR_NGROK_6024", id="page-for-browsers"),
    ],
)
def test_a_page_of_ngrok_s_own_is_told_by_its_code(
    info: Run, site: Site, status: int, code: str
) -> None:
    # Even one that reads like Jupyter.
    site.answer("/api", {"version": "2.21.1"}, status, {"ngrok-error-code": code})

    result = info()

    assert result["running"] is False
    assert result["msg"].startswith(f"{site.url} is answered by ngrok itself with {code}: ")
    assert (result["answered"], result["error_code"]) == (True, code)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param("<!doctype html><title>You are about to visit</title>", 200, id="page"),
        pytest.param({"name": "something"}, 200, id="other-json"),
        pytest.param(["version"], 200, id="list"),
        pytest.param({"version": "2.21.1"}, 500, id="error"),
        pytest.param("", 204, id="nothing"),
    ],
)
def test_something_else_is_not_jupyter(info: Run, site: Site, body: object, status: int) -> None:
    site.answer("/api", body, status)

    result = info()

    assert "failed" not in result
    assert result["running"] is False
    assert result["msg"] == f"{site.url} answers with status {status}, but is no Jupyter server."


@pytest.fixture
def elsewhere() -> Iterator[Site]:
    """Another server, which looks like Jupyter."""
    with serving(Site()) as other:
        other.answer("/api", {"version": "2.21.1"})
        yield other


def test_a_redirect_is_not_followed_and_is_not_jupyter(
    info: Run, site: Site, elsewhere: Site
) -> None:
    site.answer("/api", "", 302, {"Location": f"{elsewhere.url}/api"})

    result = info()

    assert result["running"] is False
    assert "status 302" in result["msg"]
    assert elsewhere.requests == []


def test_the_token_does_not_go_where_a_redirect_points(
    info: Run, jupyter: Site, elsewhere: Site, token_file: str
) -> None:
    jupyter.answers["/api/status"].clear()
    jupyter.answer("/api/status", "", 302, {"Location": f"{elsewhere.url}/api"})

    assert info(token_file=token_file)["failed"]
    assert elsewhere.requests == []


def test_a_name_below_localhost_is_reached_on_loopback_by_that_name(
    info: Run, jupyter: Site
) -> None:
    netloc = f"899b875c.localhost:{jupyter.server_port}"

    assert info(url=f"http://{netloc}")["running"]
    assert jupyter.asked("/api")[0]["Host"] == netloc


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_a_failure_and_no_empty_list(
    info: Run, site: Site, token_file: str, status: int
) -> None:
    site.answer("/api", {"version": "2.21.1"})
    for route in ("status", "kernels", "sessions"):
        site.answer(f"/api/{route}", FORBIDDEN, status)

    result = info(token_file=token_file)

    assert result["failed"]
    assert "kernels" not in result
    assert result["msg"].startswith(
        f"GET {site.url}/api/status: the server does not accept the token."
    )
    assert TOKEN not in result["msg"]


def test_an_error_of_the_server_is_a_failure(info: Run, jupyter: Site, token_file: str) -> None:
    jupyter.answers["/api/kernels"].clear()
    jupyter.answer("/api/kernels", {"message": "Internal Server Error"}, 500)

    assert info(token_file=token_file)["msg"] == f"GET {jupyter.url}/api/kernels: status 500"


@pytest.mark.usefixtures("jupyter")
def test_a_missing_token_file_is_a_failure_where_a_server_answers(
    info: Run, tmp_path: Path
) -> None:
    result = info(token_file=str(tmp_path / "missing"))

    assert result["failed"]
    assert str(tmp_path / "missing") in result["msg"]


def test_the_wait_ends_when_the_server_comes_up(info: Run, site: Site) -> None:
    for _ in range(3):
        site.answer("/api", "", 502, {"ngrok-error-code": "ERR_NGROK_8012"})
    site.answer("/api", {"version": "2.21.1"})
    site.closed.add("/api/status")

    assert info(wait=20)["running"]
    assert len(site.asked("/api")) == 4


def test_the_end_of_the_wait_is_no_failure(info: Run, closed_address: str) -> None:
    result = info(url=f"http://{closed_address}", wait=1)

    assert "failed" not in result
    assert result["running"] is False


def test_check_mode_does_not_wait(info: Run, site: Site) -> None:
    site.answer("/api", "", 502)

    assert not info(wait=600, check_mode=True)["running"]
    assert len(site.asked("/api")) == 1


@pytest.mark.usefixtures("jupyter")
def test_ngrok_is_asked_to_skip_its_page_for_browsers(info: Run, site: Site) -> None:
    info()

    assert site.asked("/api")[0]["ngrok-skip-browser-warning"]


def test_without_a_token_file_no_token_is_sent(info: Run, jupyter: Site) -> None:
    info()

    assert {headers["Authorization"] for _, headers in jupyter.requests} == {None}


def test_the_token_is_sent_only_where_a_login_is_needed(
    info: Run, jupyter: Site, token_file: str
) -> None:
    info(token_file=token_file)

    bare = [path for path, headers in jupyter.requests if not headers["Authorization"]]
    assert bare == ["/api", "/api/status"]
    told = {path: headers["Authorization"] for path, headers in jupyter.requests[2:]}
    assert told == {
        "/": f"token {TOKEN}",
        "/lab": f"token {TOKEN}",
        "/api/notebook-guard": f"token {TOKEN}",
        "/api/notebook-keeper": f"token {TOKEN}",
        "/api/status": f"token {TOKEN}",
        "/api/kernels": f"token {TOKEN}",
        "/api/sessions": f"token {TOKEN}",
        "/api/terminals": f"token {TOKEN}",
    }


@pytest.mark.parametrize(
    "host", [pytest.param("127.0.0.1", id="address"), pytest.param("a.localhost", id="name")]
)
def test_loopback_is_never_asked_through_a_proxy(
    info: Run, jupyter: Site, monkeypatch: pytest.MonkeyPatch, closed_address: str, host: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://{closed_address}")

    assert info(url=f"http://{host}:{jupyter.server_port}")["running"]
