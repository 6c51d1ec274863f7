"""Whose server is behind a URL is proven before it gets a secret.

Every listener here is a real one, answers as its owner likes, and keeps all that it gets.
"""

from __future__ import annotations

import hmac
import http.client
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _jupyter

from tests.support.sites import Page, Site, serving

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., dict[str, Any]]

TOKEN = "5f0c2a"
PASSWORD = "a password with spaces"
STATUS = {"last_activity": "2026-11-23T09:30:00Z", "started": "2026-11-23T09:00:00Z"}
GUARD = {
    "failed_logins": 3,
    "last_failed_login": "2026-11-23T09:12:00Z",
    "attacked": True,
    "sessions_since": "2026-11-22T08:00:00Z",
}


PYTHON = shutil.which("python3", path="/usr/bin:/bin")
WITH_PROGRAM = (
    '<script id="jupyter-config-data" type="application/json">{}</script>'
    '<script defer="defer" src="/static/lab/main.js?v=1&amp;w"></script>'
    '<script src="https://elsewhere.invalid/x.js"></script><script>inline()</script>'
)
LAB = '<!doctype html><script id="jupyter-config-data" type="application/json">{}</script>'

# Says where it listens, keeps what it hears until its input ends, and says that.
LISTENS = """
import select, socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
heard, open_ = b"", [server, sys.stdin]
while sys.stdin in open_:
    for ready in select.select(open_, [], [])[0]:
        if ready is server:
            open_.append(server.accept()[0])
        else:
            heard += b"" if ready is sys.stdin else ready.recv(65536)
            open_.remove(ready)
print(heard.decode())
"""


class Guarded(Page):
    """What a Jupyter server with our guard answers, as far as the modules ask it."""

    token = TOKEN

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/notebook-proof":
            message = f"anywhere.notebook proof\n{parse_qs(parts.query)['nonce'][0]}"
            proof = hmac.new(self.token.encode(), message.encode(), "sha256").hexdigest()
            self.server.answers.setdefault(self.path, [])
            self.server.answer(self.path, {"proof": proof})
        super().do_GET()


class Thief(Guarded):
    """The same, but it knows another token."""

    token = "thief's"


@pytest.fixture
def new_site() -> Iterator[Callable[[type[Page]], Site]]:
    """Start sites that look like Jupyter; they end with the test."""
    running = ExitStack()

    def start(kind: type[Page]) -> Site:
        site = running.enter_context(serving(Site(kind)))
        site.answer("/api", {"version": "2.21.1"})
        site.answer("/api/status", STATUS)
        for route in ("kernels", "sessions"):
            site.answer(f"/api/{route}", [])
        site.answer("/api/notebook-guard", GUARD)
        site.answer("/", "hello")
        site.answer("/login", "", 302, {"Location": "/"})
        site.closed.update(("/api/status", "/api/notebook-guard"))
        return site

    with running:
        yield start


@pytest.fixture
def ours(new_site: Callable[[type[Page]], Site]) -> Site:
    """This machine's server."""
    return new_site(Guarded)


@pytest.fixture
def challenge() -> dict[str, str]:
    """What a call on the machine returns for one from elsewhere."""
    return _jupyter.new_challenge(TOKEN)


@pytest.fixture
def proof(run_module: Run, challenge: dict[str, str]) -> Run:
    """Have a server proven, and the password tried if it is."""
    return lambda site, **more: run_module(
        "jupyter_server_info", url=site.url, challenge=challenge, password=PASSWORD, **more
    )


def got(site: Site) -> str:
    """All that a listener was told."""
    return str([(path, headers.items()) for path, headers in site.requests] + site.forms)


