"""What the module ngrok_endpoint_info promises, with answers and logs of real agents."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.sites import Site

Run = Callable[..., dict[str, Any]]

TOKEN = "2unitTESTtokenTESTtokenTEST_5XyZ"
URL = "https://example.ngrok.app"
UPSTREAM = "http://127.0.0.1:8888"

SHAPE = {
    "name": "jupyter",
    "url": URL,
    "upstream": UPSTREAM,
    "proto": "https",
    "connections": 12,
}

# Agent 2.3.41; the http one is its second entry for bind_tls "both".
METRICS = {
    kind: {
        "count": count,
        "rate1": 0,
        "rate5": 0,
        "rate15": 0,
        "p50": 0,
        "p90": 0,
        "p95": 0,
        "p99": 0,
    }
    for kind, count in (("conns", 12), ("http", 0))
}
TUNNEL = {
    "name": "jupyter",
    "uri": "/api/tunnels/jupyter",
    "public_url": URL,
    "proto": "https",
    "config": {"addr": UPSTREAM, "inspect": False},
    "metrics": METRICS,
}
HTTP_TUNNEL = TUNNEL | {
    "name": "jupyter (http)",
    "uri": "/api/tunnels/jupyter%20%28http%29",
    "public_url": "http://example.ngrok.app",
    "proto": "http",
}
# Agent 3 adds an ID.
TUNNEL_3 = TUNNEL | {"ID": "5c8c6f0c4b1c4c7f9a2d3e4f5a6b7c8d"}
# Agent 3.30 and newer, from ngrok's documentation.
ENDPOINT = {
    "name": "jupyter",
    "uri": "/api/endpoints/jupyter",
    "url": URL,
    "upstream": {"url": UPSTREAM, "protocol": "http1"},
    "inspect": True,
    "traffic_policy": "on_http_request:\n - actions: []\n",
    "pooling_enabled": False,
}

STARTED = [
    '{"addr":"127.0.0.1:4040","lvl":"info","msg":"starting web service","obj":"web"}',
    '{"lvl":"info","msg":"tunnel session started","obj":"tunnels.session"}',
    '{"id":"ab87c44e3dde","lvl":"info","msg":"client session established","obj":"csess"}',
]

# Agent 2.3.41, whose connection has ended.
LOST = (
    '{"err":"read EOF from remote peer","id":"8644aff44c7c","lvl":"eror",'
    '"msg":"session closed, starting reconnect loop","obj":"csess"}'
)


def status(version: str, word: str = "online") -> dict[str, Any]:
    """What /api/status says."""
    legs = [{"region": "au", "latency": "87ms"}]
    return {
        "status": word,
        "agent_version": version,
        "session": {"legs": legs},
        "uri": "/api/status",
    }


def tunnels(*entries: dict[str, Any]) -> dict[str, Any]:
    """What /api/tunnels says."""
    return {"tunnels": list(entries), "uri": "/api/tunnels"}


def refused(code: str, *words: str) -> list[str]:
    """What agent 2.3.41 prints when its authentication is refused."""
    text = "\r\n".join([*words, "", code, ""])
    records = [
        {"err": text, "lvl": "eror", "msg": "failed to auth", "obj": "tunnels.session"},
        {"err": text, "lvl": "eror", "msg": "failed to reconnect session", "obj": "csess"},
        {"err": text, "lvl": "eror", "msg": "session closing", "obj": "tunnels.session"},
        {"lvl": "info", "msg": "received stop request", "obj": "app", "stopReq": {}},
        {"err": text, "lvl": "eror", "msg": "terminating with error", "obj": "app"},
        {"err": text, "lvl": "crit", "msg": "command failed"},
    ]
    lines = [json.dumps(record, separators=(",", ":")) for record in records]
    return [STARTED[0], *lines, *text.split("\r\n")]


def write_log(tmp_path: Path, lines: list[str], web_addr: str = "127.0.0.1:4040") -> str:
    """A log as tmux writes what an agent with an API prints; its path."""
    log = tmp_path / "agent.log"
    text = "".join(f"{line}\r\n" for line in lines)
    log.write_bytes(text.replace('"addr":"127.0.0.1:4040"', f'"addr":"{web_addr}"').encode())
    return str(log)


@pytest.fixture
def info(run_module: Run, site: Site) -> Run:
    """Run the module, against the site unless told otherwise."""

    def run(**args: object) -> dict[str, Any]:
        return run_module("ngrok_endpoint_info", **{"web_addr": site.address} | args)

    return run


@pytest.fixture
def given_up(run_module: Run, closed_address: str, tmp_path: Path) -> Callable[..., str]:
    """Wait for the endpoint of an agent that has printed these lines and ended; the message."""

    def run(lines: list[str], wait: int = 20) -> str:
        started = time.monotonic()
        result = run_module(
            "ngrok_endpoint_info",
            name="jupyter",
            wait=wait,
            log_file=write_log(tmp_path, lines, closed_address),
        )
        assert time.monotonic() - started < 10
        assert result["failed"]
        return str(result["msg"])

    return run


@pytest.mark.parametrize(
    ("answers", "version", "word"),
    [
        pytest.param({"/api/tunnels": tunnels(TUNNEL)}, "", "", id="2.3"),
        pytest.param({"/api/tunnels": tunnels(TUNNEL_3)}, "", "", id="3.0"),
        pytest.param(
            {"/api/tunnels": tunnels(TUNNEL_3), "/api/status": status("3.9.0")},
            "3.9.0",
            "online",
            id="3.9",
        ),
        pytest.param(
            {
                "/api/endpoints": {"endpoints": [ENDPOINT]},
                "/api/endpoints/jupyter": ENDPOINT | {"metrics": METRICS},
                "/api/status": status("3.39.9"),
            },
            "3.39.9",
            "online",
            id="3.30",
        ),
        pytest.param(
            {
                "/api/endpoints": {"endpoints": []},
                "/api/tunnels": tunnels(TUNNEL_3),
                "/api/status": status("3.39.9"),
            },
            "3.39.9",
            "online",
            id="3.30-with-a-tunnel",
        ),
    ],
)
def test_every_agent_is_reported_in_one_shape(
    info: Run, site: Site, answers: dict[str, Any], version: str, word: str
) -> None:
    for path, document in answers.items():
        site.answer(path, document)

    result = info()

    assert result | {"invocation": 0} == {
        "changed": False,
        "running": True,
        "waiting": False,
        "api": "",
        "api_reason": "",
        "msg": f"The agent answers on {site.address} with 1 endpoint.",
        "version": version,
        "status": word,
        "connected": True,
        "online": True,
        "error_code": "",
        "action": "",
        "endpoints": [SHAPE],
        "invocation": 0,
    }


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([TUNNEL, HTTP_TUNNEL], id="https-first"),
        pytest.param([HTTP_TUNNEL, TUNNEL], id="http-first"),
    ],
)
def test_a_pair_of_tunnels_is_two_endpoints_by_name(
    info: Run, site: Site, entries: list[dict[str, Any]]
) -> None:
    site.answer("/api/tunnels", tunnels(*entries))

    result = info(name="jupyter", wait=5)

    assert {endpoint["name"]: endpoint["url"] for endpoint in result["endpoints"]} == {
        "jupyter": URL,
        "jupyter (http)": "http://example.ngrok.app",
    }


def test_an_agent_without_endpoints_runs(info: Run, site: Site) -> None:
    site.answer("/api/tunnels", tunnels())

    result = info()

    assert (result["running"], result["endpoints"]) == (True, [])


def test_without_an_agent_it_says_so_and_does_not_fail(info: Run, closed_address: str) -> None:
    result = info(web_addr=closed_address)

    assert "failed" not in result
    assert result["running"] is False
    assert result["msg"] == f"no ngrok agent answers on {closed_address}: Connection refused."


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("<html>It works!</html>", id="page"),
        pytest.param({"version": "2.21.1"}, id="other-json"),
        pytest.param([], id="list"),
    ],
)
def test_something_else_on_the_port_is_no_agent(info: Run, site: Site, body: object) -> None:
    for path in ("/api/endpoints", "/api/tunnels", "/api/status"):
        site.answer(path, body)

    result = info()

    assert result["running"] is False
    assert result["msg"] == f"something answers on {site.address}, but it is no ngrok agent."


def test_every_result_has_the_same_keys(info: Run, site: Site, closed_address: str) -> None:
    site.answer("/api/tunnels", tunnels(TUNNEL))

    assert set(info()) == set(info(web_addr=closed_address))


def test_it_returns_as_soon_as_the_endpoint_is_listed(info: Run, site: Site) -> None:
    for _ in range(3):
        site.answer("/api/tunnels", tunnels())
    site.answer("/api/tunnels", tunnels(TUNNEL))

    result = info(name="jupyter", wait=20)

    assert result["endpoints"] == [SHAPE]
    assert len(site.asked("/api/tunnels")) == 4


def test_an_agent_that_is_about_to_start_is_waited_for(
    info: Run, site: Site, tmp_path: Path
) -> None:
    site.answer("/api/tunnels", "not yet", status=503)
    site.answer("/api/tunnels", tunnels(TUNNEL))

    result = info(name="jupyter", wait=20, log_file=str(tmp_path / "none yet"))

    assert result["endpoints"] == [SHAPE]


def test_an_endpoint_of_another_name_is_not_enough(info: Run, site: Site) -> None:
    site.answer("/api/tunnels", tunnels(HTTP_TUNNEL))

    result = info(name="jupyter", wait=1)

    assert result["msg"] == (
        "The endpoint jupyter is not online after 1 s. "
        f"The agent answers on {site.address} with 1 endpoint."
    )


def test_the_end_of_the_wait_is_a_failure(info: Run, closed_address: str) -> None:
    result = info(name="jupyter", wait=1, web_addr=closed_address)

    assert result["failed"]
    assert result["msg"] == (
        "The endpoint jupyter is not online after 1 s. "
        f"no ngrok agent answers on {closed_address}: Connection refused."
    )


def test_waiting_needs_a_name(info: Run) -> None:
    assert info(wait=5)["msg"] == "wait needs the name of the endpoint to wait for"


def test_check_mode_does_not_wait(info: Run, site: Site) -> None:
    site.answer("/api/tunnels", tunnels())

    result = info(name="jupyter", wait=600, check_mode=True)

    assert result["endpoints"] == []


@pytest.mark.parametrize(
    ("code", "words", "meaning", "remedy"),
    [
        pytest.param(
            "ERR_NGROK_105",
            ["The authtoken you gave is not one.", f"Your authtoken: {TOKEN}"],
            "does not look like one of ngrok's",
            "Copy it from https://dashboard.ngrok.com/get-started/your-authtoken",
            id="105",
        ),
        pytest.param(
            "ERR_NGROK_107",
            ["The authtoken you gave is not valid.", f"Your authtoken: {TOKEN}"],
            "not valid (any more)",
            "It was reset or revoked",
            id="107",
        ),
        pytest.param(
            "ERR_NGROK_108",
            ["Your account is limited to 1 simultaneous ngrok agent session."],
            "as many agents as its plan allows",
            "Stop one that is not needed",
            id="108",
        ),
        pytest.param(
            "ERR_NGROK_121",
            ["Your ngrok agent is too old: version 2.3.41."],
            "too old for this account",
            "Free accounts take a release for 14 months",
            id="121",
        ),
        pytest.param(
            "ERR_NGROK_4018",
            ["Usage of ngrok requires a verified account and an authtoken."],
            "no authtoken was sent",
            "Set ngrok_authtoken",
            id="4018",
        ),
    ],
)
def test_an_agent_that_gave_up_is_told_with_code_meaning_and_remedy(
    given_up: Callable[..., str], code: str, words: list[str], meaning: str, remedy: str
) -> None:
    message = given_up(refused(code, *words))

    assert message.startswith(f"ngrok refused with {code}: ")
    assert meaning in message
    assert remedy in message
    assert TOKEN not in message


@pytest.mark.parametrize(
    "visits",
    [
        pytest.param([{"ngrok-error-code": "ERR_NGROK_3200"}], id="gone"),
        pytest.param([{}], id="somebody-else-s"),
        pytest.param(
            [{"ngrok-error-code": "ERR_NGROK_8012"}] * 2 + [{"ngrok-error-code": "ERR_NGROK_3200"}],
            id="of-an-agent-that-crashed",
        ),
    ],
)
def test_a_url_that_is_taken_is_told_once_waiting_does_not_help(
    given_up: Callable[..., str], site: Site, visits: list[dict[str, str]]
) -> None:
    for headers in visits:
        site.answer("/api", {"version": "2.21.1"}, headers=headers)
    words = f"The endpoint '{site.url}' is already online."
    lines = [line for line in refused("ERR_NGROK_334", words) if "reconnect" not in line]

    message = given_up([*STARTED, *lines[1:]])

    assert message.startswith("ngrok refused with ERR_NGROK_334: ")
    assert "Stop the agent that holds it" in message
    assert len(site.asked("/api")) == len(visits)


@pytest.mark.parametrize(
    ("lines", "connected", "action"),
    [
        pytest.param([], True, "", id="connected"),
        pytest.param([LOST], False, "retry", id="lost"),
        pytest.param([LOST, *STARTED[1:]], True, "", id="back"),
    ],
)
def test_an_agent_of_2_3_is_connected_when_its_log_says_so(
    info: Run, site: Site, tmp_path: Path, lines: list[str], connected: bool, action: str
) -> None:
    site.answer("/api/tunnels", tunnels(TUNNEL))

    result = info(name="jupyter", log_file=write_log(tmp_path, [*STARTED, *lines], site.address))

    found = {key: result[key] for key in ("running", "connected", "online", "action")}
    assert found == {
        "running": True,
        "connected": connected,
        "online": connected,
        "action": action,
    }


def test_an_agent_that_has_a_status_is_believed(info: Run, site: Site) -> None:
    site.answer("/api/tunnels", tunnels(TUNNEL_3))
    site.answer("/api/status", status("3.39.9", "reconnecting"))

    result = info(name="jupyter")

    assert (result["running"], result["connected"], result["online"]) == (True, False, False)


def test_an_unknown_code_comes_with_the_agent_s_own_words_and_without_the_token(
    given_up: Callable[..., str],
) -> None:
    words = ["The moon is in the wrong phase.", f"Your authtoken: {TOKEN}"]

    message = given_up(refused("ERR_NGROK_999", *words))

    assert message.startswith("ngrok refused with ERR_NGROK_999: The moon is in the wrong phase.")
    assert message.endswith("See https://ngrok.com/docs/errors/err_ngrok_999.")
    assert TOKEN not in message


def test_a_refusal_without_a_code_comes_with_the_agent_s_own_words(
    given_up: Callable[..., str],
) -> None:
    taken = "listen tcp 127.0.0.1:4040: bind: address already in use"
    record = {"err": taken, "lvl": "crit", "msg": "command failed"}

    message = given_up([json.dumps(record, separators=(",", ":")), taken])

    assert message == f"The agent gave up: {taken}."


def test_an_agent_that_could_not_read_its_configuration_is_told(
    given_up: Callable[..., str],
) -> None:
    lines = ["ERROR:  unknown version '3'. valid versions are: [1 2]"]

    assert given_up(lines) == "The agent gave up: unknown version '3'. valid versions are: [1 2]."


def test_an_agent_that_ended_for_good_is_not_said_to_keep_trying(
    given_up: Callable[..., str],
) -> None:
    message = given_up(refused("", "Not on a Sunday."))

    assert "Not on a Sunday." in message
    assert "keeps trying" not in message


def test_an_error_before_the_last_success_is_history(given_up: Callable[..., str]) -> None:
    lines = [*refused("ERR_NGROK_107", "The authtoken you gave is not valid."), *STARTED]

    message = given_up(lines, wait=1)

    assert message.startswith("The endpoint jupyter is not online after 1 s. no ngrok agent")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("dial tcp 203.0.113.1:443: connect: connection refused", id="refused"),
        pytest.param("failed to dial ngrok server: i/o timeout", id="timeout"),
    ],
)
def test_a_service_that_cannot_be_reached_is_told(
    info: Run, site: Site, tmp_path: Path, words: str
) -> None:
    site.answer("/api/tunnels", tunnels())
    record = {"err": words, "lvl": "eror", "msg": "failed to reconnect session", "obj": "csess"}

    result = info(
        name="jupyter",
        wait=1,
        log_file=write_log(
            tmp_path, [STARTED[0], json.dumps(record, separators=(",", ":"))], site.address
        ),
    )

    assert result["msg"].startswith(
        "The endpoint jupyter is not online after 1 s. "
        f"The agent cannot reach ngrok's service: {words}. It keeps trying."
    )


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_agent_is_never_asked_through_a_proxy(
    info: Run, site: Site, monkeypatch: pytest.MonkeyPatch, closed_address: str, variable: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"http://{closed_address}")
    site.answer("/api/tunnels", tunnels(TUNNEL))

    assert info()["running"]
