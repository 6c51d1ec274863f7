"""What the tests of the molecule scenarios ask, about one account's notebook on its host."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import testinfra.host
from ansible_collections.anywhere.notebook.plugins.module_utils import _ngrok

from tests.support import CHECKOUT
from tests.support.edge.client import fetch
from tests.support.hosts.client import Host
from tests.support.hosts.world import attach, directory
from tests.support.waiting import wait_until

LOGOUT_SECONDS = 60.0

# argv: file with the token, address, method. Prints the answer and never the token.
ASK = """\
import sys, urllib.request
token, url, method = open(sys.argv[1]).read(), sys.argv[2], sys.argv[3]
headers = {"Authorization": "token " + token.strip()}
reply = urllib.request.urlopen(urllib.request.Request(url, None, headers, method=method))
print(reply.read().decode() or "null")
"""


@dataclass(frozen=True)
class Notebook:
    """Looks as root, so that no login of the account arises."""

    machine: Host
    account: str
    # What Ansible logs in as, to become the account.
    login: str = ""

    @classmethod
    def of(cls, host: testinfra.host.Host) -> Self:
        """The notebook of one line of the scenario's inventory."""
        told = host.ansible.get_variables()
        run, _ = attach()
        machine = next(found for found in run.hosts if found.address == told["ansible_host"])
        login = told["ansible_user"]
        return cls(machine, told.get("ansible_become_user", login), login)

    @cached_property
    def passwd(self) -> list[str]:
        """The account's line in the host's list of accounts, by its fields."""
        return self.root("getent", "passwd", self.account).strip().split(":")

    @property
    def uid(self) -> int:
        """The account's number."""
        return int(self.passwd[2])

    @property
    def home(self) -> str:
        """The account's home directory."""
        return self.passwd[5]

    @property
    def state(self) -> str:
        """The directory with all that setup made."""
        return f"{self.home}/.local/share/anywhere-notebook"

    @property
    def url(self) -> str:
        """The public address that the agent has."""
        return wait_until(self._opened, what="a public address")

    def _opened(self) -> str:
        """What the log says that the agent has opened since its supervisor spoke last."""
        log = self.machine.run(["cat", f"{self.state}/ngrok/agent.log"], check=False).stdout
        return next((found["url"] for found in _ngrok.read(log).endpoints.values()), "")

    def root(self, *words: str) -> str:
        """What a command prints that root runs on the host."""
        return self.machine.run(words).stdout

    def read(self, file: str) -> str:
        """A file below the state directory."""
        return self.root("cat", f"{self.state}/{file}").strip()

    def processes(self) -> dict[str, int]:
        """The process of each session whose command runs."""
        socket = f"{self.state}/tmux/notebook"
        fields = "#{session_name} #{pane_pid} #{pane_dead}"
        ask = ["tmux", "-S", socket, "list-panes", "-a", "-F", fields]
        # Without a server there are none.
        rows = (line.split() for line in self.machine.run(ask, check=False).stdout.splitlines())
        return {name: int(pid) for name, pid, dead in rows if dead == "0"}

    def cgroup(self, pid: int) -> str:
        """Where systemd has a process."""
        return self.root("cat", f"/proc/{pid}/cgroup").strip()

    def ask(self, route: str, method: str = "GET") -> Any:
        """What the server on the host answers to a program that has the token."""
        token = f"{self.state}/jupyter/token"
        url = f"http://127.0.0.1:{self.read('jupyter/port')}/api/{route}"
        return json.loads(self.root("python3", "-c", ASK, token, url, method))

    def answers(self) -> bool:
        """Whether a Jupyter server answers at the public address."""
        reply = fetch(self.url, "/api")
        return reply.status == 200 and "version" in json.loads(reply.body)

    def log_out(self) -> None:
        """End every login that Ansible has there by closing the connection it came through."""
        subprocess.run([*self.shared(), "-O", "exit", "--"], capture_output=True, check=False)
        what = f"end of {self.account}'s logins"
        wait_until(lambda: not self.logins(), LOGOUT_SECONDS, what=what)

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Be logged in meanwhile, in the session of logind that Ansible uses, too."""
        with subprocess.Popen(
            [*self.shared(), "echo here; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as login:
            assert login.stdin
            assert login.stdout
            try:
                assert login.stdout.readline() == b"here\n"
                yield
            finally:
                login.stdin.close()

    def shared(self) -> list[str]:
        """The ssh command that uses the same connection as Ansible."""
        run, _ = attach()
        told = run.inventory()["all"]["vars"]
        words = [*shlex.split(told["ansible_ssh_common_args"]), "-i", str(run.key)]
        return ["ssh", *words, f"{self.login or self.account}@{self.machine.address}"]

    def logins(self) -> list[str]:
        """The sessions of this account that logind has not ended yet."""
        rows = self.root("loginctl", "list-sessions", "--no-legend").splitlines()
        ours = [row.split()[0] for row in rows if row.split()[2] == self.account]
        # That of the account's manager is no login, and what may stay behind stays "closing".
        left = {"Class=user State=active", "Class=user State=online"}
        if self.kills():
            left.add("Class=user State=closing")
        ask = ["loginctl", "show-session", "--property=Class", "--property=State"]
        told = {session: self.machine.run([*ask, session], check=False).stdout for session in ours}
        return [session for session in ours if " ".join(sorted(told[session].split())) in left]

    def kills(self) -> bool:
        """Whether logind ends what a login leaves behind."""
        return "KillUserProcesses=yes" in self.root("loginctl", "show-session").splitlines()


def play(playbook: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one of our playbooks for the scenario's hosts."""
    inventory = str(directory() / "inventory")
    return subprocess.run(
        ["ansible-playbook", "-i", inventory, f"playbooks/{playbook}.yml", *words],
        cwd=CHECKOUT,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