def test_the_server_that_was_meant_proves_itself_and_gets_the_password(
    proof: Run, ours: Site, challenge: dict[str, str]
) -> None:
    result = proof(ours)

    assert result["msg"] == f"{ours.url} leads to this machine's Jupyter server."
    assert [result[name] for name in ("running", "proven", "login", "exposed")] == [
        True,
        True,
        "accepted",
        "",
    ]
    paths = [path.partition("?")[0] for path, _ in ours.requests]
    assert paths == ["/notebook-proof", "/api/status", "/login"]
    # Neither the token nor the answer to the challenge has gone anywhere.
    assert TOKEN not in got(ours)
    assert challenge["answer"] not in got(ours)


def test_what_the_guard_says_of_logins_is_told_with_a_new_challenge_each_time(
    run_module: Run, ours: Site, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")

    result, later = (
        run_module("jupyter_server_info", url=ours.url, token_file=str(token_file))
        for _ in range(2)
    )

    assert GUARD.items() <= result.items()
    # So no later one can be answered with what was heard.
    assert result["challenge"]["nonce"] != later["challenge"]["nonce"]
    assert len(bytes.fromhex(result["challenge"]["nonce"])) == 32
    assert TOKEN not in str(result)
    assert run_module("jupyter_server_info", url=ours.url, challenge=result["challenge"])["proven"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        pytest.param({"proof": "0" * 64}, 200, "its proof is wrong", id="wrong"),
        pytest.param({"proof": ""}, 200, "its proof is wrong", id="empty"),
        pytest.param({"proof": "ü\ud800"}, 200, "its proof is wrong", id="no-ascii"),
        pytest.param({"proof": 7}, 200, "its proof is wrong", id="number"),
        pytest.param({"proof": ["a"]}, 200, "its proof is wrong", id="list"),
        pytest.param([], 200, "its proof is wrong", id="no-object"),
        pytest.param("<html>", 200, "its proof is wrong", id="page"),
        pytest.param("[" * 100_000, 200, "its proof is wrong", id="deep"),
        pytest.param({}, 404, "it has no proof to give (status 404)", id="earlier-release"),
        pytest.param({}, 500, "it has no proof to give (status 500)", id="broken"),
        pytest.param("", 302, "it has no proof to give (status 302)", id="redirect"),
    ],
)
def test_a_server_that_does_not_prove_itself_gets_no_secret(
    proof: Run,
    new_site: Callable[[type[Page]], Site],
    challenge: dict[str, str],
    body: object,
    status: int,
    reason: str,
) -> None:
    foreign = new_site(Page)
    where = {"Location": "/login"}
    foreign.answer(f"/notebook-proof?nonce={challenge['nonce']}", body, status, where)

    result = proof(foreign)

    assert "failed" not in result
    assert (result["proven"], result["login"]) == (False, "")
    assert result["msg"] == (
        f"{foreign.url} leads to another Jupyter server than the one on this machine: {reason}."
    )
    assert foreign.forms == []
    assert PASSWORD.replace(" ", "+") not in got(foreign)
    assert challenge["answer"] not in got(foreign)


def test_a_right_answer_with_another_status_is_no_proof(
    proof: Run, new_site: Callable[[type[Page]], Site], challenge: dict[str, str]
) -> None:
    foreign = new_site(Page)
    path = f"/notebook-proof?nonce={challenge['nonce']}"
    foreign.answer(path, {"proof": challenge["answer"]}, 201)

    assert not proof(foreign)["proven"]
    assert foreign.forms == []


def test_another_token_proves_nothing(proof: Run, new_site: Callable[[type[Page]], Site]) -> None:
    thief = new_site(Thief)

    assert not proof(thief)["proven"]
    assert thief.forms == []


def test_what_is_no_jupyter_server_is_said_to_be_none(
    proof: Run, new_site: Callable[[type[Page]], Site]
) -> None:
    foreign = new_site(Page)
    foreign.answers.clear()

    result = proof(foreign)

    assert (result["running"], result["proven"]) == (False, False)
    assert result["msg"].endswith("but is no Jupyter server.")
    assert foreign.forms == []


