"""What takes root on a host: packages, while others install some, and sudo, which may refuse."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.hosts import Host, Run
from tests.support.hosts.controller import Controller
from tests.support.hosts.world import CACHE, fill
from tests.support.plays import refused

pytestmark = pytest.mark.acceptance

# As apt and dpkg do it; ends with its input.
HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""
# The role whose tasks they are, and a file that is handed over, as the other roles have some.
TASKS = [
    {"ansible.builtin.import_role": {"name": "anywhere.notebook.tmux"}},
    {"ansible.builtin.copy": {"content": "mine", "dest": "~/handed", "mode": "0600"}},
]
PLAY = {
    "hosts": "all",
    "gather_facts": False,
    "vars_files": [str(CHECKOUT / "playbooks/vars/main.yml")],
    "tasks": TASKS,
}

# As a directory service names its accounts.
ADA = "CORP\\ada"
MAKE_ADA = f"""
set -e
printf '%s\\n' '{ADA}:*:4711:4711::/home/ada:/bin/bash' >> /etc/passwd
printf '%s\\n' 'ada:x:4711:' >> /etc/group
cp -r ~lab /home/ada
chown -R 4711:4711 /home/ada
echo '#4711 ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/test
"""

AS_BEFORE = """
rm -rf /etc/sudoers.d/test /home/ada /home/*/handed /home/*/.local
[ ! -e /usr/bin/sudo.away ] || mv /usr/bin/sudo.away /usr/bin/sudo
loginctl disable-linger dev
apt-get -qq -y purge tmux acl
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A run with one machine, which has neither tmux nor acl."""
    fill(CACHE, {"bookworm"})
    with Run() as started:
        started.up_all(["bare"])
        yield started


@pytest.fixture
def host(run: Run) -> Iterator[Host]:
    """That machine, which is as before afterwards."""
    (found,) = run.hosts
    yield found
    found.run(AS_BEFORE)


@pytest.fixture
def controller(run: Run, tmp_path: Path) -> Controller:
    return Controller(tmp_path, run.inventory(), ansible_python_interpreter="/usr/bin/python3")


@pytest.fixture
def playbook(tmp_path: Path) -> str:
    file = tmp_path / "play.yml"
    file.write_text(json.dumps([PLAY]))
    return str(file)


@contextmanager
def holding(host: Host, lock: str) -> Iterator[None]:
    """Another program has locked a file of the host."""
    words = [*host.ssh("root"), shlex.join(["python3", "-c", HOLD, lock])]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == b"\n"
        try:
            yield
        finally:
            child.stdin.close()


@pytest.mark.parametrize(
    "lock", ["/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock", "/var/lib/dpkg/lock"]
)
def test_another_installation_is_named_and_waited_for(
    host: Host, controller: Controller, playbook: str, lock: str
) -> None:
    with controller.begin(playbook) as running:
        with holding(host, lock):
            running.reach("Say who is waited for")
        done = running.finish()

    assert done.status == 0, done.output
    assert re.search(
        rf"python3 \(process \d+\) has {lock} on bare; waiting for its end", done.output
    )
    assert host.run("command -v tmux").stdout


def test_one_that_does_not_end_is_named_in_one_sentence(
    host: Host, controller: Controller, playbook: str
) -> None:
    with holding(host, "/var/lib/apt/lists/lock"):
        done = controller.play(playbook, "-e", "__tmux_package_patience=5")

    said = refused(done)
    assert "has /var/lib/apt/lists/lock on bare, and still had it after" in said
    assert "tmux cannot be installed. Wait for its end" in said


def test_an_installation_that_ended_halfway_is_told(
    host: Host, controller: Controller, playbook: str
) -> None:
    host.run("touch /var/lib/dpkg/updates/0001")
    try:
        done = controller.play(playbook)
    finally:
        host.run("rm /var/lib/dpkg/updates/0001")

    assert 'Have root run "dpkg --configure -a" there' in refused(done)


@pytest.mark.parametrize(
    ("account", "change", "said"),
    [
        ("lab", "true", 'sudo says "a password is required"'),
        ("lab", "mv /usr/bin/sudo /usr/bin/sudo.away", "sudo is not installed"),
        (
            "lab",
            "echo 'lab ALL=(root) NOPASSWD: /bin/ls' > /etc/sudoers.d/test",
            'sudo says "a password is required"',
        ),
        ("lab", "echo 'Defaults:lab requiretty' > /etc/sudoers.d/test", "a password is required"),
    ],
)
def test_why_the_account_may_not_become_root_is_told(
    host: Host, controller: Controller, playbook: str, account: str, change: str, said: str
) -> None:
    host.run(change)

    done = controller.play(playbook, "-e", f"ansible_user={account}")

    assert said in refused(done)


def test_root_is_asked_with_a_terminal_where_that_is_required(
    host: Host, controller: Controller, playbook: str
) -> None:
    host.run("echo 'Defaults requiretty' > /etc/sudoers.d/test")

    done = controller.play(playbook)

    assert done.status == 0, done.output
    assert host.run("command -v tmux").stdout
    assert host.run("loginctl show-user --property=Linger dev").stdout == "Linger=yes\n"
    assert controller.play(playbook).changed == 0


@pytest.mark.parametrize(
    "flags",
    [["-e", "ansible_become=true", "-e", "ansible_become_user=lab"], ["-b", "--become-user=lab"]],
    ids=["variables", "flags"],
)
def test_files_are_handed_to_an_account_that_is_no_root(
    host: Host, controller: Controller, playbook: str, flags: list[str]
) -> None:
    done = controller.play(playbook, *flags)

    assert done.status == 0, done.output
    assert host.run("cat ~lab/handed").stdout == "mine"
    assert host.run("cat ~lab/.local/share/anywhere-notebook/added").stdout
    host.run("rm -rf ~lab/handed ~lab/.local")


def test_what_that_takes_is_named_where_nobody_may_install_it(
    host: Host, controller: Controller, playbook: str
) -> None:
    host.run("echo 'lab ALL=(dev) NOPASSWD: ALL' > /etc/sudoers.d/test")

    done = controller.play(playbook, "-e", "ansible_user=lab", "-b", "--become-user=dev")

    said = refused(done)
    assert "The package acl is not installed on bare" in said
    assert "Have somebody install acl" in said


def test_an_account_of_a_directory_service_lingers_and_no_more(
    host: Host, controller: Controller, playbook: str
) -> None:
    host.run(MAKE_ADA)
    ada = ["-e", json.dumps({"ansible_user": ADA})]
    linger = ["loginctl", "show-user", "--property=Linger", ADA]
    off = controller.home / "off.yml"
    undo = {"ansible.builtin.import_tasks": str(CHECKOUT / "playbooks/tasks/linger.yml")}
    found = {"__notebook_found": {"account": ADA}}
    off.write_text(json.dumps([PLAY | {"vars": found, "tasks": [undo]}]))
    try:
        done = controller.play(playbook, *ada)
        assert done.status == 0, done.output
        assert host.run(linger).stdout == "Linger=yes\n"
        assert controller.play(playbook, *ada).changed == 0

        ended = controller.play(str(off), *ada)
        assert ended.changed == 1, ended.output
        assert "Linger=yes" not in host.run(linger, check=False).stdout
        assert controller.play(str(off), *ada).changed == 0
    finally:
        host.run(["loginctl", "disable-linger", ADA], check=False)
        host.run("sed -i '/:4711:/d' /etc/passwd /etc/group")
