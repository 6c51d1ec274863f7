#!/usr/bin/python
# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: takes the files of a notebook away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notebook_remove
short_description: Take away the files of a notebook that the playbook setup has made
description:
  - Takes away what the roles C(jupyter), C(ngrok) and C(tmux), Jupyter and the agent have put into
    their directories, by a closed list of names. Whatever else is there is kept, and named.
  - Fails, and takes nothing away, while anything of the notebook runs or is being installed.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
attributes:
  check_mode:
    description: Says what would be taken away.
    support: full
  diff_mode:
    description: What is taken away is in RV(removed).
    support: none
  idempotent:
    description: A second run finds nothing.
    support: full
options:
  jupyter_base_dir:
    description: As in the role C(jupyter).
    type: path
    default: ~/.local/share/anywhere-notebook/jupyter
  ngrok_base_dir:
    description: As in the role C(ngrok).
    type: path
    default: ~/.local/share/anywhere-notebook/ngrok
  tmux_socket_name:
    description: As in the role C(tmux).
    type: str
    default: notebook
  tmux_socket_dir:
    description: As in the role C(tmux).
    type: path
    default: ~/.local/share/anywhere-notebook/tmux
"""

EXAMPLES = r"""
- name: Take away the files
  anywhere.notebook.notebook_remove:
"""

RETURN = r"""
removed:
  description: Directories from which something was taken away, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/home/me/.local/share/anywhere-notebook/jupyter]
kept:
  description:
    - What is in these directories and is not of the notebook's making, tmux's socket where somebody
      uses it, and what Jupyter and its kernels keep of a person.
  returned: success
  type: list
  elements: str
  sample: [/home/me/.local/share/anywhere-notebook/jupyter/thesis.ipynb]