@pytest.mark.parametrize("proven", [True, False])
def test_a_server_that_lets_everybody_in_is_exposed_and_gets_no_password(
    run_module: Run, proof: Run, ours: Site, proven: bool
) -> None:
    ours.closed.clear()

    result = proof(ours) if proven else run_module("jupyter_server_info", url=ours.url)

    assert result["exposed"].startswith(f"{ours.url} is open to everybody: it gives /api/status")
    assert result["msg"] == result["exposed"]
    assert ours.forms == []


@pytest.mark.parametrize("status", [401, 403, 302])
def test_every_way_to_ask_for_a_login_is_one(proof: Run, ours: Site, status: int) -> None:
    ours.closed.clear()
    ours.answers["/api/status"].clear()
    ours.answer("/api/status", "", status, {"Location": "/login"})

    result = proof(ours)

    assert (result["proven"], result["exposed"], result["login"]) == (True, "", "accepted")


@pytest.mark.parametrize("status", [404, 429, 500])
def test_a_server_of_which_nobody_can_tell_whether_it_asks_for_a_login_is_not_proven(
    proof: Run, ours: Site, status: int
) -> None:
    ours.closed.clear()
    ours.answers["/api/status"].clear()
    ours.answer("/api/status", "", status)

    result = proof(ours)

    assert (result["running"], result["proven"]) == (False, False)
    assert f"status {status}, where it should ask for a login" in result["msg"]
    assert ours.forms == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another account")
