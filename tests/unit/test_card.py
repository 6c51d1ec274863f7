"""The commands on the card, as a person types them into a shell."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.splitter import parse_kv
from ansible.template import Templar

from tests.support import CHECKOUT

ATTACH = "tmux -S .local/share/anywhere-notebook/tmux/notebook attach -t jupyter"


def command(name: str, /, **host: object) -> str:
    """A command of the card, for a host with these variables."""
    loader = DataLoader()
    (task,) = loader.load_from_file(
        str(CHECKOUT / "playbooks/tasks/card.yml"), trusted_as_template=True
    )
    told = {"inventory_hostname": "box.example.org", "notebook": {"attach": ATTACH}, **host}
    templar = Templar(loader, variables={**task["vars"], **told})
    text: str = templar.template(task["vars"][name])
    return text


@pytest.mark.parametrize(
    ("host", "ssh", "typed"),
    [
        pytest.param({}, "box.example.org", ATTACH, id="a name"),
        pytest.param(
            {"ansible_user": "me", "ansible_host": "192.0.2.1", "ansible_port": 2222},
            "-p 2222 me@192.0.2.1",
            ATTACH,
            id="an address, a port, an account",
        ),
        pytest.param(
            {"ansible_user": "CORP\\my ada"},
            "'CORP\\my ada@box.example.org'",
            ATTACH,
            id="an account of a directory service",
        ),
        pytest.param(
            {"ansible_user": "me", "ansible_become": True, "ansible_become_user": "CORP\\my ada"},
            "me@box.example.org",
            f"sudo -iu 'CORP\\my ada' {ATTACH}",
            id="one that it becomes",
        ),
        pytest.param(
            {"notebook": {"attach": "tmux -S 'my place/nb' attach -t jupyter"}},
            "box.example.org",
            "tmux -S 'my place/nb' attach -t jupyter",
            id="a directory with a space",
        ),
    ],
)
def test_two_shells_understand_the_command_that_shows_the_session(
    host: dict[str, Any], ssh: str, typed: str
) -> None:
    said = command("__notebook_attach", **host)

    before = shlex.split(f"ssh -t {ssh}")
    words = shlex.split(said)
    assert words[: len(before)] == before
    # As sshd gives them to the account's shell.
    assert " ".join(words[len(before) :]) == typed
    # And no longer than it has to be.
    assert ("'" in said) is ("'" in typed or "'" in ssh)


@pytest.mark.parametrize(
    ("attach", "said"),
    [
        (ATTACH, f"cd; {ATTACH}"),
        ("env -C .local/far tmux -S nb attach", "cd; env -C .local/far tmux -S nb attach"),
        ("tmux -S /run/nb attach -t jupyter", "tmux -S /run/nb attach -t jupyter"),
        ("tmux -L notebook attach -t jupyter", "tmux -L notebook attach -t jupyter"),
    ],
)
def test_on_the_machine_itself_it_works_in_every_directory(attach: str, said: str) -> None:
    told = {"ansible_connection": "local", "notebook": {"attach": attach}}
    assert command("__notebook_attach", **told) == said


def test_a_shell_understands_the_way_without_a_tunnel() -> None:
    assert (
        command("__notebook_ssh", ansible_user="CORP\\my ada") == "'CORP\\my ada@box.example.org'"
    )


@pytest.mark.parametrize("name", ["my-box", "my box", "it's $HOME", 'a "b" \\c'])
def test_a_shell_and_ansible_understand_which_instance_is_meant(name: str) -> None:
    loader = DataLoader()
    internal = loader.load_from_file(
        str(CHECKOUT / "roles/ec2/vars/main.yml"), trusted_as_template=True
    )
    templar = Templar(loader, variables={"ec2_instance": name})

    (word,) = shlex.split(templar.template(internal["__ec2_named"]))

    assert parsed(word) == {"ec2_instance": name}


def parsed(word: str) -> object:
    """What Ansible makes of a word after -e."""
    return json.loads(word) if word.startswith("{") else parse_kv(word)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"ansible_user": "me"}, ["rsync", "-a", "me@box.example.org:FILE", "."]),
        (
            {"ansible_user": "CORP\\my ada", "jupyter_root_dir": "~/my work/"},
            ["rsync", "-a", "CORP\\my ada@box.example.org:my work/FILE", "."],
        ),
        (
            {"ansible_port": 2222, "jupyter_root_dir": "/data"},
            ["rsync", "-a", "-e", "ssh -p 2222", "box.example.org:/data/FILE", "."],
        ),
        # Where there is nothing to copy, or a login does not get at it.
        ({"ansible_connection": "local"}, []),
        ({"ansible_become": True, "ansible_become_user": "lab"}, []),
    ],
)
def test_a_shell_understands_the_way_to_copy_files(host: dict[str, Any], words: list[str]) -> None:
    assert shlex.split(command("__notebook_rsync", **host) or "") == words
