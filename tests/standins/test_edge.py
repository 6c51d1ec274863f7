"""What the edge promises to agents, visitors and tests. Real agents, real upstreams."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import pytest
import websockets.sync.client
import websockets.sync.server
from websockets.exceptions import ConnectionClosed

from tests.support.accounts import AGENT
from tests.support.edge.client import Edge, fetch
from tests.support.edge.muxado import HEADER, SYN, WORD, Frame
from tests.support.edge.service import SERVER_INFO
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.acceptance

TOKEN = "2edgeTESTtokenTESTtokenTEST_5XyZ"
SIZE = 3 * 1024 * 1024
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T], seconds: float = 20) -> T:
    """The first truthy answer of ``look``."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {seconds} s")


def without_proxies() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}


class Upstream(http.server.ThreadingHTTPServer):
    """What an agent forwards to. It keeps what it was sent, and sends what ``payload`` holds."""

    daemon_threads = True
    # The default of five is too few for twenty visitors at once.
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.payload = os.urandom(SIZE)
        self.received = b""
        self.released = threading.Event()
        self.heads: list[Message] = []


class Page(http.server.BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.heads.append(self.headers)
        self._send(self.server.payload if self.path == "/big" else f"page {self.path}".encode())

    def do_POST(self) -> None:
        if self.path == "/stalled":
            assert self.server.released.wait(20)
        self.server.received = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(b"taken")

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Agent:
    """A real agent 2.3 with one endpoint, which lives as long as the ``with`` block."""

    def __init__(
        self, binary: Path, edge: Edge, upstream_port: int, directory: Path, subdomain: str = ""
    ) -> None:
        self.web = f"127.0.0.1:{free_port()}"
        self.log_file = directory / "agent.log"
        self._argv = [str(binary), "start", "--all", "--config", str(directory / "ngrok.yml")]
        (directory / "ngrok.yml").write_text(
            textwrap.dedent(f"""\
                authtoken: {TOKEN}
                server_addr: {edge.agent}
                root_cas: {edge.ca}
                web_addr: {self.web}
                heartbeat_interval: 1s
                heartbeat_tolerance: 1s
                update: false
                console_ui: false
                log: stdout
                log_format: json
                tunnels:
                  jupyter:
                    proto: http
                    addr: {upstream_port}
                    bind_tls: true
                    subdomain: "{subdomain}"
                """)
        )

    def __enter__(self) -> Self:
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                self._argv, env=without_proxies(), stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.wait()

    def url(self) -> str:
        """The public address in the agent's own API; empty when there is none."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.web}/api/tunnels", timeout=5) as reply:
                tunnels: list[dict[str, Any]] = json.load(reply)["tunnels"]
        except OSError:
            return ""
        return next((t["public_url"] for t in tunnels if t["name"] == "jupyter"), "")

    def wait_until_online(self) -> str:
        return wait_for("endpoint in the agent's API", self.url)

    def log(self) -> str:
        return self.log_file.read_text()


def endpoint_at(edge: Edge) -> dict[str, str]:
    """The one endpoint at the edge; empty when there is none."""
    endpoints: list[dict[str, str]] = edge.state()["endpoints"]
    return endpoints[0] if endpoints else {}


def wait_for_another_session(edge: Edge, earlier: dict[str, str]) -> str:
    """Wait until the endpoint is back in a new session; its public address then."""
    back = wait_for(
        "endpoint in a new session",
        lambda: endpoint_at(edge) if endpoint_at(edge).get("session") != earlier["session"] else {},
    )
    # The agent learns of its endpoint a moment after the edge has it.
    wait_for("page", lambda: fetch(back["url"]).status == 200)
    return back["url"]


@pytest.fixture(scope="module")
def binary() -> Path:
    assert AGENT.exists(), f"no agent 2.3 at {AGENT}: make fetches it"
    return AGENT


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def calm_url(
    binary: Path, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A public address where no test makes trouble."""
    directory = tmp_path_factory.mktemp("calm")
    with (
        Edge(directory / "edge") as edge,
        Agent(binary, edge, upstream.server_port, directory) as agent,
    ):
        yield agent.wait_until_online()


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with Edge(tmp_path / "edge") as edge:
        yield edge


@pytest.fixture
def agent(binary: Path, edge: Edge, upstream: Upstream, tmp_path: Path) -> Iterator[Agent]:
    with Agent(binary, edge, upstream.server_port, tmp_path) as agent:
        agent.wait_until_online()
        yield agent


@contextlib.contextmanager
def websocket_echo() -> Iterator[int]:
    """An upstream that sends websocket messages back; its port."""

    def echo(connection: websockets.sync.server.ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with websockets.sync.server.serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield int(server.socket.getsockname()[1])
        server.shutdown()
        thread.join()


def websocket_to(url: str) -> websockets.sync.client.ClientConnection:
    """A websocket to a public address, through a socket that is connected to loopback."""
    parts = urlsplit(url)
    sock = socket.create_connection(("127.0.0.1", parts.port or 0))
    return websockets.sync.client.connect(f"ws://{parts.netloc}/", sock=sock, proxy=None)


SDK_PROGRAM = """
import sys, ngrok
upstream, token, edge, ca = sys.argv[1:]
listener = ngrok.forward(upstream, authtoken=token, server_addr=edge, root_cas=ca)
print(listener.url(), flush=True)
sys.stdin.read()
"""


def test_the_official_sdk_serves_a_page(edge: Edge, upstream: Upstream) -> None:
    where = [f"http://127.0.0.1:{upstream.server_port}", TOKEN, edge.agent, str(edge.ca)]
    sdk = subprocess.Popen(
        [sys.executable, "-c", SDK_PROGRAM, *where],
        env=without_proxies(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with sdk:
        try:
            assert sdk.stdout
            reply = fetch(sdk.stdout.readline().strip(), "/from-the-sdk")
        finally:
            sdk.kill()

    assert (reply.status, reply.body) == (200, b"page /from-the-sdk")


def test_a_page_is_served(calm_url: str) -> None:
    reply = fetch(calm_url, "/hello")

    assert (reply.status, reply.body) == (200, b"page /hello")
    assert "ngrok-error-code" not in reply.headers


def test_the_upstream_learns_who_visits_and_by_which_address(
    calm_url: str, upstream: Upstream
) -> None:
    fetch(calm_url, headers={"X-Forwarded-For": "203.0.113.7"})

    head = upstream.heads[-1]
    assert head.get_all("X-Forwarded-For") == ["127.0.0.1"]
    assert head.get_all("X-Forwarded-Proto") == ["http"]
    assert head.get_all("X-Forwarded-Host") == [urlsplit(calm_url).netloc]


def test_a_download_arrives_byte_for_byte(calm_url: str, upstream: Upstream) -> None:
    assert fetch(calm_url, "/big").body == upstream.payload


def test_an_upload_arrives_byte_for_byte(calm_url: str, upstream: Upstream) -> None:
    upload = os.urandom(SIZE)

    assert fetch(calm_url, data=upload).body == b"taken"
    assert upstream.received == upload


def test_a_stalled_upstream_stalls_its_visitor_and_nothing_is_lost(
    calm_url: str, upstream: Upstream
) -> None:
    parts = urlsplit(calm_url)
    # More than all the buffers on the way take together.
    upload = os.urandom(10 * SIZE)
    head = (
        f"POST /stalled HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(upload)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", parts.port or 0), timeout=20) as visitor:
        visitor.sendall(head.encode())
        left = memoryview(upload)
        while left and select.select([], [visitor], [], 0.5)[1]:
            left = left[visitor.send(left[:65536]) :]
        assert left

        upstream.released.set()
        visitor.sendall(left)
        answer = visitor.makefile("rb").readline()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert upstream.received == upload


def test_twenty_visitors_at_once_each_get_their_own_page(calm_url: str) -> None:
    paths = [f"/{number}" for number in range(20)]
    together = threading.Barrier(len(paths), timeout=20)

    def visit(path: str) -> bytes:
        together.wait()
        return fetch(calm_url, path).body

    with ThreadPoolExecutor(len(paths)) as pool:
        assert list(pool.map(visit, paths)) == [f"page {path}".encode() for path in paths]


def test_an_agent_gets_the_host_name_it_asks_for_unless_another_has_it(
    binary: Path, edge: Edge, upstream: Upstream, tmp_path: Path
) -> None:
    with Agent(binary, edge, upstream.server_port, tmp_path, "mylab") as first:
        assert first.wait_until_online() == f"http://mylab.localhost:{edge.visitor_port}"

        with Agent(binary, edge, upstream.server_port, tmp_path, "mylab") as second:
            assert second.process.wait(10) == 1
        assert "ERR_NGROK_334" in second.log()
        assert fetch(first.url()).status == 200


def test_an_unknown_host_is_404_with_the_code(calm_url: str) -> None:
    reply = fetch(f"http://nobody.localhost:{urlsplit(calm_url).port}")

    assert (reply.status, reply.headers["ngrok-error-code"]) == (404, "ERR_NGROK_3200")
    assert b"ERR_NGROK_3200" in reply.body


def test_a_head_over_64_kb_is_refused(calm_url: str) -> None:
    assert fetch(calm_url, headers={"X-Long": "x" * 60_000}).status == 200

    assert fetch(calm_url, headers={f"X-{n}": "x" * 8192 for n in range(8)}).status == 431


def test_a_websocket_carries_text_and_bytes_both_ways(
    binary: Path, edge: Edge, tmp_path: Path
) -> None:
    with websocket_echo() as port, Agent(binary, edge, port, tmp_path) as agent:
        with websocket_to(agent.wait_until_online()) as websocket:
            for message in ("text", os.urandom(300_000), "more text"):
                websocket.send(message)
                assert websocket.recv(timeout=10) == message
            assert edge.state()["visitors"] == 1
        wait_for("end of the visit", lambda: edge.state()["visitors"] == 0)


def test_a_visitor_who_vanishes_is_gone_at_the_upstream_too(
    binary: Path, edge: Edge, tmp_path: Path
) -> None:
    with websocket_echo() as port, Agent(binary, edge, port, tmp_path) as agent:
        websocket = websocket_to(agent.wait_until_online())
        websocket.socket.shutdown(socket.SHUT_RDWR)

        wait_for("end of the visit", lambda: edge.state()["visitors"] == 0)


def test_visitors_are_cut(binary: Path, edge: Edge, tmp_path: Path) -> None:
    with (
        websocket_echo() as port,
        Agent(binary, edge, port, tmp_path) as agent,
        websocket_to(agent.wait_until_online()) as websocket,
    ):
        websocket.send("there")
        assert websocket.recv(timeout=10) == "there"

        assert edge.drop_visitors() == 1

        with pytest.raises(ConnectionClosed):
            websocket.recv(timeout=10)
        assert endpoint_at(edge)["url"] == agent.url()


def test_the_interstitial_is_for_browsers_without_the_skip_header(edge: Edge, agent: Agent) -> None:
    edge.fault(interstitial=True)

    warned = fetch(agent.url(), headers={"User-Agent": CHROME})
    skipped = fetch(agent.url(), headers={"User-Agent": CHROME, "ngrok-skip-browser-warning": "1"})
    tool = fetch(agent.url())

    assert (warned.status, warned.headers["ngrok-error-code"]) == (200, "ERR_NGROK_6024")
    assert warned.headers.get_content_type() == "text/html"
    assert (skipped.body, tool.body) == (b"page /", b"page /")


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        pytest.param("auth_error", number, id=f"auth-{number}")
        for number in ("105", "107", "108", "121", "4018")
    ]
    + [pytest.param("bind_error", "334", id="bind-334")],
)
def test_a_refused_agent_exits_1_and_says_the_code(
    binary: Path, edge: Edge, tmp_path: Path, fault: str, number: str
) -> None:
    edge.fault(**{fault: f"ERR_NGROK_{number}"})

    with Agent(binary, edge, 9, tmp_path) as agent:
        assert agent.process.wait(10) == 1

    assert f"\nERR_NGROK_{number}\n" in agent.log().replace("\r", "")


def test_a_refusal_can_have_any_text(binary: Path, edge: Edge, tmp_path: Path) -> None:
    edge.fault(bind_error="Not on a Sunday.")

    with Agent(binary, edge, 9, tmp_path) as agent:
        assert agent.process.wait(10) == 1

    assert "Not on a Sunday." in agent.log()


def test_a_refusal_may_be_for_one_token_only(binary: Path, edge: Edge, tmp_path: Path) -> None:
    edge.fault(auth_error="Not on a Sunday.", auth_token="another")
    with Agent(binary, edge, 9, tmp_path) as accepted:
        accepted.wait_until_online()

    edge.fault(auth_token=TOKEN)
    with Agent(binary, edge, 9, tmp_path) as agent:
        assert agent.process.wait(10) == 1


def test_the_refusal_repeats_the_token_and_the_edge_keeps_it_to_itself(
    binary: Path, edge: Edge, tmp_path: Path
) -> None:
    edge.fault(auth_error="ERR_NGROK_107")
    with Agent(binary, edge, 9, tmp_path) as agent:
        agent.process.wait(10)
        refusal = agent.log()
    edge.fault(auth_error=None)
    with Agent(binary, edge, 9, tmp_path) as accepted:
        accepted.wait_until_online()
        state = json.dumps(edge.state())

    assert f"Your authtoken: {TOKEN}" in refusal
    assert "2.3.41" in state
    assert TOKEN not in state
    assert "authentication refused" in edge.log_file.read_text()
    assert TOKEN not in edge.log_file.read_text()


def test_a_dropped_agent_comes_back_under_the_same_host(edge: Edge, agent: Agent) -> None:
    before = endpoint_at(edge)

    assert edge.drop_sessions() == 1

    assert wait_for_another_session(edge, before) == before["url"] == agent.url()


def test_without_keep_host_a_dropped_agent_comes_back_under_another_host(
    edge: Edge, agent: Agent
) -> None:
    before = endpoint_at(edge)
    edge.fault(keep_host=False)

    edge.drop_sessions()

    assert wait_for_another_session(edge, before) != before["url"]
    assert fetch(before["url"]).status == 404
    # Agent 2.3 goes on showing its first address: only a visit tells whether an address works.
    assert agent.url() == before["url"]


def test_an_agent_that_is_started_anew_has_the_host_of_its_account(
    binary: Path, edge: Edge, tmp_path: Path
) -> None:
    urls = []
    for _ in range(2):
        with Agent(binary, edge, 9, tmp_path) as agent:
            agent.wait_until_online()
            urls.append(endpoint_at(edge)["url"])
        wait_until(lambda: not edge.state()["endpoints"])

    assert urls[0] == urls[1]


def test_a_changed_host_stays_once_hosts_are_kept_again(edge: Edge, agent: Agent) -> None:
    first = endpoint_at(edge)
    edge.fault(keep_host=False)
    edge.drop_sessions()
    changed = wait_for_another_session(edge, first)
    edge.fault(keep_host=True)
    second = endpoint_at(edge)

    edge.drop_sessions()

    assert wait_for_another_session(edge, second) == changed


def test_an_agent_without_heartbeats_gives_up_its_session_and_comes_back(
    edge: Edge, agent: Agent
) -> None:
    before = endpoint_at(edge)

    edge.fault(heartbeats=False)
    wait_for("heartbeat timeout", lambda: "heartbeat timeout" in agent.log())
    edge.fault(heartbeats=True)

    assert wait_for_another_session(edge, before) == before["url"]


def test_an_agent_returns_when_the_edge_is_reachable_again(edge: Edge, agent: Agent) -> None:
    before = endpoint_at(edge)

    edge.fault(unreachable=True)
    wait_for("refused dial", lambda: "connection refused" in agent.log())
    assert edge.state()["sessions"] == []
    assert fetch(before["url"]).status == 404
    edge.fault(unreachable=False)

    assert wait_for_another_session(edge, before) == before["url"]


def test_an_agent_may_open_its_streams_out_of_order(edge: Edge) -> None:
    """Agent 2.3 does so now and then: its heartbeat and its first request race each other."""
    context = ssl.create_default_context(cafile=edge.ca)
    port = int(edge.agent.rpartition(":")[2])
    answered: set[int] = set()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as agent,
        agent.makefile("rb") as incoming,
    ):
        for number in (5, 3):
            body = WORD.pack(SERVER_INFO) + b"{}"
            agent.sendall(HEADER.pack(len(body) << 8 | Frame.DATA << 4 | SYN, number) + body)
        while len(answered) < 2:
            first, number = HEADER.unpack(incoming.read(HEADER.size))
            if b"Region" in incoming.read(first >> 8):
                answered.add(number)

    assert answered == {3, 5}


