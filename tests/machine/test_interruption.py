"""Setup may be cut off at any moment; running it again always ends well."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.accounts import pack_agent
from tests.support.edge.client import Edge, fetch
from tests.support.hosts import Run, Spec
from tests.support.hosts.controller import SETUP, Controller
from tests.support.hosts.world import CACHE, equip, inventory

JUPYTER = "install | Install Jupyter and the packages asked for"
SESSION = "session | Keep the command running"

# Task, and seconds after its begin. Each of a chain comes later in the playbook than the one
# before, so every run has to get past what the last one left behind, up to the end.
CHAINS = {
    "bare": (
        Spec("box", "bookworm", cache=CACHE),
        [
            ("Look at the account", 0.0),
            ("package | Install it with apt", 1.0),
            ("package | Install it with apt", 4.0),
            ("Look at the account", 0.3),
            ("preflight | Look at Python", 0.0),
            (JUPYTER, 6.0),
            (JUPYTER, 8.0),
            ("configure | Write the hash of the password", 0.1),
            ("configure | Write the configuration", 0.1),
            (SESSION, 0.3),
        ],
    ),
    "with-packages": (
        Spec("box", "trixie", ("python3-venv", "tmux"), cache=CACHE),
        [
            ("install | Create the role's directory", 0.0),
            ("install | Copy the list of pinned packages", 0.1),
            (JUPYTER, 0.5),
            (JUPYTER, 2.0),
            (JUPYTER, 4.0),
            ("server | Ask it for its kernels", 0.0),
            ("install | Download the release", 0.2),
            ("install | Unpack the release", 0.2),
            ("configure | Write the agent's configuration", 0.1),
            ("agent | Wait for the endpoint", 0.1),
        ],
    ),
}

# Every file of every package is there, and is what the package says it is; but JupyterLab itself
# adds to page_config.json when it starts.
UNHARMED = """
import base64, csv, hashlib, pathlib
venv = pathlib.Path("~/.local/share/anywhere-notebook/jupyter/venv").expanduser()
site, = venv.glob("lib/*/site-packages")
for record in site.glob("*.dist-info/RECORD"):
    for name, digest, _ in csv.reader(record.open()):
        if digest and not name.endswith("labconfig/page_config.json"):
            kind, _, wanted = digest.partition("=")
            found = hashlib.new(kind, (site / name).read_bytes()).digest()
            assert base64.urlsafe_b64encode(found).decode().rstrip("=") == wanted, name
print(len(list(site.glob("*.dist-info/RECORD"))))
"""


@pytest.mark.acceptance
@pytest.mark.parametrize("name", CHAINS)
def test_setup_ends_well_after_interruptions(
    network: tuple[Run, Edge], tmp_path: Path, name: str
) -> None:
    run, edge = network
    spec, points = CHAINS[name]
    host = run.up_all([spec])[0]
    archive = tmp_path / "ngrok.tgz"
    told = pack_agent(archive)
    equip(host, run, edge, archive)
    controller = Controller(
        tmp_path / "controller",
        inventory(run, edge, [{"name": host.name}], tmp_path),
        **told | {"ngrok_archive_url": f"file:///opt/{archive.name}"},
    )

    for number, (task, seconds) in enumerate(points):
        with controller.begin(SETUP) as playbook:
            playbook.reach(task)
            time.sleep(seconds)
            # Every second time nobody tells the host that the connection is gone.
            if number % 2:
                host.cut()
            playbook.kill()
            host.mend()

    last = controller.play(SETUP)
    assert last.status == 0, last.output
    assert json.loads(fetch(last.url, "/api").body)["version"]
    assert int(host.run(["python3", "-c", UNHARMED], "dev").stdout) > 80
    again = controller.play(SETUP)
    assert (again.status, again.changed) == (0, 0), again.output
