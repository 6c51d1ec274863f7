"""Whatever others say: no error but the declared ones, no hang, and no success that is none.

Others are the agent (its API, its log), tmux, the Jupyter server, whoever answers in its place, and
the files that a crash or a full disk has left. The same inputs each time; make acceptance has more.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import (
    _http,
    _jupyter,
    _listener,
    _ngrok,
    _tmux,
)
from ansible_collections.anywhere.notebook.plugins.modules import notebook_info
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from roles.jupyter.files import idle
from tests.support.sites import Site, listener, serving

TOKEN = "token-4711-of-the-server"
SECRET = "2abcSECRETauthtoken"
OURS, OTHER = "http://127.0.0.1:8888", "http://127.0.0.1:9999"
# Ten times what the slowest takes, and more.
SECONDS = 120

# How many inputs by day, and in make acceptance.
pure = pytest.mark.parametrize(
    "count", [100, pytest.param(4000, marks=pytest.mark.acceptance)], ids=str
)
asked = pytest.mark.parametrize(
    "count", [50, pytest.param(400, marks=pytest.mark.acceptance)], ids=str
)


@contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Fail where this hangs."""

    def late(*_: object) -> None:
        raise AssertionError(f"it hangs: {seconds} s were not enough")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def explore(count: int, inputs: SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Check as many inputs, the same ones each time."""

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        # To shrink what has failed would take minutes.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def examine(value: Any) -> None:
        check(value)

    with bounded(SECONDS if count <= 100 else 20 * SECONDS):
        examine()


def declared(ask: Callable[[], Any], sentence: str) -> Any:
    """What is found; None where that is refused with this sentence."""
    try:
        return ask()
    except ValueError as exc:
        if str(exc) != sentence:
            raise
        return None


def assert_printable(document: object) -> None:
    """A module can give it back, and a terminal or a file take it."""
    json.dumps(document, ensure_ascii=False).encode()


# Any JSON at all, halves of characters and numbers that are too large among it.
words = st.text(st.characters(exclude_categories=()), max_size=12)
atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=True, allow_infinity=True)
    | words
)
anything = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def maybe(right: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Mostly what is right, and now and then anything."""
    return st.one_of(right, right, right, anything)


MISSING = object()


def record(**fields: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    """An object, of which up to two fields are missing, or anything."""
    names = st.sampled_from(sorted(fields))
    changes = st.dictionaries(names, st.just(MISSING) | anything, max_size=2)
    return st.builds(
        lambda whole, changed: {
            name: value for name, value in {**whole, **changed}.items() if value is not MISSING
        },
        st.fixed_dictionaries(fields),
        changes,
    )


texts = st.text(st.characters(codec="utf-8"), max_size=60)
urls = st.sampled_from(["https://a.ngrok.app", "http://x.localhost:1", "file:///etc", "", "ftp://"])


# The agent's log.

log_records = record(
    msg=st.sampled_from(
        [
            "started tunnel",
            "tunnel session started",
            "supervisor starts",
            "supervisor waits",
            "agent starts",
            "earlier connections",
            "join connections",
            "command failed",
            "session closed, starting reconnect loop",
        ]
    ),
    obj=st.sampled_from(["supervisor", "tunnels", "csess"]),
    lvl=st.sampled_from(["info", "eror", "crit", "warn"]),
    err=st.sampled_from(
        [
            f"authentication failed: Your authtoken: {SECRET}\r\nERR_NGROK_105",
            "dial tcp: lookup connect.ngrok-agent.com: no such host",
            "ERR_NGROK_334 https://a.ngrok.app is already online",
        ]
    ),
    pid=st.sampled_from([0, os.getpid(), 1, 2**40]),
    name=st.sampled_from(["jupyter", "other"]),
    url=urls,
    addr=st.sampled_from([OURS, OTHER, "localhost:8888"]),
    upstream=st.sampled_from([OURS, OTHER]),
    api=st.sampled_from(["on", "off"]),
    taken_by=st.sampled_from(["", "mallory"]),
    web_addr=st.just("127.0.0.1:1"),
    count=st.integers(0, 9),
)
log_lines = st.one_of(
    log_records.map(lambda one: json.dumps(one, separators=(",", ":"))),
    log_records.map(lambda one: json.dumps(one, separators=(",", ":"), ensure_ascii=False)),
    log_records.map(lambda one: json.dumps(one)[:-7]),
    st.sampled_from(
        [
            f"ERROR:  authentication failed: Your authtoken: {SECRET}",
            "ERROR:  ERR_NGROK_108",
            "ERR_NGROK_" + "9" * 5000,
            "ERR_NGROK_٣٣٤",
            "[" * 5000,
            '{"msg":"started tunnel","name":"jupyter","addr":' + "[" * 5000,
        ]
    ),
    texts,
)
logs = st.lists(log_lines, max_size=8).map("\n".join)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.acceptance)], ids=str)
def test_of_any_log_an_agent_is_online_only_where_that_says_so(count: int) -> None:
    def check(log: str) -> None:
        found = _ngrok.look("127.0.0.1:1", "jupyter", log, os.getpid(), OURS)

        assert_printable(json.loads(json.dumps(found)))
        assert SECRET not in json.dumps(found)
        assert {type(found[name]) for name in ("running", "connected", "online")} == {bool}
        assert all(isinstance(found[name], str) for name in ("msg", "error_code", "action", "api"))
        if found["online"]:
            # It was opened after the last start, and leads to our server.
            said = [json.loads(line) for line in log.splitlines() if is_record(line)]
            opened = [one for one in said if one.get("msg") == "started tunnel"]
            assert [one for one in opened if one.get("name") == "jupyter"]
            assert [one["url"] for one in found["endpoints"] if one["name"] == "jupyter"]
            assert all(_ngrok.same(one["upstream"], OURS) for one in ours(found))

    explore(count, logs, check)


