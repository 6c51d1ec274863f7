"""What ansible-playbook prints with our callback."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.accounts import Account
from tests.support.plays import Play
from tests.support.ports import free_port

BRIEF = {"ANSIBLE_STDOUT_CALLBACK": "anywhere.notebook.card"}
SECRET = "s3cret-word"
# Other people's tasks, and a role of ours among them.
PLAY = f"""
- name: Somebody's own
  hosts: all
  gather_facts: false
  tasks:
    - name: A command that changes something
      ansible.builtin.command: "true"
    - name: One that is skipped
      ansible.builtin.command: "false"
      when: false
    - name: One that fails, and is let fail
      ansible.builtin.command: sh -c "echo {SECRET}; false"
      no_log: true
      ignore_errors: true
    - name: Show a secret
      ansible.builtin.debug:
        msg: {SECRET}
      no_log: true
    - name: Show something
      ansible.builtin.debug:
        msg: ["hello {{{{ inventory_hostname }}}}", "'quoted' \\"twice\\""]
    - name: A file
      ansible.builtin.copy:
        content: "one line\\n"
        dest: "{{{{ file }}}}"
        mode: "0600"
    - name: One that is rescued
      block:
        - name: Break
          ansible.builtin.fail:
            msg: This is why.
      rescue:
        - name: Look at the password
          ansible.builtin.import_role:
            name: anywhere.notebook.jupyter
            tasks_from: password
    - name: Loop
      ansible.builtin.command: sh -c "echo {{{{ item }}}} is wrong >&2; false"
      loop: [one, two]
"""


@pytest.fixture
def brief(account: Account) -> Account:
    """An account that nothing is set up for, with our callback."""
    account.exported |= BRIEF
    return account


def inventory(account: Account, hosts: dict[str, dict[str, object]]) -> str:
    """Write an inventory of hosts, which are this machine where they say nothing else."""
    file = account.home.parent / "inventory.json"
    here = account.variables | {"ansible_connection": "local"}
    account.variables = {}
    file.write_text(json.dumps({"all": {"vars": here, "hosts": hosts}}))
    return str(file)


def nowhere() -> dict[str, object]:
    """What an inventory says of a host that nobody can reach."""
    address = {"ansible_host": "127.0.0.1", "ansible_port": free_port()}
    return {"ansible_connection": "ssh", **address}


def own(account: Account, *flags: str) -> Play:
    """Run the play of somebody else."""
    file = account.home / "play.yml"
    file.write_text(PLAY)
    return account.play(file, *flags, file=str(account.home / "a-file"))


def test_in_other_plays_every_task_has_a_line_and_no_failure_or_secret_is_missing(
    brief: Account,
) -> None:
    play = own(brief, "--diff")

    assert play.status == 2
    assert SECRET not in play.output
    lines = play.output.splitlines()
    said = [" ".join(line.split()) for line in lines]
    assert said[0] == "Somebody's own: localhost"
    assert any(line.startswith("A command that changes something") for line in said)
    assert not any("skipped" in line for line in said)
    assert "hello localhost" in lines
    assert "'quoted' \"twice\"" in lines
    assert "+one line" in lines
    assert lines.count("This is why.") == 1
    assert any(line.startswith("Look at the settings") for line in said)
    assert lines[-1] == "one is wrong two is wrong"
    assert [
        word for word in ("fatal:", "ok:", "Origin:", "WARNING", "RECAP") if word in play.output
    ] == []


@pytest.mark.acceptance
def test_who_wants_to_see_more_sees_what_ansible_shows(brief: Account) -> None:
    play = own(brief, "-v")

    assert "PLAY RECAP" in play.output
    assert "TASK [A command that changes something]" in play.output
    assert "Callback dispatch" not in play.output
    assert SECRET not in play.output


def test_a_refusal_is_said_once_in_few_lines(brief: Account) -> None:
    play = brief.play("anywhere.notebook.setup", ngrok_authtoken="")

    assert play.status == 2
    assert len(play.output.splitlines()) <= 5, play.output
    assert play.output.count("There is no authtoken") == 1
    assert "for the reason above" not in play.output


def test_a_fleet_ends_with_one_table_and_a_line_for_each_host_that_failed(brief: Account) -> None:
    hosts: dict[str, dict[str, object]] = {
        "off": nowhere(),
        "weak": {"jupyter_password": "short"},
        "poor": {"ngrok_authtoken": ""},
    }
    file = inventory(brief, hosts)

    play = brief.play("anywhere.notebook.setup", "-i", file)

    assert play.status != 0
    lines = play.output.splitlines()
    table = next(i for i, line in enumerate(lines) if line.startswith("Host "))
    assert [line.split()[0] for line in lines[table + 1 : table + 4]] == list(hosts)
    wrong = lines[table + 4 :]
    assert sorted(line.split(":")[0] for line in wrong) == sorted(hosts)
    assert any(line.startswith("off: It cannot be reached: ") for line in wrong), wrong
    assert play.output.count("There is no authtoken") == 1


@pytest.mark.acceptance
def test_a_dry_run_says_what_would_change(
    brief: Account,
) -> None:
    play = own(brief, "--check")

    said = [" ".join(line.split()) for line in play.output.splitlines()]
    assert "would change: A file" in said
    assert said[-1] == "A dry run: nothing was changed."
    assert not Path(brief.home / "a-file").exists()


@pytest.mark.acceptance
def test_on_a_terminal_a_stage_is_drawn_in_place_and_leaves_nothing_behind(brief: Account) -> None:
    command = brief.command("anywhere.notebook.status")
    environment = brief.environment() | {"TERM": "xterm", "ANSIBLE_NOCOLOR": "1"}
    master, terminal = pty.openpty()
    with subprocess.Popen(
        command, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
    ) as run:
        os.close(terminal)
        written = b""
        # Linux says that nobody has the other end any more with an error.
        with contextlib.suppress(OSError):
            while chunk := os.read(master, 65536):
                written += chunk
    os.close(master)

    assert run.returncode == 0, written
    text, again = written.decode(), r"\r\x1b\[K"
    drawn = re.findall(rf"{again}  Look at the notebook +\d+ s  waits for .*?{again}", text)
    assert drawn, text
    left = [line.rpartition("\r\x1b[K")[2] for line in text.replace("\r\n", "\n").split("\n")]
    assert left[0] == "localhost: not set up"
    assert [line for line in left if "Look at" in line] == []
