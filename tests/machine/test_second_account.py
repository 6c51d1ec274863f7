"""Another account of the machine gains nothing, whatever it tries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import PASSWORD
from tests.support.attacker import FILES, PORTS, SOCKETS, Racer, attack
from tests.support.edge.client import Edge, fetch
from tests.support.hosts import Host, Run, ready
from tests.support.hosts.controller import RECONNECT, SETUP, Controller
from tests.support.hosts.verify import Notebook
from tests.support.hosts.world import CACHE, fill, inventory, service
from tests.support.plays import errors
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

# May log in, and may not become root.
OTHER = "lab"
SECRET = "the-owners-secret-4711"
# Prints what nobody else is to hear, for as long as the tests take.
CELL = f"""
import threading, time
def go_on():
    while True:
        print("{SECRET}", flush=True)
        time.sleep(0.1)
threading.Thread(target=go_on, daemon=True).start()
"""


@dataclass
class Shared:
    """A host with a notebook of dev's, and its owner's computer and page."""

    host: Host
    edge: Edge
    controller: Controller
    notebook: Notebook
    url: str
    visitor: Visitor
    kernel: str

    @property
    def port(self) -> int:
        """Of the server."""
        return int(self.notebook.read("jupyter/port"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A notebook with a kernel that prints, on a machine with another account."""
    scratch = tmp_path_factory.mktemp("shared")
    fill(CACHE, {"bookworm"})
    with Run() as run, service(scratch / "edge", run) as edge:
        (host,) = run.up_all([ready.spec("shared")])
        ready.wait(edge)
        given = inventory(run, edge, [{"name": host.name}], scratch)
        controller = Controller(scratch / "home", given, **ready.VARIABLES)
        (endpoint,) = edge.state()["endpoints"]
        visitor = Visitor(endpoint["url"])
        assert visitor.log_in(PASSWORD)
        kernel = visitor.kernel()
        visitor.run(kernel, CELL)
        notebook = Notebook(host, "dev")
        yield Shared(host, edge, controller, notebook, endpoint["url"], visitor, kernel)


def secrets(notebook: Notebook) -> list[str]:
    """What the files of a notebook hold that nobody else may know."""
    hashed = notebook.read("jupyter/password_hash")
    return [SECRET, PASSWORD, notebook.read("jupyter/token"), hashed, "the-edge-takes-any"]


def test_no_port_answers_and_no_kernel_is_heard(shared: Shared) -> None:
    before = shared.edge.state()["endpoints"]

    found = attack(
        shared.host,
        OTHER,
        PORTS,
        uid=shared.notebook.uid,
        home=shared.notebook.home,
        seconds=1,
    )

    assert f"127.0.0.1:{shared.port}" in found["addresses"]
    assert found["answered"] == {}
    assert [heard for heard in found["heard"].values() if SECRET in heard] == []
    assert shared.edge.state()["endpoints"] == before


def test_no_socket_lets_it_in(shared: Shared) -> None:
    assert attack(shared.host, OTHER, SOCKETS, uid=shared.notebook.uid) == []


def test_no_file_and_no_process_shows_a_secret(shared: Shared) -> None:
    known = secrets(shared.notebook)
    assert all(known)

    # The owner is shown them, so the search can find them.
    own = attack(shared.host, "dev", FILES, secrets=known[2:3])
    assert f"{shared.notebook.state}/jupyter/token" in own
    assert attack(shared.host, OTHER, FILES, secrets=known) == []


def test_the_port_of_a_dead_server_leads_nobody_to_it(shared: Shared) -> None:
    notebook, port = shared.notebook, shared.port
    server = notebook.processes()["jupyter"]
    with Racer(shared.host, OTHER, port) as racer:
        shared.host.run(["kill", "-KILL", str(server)])
        racer.wait()

        def closed() -> bool:
            # The owner's page asks on, and may be cut off at the end.
            with suppress(OSError):
                fetch(shared.url, "/api/status", {"Cookie": "a=1"})
            return not shared.edge.state()["endpoints"]

        wait_until(closed, 10, what="the end of the tunnel")
        refused = shared.controller.play(RECONNECT)

        assert refused.status != 0
        (said,) = errors(refused)
        assert f"127.0.0.1:{port}" in said
        assert f"the account {OTHER}" in said
        assert "The tunnel is closed" in refused.output
        assert shared.edge.state()["endpoints"] == []
        heard = racer.end()
    assert [words for words in heard if PASSWORD in words] == []

    play = shared.controller.play(RECONNECT)

    assert play.status == 0, play.output
    # Whatever was sent to the wrong place opens nothing.
    assert shared.visitor.page("/api/status")[0] == 403
    fresh = Visitor(play.url)
    assert fresh.log_in(PASSWORD)
    assert fresh.page("/api/status")[0] == 200


def test_what_it_makes_beforehand_blocks_nothing(shared: Shared) -> None:
    host, uid = shared.host, shared.notebook.uid
    host.run(
        ["runuser", "-u", "dev", "--", "sh", "-c", "kill -KILL $(pgrep -x -u dev 'tmux: server')"]
    )
    host.run(f"rm -rf /tmp/tmux-{uid}; mkdir -m 777 /tmp/tmux-{uid}", "root")
    host.run(["chown", OTHER, f"/tmp/tmux-{uid}"])

    play = shared.controller.play(RECONNECT)

    assert play.status == 0, play.output
    assert json.loads(fetch(play.url, "/api").body)["version"]


@pytest.mark.acceptance
def test_ports_that_are_taken_before_the_notebook_starts_get_no_visitor(shared: Shared) -> None:
    host, port = shared.host, shared.port
    unit = (
        "[Unit]\nDefaultDependencies=no\nBefore=user@1000.service\n"
        f"[Service]\nUser={OTHER}\nStandardInput=null\n"
        f"ExecStart=python3 -m http.server --bind 127.0.0.1 {port}\n"
        "[Install]\nWantedBy=sysinit.target\n"
    )
    host.write("/etc/systemd/system/intruder.service", unit)
    host.run(["systemctl", "enable", "intruder"])
    host.reboot()
    host.run(["systemctl", "is-active", "intruder"])

    refused = shared.controller.play(RECONNECT)

    (said,) = errors(refused)
    assert f"the account {OTHER}" in said
    assert shared.edge.state()["endpoints"] == []
    host.run(["systemctl", "disable", "--now", "intruder"])
    play = shared.controller.play(RECONNECT)
    assert play.status == 0, play.output


@pytest.mark.acceptance
def test_setup_again_changes_nothing_of_it(shared: Shared, tmp_path: Path) -> None:
    play = shared.controller.play(SETUP)

    assert (play.status, play.changed) == (0, 0), play.output
