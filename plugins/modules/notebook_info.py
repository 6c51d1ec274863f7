#!/usr/bin/python
# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: all that is known of a notebook on its machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebook_info
short_description: Report on a notebook that the playbook setup has made
description:
  - Looks at everything that the roles C(jupyter) and C(ngrok) have made on a machine for one
    account, and at the machine itself, and says in sentences what is broken.
  - Changes nothing, and does not fail because something is broken or was never set up.
  - What the public URL answers is another question, which M(anywhere.notebook.jupyter_server_info)
    answers from wherever it is run.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
  idempotent:
    description: Reads only.
    support: full
options:
  jupyter_base_dir:
    description: As in the role C(jupyter).
    type: path
    default: ~/.local/share/anywhere-notebook/jupyter
  jupyter_session_name:
    description: As in the role C(jupyter).
    type: str
    default: jupyter
  ngrok_base_dir:
    description: As in the role C(ngrok).
    type: path
    default: ~/.local/share/anywhere-notebook/ngrok
  ngrok_session_name:
    description: As in the role C(ngrok).
    type: str
    default: ngrok
  ngrok_endpoint_name:
    description: As in the role C(ngrok).
    type: str
    default: jupyter
  tmux_socket_name:
    description: As in the role C(tmux).
    type: str
    default: notebook
  tmux_socket_dir:
    description: As in the role C(tmux).
    type: path
    default: ~/.local/share/anywhere-notebook/tmux
  support:
    description:
      - Whether to return what somebody who helps has to see, too. The notebook's secrets and its
        URL are not in it; names of notebooks and accounts, and addresses of visitors, are.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See what there is
  anywhere.notebook.notebook_info:
  register: found

- name: Say what is broken
  ansible.builtin.debug:
    var: found.problems
"""

RETURN = r"""
support:
  description: Texts by what they are, such as C(status), C(machine) and C(server.log).
  returned: when O(support) is true
  type: dict
  sample: {machine: "Debian GNU/Linux 12 (bookworm), Linux 6.1.0"}
account:
  description: Name of the account.
  returned: success
  type: str
  sample: me
set_up:
  description: Whether there is anything of a notebook on the machine.
  returned: success
  type: bool
  sample: true
stopped:
  description:
    - Since when the server or the tunnel does not run because it was stopped on purpose, ISO 8601
      in UTC; empty when that is not so. RV(notices) says which.
  returned: success
  type: str
  sample: "2026-11-23T18:00:00Z"
exposed:
  description:
    - Why the tunnel must not lead to the server, a sentence, which is among RV(problems) too; empty
      when it may. Another program has the server's port, the endpoint leads elsewhere, or strangers
      can use the server.
  returned: success
  type: str
  sample: The Jupyter server listens on 0.0.0.0:8888, where other machines can reach it.
challenge:
  description:
    - As M(anywhere.notebook.jupyter_server_info) returns it, to prove that a URL leads to the
      server; empty when it cannot prove itself, or does not run.
  returned: success
  type: dict
  sample: {nonce: 8f0e2c, answer: 5b1d77}
problems:
  description: What is broken, a sentence or two each; empty when nothing is.
  returned: success
  type: list
  elements: str
  sample: ["The Jupyter server does not run: it was killed by signal 9."]
notices:
  description: What works, and is good to know, a sentence or two each.
  returned: success
  type: list
  elements: str
  sample: ["Jupyter still runs with its old configuration. Run setup to have it restarted."]
url:
  description: Public URL, or the last one when no agent lists one; empty when there was none.
  returned: success
  type: str
  sample: https://example.ngrok.app
server:
  description: The Jupyter server.
  returned: success
  type: dict
  contains:
    running:
      description: Whether it runs and answers.
      type: bool
      sample: true
    pid:
      description: Process id of the command in its tmux session; 0 without one.
      type: int
      sample: 4711
    url:
      description: Its address on the machine; empty before its first start.
      type: str
      sample: http://127.0.0.1:8888
    started:
      description: Its start, ISO 8601 in UTC; empty when it does not answer.
      type: str
      sample: "2026-11-23T09:00:00.000000Z"
    versions:
      description: Installed versions of C(jupyterlab), C(notebook) and C(jupyter_server).
      type: dict
      sample: {jupyterlab: 4.6.6, notebook: 7.6.5, jupyter_server: 2.21.1}
    outputs_kept:
      description: Whether what cells print while no page is open is kept.
      type: bool
      sample: true
    restart_pending:
      description: Whether it runs with another configuration than the one that setup wrote last.
      type: bool
      sample: false
    failed_logins:
      description: Logins that failed in the last 24 hours, of whomever.
      type: int
      sample: 0
    last_failed_login:
      description: When the last one failed, ISO 8601 in UTC; empty when unknown.
      type: str
      sample: "2026-11-23T09:30:00Z"
    attacked:
      description: Whether strangers try passwords now.
      type: bool
      sample: false
    terminals:
      description: How many terminals are open.
      type: int
      sample: 0
