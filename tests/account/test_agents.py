"""Real agents 2.3.41 and 3.0.4 below their supervisor, and what the modules read of them.

Their configurations are for these tests only: the role writes the grammar of agents 3.16 and newer,
which nobody can have without ngrok's server.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _listener, _ngrok

from roles.ngrok.files import supervisor
from tests.support import CHECKOUT
from tests.support.accounts import Account
from tests.support.breakages import answers, mend
from tests.support.edge.client import Edge, fetch
from tests.support.hosts.client import AS_ROOT
from tests.support.modules import run_module
from tests.support.ports import free_port
from tests.support.processes import descendants, without
from tests.support.sites import Site, serving
from tests.support.waiting import wait_until

TOKEN = "2agentTESTtokenTESTtokenTEST_5XyZ"
COMMON = """
authtoken: {token}
server_addr: {edge.agent}
root_cas: {edge.ca}
web_addr: false
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
API = {"2": {"web_addr": "WEB_ADDR"}, "3": {"version": "2", "web_addr": "WEB_ADDR"}}
SUPERVISOR = CHECKOUT / "roles/ngrok/files/supervisor.py"

# A server that writes down who asked it. It takes the port as soon as it is free.
SERVER = """
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.path, self.headers.get("Cookie"), flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())
    def log_message(self, *words):
        pass
while True:
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page)
        break
    except OSError:
        pass
server.serve_forever()
"""


@dataclass
class Agent:
    """A real agent below its supervisor in a tmux session, as the role ngrok starts it."""

    release: str
    edge: Edge
    upstream: str
    account: Account
    web_addr: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    pid: int = 0

    @property
    def base(self) -> Path:
        return self.account.home

    @property
    def log_file(self) -> Path:
        return self.base / "agent.log"

    def start(
        self,
        options: str = "",
        *,
        api: str = "false",
        upstream: str = "",
        denied: dict[int, int] | None = None,
    ) -> dict[str, Any]:
        """Start it, or start it again; what the module says of the session.

        ``denied`` are system calls that the kernel does not have for it, with their errno.
        """
        head, https = GRAMMARS[self.release]
        config = self.base / "ngrok.yml"
        config.write_text(
            head
            + COMMON.format(
                token=TOKEN,
                edge=self.edge,
                upstream=upstream or self.upstream,
                options=f"{https}{options}",
            )
        )
        told = {
            "upstream": upstream or self.upstream,
            "api": api,
            "web_addr": self.web_addr,
            "api_config": json.dumps(API[self.release]),
            "reads": [str(config), str(self.edge.ca)],
            "connect_url": self.edge.agent,
        }
        (self.base / "supervisor.json").write_text(json.dumps(told))
        self.log_file.unlink(missing_ok=True)
        binary = CHECKOUT / f".cache/ngrok-agent-{self.release}/ngrok"
        words = [str(binary), "start", f"--config={config}", "jupyter"]
        argv = [sys.executable, "-I", "-S", str(SUPERVISOR), str(self.base), "--", *words]
        started = run_module(
            "tmux_session",
            name="ngrok",
            socket_name=self.account.socket_name,
            socket_dir=str(self.account.socket.parent),
            argv=without(denied, argv) if denied else argv,
            chdir=str(self.base),
            timeout=0,
        )
        self.pid = started["pid"]
        return started

    def end(self) -> None:
        run_module(
            "tmux_session",
            name="ngrok",
            socket_name=self.account.socket_name,
            socket_dir=str(self.account.socket.parent),
            state="absent",
        )

    def wait(self, seconds: int, upstream: str = "") -> dict[str, Any]:
        """What the module says that waits for the endpoint."""
        return run_module(
            "ngrok_endpoint_info",
            name="jupyter",
            wait=seconds,
            log_file=str(self.log_file),
            pid=self.pid,
            upstream=upstream,
        )

    def look(self, upstream: str = "") -> dict[str, Any]:
        """The same without waiting, and without a process."""
        log = _ngrok.read_log(str(self.log_file))
        return _ngrok.look("127.0.0.1:4040", "jupyter", log, self.pid, upstream)

    def process(self) -> int:
        """The agent's own process, 0 while there is none."""
        below = descendants(self.pid)[1:]
        return below[-1] if below else 0

    def said(self, message: str) -> list[dict[str, Any]]:
        """What the supervisor has said of this kind."""
        lines = map(supervisor.record_of, self.log_file.read_bytes().splitlines())
        return [line for line in lines if line.get("msg") == message]

    def listens(self) -> list[int]:
        """The processes below the session that listen anywhere."""
        pids = descendants(self.pid)
        sockets = {inode for _, inode, _ in _listener._listening_sockets()}
        return [pid for pid in pids if sockets & set(open_sockets(pid))]


