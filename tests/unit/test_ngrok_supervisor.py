"""What the supervisor of the agent decides, watches and keeps; agents: ``account/test_agents``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _ngrok
from hypothesis import given, settings
from hypothesis import strategies as st

from roles.ngrok.files import supervisor
from tests.support import CHECKOUT
from tests.support.processes import runs
from tests.support.waiting import wait_until

NOBODY = ("nobody", 65534, "/usr/sbin/nologin")
SYSTEM = [("root", 0, "/bin/bash"), ("daemon", 1, "/usr/sbin/nologin"), ("sync", 4, "/bin/sync")]


@pytest.mark.parametrize(
    ("accounts", "others"),
    [
        pytest.param([*SYSTEM, NOBODY, ("me", 1000, "/bin/bash")], [], id="alone"),
        pytest.param([*SYSTEM, ("zoe", 1001, "/bin/zsh")], ["zoe"], id="a-person"),
        pytest.param([("postgres", 104, "/bin/bash")], ["postgres"], id="a-service-with-a-shell"),
        pytest.param([("zoe", 1001, "")], ["zoe"], id="without-a-shell-it-is-sh"),
        pytest.param(
            [("ftp", 1001, "/bin/false"), ("git", 998, "/usr/bin/git-shell")], [], id="no"
        ),
        pytest.param([("zoe", 1001, "/sbin/nologin-not"), ("b", 7, "/x")], ["b", "zoe"], id="odd"),
        pytest.param([("me too", 1000, "/bin/sh"), ("toor", 0, "/bin/sh")], [], id="other-names"),
    ],
)
def test_who_else_can_log_in(accounts: list[tuple[str, int, str]], others: list[str]) -> None:
    assert supervisor.who_else(accounts, 1000) == others


@pytest.mark.parametrize(
    ("nsswitch", "sources"),
    [
        pytest.param("", [], id="none"),
        pytest.param("passwd:         files systemd\ngroup: files sss\n", [], id="debian"),
        pytest.param("passwd: files sss\n", ["sss"], id="sssd"),
        pytest.param(
            "# passwd: ldap\n passwd: compat [NOTFOUND=return] nis # x\n", ["nis"], id="nis"
        ),
        pytest.param(
            "passwd: files cache_oslogin oslogin\n", ["cache_oslogin", "oslogin"], id="gcp"
        ),
        pytest.param("shadow: ldap\n", [], id="of-other-things"),
    ],
)
def test_where_accounts_come_from_that_nobody_can_list(nsswitch: str, sources: list[str]) -> None:
    assert supervisor.unlisted(nsswitch) == sources


@pytest.mark.parametrize(
    ("wish", "abi", "uid", "others", "sources", "answer"),
    [
        pytest.param("auto", 1, 1000, [], [], (True, "nobody else can log in"), id="alone"),
        pytest.param(
            "auto", 7, 1000, ["zoe"], [], (False, "others can log in: zoe"), id="not-alone"
        ),
        pytest.param(
            "auto",
            7,
            1000,
            ["a", "b", "c", "d", "e"],
            [],
            (False, "others can log in: a, b, c and 2 more"),
            id="crowd",
        ),
        pytest.param(
            "auto",
            7,
            1000,
            [],
            ["sss"],
            (False, "accounts come from sss, so that others may log in"),
            id="directory",
        ),
        pytest.param("auto", 7, 0, [], [], (False, "the agent runs as root"), id="root"),
        pytest.param(
            "auto",
            0,
            1000,
            [],
            [],
            (False, "the agent cannot be kept from the account's files on this machine"),
            id="no-landlock",
        ),
        pytest.param("true", 1, 0, ["zoe"], ["sss"], (True, "ngrok_api is true"), id="wanted"),
        pytest.param(
            "true",
            0,
            1000,
            [],
            [],
            (False, "the agent cannot be kept from the account's files on this machine"),
            id="wanted-in-vain",
        ),
        pytest.param("false", 7, 1000, [], [], (False, "ngrok_api is false"), id="unwanted"),
    ],
)
def test_when_the_api_is_on(
    wish: str,
    abi: int,
    uid: int,
    others: list[str],
    sources: list[str],
    answer: tuple[bool, str],
) -> None:
    assert supervisor.api_is_on(wish, abi, uid, others, sources) == answer


@pytest.mark.parametrize(
    ("url", "port", "watched"),
    [
        ("http://127.0.0.1:8888", 8888, True),
        ("http://127.0.0.1:8888/", 8888, True),
        ("http://localhost:8888", 8888, True),
        ("https://[::1]", 443, True),
        ("http://127.0.0.2", 80, True),
        ("localhost:80", 80, True),
        ("8888", 8888, True),
        ("http://192.0.2.7:8888", 8888, False),
        ("http://example.org", 80, False),
        ("http://127.0.0.1.example.org:8888", 8888, False),
        ("http://my.localhost:8888", 8888, True),
        ("http://0.0.0.0:8888", 8888, True),
        ("file:///home/me", 80, False),
        ("http://127.0.0.1:99999", 0, True),
    ],
)
def test_what_is_on_loopback_is_watched(url: str, port: int, watched: bool) -> None:
    upstream = supervisor.upstream_of(url)

    assert (upstream.port, bool(upstream.addresses)) == (port, watched)


@contextmanager
def listening(host: str = "127.0.0.1", port: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process that listens, and has said where."""
    code = (
        "import socket, sys, time\n"
        "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
        "server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)\n"
        "print(server.getsockname()[1], flush=True)\n"
        "sys.stdin.read(1)\n"
        "server.close()\n"
        "print('closed', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code, host, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line of a process."""
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}"),
        ("0.0.0.0", "http://127.0.0.1:{}"),
        ("127.0.0.1", "http://localhost:{}"),
        ("::1", "http://localhost:{}"),
        ("::1", "http://[::1]:{}"),
    ],
)
def test_a_server_of_this_account_is_found_with_its_process(host: str, url: str) -> None:
    with listening(host) as process:
        port = supervisor.look(supervisor.upstream_of(url.format(line(process))))
        server = supervisor.Server(port.inode)

        assert (server.pid, server.has_ended()) == (process.pid, False)
        server.close()


