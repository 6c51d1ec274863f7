"""Accounts that the tests set up notebooks for, on this machine, against a real agent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.demo import end_sessions
from tests.edge.client import CHECKOUT, Edge, fetch
from tests.hosts.client import AS_ROOT
from tests.integration.visitor import Visitor

TMUX_SECONDS = 5.0
AGENT = CHECKOUT / ".cache/ngrok-agent/ngrok"
PASSWORD = "a password with spaces"
# What a playbook adds at its end, so that it fails for every host that has failed.
WHERE = re.compile(r"There is no working notebook on \S+, for the reason above\.")


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Return once ``condition()`` is true; fail after ``seconds``."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not within {seconds} s"
        time.sleep(0.05)


def free_port() -> int:
    """Return a TCP port of loopback nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def free_range(count: int) -> Iterator[tuple[str, list[int]]]:
    """Find free ports in a row; the range, and the ports in the order an account tries them.

    This process listens on the first one until the block ends.
    """
    for low in range(20000 + os.getpid() % 10000, 32000, count):
        try:
            with contextlib.ExitStack() as sockets:
                for port in range(low, low + count):
                    sockets.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        order = [low + (os.getuid() + step) % count for step in range(count)]
        with socket.create_server(("127.0.0.1", order[0])):
            yield f"{low}-{low + count - 1}", order
        return


def errors(play: Play) -> list[str]:
    """The sentences with which tasks failed, without those that only say where."""
    said = re.findall(r"^\[ERROR\]: (?:Task failed: )?(.*)", play.output, re.MULTILINE)
    return [sentence for sentence in said if not WHERE.search(sentence)]


def refused(play: Play) -> str:
    """Return the one sentence with which a play failed."""
    assert play.status != 0, play.output
    assert "Traceback" not in play.output
    sentences = errors(play)
    assert len(sentences) == 1, play.output
    return sentences[0]


def pack_agent(file: Path, level: int = 1) -> dict[str, str]:
    """Pack the agent as ngrok packs it; what the role ngrok is told to install it from there.

    With another ``level`` of compression it is another release to the role.
    """
    with tarfile.open(file, "w:gz", compresslevel=level) as packed:
        packed.add(AGENT, "ngrok")
    return {
        "ngrok_executable": "",
        "ngrok_archive_url": f"file://{file}",
        "ngrok_archive_checksum": f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}",
    }


@contextlib.contextmanager
def disk(directory: Path, megabytes: int) -> Iterator[bool]:
    """Have a small disk of its own at a directory; False where only root can make one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,uid={os.getuid()}", "tmpfs"]
    mounted = subprocess.run([*AS_ROOT, *mount, directory], capture_output=True, check=False)
    try:
        yield not mounted.returncode
    finally:
        if not mounted.returncode:
            subprocess.run([*AS_ROOT, "umount", directory], check=True)


def caches() -> dict[str, str]:
    """Return where the installers keep what they fetched, for all accounts of the tests."""
    cache = CHECKOUT / ".cache"
    return {"PIP_CACHE_DIR": str(cache / "pip"), "UV_CACHE_DIR": str(cache / "uv")}


@dataclass(frozen=True)
class Play:
    """What a run of ansible-playbook said."""

    status: int
    output: str

    @property
    def changed(self) -> int:
        """Number of changed tasks, over all hosts."""
        return sum(map(int, re.findall(r" changed=(\d+) ", self.output)))

    @property
    def url(self) -> str:
        """The public URL on the card."""
        return self.card("Notebook").split()[0]

    def card(self, label: str) -> str:
        """Return a line of the card without its label; fail when there is none."""
        found = re.search(rf"- '{label}:\s+(.*?)'?$", self.output, re.MULTILINE)
        assert found, self.output
        return found[1]


def run(
    command: Sequence[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None
) -> Play:
    """Run a command that runs a playbook, without a terminal."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Play(done.returncode, done.stdout)