def test_an_upstream_that_is_down_is_502_with_the_code(
    binary: Path, edge: Edge, tmp_path: Path
) -> None:
    with Agent(binary, edge, free_port(), tmp_path) as agent:
        reply = fetch(agent.wait_until_online())

    assert (reply.status, reply.headers["ngrok-error-code"]) == (502, "ERR_NGROK_8012")


def test_an_edge_started_again_is_trusted_and_found_by_its_agents(
    binary: Path, upstream: Upstream, tmp_path: Path
) -> None:
    with Edge(tmp_path / "edge") as first:
        ca = first.ca.read_bytes()
        with Agent(binary, first, upstream.server_port, tmp_path) as agent:
            url = agent.wait_until_online()
            first.stop()
            with Edge(tmp_path / "edge") as second:
                wait_for("endpoint", lambda: endpoint_at(second))
                wait_for("page", lambda: fetch(url).body == b"page /")

    assert second.ca.read_bytes() == ca
    assert (second.agent, second.visitor_port, second.control) == (
        first.agent,
        first.visitor_port,
        first.control,
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"gravity": True}, "There is no fault 'gravity'.", id="unknown"),
        pytest.param({"heartbeats": "no"}, "heartbeats must be true or false.", id="not-a-bool"),
        pytest.param({"auth_error": True}, "auth_error must be a text or null.", id="not-a-text"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused(
    edge: Edge, changes: dict[str, Any], sentence: str
) -> None:
    before = edge.state()["faults"]

    with pytest.raises(ValueError, match=sentence):
        edge.fault(**changes)

    assert edge.state()["faults"] == before


def test_the_child_ends_with_the_block_also_when_it_raises(tmp_path: Path) -> None:
    edge = Edge(tmp_path / "edge")
    with pytest.raises(KeyError), edge:
        raise KeyError

    pid = json.loads((edge.state_dir / "edge.json").read_text())["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_edge_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "server.pem").write_text("no certificate")

    with pytest.raises(RuntimeError, match="SSLError"), Edge(tmp_path):
        pass