kernels:
  description: The kernels that are alive, as M(anywhere.notebook.jupyter_server_info) returns them.
  returned: success
  type: list
  elements: dict
idle:
  description: Whether the machine goes to sleep when nobody uses it, and when.
  returned: success
  type: dict
  contains:
    "on":
      description: Whether it does, see C(jupyter_idle_minutes) of the role C(jupyter).
      type: bool
      sample: true
    seconds:
      description: How long nobody has used it, as of the last look, which is a minute old at most.
      type: int
      sample: 840
    sleeps_at:
      description:
        - When it goes to sleep unless somebody uses it, ISO 8601 in UTC; empty before the last
          minutes.
      type: str
      sample: "2026-11-23T21:40:00Z"
tunnel:
  description: The ngrok agent and its endpoint.
  returned: success
  type: dict
  contains:
    running:
      description: Whether the agent runs and answers.
      type: bool
      sample: true
    pid:
      description: Process id of the command in its tmux session; 0 without one.
      type: int
      sample: 4712
    online:
      description: Whether the agent is connected to ngrok's service and lists the endpoint.
      type: bool
      sample: true
    error_code:
      description: The code with which ngrok refused; empty otherwise.
      type: str
      sample: ERR_NGROK_108
    version:
      description: Version of the agent; empty when it does not tell.
      type: str
      sample: 3.39.9
    supported_until:
      description: The day until which ngrok supports this version; empty when unknown.
      type: str
      sample: "2027-06-27"
    connections:
      description: How many connections visitors have made since the agent was started.
      type: int
      sample: 12
    api:
      description: V(on) or V(off), as the agent's API is; empty when nobody knows.
      type: str
      sample: "off"
    api_reason:
      description: Why it is, as a part of a sentence; empty when nobody knows.
      type: str
      sample: "others can log in: zoe"
    waiting:
      description: Whether the tunnel is closed until the server runs.
      type: bool
      sample: false
machine:
  description: The machine.
  returned: success
  type: dict
  contains:
    memory_mb:
      description: Its memory.
      type: int
      sample: 7900
    memory_available_mb:
      description: What programs could still take of it.
      type: int
      sample: 5200
    disk_mb:
      description: Size of the file system that O(jupyter_base_dir) is on.
      type: int
      sample: 30000
    disk_free_mb:
      description: What the account could still write there.
      type: int
      sample: 21000