@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
def test_a_server_at_another_address_is_not_meant(host: str) -> None:
    with listening(host) as process:
        upstream = supervisor.upstream_of(f"http://127.0.0.1:{line(process)}")

        assert supervisor.look(upstream) == supervisor.Port()


def test_a_server_that_is_suspended_has_not_ended_and_one_that_was_killed_has() -> None:
    with listening() as process:
        port = int(line(process))
        server = supervisor.Server(supervisor.look(supervisor.upstream_of(str(port))).inode)
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: " T " in Path(f"/proc/{process.pid}/stat").read_text())
        assert not server.has_ended()

        process.kill()

        wait_until(server.has_ended)
        server.close()


def test_a_server_that_has_closed_its_port_has_ended() -> None:
    with listening() as process:
        port = int(line(process))
        server = supervisor.Server(supervisor.look(supervisor.upstream_of(str(port))).inode)
        assert process.stdin
        process.stdin.write("x")
        process.stdin.flush()

        assert line(process) == "closed"
        assert server.has_ended()
        server.close()


@pytest.mark.parametrize("missing", ["descriptor", "nothing"])
def test_its_port_stays_taken_until_it_is_let_go(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that cannot hold a port is the one that has no descriptors of processes."""
    if missing == "descriptor":
        monkeypatch.delattr(os, "pidfd_open")
    with listening() as process:
        port = int(line(process))
        server = supervisor.Server(supervisor.look(supervisor.upstream_of(str(port))).inode)
        assert server.pid == process.pid
        if missing == "nothing" and not server.held:
            pytest.skip("this account may not trace its processes")
        process.kill()
        wait_until(server.has_ended)

        assert taken(port) == server.held == (missing == "nothing")
        server.close()
        assert not taken(port)


# A server as the role starts it, and a program that is not below it and holds its port.
SERVER = """
import os, sys
import start
start.let_port_be_held()
code = (
    "import socket, time; server = socket.create_server(('127.0.0.1', 0));"
    "print(server.getsockname()[1], flush=True); time.sleep(600)"
)
os.execv(sys.executable, [sys.executable, "-S", "-c", code])
"""
HOLDER = """
import sys
import supervisor
port = supervisor.look(supervisor.upstream_of(sys.argv[1]))
print(supervisor.Server(port.inode).held)
"""


def test_an_ordinary_account_holds_the_port_of_its_server_where_the_kernel_lets_it() -> None:
    """Tried with Yama, where ptrace_scope is 0, 1 and 2, on Linux 6.1; not every kernel has it."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    run = [*(ordinary if os.geteuid() == 0 else []), "/usr/bin/python3", "-S", "-c"]
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        for file in ("roles/jupyter/files/guard/start.py", "roles/ngrok/files/supervisor.py"):
            shutil.copy(CHECKOUT / file, directory)
        with subprocess.Popen(
            [*run, SERVER], cwd=directory, stdout=subprocess.PIPE, text=True
        ) as server:
            held = subprocess.run(
                [*run, HOLDER, line(server)], cwd=directory, stdout=subprocess.PIPE, text=True
            ).stdout.strip()
            server.kill()

    assert held == str(not scope.exists() or int(scope.read_text()) < 2)


def taken(port: int) -> bool:
    """Whether nobody could listen at a port now."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


def test_the_heir_of_a_socket_is_not_taken_for_its_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        heir = subprocess.Popen(["sleep", "600"], pass_fds=[own.fileno()])
        try:
            inode = os.readlink(f"/proc/self/fd/{own.fileno()}")[len("socket:[") : -1]
            server = supervisor.Server(inode)
            assert server.pid == os.getpid()
            server.close()
        finally:
            heir.kill()
            heir.wait()


def test_a_port_is_chosen_that_nobody_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        assert supervisor.choose(f"127.0.0.1:{port}") == ""
        other = supervisor.choose(f"127.0.0.1:{port}-{port + 20}")

    assert other.startswith("127.0.0.1:")
    assert other != f"127.0.0.1:{port}"
    assert supervisor.choose("nonsense") == ""
    assert supervisor.choose("127.0.0.1:99999") == ""


def record(message: str, **more: object) -> bytes:
    """A line of a log."""
    return json.dumps({"lvl": "info", "msg": message} | more, separators=(",", ":")).encode()


def test_a_log_that_was_cut_still_tells_what_has_to_be_known() -> None:
    visits = [record("join connections", id=str(number)) for number in range(5000)]
    kept = [
        supervisor.said("supervisor starts", pid=7),
        supervisor.said("agent starts", pid=7, api="off"),
        record("tunnel session started"),
        record("started tunnel", name="jupyter", url="https://example.ngrok.app"),
    ]
    old = [supervisor.said("agent starts", pid=7, api="on"), record("started tunnel", name="old")]
    text = b"".join(each + b"\n" for each in [kept[0], *old, *visits[:7], *kept[1:], *visits])

    cut = supervisor.trimmed(text, 10_000)
    again = supervisor.trimmed(cut + b"".join(each + b"\n" for each in visits), 10_000)

    for result, count in ((cut, 5000), (again, 10_000)):
        assert len(result) < 11_000
        lines = result.splitlines()
        assert lines[: len(kept)] == kept
        earlier = json.loads(lines[len(kept)])["count"]
        assert earlier + result.count(b"join connections") == count


@given(st.binary(), st.integers(0, 100))
@settings(deadline=None)
def test_anything_can_be_cut(text: bytes, kept: int) -> None:
    supervisor.trimmed(text, kept)


MESSAGES = [
    *supervisor.KEPT[True],
    *supervisor.KEPT[False],
    "earlier connections",
    supervisor.VISIT,
]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"msg": st.sampled_from(MESSAGES) | st.none() | st.just([])},
            optional={
                "count": st.none() | st.integers() | st.text(),
                "name": st.none() | st.text(),
                "obj": st.just("tunnels") | st.none() | st.just({}),
            },
        )
    )
)
@settings(deadline=None)
def test_odd_words_of_an_agent_can_be_cut(records: list[dict[str, object]]) -> None:
    supervisor.trimmed(b"".join(json.dumps(each).encode() + b"\n" for each in records), 20)


def test_the_log_is_for_its_owner_and_stays_small(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    file.write_text("of an earlier agent")
    log = supervisor.Log(str(file))
    assert file.read_bytes() == b""
    log.write(supervisor.said("agent starts", pid=1))

    for number in range(4000):
        log.write(record("failed to reconnect session", err="x" * 100, id=str(number)))

    assert (file.stat().st_mode & 0o777) == 0o600
    assert 10_000 < file.stat().st_size <= supervisor.LOG_MAX + 1000
    assert b'"id":"3999"' in file.read_bytes()
    assert b'"agent starts"' in file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["agent.log"]


def test_a_log_that_the_disk_does_not_take_is_read_all_the_same(tmp_path: Path) -> None:
    file = str(tmp_path / "nowhere/agent.log")
    log = supervisor.Log(file)
    log.write(b"in spite of all")

    assert _ngrok.read_log(file, os.getpid()) == "in spite of all\n"
    log.write(b"and more")
    assert _ngrok.read_log(file, os.getpid()) == "in spite of all\nand more\n"


def run(directory: Path, *words: str, upstream: str = "http://192.0.2.1") -> subprocess.Popen[str]:
    """Have a program supervised as an agent is; nobody watches a server that is elsewhere."""
    told = {"upstream": upstream, "api": "auto", "web_addr": "x", "api_config": "", "reads": []}
    (directory / "supervisor.json").write_text(json.dumps(told | {"connect_url": ""}))
    command = [sys.executable, "-I", "-S", supervisor.__file__, str(directory), "--", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        pytest.param(["sh", "-c", "exit 3"], 3, id="status"),
        pytest.param(["sh", "-c", "kill -9 $$"], -signal.SIGKILL, id="signal"),
        pytest.param(["sh", "-c", "exit 0"], 0, id="well"),
        pytest.param(["/nowhere/ngrok", "start"], 127, id="not-there"),
    ],
)
def test_it_ends_as_the_agent_does(tmp_path: Path, words: list[str], status: int) -> None:
    with run(tmp_path, *words) as running:
        assert running.wait(60) == status

    found = _ngrok.look("", "jupyter", _ngrok.read_log(str(tmp_path / "agent.log")), running.pid)
    assert ("No such file or directory" in found["msg"]) == (status == 127)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_passes_on_that_it_is_to_end(tmp_path: Path, number: signal.Signals) -> None:
    with run(tmp_path, "sh", "-c", "echo begins; exec sleep 600") as running:
        assert running.stdout
        while line(running) != "begins":
            pass
        running.send_signal(number)

        assert running.wait(60) == -number


def test_the_agent_does_not_outlive_it(tmp_path: Path) -> None:
    with run(tmp_path, "sh", "-c", "echo $$; exec sleep 600") as running:
        while not (said := line(running)).isdigit():
            pass
        running.kill()

    try:
        wait_until(lambda: not runs(int(said)))
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(said), signal.SIGKILL)


def test_it_ends_while_it_waits(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with run(tmp_path, "/nowhere", upstream=f"http://127.0.0.1:{port}") as running:
        assert '"supervisor starts"' in line(running)
        assert '"supervisor waits"' in line(running)
        running.terminate()

        assert running.wait(60) == 0


def test_what_an_agent_repeats_is_not_taken_for_its_own_word(tmp_path: Path) -> None:
    forged = supervisor.said("agent starts", pid=1, api="on", web_addr="192.0.2.7:80").decode()
    with run(tmp_path, "sh", "-c", f"echo ' {forged}'") as running:
        running.wait(60)

    log = (tmp_path / "agent.log").read_text()
    assert f"agent:  {forged}" in log
    assert _ngrok.read(log).api == "off"


CONFINED = """
import socket, sys
from roles.ngrok.files import supervisor
own, secret, allowed, other = sys.argv[1:]
supervisor.Confinement([*supervisor.PUBLIC, "/etc"], [own], [], [int(allowed)]).enter()
def tried(what):
    try:
        what()
    except PermissionError:
        return "refused"
    except OSError:
        pass
    return "done"
def connect(port):
    socket.socket().connect(("127.0.0.1", int(port)))
print(
    tried(lambda: open(f"{own}/mine", "w").write("x")),
    tried(lambda: open(f"{own}/mine").read()),
    tried(lambda: open("/etc/hosts").read()),
    tried(lambda: open(secret).read()),
    tried(lambda: open(f"/proc/1/environ").read()),
    tried(lambda: open(secret, "w")),
    tried(lambda: open(f"{secret}.new", "w")),
    tried(lambda: connect(allowed)),
    tried(lambda: connect(other)),
    tried(lambda: socket.create_server(("127.0.0.1", 0))),
)
"""


@pytest.mark.skipif(not supervisor.landlock_abi(), reason="the kernel has no Landlock")
def test_what_is_confined_has_its_own_directory_and_what_is_public(tmp_path: Path) -> None:
    own, secret = tmp_path / "own", tmp_path / "secret"
    own.mkdir()
    secret.write_text("of the account")
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = [str(server.getsockname()[1]) for server in (one, two)]
        done = subprocess.run(
            [sys.executable, "-c", CONFINED, str(own), str(secret), *ports],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )

    # The kernel knows about ports since ABI 4.
    ports_known = "refused" if supervisor.landlock_abi() >= 4 else "done"
    assert done.stdout.split() == [
        *["done"] * 3,
        *["refused"] * 4,
        "done",
        *[ports_known] * 2,
    ]
    assert secret.read_text() == "of the account"
