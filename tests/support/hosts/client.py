"""Runs and hosts, as tests use them. Needs no root itself, only ``sudo -n``."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import CHECKOUT
from tests.support.hosts.base import HostsError, runs_dir
from tests.support.waiting import wait_until

STATE = CHECKOUT / ".cache/hosts"
BOOT_SECONDS = 60.0

# What runs that belong together say in their tokens, in hexadecimal digits; set by whoever starts
# them, so that what is left of them can be told from what others have started.
STARTED_BY = "NOTEBOOK_TESTS_STARTED_BY"

# In front of a command that needs root.
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


@dataclass(frozen=True)
class Spec:
    """A host to be made.

    ``packages`` are Debian's, on top of a bare system. ``memory`` is in bytes, or with K, M or G;
    ``cpus`` may be a fraction. ``cache`` is a directory that the host sees at /var/cache/uv, where
    every account can write without changing it. ``kept`` is a layer that :meth:`Host.keep` made of
    a host with the same packages.
    """

    name: str
    release: str = "bookworm"
    packages: Sequence[str] = ()
    memory: str | None = None
    cpus: float | None = None
    cache: Path | None = None
    kept: str = ""


class Host:
    """A machine with systemd and sshd. ``dev`` may use sudo, ``lab`` may not."""

    def __init__(self, run: Run, name: str, address: str) -> None:
        self._run = run
        self.name = name
        self.address = address

    def ssh(self, user: str = "dev", *options: str) -> list[str]:
        """The ssh command for an account, ready for a remote command to be appended."""
        shared = [*self._run.ssh_options, "-i", str(self._run.key), *options]
        return ["ssh", *shared, f"{user}@{self.address}"]

    def run(
        self,
        command: Sequence[str] | str,
        user: str = "root",
        *,
        check: bool = True,
        timeout: float = 120,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as an account logs in; a string goes through its shell.

        HostsError with its words when it fails (unless ``check`` is false), TimeoutExpired
        after ``timeout`` seconds.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        done = subprocess.run(
            [*self.ssh(user), line],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            input=input or "",
        )
        if check and done.returncode != 0:
            raise HostsError(
                f"{self.name}: {line} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file as root; its directory has to exist."""
        self.run(["install", f"--mode={mode:o}", "/dev/stdin", path], input=text)

    def boot_id(self) -> str:
        """What the kernel calls this boot; empty while nobody can log in."""
        try:
            found = self.run(
                ["cat", "/proc/sys/kernel/random/boot_id"], "dev", check=False, timeout=10
            )
        except subprocess.TimeoutExpired:
            return ""
        return found.stdout.strip() if found.returncode == 0 else ""

    def wait(self, other_than: str = "", seconds: float = BOOT_SECONDS) -> None:
        """Return once ``dev`` can log in, in a boot ``other_than`` one; HostsError if never."""
        try:
            wait_until(lambda: self._listens() and self.boot_id() not in ("", other_than), seconds)
        except TimeoutError as exc:
            console = self._run.directory / "hosts" / self.name / "console.log"
            said = console.read_text(errors="replace") if console.exists() else ""
            raise HostsError(
                f"{self.name} let nobody in within {seconds:.0f} s:\n{said[-2000:]}"
            ) from exc

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.address, 22), timeout=1).close()
        except OSError:
            return False
        return True

    def slow(self, delay_ms: float = 0, loss_percent: float = 0) -> None:
        """Make a round trip this much longer and lose packets, each way; 0 and 0 end it."""
        self._root("wire", delay_ms=delay_ms, loss_percent=loss_percent)

    def cut(self) -> None:
        """Let every packet from and to this host vanish; nobody is told."""
        self._root("wire", cut=True)

    def mend(self) -> None:
        """Undo :meth:`cut`."""
        self._root("wire", cut=False)

    def off(self) -> None:
        """Pull the plug. The disk stays."""
        self._root("power", on=False)

    def on(self) -> None:
        """Boot after :meth:`off`, and wait for SSH."""
        self._root("power", on=True)
        self.wait()

    def reboot(self) -> None:
        """Reboot from inside, and wait for SSH."""
        before = self.boot_id()
        # The connection may be lost before the command has ended.
        self.run(["systemctl", "reboot"], check=False)
        self.wait(other_than=before)

    def keep(self, layer: str) -> None:
        """Shut down, and have a layer of what it has now, for :attr:`Spec.kept`."""
        # The connection may be lost before the command has ended.
        self.run(["systemctl", "poweroff"], check=False)
        self._root("keep", layer=layer)

    def down(self) -> None:
        """End this host and remove what it had."""
        self._root("down")

    def _root(self, verb: str, **given: Any) -> None:
        self._run.root(verb, host=self.name, **given)