"""

import datetime
import glob
import hashlib
import json
import os
import pwd
import re
import shlex
import time
import typing as t
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.anywhere.notebook.plugins.module_utils import (
    _jupyter,
    _listener,
    _machine,
    _ngrok,
    _support,
)
from ansible_collections.anywhere.notebook.plugins.module_utils._script import Script
from ansible_collections.anywhere.notebook.plugins.module_utils._tmux import (
    Pane,
    Place,
    Tmux,
    TmuxError,
)

if t.TYPE_CHECKING:
    from ansible_collections.anywhere.notebook.plugins.module_utils._login import Run

PACKAGES = ("jupyterlab", "notebook", "jupyter_server")
# What looks every minute whether somebody uses the machine, and after how many seconds it does not.
IDLE_TIMER = "~/.config/systemd/user/anywhere-notebook-idle.timer"
IDLE_LATE = 300
CLOSE = (
    "To close the tunnel, which ends no kernel: ansible-playbook anywhere.notebook.stop -e "
    "notebook_tunnel_only=true."
)
# Of a session when tmux does not answer.
UNKNOWN = Pane("", 0, dead=True, ending="", server=0, place=Place(""))


def look(tmux: Tmux, params: dict[str, t.Any], run: Run) -> dict[str, t.Any]:
    """Return the module's result. ``run`` is ``AnsibleModule.run_command``."""
    jupyter, ngrok = params["jupyter_base_dir"], params["ngrok_base_dir"]
    result: dict[str, t.Any] = {
        "account": pwd.getpwuid(os.getuid()).pw_name,
        "set_up": os.path.isdir(jupyter) or os.path.isdir(ngrok),
        "stopped": "",
        "exposed": "",
        "challenge": {},
        "problems": [],
        "notices": [],
        "url": first_line(f"{ngrok}/url"),
        "server": {
            "running": False,
            "pid": 0,
            "url": "",
            "started": "",
            "versions": {},
            "outputs_kept": False,
            "restart_pending": False,
            "failed_logins": 0,
            "last_failed_login": "",
            "attacked": False,
            "terminals": 0,
        },
        "kernels": [],
        "idle": {"on": False, "seconds": 0, "sleeps_at": ""},
        "tunnel": {
            "running": False,
            "pid": 0,
            "online": False,
            "error_code": "",
            "version": "",
            "supported_until": "",
            "connections": 0,
            "api": "",
            "api_reason": "",
            "waiting": False,
        },
        "machine": {**_machine.memory(), **_machine.disk(jupyter)},
    }
    scripts = {"jupyter": Script(jupyter), "ngrok": Script(ngrok)}
    if not result["set_up"]:
        # Whatever became of the files, what runs is there.
        result["set_up"] = any(script.processes() for script in scripts.values())
        if not result["set_up"]:
            return result
    panes: dict[str, Pane | None] = {}
    try:
        for role, script in scripts.items():
            panes[role] = tmux.pane(params[f"{role}_session_name"], script)
    except TmuxError as exc:
        # Then the sessions are not known, but what runs in them may still answer.
        result["problems"].append(str(exc))
        panes = {"jupyter": UNKNOWN, "ngrok": UNKNOWN}
    server, agent = panes["jupyter"], panes["ngrok"]
    result["server"]["pid"], result["tunnel"]["pid"] = alive(server), alive(agent)
    begun = [base for base in (jupyter, ngrok) if not os.path.exists(f"{base}/start")]
    result["problems"] += map(incomplete, begun)
    if jupyter in begun:
        return result
    add_server(result, jupyter, server, run)
    if ngrok not in begun:
        add_tunnel(result, ngrok, agent, params["ngrok_endpoint_name"], run)
    add_stop(result, scripts)
    add_idle(result, jupyter)
    lost = [pane for pane in (server, agent) if pane and pane is not UNKNOWN and not pane.pane_id]
    if lost:
        result["notices"].append(
            "tmux's socket is gone, so that nobody can attach to its sessions. What runs in them "
            "goes on; reconnect has tmux make the socket again."
        )
    return result


def add_server(result: dict[str, t.Any], base: str, pane: Pane | None, run: Run) -> None:
    """Add what is to be said of the Jupyter server with the directory ``base``."""
    server = result["server"]
    server["versions"] = jupyter_versions(base, run)
    port = _listener.read_port(f"{base}/port")
    if port is None:
        result["problems"].append("The Jupyter server has never been started. Run setup again.")
        return
    server["url"] = f"http://127.0.0.1:{port}"
    # Only what runs in the session is asked for anything.
    bad = taken("Jupyter server", pane, f"127.0.0.1:{port}")
    if bad and is_ours(server["url"], base):
        listener = _listener.find(f"127.0.0.1:{port}")
        server["pid"] = listener.pid if listener else 0
        result["problems"].append(bad)
        return
    if bad and since(base, server["pid"]) and not result["tunnel"]["pid"]:
        result["notices"].append(f"{bad} Before Jupyter can start there again, that has to end.")
        return
    if bad:
        result["exposed"] = bad
        result["problems"].append(f"{bad}{rebooted(base)} {CLOSE}")
        return
    try:
        found = _jupyter.look(
            server["url"],
            time.monotonic(),
            token_file=f"{base}/token",
            pid=0 if pane is UNKNOWN else server["pid"],
            log_file=f"{base}/server.log",
        )
    except (_jupyter.JupyterError, OSError) as exc:
        result["problems"].append(f"The Jupyter server does not tell what it does: {exc}")
        return
    result["exposed"], result["challenge"] = found["exposed"], found["challenge"]
    server["attacked"] = found["attacked"]
    server["failed_logins"] = found["failed_logins"]
    server["last_failed_login"] = found["last_failed_login"]
    attack = attacks(found)
    if attack:
        result["notices"].append(attack)
    if found["exposed"]:
        result["problems"].append(f"{found['exposed']} {CLOSE}")
    bad = unwell("Jupyter server", pane, found)
    if bad and not since(base, server["pid"]):
        result["problems"].append(bad + rebooted(base))
    if bad:
        return
    server["running"] = True
    server["started"] = found["started"]
    if found["page_problem"]:
        result["problems"].append(
            f"The Jupyter server runs, but its page does not open: {found['page_problem']}."
        )
    server["outputs_kept"] = found["outputs_kept"]
    server["restart_pending"] = is_outdated(base)
    server["terminals"] = len(found["terminals"])
    result["kernels"] = found["kernels"]
    if found["outputs_problem"]:
        result["notices"].append(
            f"Output is not kept while no page is open: {found['outputs_problem']}."
        )
    rebooted_at, _, login_problem = [*lines(f"{base}/earlier"), "", "", ""][:3]
    if rebooted_at:
        result["notices"].append(
            f"The machine was rebooted at {rebooted_at}; the kernels it had then are lost."
        )
    if login_problem:
        result["notices"].append(login_problem)
    if server["restart_pending"]:
        result["notices"].append(
            "Jupyter still runs with its old configuration. Run setup with -e "
            "jupyter_restart=when_idle when its kernels have nothing to lose."
        )


