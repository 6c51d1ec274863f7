"""What variables of the roles and playbooks say: files that a person names, and facts.

Ansible's templates are resolved as in a task, but without a run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from tests.support import CHECKOUT

PLAYBOOKS = "playbooks/vars/main.yml"
JUPYTER = "roles/jupyter/vars/main.yml"
NGROK = "roles/ngrok/vars/main.yml"


def load(path: str) -> Any:
    """What a file of YAML says, as templates that may be resolved."""
    return DataLoader().load_from_file(str(CHECKOUT / path), trusted_as_template=True)


def resolve(template: object, *files: str, **told: object) -> Any:
    """Resolve a template with the variables of these files and the ones given."""
    variables: dict[str, Any] = {"inventory_hostname": "box", "ansible_check_mode": False}
    for file in files:
        variables |= load(file)
    return Templar(DataLoader(), variables=variables | told).template(template)


def variable(name: str, *files: str, **told: object) -> Any:
    """Resolve a variable of one of the files."""
    found = next(load(file)[name] for file in files if name in load(file))
    return resolve(found, *files, **told)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a directory, with a home elsewhere."""
    place = (tmp_path / "here").resolve()
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return place


NAMES = [
    ("st.html", "{here}/st.html"),
    ("./st.html", "{here}/st.html"),
    ("reports/st.html", "{here}/reports/st.html"),
    ("../st.html", "{above}/st.html"),
    ("a name.html", "{here}/a name.html"),
    ("~/st.html", "{above}/home/st.html"),
    ("/srv/st.html", "/srv/st.html"),
]


@pytest.mark.parametrize("pwd", [None, "/", "right"])
@pytest.mark.parametrize(("given", "means"), NAMES)
@pytest.mark.parametrize(
    ("name", "variable_name", "file"),
    [
        ("notebook_report", "__notebook_report_file", PLAYBOOKS),
        ("notebook_password_file", "__notebook_password_file", PLAYBOOKS),
        ("jupyter_password_file", "__notebook_password_file", PLAYBOOKS),
        ("jupyter_password_file", "__jupyter_password_path", JUPYTER),
        ("ec2_public_key_file", "__ec2_public_key", "roles/ec2/vars/main.yml"),
    ],
)
def test_a_file_is_looked_for_where_the_person_stands(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    variable_name: str,
    file: str,
    given: str,
    means: str,
    pwd: str | None,
) -> None:
    if pwd is None:
        monkeypatch.delenv("PWD", raising=False)
    else:
        monkeypatch.setenv("PWD", str(here) if pwd == "right" else pwd)

    found = variable(variable_name, file, **{name: given})

    assert found == means.format(here=here, above=here.parent)


def test_setup_and_reconnect_know_the_same_password_file(here: Path) -> None:
    told = {"notebook_password_file": "one", "jupyter_password_file": "other"}

    assert variable("__notebook_password_file", PLAYBOOKS, **told) == f"{here}/one"
    assert variable("__jupyter_password_path", JUPYTER, PLAYBOOKS, **told) == f"{here}/one"
    default = variable("__notebook_password_file", PLAYBOOKS)
    assert default == f"{here.parent}/home/.config/anywhere-notebook/box.password"
    assert variable("__jupyter_password_path", JUPYTER, PLAYBOOKS) == default


@pytest.mark.parametrize(
    ("told", "command"),
    [
        (
            {"ansible_inventory_sources": ["me@box,"]},
            "ansible-playbook -i me@box, anywhere.notebook.setup",
        ),
        (
            {"ansible_inventory_sources": ["/my lab/hosts", "b"]},
            "ansible-playbook -i '/my lab/hosts' -i b anywhere.notebook.setup",
        ),
        (
            {"ansible_inventory_sources": ["localhost,"], "ansible_connection": "local"},
            "ansible-playbook -i localhost, -c local anywhere.notebook.setup",
        ),
        (
            {"ansible_inventory_sources": [], "ec2_instance": "my box"},
            "ansible-playbook anywhere.notebook.setup -e ec2_instance='my box'",
        ),
        ({}, "ansible-playbook anywhere.notebook.setup"),
    ],
)
def test_the_command_for_setup_is_for_the_same_hosts(told: dict[str, Any], command: str) -> None:
    said = " ".join(variable("__jupyter_missing_msg", JUPYTER, PLAYBOOKS, **told).split())

    assert said == f"Nothing is set up for {{account}} on box. Run setup: {command}"


