"""What is read of the log of an agent and its supervisor: lines of real agents, and anything."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _ngrok
from hypothesis import given, settings
from hypothesis import strategies as st

URL = "https://example.ngrok.app"
OURS = "http://127.0.0.1:8888"
PID = os.getpid()
ENDED = 2**22 + 1  # no process has it (proc_sys_kernel(5), pid_max)


def own(message: str, **more: object) -> str:
    """A line of the supervisor."""
    return json.dumps({"lvl": "info", "msg": message, "obj": "supervisor"} | more)


def starts(pid: int = PID, **more: object) -> str:
    """What the supervisor says when it starts an agent without an API."""
    told = {"upstream": OURS, "api": "off", "why": "others can log in: zoe", "web_addr": ""}
    return own("agent starts", pid=pid, **told | more)


# Agents 2.3.41 and 3.0.4 say this word for word, but for the time; 3.39 the same as far as ngrok's
# documentation and captures of others have it.
SESSION = (
    '{"lvl":"info","msg":"tunnel session started","obj":"tunnels.session","t":"2026-11-27"}\n'
    '{"id":"87711e12be96","lvl":"info","msg":"client session established","obj":"csess"}'
)
TUNNEL = (
    f'{{"addr":"{OURS}","lvl":"info","msg":"started tunnel","name":"jupyter","obj":"tunnels",'
    f'"t":"2026-11-27T23:38:27.13786692Z","url":"{URL}"}}'
)
VISIT = (
    '{"id":"f4bcaeab61ca","l":"127.0.0.1:8888","lvl":"info","msg":"join connections","obj":"join",'
    '"r":"127.0.0.1:40390","t":"2026-11-27T23:38:27.181220024Z"}'
)
UPDATE = (
    '{"err":"Post \\"https://update.equinox.io/check\\": dial tcp: lookup update.equinox.io: no '
    'such host","lvl":"warn","msg":"failed to check for update","obj":"updater"}'
)
CLOSED = (
    '{"err":"read EOF from remote peer","id":"87711e12be96","lvl":"eror",'
    '"msg":"session closed, starting reconnect loop","obj":"csess"}'
)
AWAY = (
    '{"err":"dial tcp 127.0.0.1:44245: connect: connection refused","id":"87711e12be96",'
    '"lvl":"eror","msg":"failed to reconnect session","obj":"csess"}'
)
REFUSED = json.dumps({"err": "Not a good day.\r\n\r\nERR_NGROK_108\r\n", "lvl": "crit"})
STOPPING = '{"lvl":"info","msg":"received stop request","obj":"app","stopReq":{}}'
HOME = 't=2026-11-27 lvl=warn msg="failed to get home directory, using $HOME instead" $HOME=/x'


def look(*lines: str, pid: int = PID, upstream: str = OURS) -> dict[str, Any]:
    """What is returned for the endpoint ``jupyter`` of a log."""
    return _ngrok.look("127.0.0.1:1", "jupyter", "\n".join(lines) + "\n", pid, upstream)


@pytest.mark.parametrize(
    ("lines", "running", "connected", "online", "says"),
    [
        pytest.param([HOME], True, False, False, "The agent is about to connect.", id="starting"),
        pytest.param(
            [SESSION], True, True, False, "The agent runs with 0 endpoints.", id="session"
        ),
        pytest.param(
            [HOME, SESSION, TUNNEL, UPDATE],
            True,
            True,
            True,
            "The agent runs with 1 endpoint.",
            id="online",
        ),
        pytest.param(
            [SESSION, TUNNEL, CLOSED, AWAY],
            True,
            False,
            False,
            "The agent cannot reach ngrok's service: dial tcp 127.0.0.1:44245: connect: "
            "connection refused. It keeps trying. Look whether this machine may open connections "
            "to connect.ngrok-agent.com, port 443.",
            id="away",
        ),
        pytest.param(
            [SESSION, TUNNEL, CLOSED, AWAY, SESSION],
            True,
            True,
            True,
            "The agent runs with 1 endpoint.",
            id="back",
        ),
        pytest.param(
            [SESSION, TUNNEL, own("supervisor waits", upstream=OURS), STOPPING],
            False,
            False,
            False,
            f"The tunnel is closed, because no server runs at {OURS}. It opens by itself once the "
            "server does.",
            id="waits",
        ),
        pytest.param(
            [SESSION, TUNNEL, own("supervisor waits", upstream=OURS), STOPPING, starts(), SESSION],
            True,
            True,
            False,
            "The agent runs with 0 endpoints.",
            id="starts-again",
        ),
        pytest.param(
            [own("supervisor waits", upstream=OURS, taken_by="mallory")],
            False,
            False,
            False,
            "The tunnel is closed, because a program of the account mallory listens at "
            f"{OURS}, where the server should. It opens by itself once the server does.",
            id="foreign",
        ),
    ],
)
def test_the_state_is_read_from_the_log(
    lines: list[str], running: bool, connected: bool, online: bool, says: str
) -> None:
    found = look(own("supervisor starts", pid=PID), starts(), *lines)

    assert (found["running"], found["connected"], found["online"]) == (running, connected, online)
    assert found["msg"] == says
    assert (found["api"], found["api_reason"]) == ("off", "others can log in: zoe")


def test_an_endpoint_is_told_with_its_visits() -> None:
    found = look(starts(), SESSION, TUNNEL, *[VISIT] * 3)

    assert found["endpoints"] == [
        {"name": "jupyter", "url": URL, "upstream": OURS, "proto": "https", "connections": 3}
    ]


def test_visits_that_the_log_has_no_more_are_counted() -> None:
    earlier = own("earlier connections", count=4000)

    assert look(starts(), SESSION, TUNNEL, earlier, VISIT)["endpoints"][0]["connections"] == 4001


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param([TUNNEL.replace("8888", "9999")], id="from-the-start"),
        pytest.param([TUNNEL, TUNNEL.replace("8888", "9999")], id="later"),
    ],
)
def test_an_endpoint_that_leads_elsewhere_is_named_without_its_url(elsewhere: list[str]) -> None:
    found = look(starts(), SESSION, *elsewhere)

    assert (found["online"], found["action"]) == (False, "repair")
    assert found["msg"].startswith(f"The tunnel leads to http://127.0.0.1:9999, and not to {OURS}.")
    assert URL not in str(found)


def test_an_agent_that_waits_for_another_server_is_named() -> None:
    found = look(starts(), own("supervisor waits", upstream="http://127.0.0.1:9999"))

    assert (found["waiting"], found["action"]) == (True, "repair")
    assert "http://127.0.0.1:9999" in found["msg"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://127.0.0.1:8888", "http://127.0.0.1:8888/", True),
        ("8888", "http://localhost:8888", True),
        ("localhost:8888", "http://LOCALHOST:8888", True),
        ("localhost:8888", "http://127.0.0.1:8888", False),
        ("8888", "http://127.0.0.1:8888", False),
        ("http://localhost.:8888", "http://127.0.0.1:8888", False),
        ("http://127.0.0.1:8888@localhost:8888", "http://127.0.0.1:8888", False),
        ("http://127.1:8888", "http://127.0.0.1:8888", False),
        ("tcp://127.0.0.1:8888", "http://127.0.0.1:8888", False),
        ("http://127.0.0.1:8888/elsewhere", "http://127.0.0.1:8888", False),
        ("http://127.0.0.1", "http://127.0.0.1:80", True),
        ("https://example.org/", "https://example.org:443", True),
        ("http://[::1]:8888", "http://127.0.0.1:8888", False),
        ("http://[::1", "http://127.0.0.1:8888", False),
        ("http://127.0.0.1:8888", "http://127.0.0.1:88888", False),
        ("http://127.0.0.1:8888", "https://127.0.0.1:8888", False),
        ("http://127.0.0.1:8888", "http://127.0.0.1.example.org:8888", False),
        ("file:///home/me", "http://127.0.0.1:8888", False),
        ("", "http://127.0.0.1:8888", False),
    ],
)
def test_upstreams_are_compared_as_the_agent_takes_them(one: str, other: str, same: bool) -> None:
    assert _ngrok.same(one, other) is same


@pytest.mark.parametrize(
    ("writer", "pid", "says"),
    [
        pytest.param(ENDED, ENDED, "The agent does not run.", id="it-has-ended"),
        pytest.param(ENDED, PID, "The agent has not started yet.", id="of-an-earlier-one"),
        pytest.param(ENDED, 0, "The agent does not run.", id="nobody-knows-which"),
    ],
)
def test_what_another_process_has_written_is_history(writer: int, pid: int, says: str) -> None:
    found = look(starts(writer), SESSION, TUNNEL, pid=pid)

    assert (found["running"], found["online"], found["endpoints"]) == (False, False, [])
    assert found["msg"] == says


def test_an_agent_that_gave_up_is_told_with_its_code() -> None:
    found = look(starts(ENDED), REFUSED, pid=ENDED)

    assert (found["error_code"], found["action"]) == ("ERR_NGROK_108", "stop")
    assert found["msg"].startswith("ngrok refused with ERR_NGROK_108: ")


@pytest.mark.parametrize("gap", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_words_of_others_are_no_words_of_the_supervisor(gap: str) -> None:
    """The supervisor marks their lines, and so nothing else may begin a line."""
    forged = starts(api="on", web_addr="192.0.2.7:80")

    found = look(starts(), SESSION, TUNNEL, f"ngrok says:{gap}{forged}")

    assert (found["api"], found["online"]) == ("off", True)


def test_an_api_that_is_off_is_never_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        thief.setblocking(False)
        address = f"127.0.0.1:{thief.getsockname()[1]}"
        _ngrok.look(address, "jupyter", f"{starts()}\n{SESSION}\n{TUNNEL}\n", PID)

        with pytest.raises(BlockingIOError):
            thief.accept()


def test_an_api_of_a_process_that_is_not_the_agent_is_never_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        thief.setblocking(False)
        address = f"127.0.0.1:{thief.getsockname()[1]}"
        # The listener is this process, and the agent is another one.
        with subprocess.Popen(["sleep", "600"]) as agent:
            told = starts(agent.pid, api="on", web_addr=address)
            found = look(told, SESSION, TUNNEL, pid=agent.pid)
            agent.kill()

        assert (found["running"], found["online"], found["endpoints"]) == (False, False, [])
        assert f"{address} is taken by " in found["msg"]
        with pytest.raises(BlockingIOError):
            thief.accept()


WORDS = st.sampled_from(
    [
        *("supervisor starts", "supervisor waits", "agent starts", "earlier connections"),
        *("started tunnel", "tunnel session started", "join connections", "command failed"),
        *("supervisor", "eror", "crit", "on", "off", "jupyter", URL, OURS, "ERR_NGROK_334", ""),
        *("starting web service", "127.0.0.1:1", "127.0.0.1:0", "127.0.0.999:1"),
    ]
)
VALUES = WORDS | st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
KEYS = ("msg", "obj", "pid", "api", "why", "web_addr", "upstream", "taken_by")
RECORDS = st.dictionaries(
    st.sampled_from([*KEYS, "name", "url", "addr", "lvl", "err", "count"]), VALUES, max_size=8
)


@given(st.text(), st.integers(), st.text())
@settings(max_examples=50, deadline=None)
def test_anything_can_be_read(log: str, pid: int, upstream: str) -> None:
    assert not _ngrok.look("127.0.0.1:1", "jupyter", log, pid, upstream)["online"]


@given(st.lists(RECORDS))
@settings(deadline=None)
def test_what_is_online_leads_to_our_server_whatever_else_was_said(
    records: list[dict[str, Any]],
) -> None:
    found = look(starts(), SESSION, TUNNEL, *map(json.dumps, records))

    led = [each["upstream"] for each in found["endpoints"] if each["name"] == "jupyter"]
    assert not found["online"] or all(_ngrok.same(upstream, OURS) for upstream in led)
    assert found["msg"]


@given(st.sampled_from(["[", '{"msg":', '{"msg":{"a":']), st.integers(1, 30_000))
@settings(max_examples=50, deadline=None)
def test_depth_is_survived(opening: str, depth: int) -> None:
    look(starts(), opening * depth, SESSION, TUNNEL)


@given(st.lists(RECORDS))
@settings(max_examples=50, deadline=None)
def test_odd_records_of_an_agent_without_a_supervisor_are_read(
    records: list[dict[str, Any]],
) -> None:
    assert look(*map(json.dumps, records))["msg"]