def ours(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The endpoints of our name."""
    return [one for one in found["endpoints"] if one["name"] == "jupyter"]


def is_record(line: str) -> bool:
    """Whether a line of a log holds an object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


@pytest.mark.parametrize(
    "log",
    [
        pytest.param("http://" * 2000 + "\n", id="urls"),
        pytest.param(("http://a " * 2000 + "\n") * 16, id="words"),
        pytest.param('{"err":"' + "token: " * 2500 + '"}\n', id="tokens"),
        pytest.param("ERR_NGROK_" * 1600 + "\n", id="codes"),
        pytest.param("ERROR: " * 2300 + "\n", id="errors"),
        pytest.param('"msg":"started tunnel"' * 800, id="starts"),
        pytest.param("{" * 16000, id="objects"),
    ],
)
def test_no_log_takes_long_to_read(log: str) -> None:
    with bounded(20):
        assert not _ngrok.look("127.0.0.1:1", "jupyter", log * 16, 0, OURS)["online"]
        assert not _ngrok.lingers(log)


# The agent's API.

endpoints = record(
    name=st.just("jupyter"),
    url=urls,
    public_url=urls,
    upstream=record(url=st.sampled_from([OURS, OTHER])),
    config=record(addr=st.sampled_from([OURS, OTHER])),
    uri=st.sampled_from(["/api/tunnels/jupyter", "@ELSEWHERE/", "ELSEWHERE"]),
    metrics=record(conns=record(count=st.integers(0, 9))),
    proto=st.just("https"),
)
apis = st.tuples(
    maybe(record(endpoints=st.lists(endpoints, min_size=1, max_size=2))),
    maybe(record(tunnels=st.lists(endpoints, min_size=1, max_size=2))),
    maybe(record(agent_version=st.just("3.39.9"), status=st.just("online"))),
    maybe(record(metrics=record(conns=record(count=st.integers(0, 9))))),
)


@pytest.fixture
def elsewhere() -> Iterator[Site]:
    """A second web server, which ends with the test."""
    with serving(Site()) as server:
        yield server


@asked
def test_of_any_api_only_an_endpoint_that_leads_here_is_online_and_nobody_else_is_asked(
    count: int, site: Site, elsewhere: Site
) -> None:
    paths = ("/api/endpoints", "/api/tunnels", "/api/status", "/api/tunnels/jupyter")

    def check(documents: tuple[Any, ...]) -> None:
        site.answers.clear()
        for path, document in zip(paths, documents, strict=True):
            site.answer(path, json.dumps(document).replace("ELSEWHERE", elsewhere.address))

        found = _ngrok.look(site.address, "jupyter", "", os.getpid(), OURS)

        assert_printable(json.loads(json.dumps(found)))
        for one in found["endpoints"]:
            kinds = {"name": str, "url": str, "upstream": str, "proto": str, "connections": int}
            assert {name: type(one[name]) for name in kinds} == kinds
        assert elsewhere.requests == []
        if found["online"]:
            assert ours(found)
            assert all(_ngrok.same(one["upstream"], OURS) for one in ours(found))

    explore(count, apis, check)


# Whatever else may answer.


@dataclass
class Speaker:
    """Answers each connection with the same bytes, and closes it."""

    url: str = ""
    says: bytes = b""


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    """A listener that ends with the test."""
    found = Speaker()
    with listener(lambda connection: connection.sendall(found.says)) as address:
        found.url = f"http://{address}"
        yield found


heads = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n",
        b"HTTP/1.1 999999 \r\n",
        b"HTTP/9.9 200\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204\r\n",
        b"",
    ]
)
fields = st.sampled_from(
    [
        b"Content-Length: 5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: x\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Type: text/plain; charset=rot13\r\n",
        b"Set-Cookie: =;=\r\n",
        b"ngrok-error-code: ERR_NGROK_9" + b"9" * 5000 + b"\r\n",
        b"Retry-After: 1e9\r\n",
        b"X" * 70000 + b"\r\n",
        b"A: b\r\n" * 120,
        b"\xff\x00:\r\n",
        b" folded\r\n",
    ]
)
bodies = st.sampled_from(
    [
        b"",
        b"{}",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\n",
        b"fffffffffff\r\nx",
        b'{"version":',
        b"\xff",
    ]
) | st.binary(max_size=40)
replies = st.one_of(
    st.tuples(heads, st.lists(fields, max_size=3).map(b"".join), st.just(b"\r\n"), bodies).map(
        b"".join
    ),
    st.binary(max_size=60),
)