class Play:
    """The facts of a play on one host, in which the roles report again and again."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}

    def report(self, path: str, vars_file: str, session: dict[str, Any], **told: object) -> Any:
        """Run the task that sets the facts, the last one of a file."""
        task = load(path)[-1]
        files = yaml.safe_load((CHECKOUT / path).read_text())
        assert files[-1]["ansible.builtin.set_fact"].keys() == {"notebook", "notebook_by_account"}
        ran: dict[str, Any] = {
            "was_stopped": False,
            "started": False,
            "resumed": False,
            "ended": "",
            "last_lines": [],
            "attach": "",
        }
        variables = load(vars_file) | task["vars"] | self.facts | told
        variables |= {
            "inventory_hostname": "box",
            "ansible_check_mode": False,
            "__tmux_session": ran | {"ends_with_login": False} | session,
        }
        templar = Templar(DataLoader(), variables=variables)
        self.facts |= templar.template(task["ansible.builtin.set_fact"])
        return self.facts["notebook"]

    def jupyter(self, account: str, port: int = 8888, **session: object) -> Any:
        """The role jupyter has looked after an account's server."""
        empty = ("challenge", "last_failed_login", "outputs_problem", "page_problem", "version")
        server: dict[str, Any] = dict.fromkeys((*empty, "sessions_since"), "")
        server |= {"kernels": [], "outputs_kept": True, "failed_logins": 0, "attacked": False}
        return self.report(
            "roles/jupyter/tasks/session.yml",
            JUPYTER,
            {"account": account, **session},
            __jupyter_server=server | {"url": f"http://127.0.0.1:{port}"},
            __jupyter_earlier={"stdout_lines": []},
            jupyter_end_sessions=False,
            jupyter_restart="never",
        )

    def ngrok(self, account: str, *, new: bool = False, before: Any = None, **session: Any) -> Any:
        """The role ngrok has looked after an account's agent, whose URL is another one or not."""
        return self.report(
            "roles/ngrok/tasks/report.yml",
            NGROK,
            {"account": account, **session},
            __ngrok_url_file={"changed": new},
            __ngrok_agent={"endpoints": [{"name": "jupyter", "url": f"https://{account}"}]},
            ngrok_endpoint_name="jupyter",
            **({"__ngrok_before": before} if before else {}),
        )

    def upstream(self, account: str) -> Any:
        """What the agent of an account would forward to."""
        variables = load(NGROK) | self.facts | {"__ngrok_account": account}
        return Templar(DataLoader(), variables=variables).template(variables["__ngrok_server_url"])


def test_facts_are_each_account_s_own_where_one_follows_the_other() -> None:
    play = Play()
    play.jupyter("ann", 8901, started=True)
    ann = play.ngrok("ann", new=True, started=True)
    play.jupyter("bob", 8902)
    bob = play.ngrok("bob")

    assert (ann["repaired"], ann["url_changed"]) == (["server", "agent"], True)
    assert (bob["repaired"], bob["url_changed"]) == ([], False)
    assert (bob["url"], bob["local_url"]) == ("https://bob", "http://127.0.0.1:8902")
    assert play.facts["notebook_by_account"] == {"ann": ann, "bob": bob}


def test_facts_are_each_account_s_own_where_one_role_follows_the_other() -> None:
    play = Play()
    play.jupyter("ann", 8901, started=True)
    play.jupyter("bob", 8902, resumed=True)
    assert play.upstream("ann") == "http://127.0.0.1:8901"
    assert play.upstream("bob") == "http://127.0.0.1:8902"
    ann = play.ngrok("ann", new=True)
    bob = play.ngrok("bob", started=True)

    assert (ann["repaired"], ann["local_url"]) == (["server"], "http://127.0.0.1:8901")
    assert (bob["repaired"], bob["local_url"]) == (["tmux", "agent"], "http://127.0.0.1:8902")
    assert (ann["url_changed"], bob["url_changed"]) == (True, False)


def test_facts_of_agents_alone_are_each_one_s_own_also_of_one_account() -> None:
    play = Play()
    first = play.ngrok("ann", new=True, started=True)
    second = play.ngrok("ann")

    assert (first["repaired"], first["url_changed"]) == (["agent"], True)
    assert (second["repaired"], second["url_changed"]) == ([], False)


def test_a_server_that_is_looked_at_again_has_not_been_repaired_again() -> None:
    play = Play()
    play.jupyter("ann", started=True)
    play.facts["notebook"]["error"] = "It failed."

    again = play.jupyter("ann")

    assert again["repaired"] == []
    assert "error" not in again


def test_two_attempts_at_one_agent_are_told_together() -> None:
    play = Play()
    play.jupyter("ann", started=True)
    first = play.ngrok("ann", new=True)

    second = play.ngrok("ann", before=first, started=True)

    assert (second["repaired"], second["url_changed"]) == (["server", "agent"], True)


@pytest.mark.parametrize("in_main", [True, False])
def test_what_an_earlier_run_of_all_has_found_is_not_said_of_the_next_account(
    in_main: bool,
) -> None:
    found: dict[str, Any] = {
        "__jupyter_before": {"running": True, "sessions_since": "x", "kernels": [1]},
        "__jupyter_config_file": {"changed": True},
        "__jupyter_hash_file": {"changed": True},
        "__jupyter_server": {"challenge": {"nonce": "x"}, "sessions_since": "y"},
        "__tmux_session": {"started": False},
        "__jupyter_in_main": in_main,
        "jupyter_end_sessions": False,
        "jupyter_restart": "never",
    }

    assert variable("__jupyter_outdated", JUPYTER, **found) is in_main
    assert variable("__jupyter_sessions_ended", JUPYTER, **found) is in_main
