"""What a person sees of some runs, without running them.

The screen is the callback's, the cards and tables are the playbooks' own templates; only what
happens, and how long it takes, is made up here. To be imported once Ansible knows the collection.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.anywhere.notebook.plugins.callback.card import CARD, STAGES
from ansible_collections.anywhere.notebook.plugins.plugin_utils._screen import Screen

from tests.support import CHECKOUT

COLUMNS = 100
PLAYBOOKS = CHECKOUT / "playbooks"
HOST = "box.example.org"
INVENTORY = f"-i me@{HOST},"
URL = "https://example.ngrok-free.app"
TOKEN = (
    "There is no authtoken (ngrok would say ERR_NGROK_4018). Copy yours from "
    "https://dashboard.ngrok.com/get-started/your-authtoken, then set ngrok_authtoken or the "
    "environment variable NGROK_AUTHTOKEN."
)
OFF = (
    "It cannot be reached: Failed to connect to the host via ssh: ssh: connect to host lab3 port "
    "22: Connection timed out"
)
FULL = "cannot create notebook.log: No space left on device"
KERNEL = {"path": "thesis.ipynb", "name": "python3", "execution_state": "busy", "died": ""}
ATTACH = "tmux -S .local/share/anywhere-notebook/tmux/notebook attach -t jupyter"


def rendered(tasks: str, **facts: object) -> list[str]:
    """Return the lines that the first task of a file shows, for a host with these variables."""
    loader = DataLoader()
    loader.set_basedir(str(PLAYBOOKS))
    told = loader.load_from_file(str(PLAYBOOKS / "vars/main.yml"), trusted_as_template=True)
    (task, *_) = loader.load_from_file(str(PLAYBOOKS / tasks), trusted_as_template=True)
    variables = {**told, **task.get("vars", {}), **facts}
    lines = Templar(loader, variables=variables).template(task["ansible.builtin.debug"]["msg"])
    return [str(line) for line in lines]


def card(repair: bool, **notebook: object) -> list[str]:
    """Return the card of a host whose password setup has made."""
    unset = ("sessions_ended", "attacked", "rebooted", "server_ended", "outputs_problem")
    known: dict[str, object] = dict.fromkeys((*unset, "restart_pending", "ends_with_login"), "")
    known |= {"url": URL, "local_url": "http://127.0.0.1:8888", "attach": ATTACH}
    known |= {"kernels": [], "failed_logins": 0, "url_changed": False}
    with tempfile.TemporaryDirectory() as home:
        kept = f"{home}/.config/anywhere-notebook/me@{HOST}"
        Path(kept).parent.mkdir(parents=True)
        Path(f"{kept}.password").touch()
        lines = rendered(
            "tasks/card.yml",
            notebook=known | notebook,
            inventory_hostname=HOST,
            ansible_user="me",
            ansible_check_mode=False,
            __notebook_repair=repair,
            __notebook_public={"proven": True, "login": "accepted"},
            __notebook_from_here={"answered": True},
            __notebook_told={"skipped": True},
            __notebook_bookmark=f"{kept}.html",
            __notebook_password_file=f"{kept}.password",
        )
        return [line.replace(home, "/home/me") for line in lines]


class Scene:
    """A terminal in which somebody runs a playbook; time goes by as it is told to."""

    def __init__(self, playbook: str, title: str, *hosts: str, inventory: str = INVENTORY) -> None:
        self.lines = [(f"$ ansible-playbook {inventory} anywhere.notebook.{playbook}", False)]
        self._now = 0.0
        # It draws nothing: a picture is of the end.
        self.screen = Screen(self._write, lambda _: None, lambda: self._now, lambda: COLUMNS)
        self.screen.play(title, list(hosts) or [HOST])

    def _write(self, line: str, bad: bool) -> None:
        # As a terminal does it.
        parts = [line[i : i + COLUMNS] for i in range(0, len(line), COLUMNS)] or [""]
        self.lines += [(part, bad) for part in parts]

    def stages(self, **took: float) -> None:
        """Go through stages, each named after its file in STAGES with "__" for the slash."""
        for name, seconds in took.items():
            self.screen.begin(STAGES[name.replace("__", "/")])
            self.screen.ran(self.screen.hosts[0])
            self._now += seconds

    def show(self, lines: list[str]) -> list[tuple[str, bool]]:
        """End with what the run shows last; return all lines, and whether they are bad news."""
        self.screen.begin(CARD)
        self.screen.say(lines)
        self.screen.end()
        return self.lines


def setup() -> list[tuple[str, bool]]:
    """The first setup of a machine with tmux."""
    scene = Scene("setup", "Set up a notebook behind a tunnel")
    scene.stages(playbooks__setup=0.2, tmux__main=1.3, jupyter__main=24, jupyter__configure=1.9)
    scene.stages(jupyter__session=4.6, ngrok__main=3.1, ngrok__configure=2.2, ngrok__session=2.7)
    scene.stages(playbooks__prove=1.4, playbooks__tell=0.7)
    started = ["server", "agent"]
    return scene.show(["", *card(repair=False, url_changed=True, repaired=started)])


def reconnect() -> list[tuple[str, bool]]:
    """A reconnect after the agent had ended."""
    scene = Scene("reconnect", "Repair what stopped, and say where the notebook is")
    scene.stages(jupyter__session=1.1, ngrok__session=2.6, playbooks__prove=0.5)
    return scene.show(["", *card(repair=True, kernels=[KERNEL], repaired=["agent"])])


def refusal() -> list[tuple[str, bool]]:
    """A setup without an authtoken."""
    scene = Scene("setup", "Set up a notebook behind a tunnel")
    scene.screen.begin(STAGES["playbooks/setup"])
    scene.screen.failed(HOST, TOKEN)
    return scene.show([])


def fleet() -> list[tuple[str, bool]]:
    """A reconnect of eight machines, of which one is off and one has a full disk."""
    hosts = [f"lab{number}" for number in range(1, 9)]
    title = "Repair what stopped, and say where the notebook is"
    scene = Scene("reconnect", title, *hosts, inventory="-i lab.ini")
    scene.screen.begin(STAGES["jupyter/session"])
    scene.screen.failed("lab3", OFF, keep=True)
    scene.stages(jupyter__session=10.4)
    scene.screen.failed("lab6", FULL, keep=True)
    scene.stages(ngrok__session=2.4, playbooks__prove=0.8)
    rows = [
        {
            "host": host,
            "url": None if host in ("lab3", "lab6") else f"https://{host}-example.ngrok.app",
            "kernels": None if host in ("lab3", "lab6") else len(host + URL) % 4,
            "repaired": ["agent"] if host == "lab5" else [],
            "error": {"lab3": OFF, "lab6": FULL}.get(host),
        }
        for host in hosts
    ]
    lines = rendered("tasks/report.yml", __notebook_hosts=rows)
    return scene.show(["", *lines[: lines.index("")]])


SCENES: dict[str, Callable[[], list[tuple[str, bool]]]] = {
    "setup": setup,
    "reconnect": reconnect,
    "refusal": refusal,
    "fleet": fleet,
}
