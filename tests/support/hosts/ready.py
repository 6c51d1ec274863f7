"""Hosts on which the account dev has a working notebook: setup ran once, for all of them.

What setup has made is a layer below each such host. Its server and its agent come up as they do
after any boot, and the agent finds the edge of its own run, see :func:`world.service`. What was
there before setup is listed in BEFORE.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support import CHECKOUT, PASSWORD
from tests.support.edge.client import Edge, fetch
from tests.support.hosts import Run, Spec
from tests.support.hosts.base import KEPT, HostsError, locked, names
from tests.support.hosts.client import STATE
from tests.support.hosts.controller import SETUP, Controller
from tests.support.hosts.world import AGENT, CACHE, authority, equip, fill, inventory, service
from tests.support.waiting import wait_until

PACKAGES = ("python3-venv", "tmux")
NAME = "notebook"
# What the notebook was set up with, and has to be told again by whoever runs setup for it.
HASH = f"{PASSWORD!r} | anywhere.notebook.jupyter_password_hash({NAME!r})"
IDLE_MINUTES = 90
VARIABLES = {
    "jupyter_password_hash": f"{{{{ {HASH} }}}}",
    "notebook_idle_minutes": IDLE_MINUTES,
}
BEFORE = "/root/before"
LISTING_FILE = Path(__file__).with_name("files.sh")
LISTING = LISTING_FILE.read_text()
# A notebook is that of these.
MADE_BY = ("roles", "plugins", "playbooks")
START_SECONDS = 120.0


def spec(name: str, release: str = "bookworm", packages: Sequence[str] = PACKAGES) -> Spec:
    """A host with a notebook; the layer below it is built if it is missing."""
    lower = names(release, packages)[0]
    layer = f"{lower}{KEPT}{_digest()}"
    with locked(STATE / "ready.lock"):
        if not (STATE / "base" / layer).is_dir():
            _build(layer, release, packages)
    return Spec(name, release, packages, cache=CACHE, kept=layer)


def wait(edge: Edge, number: int = 1) -> None:
    """Return once this many notebooks answer at their public addresses."""

    def answering() -> bool:
        urls = [row["url"] for row in edge.state()["endpoints"]]
        return len(urls) == number and all(fetch(url, "/api").status == 200 for url in urls)

    wait_until(answering, START_SECONDS, what="an answer of each notebook", pause=0.2)


def _build(layer: str, release: str, packages: Sequence[str]) -> None:
    print(f"hosts: setting up {layer}, once", file=sys.stderr)
    fill(CACHE, {release})
    with (
        tempfile.TemporaryDirectory() as scratch,
        Run() as run,
        service(Path(scratch, "edge"), run) as edge,
    ):
        (host,) = run.up_all([Spec(NAME, release, packages, cache=CACHE)])
        equip(host, run, edge)
        host.write(BEFORE, "")
        host.write(BEFORE, host.run(LISTING).stdout)
        told = inventory(run, edge, [{"name": NAME}], Path(scratch))
        play = Controller(Path(scratch, "home"), told, **VARIABLES).play(SETUP)
        if play.status != 0:
            raise HostsError(f"setup of {layer} failed:\n{play.output}")
        host.keep(layer)


def _digest() -> str:
    """Of all that a notebook on a host comes from."""
    found = hashlib.sha256()
    for file in (AGENT, authority() / "ca.pem", Path(__file__), LISTING_FILE, *_sources()):
        found.update(f"{file.name}\0".encode() + file.read_bytes())
    return found.hexdigest()[:10]


def _sources() -> Iterator[Path]:
    for directory in MADE_BY:
        for file in sorted((CHECKOUT / directory).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file
