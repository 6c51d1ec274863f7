"""What a molecule scenario runs in: its hosts, and an edge that their agents can reach.

``python -m tests.support.hosts.world start | stop``, called by the playbooks in
``.config/molecule`` with molecule's environment. The world lives in a process of its own and ends
with it; with the variable HOSTS_OWNER, a process id, it also ends when that process does.

A platform in ``hosts.yml`` is an account on a host: ``name`` (of both, in the inventory),
``release``, ``packages``, where two accounts share a host, ``host`` and ``account``, and
``notebook``, where dev's notebook is to be there already (:mod:`tests.support.hosts.ready`). With
the variable HOSTS_RELEASES, only those of the releases it names are made; that is why molecule is
not told of any itself, which would have all of them in its inventory.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import trustme
import yaml

from tests.support import CHECKOUT
from tests.support.edge.client import Edge
from tests.support.hosts import Host, Run, Spec
from tests.support.hosts.base import GATEWAY, locked
from tests.support.hosts.client import STATE
from tests.support.waiting import wait_until

SHARED = ".config/molecule/hosts.yml"
AGENT = CHECKOUT / ".cache/ngrok-agent-2/ngrok"
CACHE = CHECKOUT / ".cache/uv"
PINNED = CHECKOUT / "roles/jupyter/files/requirements.txt"
# Below those that the kernel gives to whoever asks for none.
EDGE_PORT = 20443
PYTHONS = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
# Others may be building what it needs, a root or a notebook.
START_SECONDS = 1200.0
STOP_SECONDS = 120.0


def directory() -> Path:
    """Molecule's directory of the scenario."""
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


def read() -> dict[str, Any]:
    """What the world says of itself: ``pid``, ``run`` and ``edge`` (its control address)."""
    told: dict[str, Any] = json.loads((directory() / "world.json").read_text())
    return told


def attach() -> tuple[Run, Edge]:
    """The hosts and the edge of the scenario that is being verified."""
    told = read()
    edge = Edge(directory() / "edge")
    edge.control = told["edge"]
    return Run(told["run"]).attach(), edge


def fill(cache: Path, releases: set[str]) -> None:
    """Have all that setup installs in a cache that every account can read, once.

    What one account of a host adds to it, another one cannot use.
    """
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet"]
    pinned = hashlib.sha256(PINNED.read_bytes()).hexdigest()[:8]
    with locked(cache.with_name("uv.lock")):
        for release in sorted(releases):
            mark = cache.with_name(f"uv.{release}-{pinned}")
            if mark.exists():
                continue
            given = ["--python-version", PYTHONS[release], "--only-binary", ":all:"]
            given += ["--require-hashes", "--requirement", str(PINNED)]
            # Beside the cache, where uv links instead of copying.
            with tempfile.TemporaryDirectory(dir=cache.parent) as target:
                subprocess.run(
                    [*uv, *given, "--target", target],
                    env=os.environ | {"UV_CACHE_DIR": str(cache)},
                    check=True,
                )
            subprocess.run(["chmod", "-R", "a+rX", str(cache)], check=True)
            mark.touch()


def chosen() -> list[dict[str, Any]]:
    """The platforms of the scenario, or those that all have which name none."""
    own = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "hosts.yml")
    found = yaml.safe_load((own if own.exists() else CHECKOUT / SHARED).read_text())
    releases = os.environ.get("HOSTS_RELEASES", "").split() or PYTHONS
    return [platform for platform in found if platform["release"] in releases]


def service(directory: Path, run: Run) -> Edge:
    """An edge for the agents of a run's hosts, not started yet.

    All runs' edges are at the same address as their hosts know it, and of the same authority, so
    that an agent which was set up in one run finds that of another.
    """
    issued = authority()
    directory.mkdir(parents=True, exist_ok=True)
    for file in ("ca.pem", "server.pem"):
        shutil.copy(issued / file, directory / file)
    return Edge(directory, run.gateway, EDGE_PORT)


def authority() -> Path:
    """Where the certificates of all runs' edges are; made once."""
    made = STATE / "edge"
    STATE.mkdir(parents=True, exist_ok=True)
    with locked(STATE / "edge.lock"):
        if not made.exists():
            draft = STATE / "edge.new"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            ca = trustme.CA()
            leaf = ca.issue_cert(GATEWAY)
            ca.cert_pem.write_to_path(draft / "ca.pem")
            leaf.private_key_and_cert_chain_pem.write_to_path(draft / "server.pem")
            draft.rename(made)
    return made


