"""The demonstration: the collection at work for the current account, everything inside ``.demo``.

``python -m tests.demo up | reconnect | stop``; the Makefile calls it. ``.demo/home`` stands in for
the account's home. Without NGROK_AUTHTOKEN, the edge of the tests stands in for ngrok's service.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.support import CHECKOUT
from tests.support.processes import end_sessions

DEMO = CHECKOUT / ".demo"
HOME = DEMO / "home"
PORTS = DEMO / "ports.json"
VARIABLES = DEMO / "variables.json"
# Not the usual name, under which the account may have a notebook that an older release has started.
SOCKET = HOME / ".local/share/anywhere-notebook/tmux/notebook-demo"


def free_ports() -> dict[str, int]:
    """Ports nobody listens on, the same ones as long as ``.demo`` exists."""
    if not PORTS.exists():
        names = ("jupyter", "agent_api", "edge_agent", "edge_visitor")
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
        ports = {name: taken.getsockname()[1] for name, taken in zip(names, sockets, strict=True)}
        for taken in sockets:
            taken.close()
        PORTS.write_text(json.dumps(ports))
    known: dict[str, int] = json.loads(PORTS.read_text())
    return known


def variables() -> dict[str, object]:
    """What the demonstration sets; everything else is as the roles have it."""
    ports = free_ports()
    common: dict[str, object] = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        # For a local connection Ansible asks the list of accounts where home is, not HOME.
        "ansible_remote_tmp": str(HOME / ".ansible/tmp"),
        "tmux_package_managed": False,
        "tmux_linger_enabled": False,
        "tmux_socket_dir": str(SOCKET.parent),
        "tmux_socket_name": SOCKET.name,
        "jupyter_port": ports["jupyter"],
        "jupyter_python": sys.executable,
        "jupyter_start_on_boot": False,
        "jupyter_root_dir": str(DEMO / "notebooks"),
        "ngrok_web_addr": f"127.0.0.1:{ports['agent_api']}",
    }
    if os.environ.get("NGROK_AUTHTOKEN"):
        return common
    edge = DEMO / "edge"
    flags = [f"--agent-port={ports['edge_agent']}", f"--visitor-port={ports['edge_visitor']}"]
    return common | {
        "demo_checkout": str(CHECKOUT),
        "demo_edge_address": f"127.0.0.1:{ports['edge_agent']}",
        "demo_edge_argv": [
            sys.executable,
            "-m",
            "tests.support.edge",
            f"--state-dir={edge}",
            *flags,
        ],
        "ngrok_authtoken": "the-edge-takes-any",
        "ngrok_executable": str(CHECKOUT / ".cache/ngrok-agent-2/ngrok"),
        "ngrok_connect_url": f"localhost:{ports['edge_agent']}",
        "ngrok_connect_cas": str(edge / "ca.pem"),
    }


def play(playbook: str) -> int:
    """Run a playbook on this machine and return its exit status."""
    HOME.mkdir(parents=True, exist_ok=True)
    VARIABLES.write_text(json.dumps(variables(), indent=2))
    command = [f"{Path(sys.executable).parent}/ansible-playbook", "--inventory", "localhost,"]
    command += ["--extra-vars", f"@{VARIABLES}", playbook]
    shown = {"ANSIBLE_STDOUT_CALLBACK": "anywhere.notebook.card"}
    environment = os.environ | shown | {"HOME": str(HOME)}
    return subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode


def stop() -> int:
    """End the demonstration, and return the exit status."""
    ended = end_sessions(SOCKET)
    print(f"Ended {ended} processes. Their files stay in {DEMO}; make clean removes them.")
    return 0


def main() -> int:
    """Do what the command line says and return the exit status."""
    match sys.argv[1:]:
        case ["up"]:
            return play(str(CHECKOUT / "tests/demo.yml"))
        case ["reconnect"]:
            return play("anywhere.notebook.reconnect")
        case ["stop"]:
            return stop()
    print("usage: python -m tests.demo up | reconnect | stop", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