@pytest.mark.skipif(PYTHON is None, reason="another account may not run this Python")
def test_neither_token_nor_anything_else_goes_to_another_account_s_program(
    run_module: Run, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    assert PYTHON
    with subprocess.Popen(
        [PYTHON, "-I", "-c", LISTENS],
        user=65534,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as thief:
        assert thief.stdin
        assert thief.stdout
        url = f"http://127.0.0.1:{thief.stdout.readline().strip()}"
        result = run_module("jupyter_server_info", url=url, token_file=str(token_file))
        thief.stdin.close()
        heard = thief.stdout.read()

    assert (result["running"], result["challenge"]) == (False, {})
    assert re.search(r"is taken by .*account nobody\), which is not asked\.$", result["msg"])
    assert heard.strip() == ""


def test_a_program_of_the_account_that_is_not_the_session_s_is_not_asked(
    run_module: Run, ours: Site, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    with subprocess.Popen(["sleep", "600"]) as session:
        below = run_module(
            "jupyter_server_info", url=ours.url, token_file=str(token_file), pid=os.getpid()
        )
        asked = len(ours.requests)
        beside = run_module(
            "jupyter_server_info", url=ours.url, token_file=str(token_file), pid=session.pid
        )
        session.kill()

    assert (below["running"], below["pid"]) == (True, os.getpid())
    assert (beside["running"], len(ours.requests)) == (False, asked)


def test_a_token_is_for_a_server_of_this_machine_only(run_module: Run, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)

    result = run_module(
        "jupyter_server_info", url="https://unit.invalid", token_file=str(token_file)
    )

    assert result["msg"] == "https://unit.invalid does not answer: it is not on this machine."


@pytest.mark.parametrize(
    ("address", "family", "reached"),
    [
        ("127.0.0.1", socket.AF_INET, False),
        ("127.3.2.1", socket.AF_INET, False),
        ("0.0.0.0", socket.AF_INET, True),
        ("::1", socket.AF_INET6, False),
        ("::", socket.AF_INET6, True),
    ],
)
def test_a_server_that_listens_beyond_loopback_is_exposed(
    address: str, family: socket.AddressFamily, reached: bool
) -> None:
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        said = _jupyter.beyond_loopback({os.getpid()})

    where = f"The Jupyter server listens on {address}:{port}, where other machines can reach it."
    assert said == (where if reached else "")


@pytest.mark.parametrize(
    ("pages", "problem"),
    [
        pytest.param({"/": (302, "/lab"), "/lab": (200, LAB)}, "", id="lab"),
        pytest.param({"/": (302, "/lab?"), "/lab": (200, LAB)}, "", id="as-jupyter-does"),
        pytest.param({"/": (302, "/tree"), "/tree": (200, LAB)}, "", id="notebook"),
        pytest.param({"/": (302, "/voila/"), "/voila/": (200, "mine")}, "", id="another-page"),
        pytest.param(
            {"/": (302, "/lab"), "/lab": (200, f"{'x' * 150} {TOKEN}")},
            f"GET /lab is not JupyterLab, but says: {'x' * 150} ...",
            id="a-secret-at-the-end",
        ),
        pytest.param(
            {"/": (302, "/lab"), "/lab": (200, f"<h1>Assets &lt;not&gt; {TOKEN}</h1>\n found\x1b")},
            "GET /lab is not JupyterLab, but says: Assets <not> ... found",
            id="no-assets",
        ),
        pytest.param(
            {"/": (302, "/lab/tree/a.ipynb"), "/lab/tree/a.ipynb": (200, "")},
            "GET /lab/tree/a.ipynb is not JupyterLab",
            id="no-assets-for-a-notebook",
        ),
        pytest.param(
            {"/": (302, "/notebooks/a"), "/notebooks/a": (200, "x" * 200)},
            f"GET /notebooks/a is not Notebook, but says: {'x' * 160}...",
            id="many-words",
        ),
        pytest.param(
            {"/": (302, "/tree"), "/tree": (200, '<body data-base-url="/">')}, "", id="notebook-6"
        ),
        pytest.param(
            {
                "/": (302, "/lab"),
                "/lab": (200, WITH_PROGRAM),
                "/static/lab/main.js?v=1&w": (200, ""),
            },
            "",
            id="program",
        ),
        pytest.param(
            {"/": (302, "/lab"), "/lab": (200, WITH_PROGRAM)},
            "GET /lab is a page of JupyterLab without its program: /static/lab/main.js answers "
            "with status 404",
            id="no-program",
        ),
        pytest.param(
            {
                "/": (302, "/lab"),
                "/lab": (200, WITH_PROGRAM),
                "/static/lab/main.js?v=1&w": (500, ""),
            },
            "GET /lab is a page of JupyterLab without its program: /static/lab/main.js answers "
            "with status 500",
            id="program-fails",
        ),
        pytest.param({"/": (302, "/none")}, "GET /none answers with status 404", id="none"),
        pytest.param({"/": (302, "/")}, "GET / answers with status 302", id="circle"),
        pytest.param({"/": (302, "//a.invalid/")}, "GET / leads away from the notebook", id="away"),
        pytest.param({"/": (302, "http://[/")}, "GET / answers with status 302", id="odd"),
        pytest.param({"/": (500, "")}, "GET / answers with status 500", id="error"),
    ],
)
def test_whether_a_page_opens_is_told(
    site: Site, pages: dict[str, tuple[int, str]], problem: str
) -> None:
    for path, (status, text) in pages.items():
        redirect = {"Location": text} if status == 302 else {}
        site.answer(path, text, status, redirect)

    assert _jupyter.page_problem(site.url, TOKEN, 10) == problem
    assert site.requests[0][1]["Authorization"] == f"token {TOKEN}"


NOW = 1_795_000_000.0
BAD = "WARNING ServerApp: 401 POST /login (@203.0.113.77) 66.10ms referer=None"


@pytest.mark.parametrize(
    ("lines", "attacked"),
    [
        pytest.param([], False, id="nothing"),
        pytest.param([(5, BAD)] * 9, False, id="a-person"),
        pytest.param([(5, BAD)] * 10, True, id="many"),
        pytest.param([(600, BAD)] * 100, False, id="long-ago"),
        pytest.param([(-600, BAD)] * 100, False, id="in-the-future"),
        pytest.param([(5, "WARNING ServerApp: 401 GET /api/status")] * 100, False, id="others"),
        pytest.param(
            [(5, "WARNING ServerApp: Refused 412 logins without a look")], True, id="refused"
        ),
        pytest.param([(5, "WARNING ServerApp: Refused 2 logins without")], False, id="two"),
    ],
)
def test_the_log_of_a_server_without_an_answer_tells_of_an_attack(
    lines: list[tuple[int, str]], attacked: bool
) -> None:
    stamps = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW - ago)) for ago, _ in lines]
    log = [f"{stamp},123 {words}" for stamp, (_, words) in zip(stamps, lines, strict=True)]

    assert _jupyter.is_attacked("\n".join([*log, "9999-99-99 99:99:99, 401 POST /login"]), NOW) == (
        attacked
    )


