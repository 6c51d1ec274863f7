"""What the modules read of an agent, with two real ones: 2.3.41 and 3.0.4.

Their configurations are for these tests only: the role writes the grammar of agents 3.16 and newer,
which nobody can have without ngrok's server.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _ngrok

from tests.support import CHECKOUT
from tests.support.accounts import Account
from tests.support.breakages import mend
from tests.support.edge.client import Edge, fetch
from tests.support.modules import run_module
from tests.support.ports import free_port
from tests.support.sites import Site
from tests.support.waiting import wait_until

TOKEN = "2agentTESTtokenTESTtokenTEST_5XyZ"
COMMON = """
authtoken: {token}
server_addr: {edge.agent}
root_cas: {edge.ca}
web_addr: {web_addr}
console_ui: false
log: stdout
log_format: json
log_level: info
inspect_db_size: -1
tunnels:
  jupyter: {{proto: http, addr: "{upstream}", inspect: false, {options}}}
"""
GRAMMARS = {
    "2": ("update: false", "bind_tls: true"),
    "3": ('version: "2"\nupdate_check: false', "schemes: [https]"),
}


@dataclass
class Agent:
    """A real agent in a tmux session, as the role ngrok starts it."""

    release: str
    edge: Edge
    upstream: str
    account: Account
    web_addr: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")

    @property
    def log_file(self) -> Path:
        return self.account.home / "agent.log"

    def start(self, options: str = "", web_addr: str = "") -> dict[str, Any]:
        """Start it, or start it again; what the module says of the session."""
        head, https = GRAMMARS[self.release]
        config = self.account.home / "ngrok.yml"
        config.write_text(
            head
            + COMMON.format(
                token=TOKEN,
                edge=self.edge,
                web_addr=web_addr or self.web_addr,
                upstream=self.upstream,
                options=f"{https}{options}",
            )
        )
        binary = CHECKOUT / f".cache/ngrok-agent-{self.release}/ngrok"
        return run_module(
            "tmux_session",
            name="ngrok",
            socket_name=self.account.socket_name,
            argv=[str(binary), "start", f"--config={config}", "jupyter"],
            chdir=str(self.account.home),
            log_file=str(self.log_file),
            timeout=0,
        )

    def end(self) -> None:
        run_module(
            "tmux_session", name="ngrok", socket_name=self.account.socket_name, state="absent"
        )

    def wait(self, seconds: int) -> dict[str, Any]:
        """What the module says that waits for the endpoint."""
        return run_module(
            "ngrok_endpoint_info",
            web_addr=self.web_addr,
            name="jupyter",
            wait=seconds,
            log_file=str(self.log_file),
        )

    def look(self) -> dict[str, Any]:
        """The same without waiting, and without a process."""
        return _ngrok.look(self.web_addr, "jupyter", _ngrok.read_log(str(self.log_file)))


@pytest.fixture(scope="module")
def own_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A service that no other test's agents use."""
    with Edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """What the agents forward to."""
    with Site() as site:
        site.answer("/api", {"version": "2.21.1"})
        threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield site.url
        site.shutdown()


@pytest.fixture(
    scope="module",
    params=[
        "2",
        pytest.param(
            "3",
            marks=pytest.mark.skipif(
                platform.machine() != "x86_64", reason="npm has an agent 3 for x86_64 only"
            ),
        ),
    ],
)
def machine(
    request: pytest.FixtureRequest,
    own_edge: Edge,
    upstream: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Agent]:
    """A machine with one of the agents, which may run or not."""
    account = Account(tmp_path_factory.mktemp("agent"))
    yield Agent(request.param, own_edge, upstream, account)
    account.stop()


@pytest.fixture
def agent(machine: Agent) -> Iterator[Agent]:
    """An agent that does not run yet; afterwards the service works again."""
    machine.end()
    yield machine
    mend(machine.edge)


@pytest.fixture
def running(agent: Agent) -> Agent:
    """An agent that is online."""
    agent.start()
    assert agent.wait(30)["online"]
    return agent


def endpoint(agent: Agent) -> dict[str, Any]:
    """The one endpoint that the agent lists."""
    (found,) = agent.look()["endpoints"]
    assert isinstance(found, dict)
    return found


def test_its_endpoint_is_read_from_its_api(running: Agent) -> None:
    found = running.look()

    (served,) = running.edge.state()["endpoints"]
    assert found == {
        "running": True,
        "msg": f"The agent answers on {running.web_addr} with 1 endpoint.",
        # Neither has the path that tells.
        "version": "",
        "status": "",
        "connected": True,
        "online": True,
        "error_code": "",
        "action": "",
        "endpoints": [
            {
                "name": "jupyter",
                "url": served["url"],
                "upstream": running.upstream,
                "proto": "https",
                "connections": 0,
            }
        ],
    }


def test_it_counts_the_visitors(running: Agent) -> None:
    url = endpoint(running)["url"]

    for _ in range(2):
        assert fetch(url, "/api").status == 200

    wait_until(lambda: endpoint(running)["connections"] == 2)