def open_sockets(pid: int) -> list[str]:
    """The inodes of the sockets that a process has open."""
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    return [link[len("socket:[") : -1] for link in links if link.startswith("socket:[")]


@contextmanager
def server(port: int, says: str, log: Path, *prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that takes a port as soon as it is free, and writes down what it is asked."""
    with (
        log.open("wb") as asked,
        subprocess.Popen(
            [*prefix, "/usr/bin/python3", "-c", SERVER, str(port), says], stdout=asked, cwd="/"
        ) as running,
    ):
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture(scope="module")
def own_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A service that no other test's agents use."""
    with Edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """What the agents forward to."""
    with serving(Site()) as site:
        site.answer("/api", {"version": "2.21.1"})
        yield site.url


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
    """An agent that is online, without an API."""
    agent.start()
    assert agent.wait(30)["online"]
    return agent


def endpoint(agent: Agent) -> dict[str, Any]:
    """The one endpoint that the agent lists."""
    (found,) = agent.look()["endpoints"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("api", "state"), [("false", "off"), ("true", "on")])
def test_its_endpoint_is_read_from_its_log_and_from_its_api(
    agent: Agent, api: str, state: str
) -> None:
    agent.start(api=api)
    assert agent.wait(30)["online"]

    found = agent.look(agent.upstream)

    (served,) = agent.edge.state()["endpoints"]
    where = f" answers on {agent.web_addr}" if state == "on" else " runs"
    assert found == {
        "running": True,
        "waiting": False,
        "api": state,
        "api_reason": f"ngrok_api is {api}",
        "msg": f"The agent{where} with 1 endpoint.",
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
                "upstream": agent.upstream,
                # The log has only the URL, which is a local one here.
                "proto": "https" if state == "on" else "http",
                "connections": 0,
            }
        ],
    }
    # No other account has anything to talk to.
    assert agent.listens() == ([agent.process()] if state == "on" else [])
    assert (agent.log_file.stat().st_mode & 0o777) == 0o600


@pytest.mark.parametrize("api", ["false", "true"])
def test_it_counts_the_visitors(agent: Agent, api: str) -> None:
    agent.start(api=api)
    url = agent.wait(30)["endpoints"][0]["url"]

    for _ in range(2):
        assert fetch(url, "/api").status == 200

    wait_until(lambda: endpoint(agent)["connections"] == 2)


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


def test_where_its_port_is_taken_it_does_without_its_api(agent: Agent, upstream: str) -> None:
    agent.web_addr, own = upstream.removeprefix("http://"), agent.web_addr
    agent.start(api="true")

    found = agent.wait(30)

    agent.web_addr = own
    assert found["online"]
    taken = upstream.removeprefix("http://")
    assert (found["api"], found["api_reason"]) == ("off", f"{taken} is taken")


def ask(agent: Agent, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    """Ask the agent's API as anybody on the machine could; empty where it refuses."""
    request = urllib.request.Request(
        f"http://{agent.web_addr}/api/tunnels{path}",
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
            return found
    except urllib.error.HTTPError:
        return {}


def test_its_api_publishes_no_file_of_the_account(agent: Agent) -> None:
    secret = agent.account.home.parent / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "key.txt").write_text("of nobody else's concern")
    agent.start(api="true")
    assert agent.wait(30)["api"] == "on"

    thief = {"name": "thief", "proto": "http", "addr": f"file://{secret}"}
    url = ask(agent, "POST", "", thief).get("public_url", "")

    # Agent 3 opens a tunnel that has nothing to show, agent 2 none at all.
    answer = fetch(url, "/key.txt") if url else None
    assert answer is None or (answer.status != 200 and b"concern" not in answer.body)
    assert ask(agent, "GET", "/jupyter")["name"] == "jupyter"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://127.0.0.1:{other}",
        # Where the agent may find somebody at ::1 who passes on what is sent there.
        "http://localhost:{port}",
        "localhost:{port}",
        "{port}",
    ],
)
def test_an_endpoint_that_somebody_has_led_elsewhere_is_not_ours(
    elsewhere: str, agent: Agent
) -> None:
    agent.start(api="true")
    assert agent.wait(30, upstream=agent.upstream)["online"]
    ask(agent, "DELETE", "/jupyter")
    addr = elsewhere.format(other=free_port(), port=agent.upstream.rpartition(":")[2])
    stolen = {"name": "jupyter", "proto": "http", "addr": addr}
    url = ask(agent, "POST", "", stolen)["public_url"]

    found = agent.wait(30, upstream=agent.upstream)

    assert found["failed"]
    assert re.match(rf"The tunnel leads to \S*{addr}, and not to {agent.upstream}\.", found["msg"])
    assert (found["online"], found["action"]) == (False, "repair")
    assert url not in str(found)