def test_a_server_without_an_answer_is_told_with_the_attack_on_it(
    run_module: Run, closed_address: str, tmp_path: Path
) -> None:
    log, token_file = tmp_path / "server.log", tmp_path / "token"
    token_file.write_text(TOKEN)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    log.write_text(f"{stamp},123 {BAD}\n" * 20)

    result = run_module(
        "jupyter_server_info",
        url=f"http://{closed_address}",
        token_file=str(token_file),
        log_file=str(log),
    )

    assert (result["running"], result["attacked"]) == (False, True)


class Relay(Page):
    """Passes every request on to the right server, and keeps it."""

    to = ""

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers))
        connection = http.client.HTTPConnection(self.to)
        form = self.server.forms[-1][1] if self.command == "POST" else None
        connection.request(self.command, self.path, form, dict(self.headers.items()))
        reply = connection.getresponse()
        body = reply.read()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def test_a_mere_relay_passes_which_is_why_only_our_agent_s_url_is_asked(
    proof: Run, new_site: Callable[[type[Page]], Site], ours: Site
) -> None:
    relay = new_site(type("ToOurs", (Relay,), {"to": ours.address}))

    # Nothing tells it from the tunnel, which is a relay too.
    assert proof(relay)["proven"]


@pytest.mark.parametrize(
    ("status", "where", "login"),
    [
        (302, "/", "accepted"),
        (302, "/lab", "accepted"),
        # Another login before it, as ngrok's Traffic Policy has it.
        (302, "https://idp.example.com/oauth2", ""),
        (302, "//idp.example.com/", ""),
        (302, "http://[/", ""),
        (401, "", "refused"),
        (404, "", ""),
        (200, "", ""),
        (500, "", ""),
    ],
)
def test_what_the_login_page_says_to_the_password_is_told(
    proof: Run, ours: Site, status: int, where: str, login: str
) -> None:
    ours.answers["/login"].clear()
    ours.answer("/login", "", status, {"Location": where} if where else None)

    assert proof(ours)["login"] == login
    assert parse_qs(ours.forms[0][1].decode())["password"] == [PASSWORD]


@pytest.mark.parametrize(
    ("pause", "wait", "login", "tries"),
    [
        pytest.param("0", 5, "accepted", 3, id="short"),
        pytest.param("60", 5, "limited", 1, id="long"),
        pytest.param("1", 0, "limited", 1, id="no-patience"),
        pytest.param("tomorrow", 5, "limited", 1, id="odd"),
        pytest.param("-1", 5, "limited", 1, id="negative"),
        pytest.param("9" * 5000, 5, "limited", 1, id="huge"),
    ],
)
def test_a_login_that_is_limited_is_tried_again_as_far_as_patience_goes(
    proof: Run, ours: Site, pause: str, wait: int, login: str, tries: int
) -> None:
    ours.answers["/login"].clear()
    for _ in range(2):
        ours.answer("/login", "", 429, {"Retry-After": pause})
    ours.answer("/login", "", 302, {"Location": "/"})

    result = proof(ours, wait=wait)

    assert (result["login"], result["running"], len(ours.forms)) == (login, True, tries)