"""

import contextlib
import fcntl
import fnmatch
import json
import os
import re
import shutil
import stat
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.anywhere.notebook.plugins.module_utils import _script
from ansible_collections.anywhere.notebook.plugins.module_utils._script import Script
from ansible_collections.anywhere.notebook.plugins.module_utils._tmux import (
    Place,
    TmuxError,
    usual_directory,
)

# What a name stands for: a file, or a directory with all that is in it; otherwise a directory whose
# own names are listed. A name may be a pattern (fnmatch).
FILE = "file"
TREE = "tree"
Names = dict[str, t.Union[str, "Names"]]

ENVIRONMENT: Names = {
    **dict.fromkeys(("bin", "etc", "include", "lib", "lib64", "man", "share"), TREE),
    **dict.fromkeys((".gitignore", ".lock", "CACHEDIR.TAG", "pyvenv.cfg"), FILE),
    **dict.fromkeys(("complete", "keeper"), FILE),
}
KERNEL: Names = {
    **ENVIRONMENT,
    **dict.fromkeys(("kernel.json", "kernel.part", "list", "pinned.txt", "python"), FILE),
}
SOURCE: Names = {"*.py": FILE, "__pycache__": TREE}
JSON: Names = {"*.json": FILE}
RUNTIME: Names = dict.fromkeys(
    ("jpserver-*", "jupyter_cookie_secret", "kernel-*", "nbserver-*", "notebook_cookie_secret"),
    FILE,
)
JUPYTER: Names = {
    **dict.fromkeys(
        (
            *("boot", "cell_webhook.json", "cookie_secret", "earlier", "environment.json"),
            *("idle.json", "idle.log", "idle.log.1", "login.json"),
            *("idle.py", "install.lock", "ipykernel.txt", "jupyter_server_config.py"),
            *("notebooks", "password_hash", "plan", "port", "read_at_start", "requirements.txt"),
            *("server.log", "server.log.[0-9]", "sessions_since", "sockets", "start", "stopped"),
            *("token", "uv.txt"),
        ),
        FILE,
    ),
    # What was cut off while it was written.
    **{
        f"{name}.part": FILE
        for name in (
            *("boot", "earlier", "idle.json", "login.json", "notebooks", "port"),
            *("read_at_start", "token"),
        )
    },
    "cache": {"pip": TREE, "uv": TREE},
    "documents": dict.fromkeys(("files.db*", "history.db*", "sessions.json*"), FILE),
    # The one for configurations of the server, too.
    "guard": {
        **SOURCE,
        **dict.fromkeys(("complete", "migrated", "*.json"), FILE),
        **dict.fromkeys(("lab", "labconfig", "nbconfig", "serverconfig"), TREE),
        "labextensions": {
            "notebook-guard": {"package.json": FILE, "static": {"remoteEntry.js": FILE}}
        },
        "notebook_guard": SOURCE,
    },
    "k": RUNTIME,
    "keeper": {
        "pyproject.toml": FILE,
        "build": TREE,
        "data": {
            "etc": {"jupyter": {"jupyter_server_config.d": JSON, "labconfig": JSON}},
            "share": {"jupyter": {"labextensions": {"notebook-keeper": TREE}}},
        },
        "src": {"*.egg-info": TREE, "notebook_keeper": SOURCE},
    },
    "kernels": {"*": KERNEL},
    "runtime": RUNTIME,
    "venv": ENVIRONMENT,
    "workspaces": {"*.jupyterlab-workspace": FILE},
}
NGROK: Names = {
    **dict.fromkeys(
        (
            *("agent.log", "agent.log.part", "ngrok.yml", "port", "port.part", "start"),
            *("stopped", "supervisor.json", "supervisor.py", "url"),
        ),
        FILE,
    ),
    # The agent's home.
    "agent": {".*": TREE, "api.yml": FILE},
    # Releases, their archives, and what was cut off while one was unpacked.
    "ngrok-????????????": FILE,
    "ngrok-????????????.part": TREE,
    "ngrok-????????????.*": FILE,
}
ELSEWHERE = "/tmp/notebook-"
# Seconds in which kernels notice that their server has ended.
PATIENCE = 10

# What a copy of Ansible's leaves that was cut off.
for _names in (JUPYTER, NGROK):
    _names[".ansible_tmp*"] = FILE

# What is made for them, where it is empty afterwards.
EMPTY = (
    *("~/.local/share/anywhere-notebook", "~/.ipython", "~/.local/share/jupyter", "~/.local/share"),
    *("~/.local", "~/.config/systemd/user/default.target.wants"),
    *("~/.config/systemd/user/timers.target.wants", "~/.config/systemd/user", "~/.config/systemd"),
    "~/.config",
)
# What Jupyter and its kernels keep of a person: settings, history, and which notebooks are trusted.
PERSONS = ("~/.ipython", "~/.jupyter", "~/.local/share/jupyter")


class Alive(Exception):
    """Something of the notebook still runs; the message says what, and what to do."""


class Files:
    """What is taken away, and what is kept.

    ``notebooks`` is where the person's notebooks were, as far as that is known: nothing there is
    touched, whatever it is called.
    """

    def __init__(self, notebooks: str, *, check_mode: bool) -> None:
        self.kept: list[str] = []
        self.removed: list[str] = []
        self._theirs = [*mount_points(), *filter(None, [notebooks])]
        self._check_mode = check_mode

    def take_all(self, directory: str, names: Names) -> None:
        """Take what ``names`` lists out of a directory, and that too where it is empty then."""
        if os.path.isdir(directory) and self._take(directory, names):
            self.removed.append(directory)

    def take_file(self, path: str) -> bool:
        """Take a file; whether there was one."""
        if not os.path.lexists(path) or os.path.isdir(path):
            return False
        if not self._check_mode:
            os.unlink(path)
        return True

    def take_if_empty(self, directory: str) -> bool:
        """Take a directory that has nothing; whether that was so."""
        try:
            if self._check_mode:
                return not os.listdir(directory)
            os.rmdir(directory)
        except OSError:
            return False
        return True

    def _take(self, directory: str, names: Names) -> bool:
        """Whether something was taken."""
        taken, before = False, len(self.kept)
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            what = next((names[each] for each in names if fnmatch.fnmatchcase(name, each)), "")
            is_link, is_directory = os.path.islink(path), os.path.isdir(path)
            if self._is_theirs(path) or not what:
                self.kept.append(path)
            elif what == FILE and (is_link or not is_directory):
                taken |= self._unlink(path)
            elif what == TREE and (is_link or is_directory):
                taken |= self._unlink(path) if is_link else self._remove(path)
            elif what is KERNEL and not os.path.exists(os.path.join(path, "pyvenv.cfg")):
                self.kept.append(path)
            elif isinstance(what, dict) and is_directory and not is_link:
                taken |= self._take(path, what)
            else:
                # Of one of our names, but not of our making.
                self.kept.append(path)
        if len(self.kept) == before:
            taken |= self.take_if_empty(directory)
        return taken

    def _is_theirs(self, path: str) -> bool:
        """Whether a path has notebooks of the person's, or is another disk's."""
        real = os.path.realpath(path)
        return any(f"{each}/".startswith(f"{real}/") for each in self._theirs)

    def _unlink(self, path: str) -> bool:
        if not self._check_mode:
            os.unlink(path)
        return True

    def _remove(self, path: str) -> bool:
        if not self._check_mode:
            shutil.rmtree(path)
        return True


def remove(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Take the files away; the module's result.

    Raises:
        Alive: something of the notebook runs.
        OSError: something cannot be taken away.
    """
    jupyter, ngrok = params["jupyter_base_dir"], params["ngrok_base_dir"]
    elsewhere = kernels_elsewhere(jupyter)
    if not check_mode:
        require_the_end(jupyter, ngrok, elsewhere)
    files = Files(notebooks_of(jupyter), check_mode=check_mode)
    files.take_all(jupyter, JUPYTER)
    files.take_all(ngrok, NGROK)
    changed = bool(files.removed)
    if elsewhere:
        files.take_all(elsewhere, RUNTIME)
    own = os.path.expanduser("~/.local/share/anywhere-notebook")
    changed |= files.take_file(f"{own}/added")
    # Older releases had their socket where tmux has its own. One that answers has sessions of the
    # person's.
    sockets = {params["tmux_socket_dir"], usual_directory()}
    for directory in sorted(sockets):
        changed |= take_socket(files, Place(params["tmux_socket_name"], directory))
    with contextlib.suppress(OSError):
        left = {os.path.join(own, name) for name in os.listdir(own)}
        files.kept += sorted(left - {jupyter, ngrok, f"{own}/tmux", f"{own}/added"})
    with contextlib.suppress(OSError):
        ours = {params["tmux_socket_name"], f"{params['tmux_socket_name']}.lock"}
        files.kept += [
            f"{own}/tmux/{name}" for name in sorted(set(os.listdir(f"{own}/tmux")) - ours)
        ]
    for directory in (*sockets, *map(os.path.expanduser, EMPTY)):
        files.take_if_empty(directory)
    files.kept += [path for path in map(os.path.expanduser, PERSONS) if os.path.isdir(path)]
    return {
        "changed": changed,
        "removed": [path for path in files.removed if path != elsewhere],
        "kept": files.kept,
    }