@asked
def test_whatever_is_sent_is_an_answer_or_none(count: int, speaker: Speaker) -> None:
    def check(says: bytes) -> None:
        speaker.says = says
        try:
            answer = _http.request(speaker.url, timeout=20)
        except _http.NoAnswer:
            return
        assert (type(answer.status), type(answer.body)) == (int, bytes)
        answer.json()

    explore(count, replies, check)


@asked
def test_whatever_answers_in_its_place_is_no_server_of_ours(count: int, speaker: Speaker) -> None:
    challenge = _jupyter.new_challenge(TOKEN)

    def check(says: bytes) -> None:
        speaker.says = says
        found = _jupyter.look(speaker.url, 0, challenge=challenge, password=SECRET)

        assert_printable(json.loads(json.dumps(found)))
        assert (found["proven"], found["login"]) == (False, "")
        assert SECRET not in json.dumps(found)

    explore(count, replies, check)


# The Jupyter server.

moments = st.sampled_from(
    ["2026-11-23T09:00:00.000000Z", "2026-11-23T09:00:00", "9999-99-99", "0001-01-01T00:00:00Z"]
)
kernels = record(
    id=st.sampled_from(["k1", "k2"]),
    name=st.just("python3"),
    execution_state=st.sampled_from(["idle", "busy"]),
    last_activity=moments,
)
routes = {
    "/api": record(version=st.just("2.21.1")),
    "/api/status": record(started=moments, last_activity=moments),
    "/api/kernels": st.lists(kernels, max_size=2),
    "/api/sessions": st.lists(
        record(path=st.just("RTC:a.ipynb"), kernel=record(id=st.just("k1"))), max_size=2
    ),
    "/api/terminals": st.lists(record(name=st.just("1")), max_size=2),
    "/api/notebook-keeper": record(
        problems=st.lists(words, max_size=2),
        deaths=st.dictionaries(
            st.just("k1"), record(died=moments, died_of=st.just("signal 9")), max_size=1
        ),
    ),
    "/api/notebook-guard": record(
        failed_logins=st.integers(0, 9),
        last_failed_login=moments,
        attacked=st.booleans(),
        sessions_since=moments,
    ),
    "/": st.none(),
}
statuses = st.sampled_from([200, 200, 200, 200, 404, 403, 500, 302])
servers = st.tuples(*(st.tuples(statuses, maybe(document)) for document in routes.values()))