class Run:
    """Hosts that live as long as the ``with`` block, on a network of their own.

    ``owner`` is the process with which the run ends even if nothing else ends it, this one unless
    told otherwise; None for a run that lives until it is ended by name. Runs with different names
    do not know each other.
    """

    gateway: str
    sockets: Path

    def __init__(
        self, name: str | None = None, *, state: Path = STATE, owner: int | None = os.getpid()
    ) -> None:
        self.name = name or f"run-{secrets.token_hex(3)}"
        self.token = ""
        self.owner = owner
        self.state = state.resolve()
        self.directory = runs_dir(self.state) / self.name
        self.key = self.directory / "key"

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.end()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def start(self) -> Self:
        """Start it; HostsError when one with this name runs."""
        self.token = os.environ.get(STARTED_BY, "") + secrets.token_hex(4)
        self._know(self.root("start", token=self.token, owner=self.owner))
        return self

    def attach(self) -> Self:
        """Use a run that another process started; HostsError when there is none."""
        self._know(self.root("show"))
        return self

    def end(self) -> None:
        """End it with its hosts, and remove everything they had.

        Before :meth:`start` and :meth:`attach`, whatever run has the name.
        """
        self.root("end", token=self.token)

    @property
    def hosts(self) -> list[Host]:
        """The hosts it has now."""
        return [Host(self, row["name"], row["address"]) for row in self.root("show")["hosts"]]

    @property
    def ssh_options(self) -> list[str]:
        """Options of ssh for every host; no connection is shared."""
        options = {
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "UserKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "no",
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "LogLevel": "ERROR",
        }
        return ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())]

    def up(
        self,
        name: str,
        release: str = "bookworm",
        packages: Sequence[str] = (),
        memory: str | None = None,
        cpus: float | None = None,
        cache: Path | None = None,
    ) -> Host:
        """Make a host and wait until it lets ``dev`` in. See :class:`Spec`."""
        return self.up_all([Spec(name, release, packages, memory, cpus, cache)])[0]

    def up_all(self, specs: Iterable[Spec | str]) -> list[Host]:
        """Make several hosts, which boot at the same time; a string is a name."""
        wanted = [Spec(spec) if isinstance(spec, str) else spec for spec in specs]
        rows = [
            asdict(spec)
            | {
                "packages": list(spec.packages),
                "cache": spec.cache and str(spec.cache.resolve()),
            }
            for spec in wanted
        ]
        made = [Host(self, row["name"], row["address"]) for row in self.root("up", hosts=rows)]
        for host in made:
            host.wait()
        return made

    def inventory(self) -> dict[str, Any]:
        """A static inventory with every host, without groups."""
        sharing = ["-oControlMaster=auto", "-oControlPersist=20s"]
        arguments = [*self.ssh_options, *sharing, f"-oControlPath={self.sockets}/%C"]
        return {
            "all": {
                "vars": {
                    "ansible_user": "dev",
                    "ansible_ssh_private_key_file": str(self.key),
                    # Instead of Ansible's own, which come first and would win.
                    "ansible_ssh_args": shlex.join(sharing),
                    "ansible_ssh_common_args": shlex.join(arguments),
                },
                "hosts": {host.name: {"ansible_host": host.address} for host in self.hosts},
            }
        }

    def root(self, verb: str, **given: Any) -> Any:
        """Have root do something for this run; HostsError when it cannot."""
        return as_root(verb, self.state, name=self.name, **given)

    def _know(self, row: dict[str, Any]) -> None:
        self.token = row["token"]
        self.gateway = row["gateway"]
        self.sockets = Path(row["sockets"])
        if not self.key.exists():
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name]
            subprocess.run([*words, "-f", str(self.key)], check=True)


def runs(state: Path = STATE) -> list[dict[str, Any]]:
    """The runs that live; what killed ones left behind is ended first."""
    found: list[dict[str, Any]] = as_root("living", state.resolve())
    return found


def as_root(verb: str, state: Path, **given: Any) -> Any:
    """Do one of :mod:`tests.support.hosts.root`'s verbs; HostsError when it says why not."""
    # Made here, so that it is the caller's and not root's.
    state.mkdir(parents=True, exist_ok=True)
    arguments = json.dumps({"state": str(state), **given})
    # In a session of its own, an interrupt from the terminal does not leave half of it done.
    done = subprocess.run(
        [*AS_ROOT, sys.executable, "-B", "-m", "tests.support.hosts.root", verb, arguments],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError as exc:
        raise HostsError(f"root could not do {verb}: exit status {done.returncode}") from exc
    if "error" in answer:
        raise HostsError(answer["error"])
    return answer["done"]