def test_a_session_that_was_dropped_is_open_again_by_itself(running: Agent) -> None:
    url = endpoint(running)["url"]
    before = running.edge.state()["sessions"]

    running.edge.drop_sessions()

    wait_until(lambda: fetch(url, "/api").status == 200)
    assert running.edge.state()["sessions"] != before
    # The log has an error, but that is history.
    assert "starting reconnect loop" in _ngrok.read_log(str(running.log_file))
    wait_until(lambda: running.look()["connected"])
    assert (running.look()["online"], running.look()["action"]) == (True, "")
    assert endpoint(running)["url"] == url


def test_it_waits_for_a_service_that_is_away(running: Agent) -> None:
    url = endpoint(running)["url"]

    running.edge.fault(unreachable=True)
    wait_until(lambda: "connection refused" in running.look()["msg"])
    away = running.look()
    running.edge.fault(unreachable=False)

    assert "The agent cannot reach ngrok's service: " in away["msg"]
    assert "It keeps trying." in away["msg"]
    # Its API goes on to list the endpoint, so that only its log tells.
    assert [found["url"] for found in away["endpoints"]] == [url]
    assert (away["running"], away["connected"], away["online"]) == (True, False, False)
    assert (away["action"], away["error_code"]) == ("retry", "")
    # Its pauses between two attempts grow to half a minute.
    wait_until(lambda: running.look()["online"], 120)
    assert fetch(url, "/api").status == 200


def test_it_is_waited_for_where_the_service_is_away_from_the_start(agent: Agent) -> None:
    agent.edge.fault(unreachable=True)
    agent.start()

    late = agent.wait(2)

    assert late["failed"]
    assert late["msg"].startswith("The endpoint jupyter is not online after 2 s. The agent cannot")
    assert (late["running"], late["action"], late["endpoints"]) == (True, "retry", [])


@pytest.mark.parametrize(
    ("fault", "code", "action", "says"),
    [
        ("auth_error", "107", "stop", "not valid (any more)"),
        ("auth_error", "108", "stop", "Stop one that is not needed"),
        ("auth_error", "121", "repair", "the agent is too old"),
        ("bind_error", "334", "retry", "Stop the agent that holds it"),
    ],
)
def test_a_refusal_ends_it_and_is_told_by_its_code(
    agent: Agent, fault: str, code: str, action: str, says: str
) -> None:
    agent.edge.fault(**{fault: f"ERR_NGROK_{code}"})
    agent.start()

    refused = agent.wait(60)

    assert refused["failed"]
    assert refused["msg"].startswith(f"ngrok refused with ERR_NGROK_{code}: ")
    assert says in refused["msg"]
    assert TOKEN not in str(refused)
    assert (refused["running"], refused["online"]) == (False, False)
    assert (refused["error_code"], refused["action"]) == (f"ERR_NGROK_{code}", action)
    wait_until(lambda: not agent.account.pids())
    agent.edge.fault(**{fault: None})
    assert agent.start()["ended"] == "status 1"
    assert agent.wait(30)["online"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "The moon is in the wrong phase.\r\nWait.\r\n\r\nERR_NGROK_999\r\n",
            "ngrok refused with ERR_NGROK_999: The moon is in the wrong phase. Wait. ",
            id="a-code-that-is-not-known",
        ),
        pytest.param(
            "Not on a Sunday.\r\nCome back tomorrow.",
            "The agent gave up: Not on a Sunday. Come back tomorrow.",
            id="no-code",
        ),
    ],
)
def test_what_nobody_knows_is_told_in_the_agents_own_words(
    agent: Agent, text: str, says: str
) -> None:
    agent.edge.fault(auth_error=text)
    agent.start()

    refused = agent.wait(60)

    assert refused["failed"]
    assert refused["msg"].startswith(says)
    assert refused["action"] == "stop"


def test_the_endpoint_of_one_that_crashed_is_waited_for(agent: Agent) -> None:
    """Its URL is one of its own, as with ngrok_url, and so the next one gets the same."""
    own = f", subdomain: crashed-{agent.release}"
    agent.start(own)
    assert agent.wait(30)["online"]
    agent.edge.fault(linger=True)
    agent.account.tmux("kill-session", "-t", "=ngrok")
    agent.start(own)
    gone = threading.Timer(2, agent.edge.fault, kwargs={"linger": False})
    gone.start()

    refused = agent.wait(1)

    gone.join()
    assert (refused["failed"], refused["error_code"]) == (True, _ngrok.ALREADY_ONLINE)
    # Longer than it was told to, and so the next start succeeds.
    agent.start(own)
    assert agent.wait(30)["online"]


def test_a_port_that_is_taken_is_told(agent: Agent, upstream: str) -> None:
    taken = upstream.removeprefix("http://")
    agent.start(web_addr=taken)
    wait_until(lambda: not agent.account.pids())

    assert agent.look()["msg"] == (
        f"The agent gave up: listen tcp {taken}: bind: address already in use."
    )


def test_a_configuration_that_it_cannot_read_is_named(agent: Agent) -> None:
    agent.start(", addr: [")
    wait_until(lambda: not agent.account.pids())

    found = agent.look()

    # Agent 2 does without it, and then lacks what it was to start.
    assert found["msg"].startswith("The agent gave up: ")
    assert f"{agent.account.home}/ngrok.yml" in found["msg"]
    assert (found["running"], found["action"]) == (False, "stop")