@asked
def test_of_any_answers_of_a_server_all_fields_are_of_their_kind_and_its_token_is_not_told(
    count: int, site: Site, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    site.closed.add("/api/status")

    def check(answers: tuple[tuple[int, Any], ...]) -> None:
        site.answers.clear()
        for path, (status, document) in zip(routes, answers, strict=True):
            site.answer(path, json.dumps(document), status)
        try:
            found = _jupyter.look(site.url, 0, token_file=str(token), pid=os.getpid())
        except _jupyter.JupyterError as exc:
            assert_printable(str(exc))
            return
        assert_printable(json.loads(json.dumps(found)))
        assert TOKEN not in json.dumps(found)
        flags = ("running", "answered", "proven", "outputs_kept", "attacked")
        assert {type(found[name]) for name in flags} == {bool}
        assert type(found["failed_logins"]) is int
        assert not found["running"] or _jupyter.VERSION.fullmatch(found["version"])
        texts = ("id", "name", "path", "execution_state", "last_activity", "died", "died_of")
        numbers = ("idle_seconds", "pid", "memory_mb")
        for kernel in found["kernels"]:
            assert {type(kernel[name]) for name in texts} == {str}
            assert {type(kernel[name]) for name in numbers} == {int}

    explore(count, servers, check)


visitors = st.tuples(
    st.sampled_from([200] * 9 + [302, 404, 500]),
    st.one_of(*[st.just({"proof": "right"})] * 3, anything, record(proof=st.just("0" * 64))),
    st.sampled_from([403] * 4 + [200, 302, 500]),
    st.sampled_from([302] * 4 + [200, 401, 429, 500]),
    st.sampled_from(["/", "/lab", "https://idp.ngrok.com/oauth2", "//evil.example/", "", "/login"]),
)


@asked
def test_the_password_is_typed_where_the_proof_was_right_and_nowhere_else(
    count: int, site: Site
) -> None:
    challenge = _jupyter.new_challenge(TOKEN)

    def check(answers: tuple[Any, ...]) -> None:
        proved, proof, status, login, location = answers
        if isinstance(proof, dict) and proof.get("proof") == "right":
            proof = {"proof": challenge["answer"]}
        site.answers.clear()
        site.forms.clear()
        site.answer("/api", {"version": "2.21.1"})
        site.answer(f"/notebook-proof?nonce={challenge['nonce']}", json.dumps(proof), proved)
        site.answer("/api/status", "{}", status)
        site.answer("/login", "", login, {"Location": location, "Retry-After": "1"})

        found = _jupyter.look(site.url, 0, challenge=challenge, password=SECRET)

        right = proved == 200 and proof == {"proof": challenge["answer"]}
        assert found["proven"] == (right and status in (200, 302, 403)), found
        assert bool(found["exposed"]) == (right and status == 200)
        assert [path for path, _ in site.forms] == (
            ["/login"] if right and status in (302, 403) else []
        )
        if found["login"] == "accepted":
            assert (login, location) in {(302, "/"), (302, "/lab")}

    explore(count, visitors, check)


# tmux.

panes = st.one_of(
    st.tuples(
        st.sampled_from(["17", "-1", "x", ""]),
        st.sampled_from(["%0", "%12", "%", "0", ""]),
        st.sampled_from(["4711", "0", "x", "9" * 5000]),
        st.sampled_from(["0", "1", ""]),
        st.sampled_from(["status 1", "signal 9", "status ", "signal"]),
        st.sampled_from(["jupyter", "ngrok", "a b", ""]),
    ).map(" ".join),
    st.sampled_from(["17 %0 4711 0 status  jupyter"]),
    texts,
)
outputs = st.tuples(
    st.sampled_from([0, 0, 0, 1, 124, -9]), st.lists(panes, max_size=4).map("\n".join), texts
)


@pure
def test_whatever_tmux_prints_is_a_pane_or_none_or_an_error_of_its_own(count: int) -> None:
    def check(output: tuple[int, str, str]) -> None:
        def run(argv: list[str], **_: object) -> tuple[int, str, str]:
            return output

        tmux = _tmux.Tmux(run, "tmux", "fuzz-of-nobody", may_resume=False)
        try:
            pane = tmux.pane("jupyter")
            if pane:
                assert (output[0], pane.pid > 0) == (0, True)
                assert pane.ending == "" or pane.ending.startswith(("status ", "signal "))
                assert isinstance(tmux.last_lines(pane, 5), str)
        except _tmux.TmuxError as exc:
            assert_printable(str(exc))

    explore(count, outputs, check)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that a program called tmux prints."""
    program, says = tmp_path / "bin/tmux", tmp_path / "says"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec cat '{says}'\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return says


@asked
def test_what_tmux_prints_and_is_no_list_counts_as_use_of_the_machine(
    count: int, stand_in: Path
) -> None:
    def check(says: bytes) -> None:
        stand_in.write_bytes(says)
        facts = idle.look(str(stand_in.parent), "socket", "jupyter", "ngrok")

        # What cannot be seen is use.
        assert facts.busy
        assert facts.stamps is None

    explore(count, st.lists(panes, max_size=3).map("\n".join).map(os.fsencode), check)


# What is left in files.

contents = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"8888", b"8888\n", b"0", b"65536", b"9" * 5000, b"", b"\xff\xfe"]),
    anything.map(lambda document: json.dumps(document).encode()),
)


@pure
def test_a_file_holds_a_port_or_it_is_said_what_to_do(count: int, tmp_path: Path) -> None:
    file = tmp_path / "port"
    said = f"{file} holds no port. Remove it to have one chosen again."

    def check(content: bytes) -> None:
        file.write_bytes(content)
        port = declared(lambda: _listener.read_port(str(file)), said)
        assert port is None or 0 < port < 65536

    explore(count, contents, check)


states = record(
    boot=st.sampled_from(["this", "other"]),
    looked=st.floats(0, 1e6),
    since=st.floats(0, 1e6),
    warned=st.none() | st.floats(0, 1e6),
    sleeps_at=st.just("2026-11-23T21:40:00Z"),
    stamps=st.none() | st.dictionaries(st.just("the page"), st.just("1"), max_size=1),
)
kept_states = st.one_of(maybe(states).map(lambda one: json.dumps(one).encode()), contents)


@pure
def test_whatever_was_left_the_machine_sleeps_only_after_a_warning(
    count: int, tmp_path: Path
) -> None:
    file = tmp_path / "idle.json"
    facts = idle.Facts("this", 1e6, 0.0, "", {"the page": "1"})

    def check(content: bytes) -> None:
        file.write_bytes(content)
        last = idle.read(str(file))

        decision, why, state = idle.decide(facts, last, 60, 5, 1.8e9)

        assert decision in ("busy", "idle", "warn", "awake", "sleep")
        assert why
        # Nobody's machine goes to sleep without a warning that is on record.
        assert decision != "sleep" or (last is not None and last["warned"] is not None)
        idle.write(str(file), state)
        assert idle.read(str(file)) == state

    explore(count, kept_states, check)


def nothing() -> dict[str, Any]:
    """As much of a result as is needed to add to it."""
    return {
        "problems": [],
        "notices": [],
        "idle": {"on": False, "seconds": 0, "sleeps_at": ""},
    }


@pure
def test_status_takes_whatever_the_last_look_has_left(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = tmp_path / "timer"
    timer.touch()
    monkeypatch.setattr(notebook_info, "IDLE_TIMER", str(timer))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().encode()

    def check(content: bytes) -> None:
        (tmp_path / "idle.json").write_bytes(content.replace(b'"this"', b'"%b"' % boot))
        result = nothing()

        notebook_info.add_idle(result, str(tmp_path))

        assert_printable(json.loads(json.dumps(result)))
        told = result["idle"]
        assert {name: type(told[name]) for name in told} == {
            "on": bool,
            "seconds": int,
            "sleeps_at": str,
        }
        # Nobody is told that all is well because of a file that says nothing.
        assert result["notices"] or told["seconds"] >= 0

    explore(count, kept_states, check)


lists = st.one_of(
    contents,
    st.lists(
        st.sampled_from(
            [b"start", b"%064d  start" % 0, b"%064d" % 0, b"", b"x  /etc/hostname", b"a  ../.."]
        ),
        max_size=3,
    ).map(b"\n".join),
)


@pure
def test_status_takes_whatever_is_in_the_files_of_a_start(count: int, tmp_path: Path) -> None:
    def run(argv: list[str], **_: object) -> tuple[int, str, str]:
        return 0, argv[0], ""

    def check(content: bytes) -> None:
        for name in ("read_at_start", "start", "boot", "earlier", "url"):
            (tmp_path / name).write_bytes(content)

        base = str(tmp_path)
        assert notebook_info.is_outdated(base)
        assert_printable([notebook_info.rebooted(base), notebook_info.first_line(f"{base}/url")])
        said = f"{base}/start is not what setup has written. Run setup again."
        agent = declared(lambda: notebook_info.agent_version(base, run), said)
        versions = declared(lambda: notebook_info.jupyter_versions(base, run), said)
        assert isinstance(agent, (str, type(None)))
        assert isinstance(versions, (dict, type(None)))

    explore(count, lists, check)