def add_tunnel(
    result: dict[str, t.Any], base: str, pane: Pane | None, endpoint_name: str, run: Run
) -> None:
    """Add what is to be said of the ngrok agent with the directory ``base``."""
    tunnel = result["tunnel"]
    tunnel["version"] = agent_version(base, run)
    tunnel["supported_until"] = _ngrok.supported_until(tunnel["version"])
    if "" < tunnel["supported_until"] < datetime.date.today().isoformat():
        result["notices"].append(
            f"ngrok has supported the agent {tunnel['version']} until {tunnel['supported_until']}, "
            "and may refuse it to a free account; a paid one may go on with it. A newer release of "
            "this collection installs a newer one, unless ngrok_executable names it."
        )
    # Also of one that has ended: its log says why.
    last = pane.pid if pane else 0
    log = _ngrok.read_log(f"{base}/agent.log", last)
    found = _ngrok.look("", endpoint_name, log, last, result["server"]["url"])
    tunnel["error_code"] = "" if found["online"] else found["error_code"]
    tunnel |= {key: found[key] for key in ("api", "api_reason", "waiting")}
    pid = tunnel["pid"]
    if not pid and pane is not UNKNOWN:
        if not since(base, pid):
            result["problems"].append(gone("ngrok agent", pane, found))
        return
    if found["waiting"]:
        # Without the server this is as it should be, and the server is a problem already.
        told = "problems" if result["server"]["running"] else "notices"
        result[told].append(found["msg"])
        return
    if not found["running"]:
        result["problems"].append(unanswering("ngrok agent", pid, found))
        return
    tunnel["running"] = True
    tunnel["online"] = found["online"]
    for endpoint in found["endpoints"]:
        if endpoint["name"] == endpoint_name and endpoint["url"]:
            result["url"] = endpoint["url"]
            tunnel["connections"] = endpoint["connections"]
    if not found["connected"]:
        result["problems"].append(f"The ngrok agent runs, but is not connected: {found['msg']}")
    elif not found["online"]:
        listed = any(endpoint["name"] == endpoint_name for endpoint in found["endpoints"])
        lacks = f"The ngrok agent has no endpoint {endpoint_name}."
        result["problems"].append(found["msg"] if listed else lacks)
        if listed:  # but it leads elsewhere
            result["exposed"] = result["exposed"] or found["msg"]


def add_stop(result: dict[str, t.Any], scripts: dict[str, Script]) -> None:
    """Add what was stopped on purpose, and what starts it."""
    times = {
        "Jupyter": since(scripts["jupyter"].directory, result["server"]["pid"]),
        "the tunnel": since(scripts["ngrok"].directory, result["tunnel"]["pid"]),
    }
    stopped = [what for what, when in times.items() if when]
    if stopped:
        result["stopped"] = max(times.values())
        said = " and ".join(stopped)
        result["notices"].append(
            f"{said[:1].upper()}{said[1:]} {'were' if len(stopped) > 1 else 'was'} stopped on "
            "purpose. To start again: ansible-playbook anywhere.notebook.reconnect"
        )