def equip(host: Host, run: Run, edge: Edge, *more: Path) -> None:
    """Give a host the agent, the certificate authority of the edge, and more files, in /opt."""
    keyed = [*run.ssh_options, "-i", str(run.key)]
    files = map(str, (AGENT, edge.ca, *more))
    subprocess.run(["scp", "-q", *keyed, *files, f"root@{host.address}:/opt/"], check=True)
    host.run(["chmod", "0755", "/opt/ngrok"])


def inventory(run: Run, edge: Edge, platforms: list[dict[str, Any]], home: Path) -> dict[str, Any]:
    """An inventory of accounts, with all that the roles have to know of this world.

    Passwords go into ``home``.
    """
    found = run.inventory()["all"]
    addresses = found["hosts"]
    found["hosts"] = {
        platform["name"]: addresses[machine(platform)]
        | {"ansible_user": platform.get("account", "dev")}
        | platform.get("variables", {})
        for platform in platforms
    }
    found["vars"] |= {
        "ansible_python_interpreter": "/usr/bin/python3",
        "notebook_password_file": str(home / "{{ inventory_hostname }}.password"),
        "ngrok_authtoken": "the-edge-takes-any",
        "ngrok_executable": "/opt/ngrok",
        "ngrok_connect_url": f"{GATEWAY}:{EDGE_PORT}",
        "ngrok_connect_cas": f"/opt/{edge.ca.name}",
    }
    return {"all": found}


def machine(platform: dict[str, Any]) -> str:
    """The host on which a platform is an account."""
    return str(platform.get("host", platform["name"]))


def live() -> None:
    """Make the world, say so in ``world.json``, and keep it until told to end."""
    # It needs this module, which may be run as the main one.
    from tests.support.hosts import ready

    signal.signal(signal.SIGTERM, _end)
    platforms = chosen()
    fill(CACHE, {platform["release"] for platform in platforms})
    specs: dict[str, Spec] = {}
    for platform in platforms:
        name, packages = machine(platform), platform.get("packages", ())
        if platform.get("notebook"):
            platform["variables"] = ready.VARIABLES | platform.get("variables", {})
            specs[name] = ready.spec(name, platform["release"], packages)
        else:
            specs.setdefault(name, Spec(name, platform["release"], packages, cache=CACHE))
    with Run(f"molecule-{os.getpid()}") as run, service(directory() / "edge", run) as edge:
        for host in run.up_all(specs.values()):
            if not specs[host.name].kept:
                equip(host, run, edge)
        ready.wait(edge, sum(bool(spec.kept) for spec in specs.values()))
        accounts = directory() / "inventory/world.json"
        accounts.parent.mkdir(exist_ok=True)
        accounts.write_text(json.dumps(inventory(run, edge, platforms, directory()), indent=2))
        told = {"pid": os.getpid(), "run": run.name, "edge": edge.control}
        draft = directory() / "world.draft"
        draft.write_text(json.dumps(told))
        draft.replace(directory() / "world.json")
        owner = os.environ.get("HOSTS_OWNER")
        if owner:
            select.select([os.pidfd_open(int(owner))], [], [])
        else:
            signal.pause()


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    # Through the "with" blocks.
    sys.exit(0)


def start() -> None:
    """Start the process in which the world lives, and return once it is ready.

    One that is left of an earlier start is ended first.
    """
    stop()
    log = directory() / "world.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.support.hosts.world", "live"],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ready = directory() / "world.json"
    try:
        wait_until(lambda: ready.exists() or child.poll() is not None, START_SECONDS)
    except TimeoutError:
        child.terminate()
    if not ready.exists():
        sys.exit(f"There are no hosts for the scenario:\n{log.read_text(errors='replace')}")


def stop() -> None:
    """End the world, if there is one."""
    try:
        world = os.pidfd_open(read()["pid"])
    except (FileNotFoundError, ProcessLookupError):
        (directory() / "world.json").unlink(missing_ok=True)
        return
    signal.pidfd_send_signal(world, signal.SIGTERM)
    if not select.select([world], [], [], STOP_SECONDS)[0]:
        sys.exit(f"The scenario's hosts have not ended within {STOP_SECONDS:.0f} s.")
    (directory() / "world.json").unlink()


if __name__ == "__main__":
    {"start": start, "live": live, "stop": stop}[sys.argv[1]]()