def test_it_ends_with_its_server_and_comes_back_with_the_next_one(
    agent: Agent, tmp_path: Path
) -> None:
    port = free_port()
    with server(port, "first", tmp_path / "first") as first:
        wait_until(lambda: answers(port))
        agent.start(upstream=f"http://127.0.0.1:{port}")
        url = agent.wait(30)["endpoints"][0]["url"]
        assert fetch(url, "/").body == b"first"
        first.kill()
        closed = time.monotonic()
        wait_until(lambda: agent.look()["waiting"] and not agent.process())
        closed = time.monotonic() - closed
    wait_until(lambda: agent.edge.state()["endpoints"] == [])
    found = agent.look()
    assert (found["waiting"], found["running"], found["online"]) == (True, False, False)
    assert found["msg"].startswith("The tunnel is closed, because no server runs at http://127.0")
    assert closed < 5, "it takes a tenth of a second"

    with server(port, "second", tmp_path / "second"):
        again = agent.wait(30)

        assert again["online"]
        assert fetch(again["endpoints"][0]["url"], "/").body == b"second"


# What a kernel without Landlock says, and one that lets nobody trace (Yama, ptrace_scope 2 and 3).
OLD = {supervisor.CREATE_RULESET: errno.ENOSYS, supervisor.PIDFD_GETFD: errno.EPERM}


def test_where_the_kernel_cannot_confine_it_it_has_no_api_even_if_one_is_wished(
    agent: Agent,
) -> None:
    agent.start(api="true", denied=OLD)

    found = agent.wait(30, upstream=agent.upstream)

    assert found["online"]
    assert found["api"] == "off"
    assert "cannot be kept from the account's files" in found["api_reason"]
    assert agent.listens() == []
    (started,) = agent.said("agent starts")
    assert (started["confined"], started["port_held"]) == (False, False)


@pytest.mark.parametrize("denied", [{}, OLD], ids=["held", "not-held"])
def test_a_stranger_who_takes_the_port_of_its_server_gets_no_visitor(
    denied: dict[int, int], agent: Agent, tmp_path: Path
) -> None:
    port, gone, times = free_port(), threading.Event(), []
    as_nobody = [*AS_ROOT, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with server(port, "ours", tmp_path / "ours") as ours:
        wait_until(lambda: answers(port))
        agent.start(upstream=f"http://127.0.0.1:{port}", denied=denied)
        url = agent.wait(30)["endpoints"][0]["url"]
        assert agent.said("agent starts")[0]["port_held"] is (not denied)

        def visit() -> None:
            while not gone.is_set():
                with suppress(OSError):
                    if fetch(url, "/").body == b"stranger":
                        times.append(time.monotonic())

        visitor = threading.Thread(target=visit)
        visitor.start()
        try:
            with server(port, "stranger", tmp_path / "stranger", *as_nobody):
                wait_until(lambda: (tmp_path / "ours").read_text())
                ours.kill()
                killed = time.monotonic()
                wait_until(lambda: "of the account nobody listens" in agent.look()["msg"])
                found = agent.wait(30)
        finally:
            gone.set()
            visitor.join()

    assert found["failed"]
    assert (found["waiting"], found["action"]) == (True, "stop")
    asked = (tmp_path / "stranger").read_text()
    # What was on its way in the milliseconds until the agent was ended, when it was not held.
    assert asked == "" if not denied else max(times, default=killed) < killed + 5


def test_a_configuration_that_it_cannot_read_is_named(agent: Agent) -> None:
    agent.start(", addr: [")
    wait_until(lambda: not agent.account.pids())

    found = agent.look()

    # Agent 2 does without it, and then lacks what it was to start.
    assert found["msg"].startswith("The agent gave up: ")
    assert f"{agent.account.home}/ngrok.yml" in found["msg"]
    assert (found["running"], found["action"]) == (False, "stop")