def since(base: str, pid: int) -> str:
    """Return since when what does not run is stopped on purpose, ISO 8601 in UTC, or nothing."""
    try:
        when = os.stat(Script(base).mark).st_mtime
    except OSError:
        return ""
    return "" if pid else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def incomplete(base: str) -> str:
    """Return what is to be said of a directory without the script that starts something."""
    pids = Script(base).processes()
    if pids:
        return (
            f"{base} is not complete any more, but what was started from there still runs (process "
            f"{pids[0]})."
        )
    return f"Setup has not come to its end: {base} is not complete."


def add_idle(result: dict[str, t.Any], base: str) -> None:
    """Add when the machine goes to sleep, as ``idle.py`` in the directory ``base`` has it."""
    if not os.path.exists(os.path.expanduser(IDLE_TIMER)):
        return
    idle = result["idle"]
    idle["on"] = True
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    last = last_look(base)
    this_boot = last["boot"] == first_line("/proc/sys/kernel/random/boot_id")
    if now - (last["looked"] if this_boot else 0) > IDLE_LATE:
        result["notices"].append(
            "The machine is to go to sleep when nobody uses it, but nothing looks whether somebody "
            f"does: systemctl --user status {os.path.basename(IDLE_TIMER)} may say why."
        )
    elif this_boot:
        idle["seconds"] = int(last["looked"] - last["since"])
        idle["sleeps_at"] = last["sleeps_at"]
        if idle["sleeps_at"]:
            result["notices"].append(
                f"Nobody uses it: the machine goes to sleep at {idle['sleeps_at']}, "
                "unless somebody runs a cell."
            )


def last_look(base: str) -> dict[str, t.Any]:
    """Return what ``idle.py`` has left; of another boot where it has left nothing, or nonsense."""
    try:
        with open(f"{base}/idle.json", encoding="utf-8") as file:
            last = json.load(file)
        times = [last["looked"], last["since"]]
        right = all(isinstance(text, str) for text in (last["boot"], last["sleeps_at"]))
        if right and all(type(number) in (int, float) and 0 <= number < 1e12 for number in times):
            return dict(last)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    return {"boot": ""}


def taken(what: str, pane: Pane | None, address: str) -> str:
    """Return that a program listens at a command's address that does not run in its session."""
    pid = alive(pane)
    listener = _listener.find(address)
    if listener and pane is not UNKNOWN and not (pid and listener.descends_from(pid)):
        return f"{address}, where the {what} is to listen, is taken by {listener}."
    return ""


def is_ours(url: str, base: str) -> bool:
    """Whether a program that runs in another session is this account's server all the same.

    It is shown no secret: it has to know the token in the directory ``base``.
    """
    if _listener.owner(urlsplit(url).netloc) != os.getuid():
        return False
    token = first_line(f"{base}/token")
    try:
        missing = _jupyter.unproven(url, _jupyter.new_challenge(token), _jupyter.REQUEST_TIMEOUT)
    except _jupyter.NotJupyter:
        return False
    return bool(token) and not missing


def unwell(what: str, pane: Pane | None, found: dict[str, t.Any]) -> str:
    """Return why a command whose address nobody else has cannot do its work, nothing if it can."""
    pid = alive(pane)
    if not pid and pane is not UNKNOWN:
        return gone(what, pane, found)
    return "" if found["running"] else unanswering(what, pid, found)


def gone(what: str, pane: Pane | None, found: dict[str, t.Any]) -> str:
    """Return how a command has ended, and why if that is known."""
    why = f" (it ended with {pane.ending})" if pane and pane.ending else ""
    return f"The {what} does not run{why}{': ' + found['msg'] if found['error_code'] else '.'}"


def unanswering(what: str, pid: int, found: dict[str, t.Any]) -> str:
    """Return what was met instead of an answer; ``pid`` is 0 when it is not known."""
    return f"The {what}{f' (process {pid})' if pid else ''} has no answer: {found['msg']}"


def attacks(found: dict[str, t.Any]) -> str:
    """Return what is to be said of logins that failed, nothing when none has.

    ``found`` is what the module for servers returns.
    """
    count, last = found["failed_logins"], found["last_failed_login"]
    when = f", the last one at {last}" if last else ""
    said = f"{count} {'login' if count == 1 else 'logins'} failed in the last day{when}."
    if found["attacked"]:
        return f"Strangers try passwords now{': ' + said if count else '.'} {CLOSE}"
    return said if count else ""