@dataclass
class Account:
    """A home, ports and a tmux server of its own, as another account would have them."""

    home: Path
    socket_name: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:8]}")
    variables: dict[str, object] = field(default_factory=dict)
    exported: dict[str, str] = field(default_factory=dict)
    ansible: Path = Path(sys.executable).parent

    @property
    def state(self) -> Path:
        """The directory below which the roles put everything."""
        return self.home / ".local/share/anywhere-notebook"

    def environment(self) -> dict[str, str]:
        """The caller's environment as this account would have it."""
        kept = {name: value for name, value in os.environ.items() if "NGROK" not in name}
        return kept | {
            "HOME": str(self.home),
            "ANSIBLE_HOME": str(self.home / ".ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            **caches(),
            **self.exported,
        }

    def command(self, playbook: str | Path, *flags: str, **variables: object) -> list[str]:
        """Return an ansible-playbook command; variables travel by file, never by argument."""
        file = self.home.parent / f"variables-{uuid.uuid4().hex}.json"
        file.write_text(json.dumps(self.variables | variables))
        command = [f"{self.ansible}/ansible-playbook", str(playbook)]
        if "-i" not in flags:
            command += ["-i", "localhost,", "-c", "local"]
        return [*command, "-e", f"@{file}", *flags]

    def play(self, playbook: str | Path, *flags: str, **variables: object) -> Play:
        """Run a playbook, with the account's variables and the ones given."""
        command = self.command(playbook, *flags, **variables)
        return run(command, cwd=self.home, env=self.environment())

    def setup(self, *flags: str, **variables: object) -> Play:
        """Run ``setup``, which has to succeed."""
        return self._succeed(self.play("anywhere.notebook.setup", *flags, **variables))

    def reconnect(self, *flags: str, **variables: object) -> Play:
        """Run ``reconnect``, which has to succeed."""
        return self._succeed(self.play("anywhere.notebook.reconnect", *flags, **variables))

    def url(self) -> str:
        """The public URL of a notebook that was set up; repaired first where it has no answer."""
        file = self.state / "ngrok/url"
        url = file.read_text().strip() if file.exists() else ""
        return url if url and fetch(url, "/api").status == 200 else self.reconnect().url

    def visitor(self) -> Visitor:
        """Somebody who has logged in at the notebook's present public URL."""
        visitor = Visitor(self.url())
        visitor.log_in(PASSWORD)
        return visitor

    def tmux(self, *words: str) -> str:
        """Ask the account's tmux server; empty when there is none, or it is suspended."""
        command = ["tmux", "-L", self.socket_name, *words]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=TMUX_SECONDS
            ).stdout
        except subprocess.TimeoutExpired:
            return ""

    def pids(self) -> dict[str, int]:
        """Process ids of the running commands by session."""
        rows = self.tmux("list-panes", "-a", "-F", "#{pane_dead} #{pane_pid} #{session_name}")
        panes = [row.split(" ", 2) for row in rows.splitlines()]
        return {name: int(pid) for dead, pid, name in panes if dead == "0"}

    def stop(self) -> None:
        """End what runs in the account's tmux server, and the server."""
        end_sessions(self.socket_name)

    @staticmethod
    def _succeed(play: Play) -> Play:
        assert play.status == 0, play.output
        return play


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """The stand-in for ngrok's service that all accounts use."""
    with Edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture
def edge(service: Edge) -> Iterator[Edge]:
    """The service, for a test that makes it fail; afterwards it works again."""
    yield service
    service.fault(
        auth_error=None,
        bind_error=None,
        heartbeats=True,
        interstitial=False,
        linger=False,
        unreachable=False,
        keep_host=True,
    )


@pytest.fixture(scope="session")
def new_account(
    service: Edge, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Account]]:
    """Make accounts that nothing has been set up for; what they run ends with the tests."""
    accounts: list[Account] = []

    def make() -> Account:
        home = tmp_path_factory.mktemp("account") / "home"
        home.mkdir()
        account = Account(home)
        account.variables = {
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(home / ".ansible/tmp"),
            "tmux_package_managed": False,
            "tmux_linger_enabled": False,
            "tmux_socket_name": account.socket_name,
            "jupyter_port": free_port(),
            "jupyter_python": sys.executable,
            "jupyter_password": PASSWORD,
            "ngrok_authtoken": f"token_{uuid.uuid4().hex}",
            "ngrok_executable": str(AGENT),
            "ngrok_web_addr": f"127.0.0.1:{free_port()}",
            "ngrok_connect_url": service.agent,
            "ngrok_connect_cas": str(service.ca),
        }
        accounts.append(account)
        return account

    yield make
    for account in accounts:
        account.stop()


@pytest.fixture
def account(new_account: Callable[[], Account]) -> Iterator[Account]:
    """An account for one test."""
    made = new_account()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def notebook(new_account: Callable[[], Account]) -> Account:
    """An account with a notebook, shared by tests that leave it working."""
    made = new_account()
    made.setup()
    return made


@pytest.fixture
def neighbour(account: Account, notebook: Account) -> Account:
    """An account for one test that uses the shared notebook's Jupyter, and installs nothing."""
    account.variables["jupyter_executable"] = str(notebook.state / "jupyter/venv/bin/jupyter")
    return account


@pytest.fixture
def visitor(notebook: Account) -> Visitor:
    """Somebody who has logged in at the shared notebook's present public URL."""
    return notebook.visitor()