def require_the_end(jupyter: str, ngrok: str, elsewhere: str) -> None:
    """Require that nothing of the notebook runs.

    Raises:
        Alive: something does.
    """
    for what, base in (("Jupyter server", jupyter), ("ngrok agent", ngrok)):
        for pid in Script(base).processes():
            raise Alive(
                f"The {what} runs (process {pid}), so nothing was taken away. Run this again, "
                "which stops it first; if something starts it again and again, end that before."
            )
    with contextlib.suppress(FileNotFoundError), open(f"{jupyter}/install.lock", "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Alive(
                f"A setup is at work in {jupyter}, so nothing was taken away. Wait for its end, "
                "and run this again."
            ) from exc
    limit = time.monotonic() + PATIENCE
    while kernels := kernels_of(jupyter, elsewhere):
        if time.monotonic() > limit:
            raise Alive(
                f"A kernel of the notebook still runs (process {kernels[0]}), so nothing was taken "
                "away. End it, and run this again."
            )
        time.sleep(0.2)


def kernels_of(jupyter: str, elsewhere: str) -> list[int]:
    """Return the kernels that a server with this directory has started."""
    places = [f"{jupyter}/k/", f"{jupyter}/runtime/", *([f"{elsewhere}/"] if elsewhere else [])]
    found = []
    for pid in _script.pids():
        names = [word for word in _script.words_of(pid) if word.startswith(tuple(places))]
        if any(fnmatch.fnmatchcase(os.path.basename(name), "kernel-*.json") for name in names):
            found.append(pid)
    return found


def kernels_elsewhere(jupyter: str) -> str:
    """Return where kernels have their sockets when the directory's own name is too long for them.

    Empty where there is no such directory, or it is not this account's.
    """
    try:
        directory = os.readlink(f"{jupyter}/sockets")
        found = os.lstat(directory)
    except OSError:
        return ""
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return directory if ours and directory.startswith(ELSEWHERE) else ""


def notebooks_of(jupyter: str) -> str:
    """Return the real directory that the last server showed, empty where that is not known."""
    try:
        with open(f"{jupyter}/notebooks", encoding="utf-8") as file:
            path = json.load(file)["path"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return os.path.realpath(path) if isinstance(path, str) and path else ""


def mount_points() -> list[str]:
    """Return where something is mounted, proc_pid_mountinfo(5).

    The numbers of devices do not tell: on overlayfs, those of a file and its directory may differ.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        points = [line.split()[4] for line in lines]
    return [re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), each) for each in points]


def take_socket(files: Files, place: Place) -> bool:
    """Take a socket away that nobody uses any more; whether there was one."""
    path = f"{place.directory}/{place.name}"
    try:
        if place.server():
            files.kept.append(path)
            return False
    except (TmuxError, OSError):  # it is not this account's
        return False
    return files.take_file(path) | files.take_file(f"{path}.lock")


def main() -> None:
    """Declare the arguments, take away, report."""
    base = "~/.local/share/anywhere-notebook"
    module = AnsibleModule(
        argument_spec={
            "jupyter_base_dir": {"type": "path", "default": f"{base}/jupyter"},
            "ngrok_base_dir": {"type": "path", "default": f"{base}/ngrok"},
            "tmux_socket_dir": {"type": "path", "default": f"{base}/tmux"},
            "tmux_socket_name": {"type": "str", "default": "notebook"},
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    for name in ("jupyter_base_dir", "ngrok_base_dir", "tmux_socket_dir"):
        params[name] = _script.from_home(params[name])
    try:
        result = remove(params, check_mode=module.check_mode)
    except (Alive, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