def alive(pane: Pane | None) -> int:
    """Return the process of a session's command, 0 when it does not run."""
    return 0 if pane is None or pane.dead else pane.pid


def rebooted(base: str) -> str:
    """Return a sentence where the machine was rebooted since the server was started."""
    boot = first_line(f"{base}/boot").partition(" ")[0]
    now = first_line("/proc/sys/kernel/random/boot_id")
    return " The machine was rebooted since it was started." if boot and boot != now else ""


def is_outdated(base: str) -> bool:
    """Whether a file has changed that the server in ``base`` has read at its start."""
    try:
        with open(f"{base}/read_at_start", encoding="utf-8") as lines:
            read = [line.split(maxsplit=1) for line in lines.read().splitlines()]
        if not read:
            return True
        for digest, name in read:
            with open(os.path.join(base, name), "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != digest:
                    return True
    except (OSError, ValueError):
        return True
    return False


def jupyter_versions(base: str, run: Run) -> dict[str, str]:
    """Return the installed packages by name, or what the Jupyter that is used says of itself."""
    executable = started_by(base)
    if executable == f"{base}/venv/bin/jupyter":
        found = glob.glob(f"{glob.escape(base)}/venv/lib/*/site-packages/*.dist-info")
        versions = dict(
            os.path.basename(path)[: -len(".dist-info")].split("-", 1) for path in found
        )
        return {name: versions[name] for name in PACKAGES if name in versions}
    said = ask([executable, "lab", "--version"], run)
    return {"jupyterlab": said.strip()} if said else {}


def agent_version(base: str, run: Run) -> str:
    """Return the version of the agent that is used, empty when it does not tell."""
    found = re.match(r"ngrok version (\S+)", ask([started_by(base), "version"], run))
    return found[1] if found else ""


def ask(argv: list[str], run: Run) -> str:
    """Return what a program prints, empty when it fails or is not there any more."""
    try:
        rc, out, _ = run(argv, handle_exceptions=False)
    except (OSError, ValueError):
        return ""
    return str(out) if rc == 0 else ""


def started_by(base: str) -> str:
    """Return the program that the script ``start`` of a role becomes."""
    with open(f"{base}/start", encoding="utf-8", errors="replace") as script:
        # What it brings along are files, and no words of its own.
        text = script.read().rpartition("\nEND OF THE FILE\n")[2]
    try:
        words = shlex.split(text, comments=True)
        # The agent has a supervisor, whose own words end with "--".
        last = "--" if "--" in words else "exec"
        return words[len(words) - words[::-1].index(last)]
    except (ValueError, IndexError) as exc:
        raise ValueError(f"{base}/start is not what setup has written. Run setup again.") from exc


def first_line(file: str) -> str:
    """Return the first line of a file, empty when there is none."""
    return [*lines(file), ""][0]


def lines(file: str) -> list[str]:
    """Return the lines of a file, none when there is no file."""
    try:
        with open(file, encoding="utf-8", errors="replace") as text:
            return [line.strip() for line in text]
    except OSError:
        return []


def main() -> None:
    """Declare the arguments, look, report."""
    names = {
        "jupyter_session_name": "jupyter",
        "ngrok_session_name": "ngrok",
        "ngrok_endpoint_name": "jupyter",
        "tmux_socket_name": "notebook",
    }
    module = AnsibleModule(
        argument_spec={
            "jupyter_base_dir": {
                "type": "path",
                "default": "~/.local/share/anywhere-notebook/jupyter",
            },
            "ngrok_base_dir": {
                "type": "path",
                "default": "~/.local/share/anywhere-notebook/ngrok",
            },
            "tmux_socket_dir": {
                "type": "path",
                "default": "~/.local/share/anywhere-notebook/tmux",
            },
            **{name: {"type": "str", "default": default} for name, default in names.items()},
            "support": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    binary = module.get_bin_path("tmux") or ""
    where = (module.params["tmux_socket_name"], module.params["tmux_socket_dir"])
    tmux = Tmux(module.run_command, binary, *where, may_resume=False, may_bind=False)
    try:
        result = look(tmux, module.params, module.run_command)
        if module.params["support"]:
            bases = module.params["jupyter_base_dir"], module.params["ngrok_base_dir"]
            result["support"] = _support.bundle(result, *bases)
    except (OSError, ValueError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
