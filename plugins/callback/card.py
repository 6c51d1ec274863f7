# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback: a line per stage of a playbook, what went wrong once, and the card as it is."""

from __future__ import annotations

DOCUMENTATION = r"""
name: card
type: stdout
short_description: Show a line per stage, what went wrong once, and the card
description:
  - For people who run the playbooks of this collection. Each stage has a line with the time it
    took; on a terminal it shows that it lasts and what it waits for. A sentence of an error is
    shown once, and the card or the table of all hosts last, ready to be copied.
  - With C(-v) or more it is M(ansible.builtin.default), the callback of Ansible itself. C(--diff)
    shows the differences, C(--check) what would change.
  - In other plays each task that does something has a line, and what M(ansible.builtin.debug)
    shows is shown. Results of tasks with C(no_log) are not.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
requirements:
  - ANSIBLE_STDOUT_CALLBACK=anywhere.notebook.card in the environment
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""

import atexit
import functools
import os
import re
import shutil
import sys
import threading
import time
import typing as t
from collections.abc import Iterator, Mapping
from pathlib import Path

from ansible import constants as C
from ansible import context
from ansible.playbook.task import Task
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback import CallbackBase
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display
from ansible_collections.anywhere.notebook.plugins.plugin_utils._screen import Screen, Stage

COLLECTION = Path(__file__).resolve().parents[2]

# The stage that a file's tasks belong to. A file that is not here belongs to the stage of the one
# that imports it: so the same file, such as one that runs a session, is part of several stages.
CARD = Stage("Card", told=False)
LOOK = Stage("Look at the settings", "the machine")
SERVER = Stage("Run the Jupyter server", "an answer of the server")
STAGES = {
    "playbooks/instance": CARD,
    "playbooks/setup": LOOK,
    "playbooks/prove": Stage("Prove the URL", "an answer through the tunnel"),
    "playbooks/tell": Stage("Write the bookmark"),
    "playbooks/card": CARD,
    "playbooks/error": Stage("See whether the tunnel may stay", told=False),
    "playbooks/report": CARD,
    "playbooks/status": Stage("Look at the notebook", "the machine", told=False),
    "playbooks/stop": Stage("Stop what may be stopped", "the end of its processes"),
    "playbooks/remove": Stage("Take away what setup has made"),
    "playbooks/launch": Stage("Make the instance", "AWS"),
    "playbooks/sleep": Stage("Put the instance to sleep", "AWS"),
    "playbooks/terminate": Stage("Terminate the instance", "AWS"),
    "ec2/wake": Stage("Wake the instance", "AWS, and then for the login"),
    "tmux/main": Stage("Provide tmux", "the machine's package manager"),
    "jupyter/main": Stage("Install Jupyter", "its packages"),
    "jupyter/configure": Stage("Configure Jupyter"),
    "jupyter/session": SERVER,
    "jupyter/idle": Stage("Let the machine sleep when unused"),
    "jupyter/idle_off": SERVER,
    "ngrok/main": Stage("Install the ngrok agent", "its download"),
    "ngrok/configure": Stage("Configure the ngrok agent"),
    "ngrok/session": Stage("Open the tunnel", "ngrok's service"),
}

# Tasks of which, with several hosts, only what is above the first blank line is shown; and, where
# there is none, whether all is or nothing. A card begins with what is wrong; what is below a table
# is shown by the screen, which knows more of it.
CUT = {"Show the card": False, "Show all hosts": True}
# Of a sentence with this, only what follows it is news.
AGAIN = re.compile(r"^.*\bfor the reason above\.\s*", re.DOTALL)
# Warnings about what nobody has to do anything about.
NOISE = re.compile(r"discovered Python interpreter|^Module remote_tmp .* did not exist", re.DOTALL)
# Of actions: there to show something; put by Ansible before the tasks of a role.
SHOWS = "debug"
CHECKS = "validate_argument_spec"
HIDDEN = "It failed. What it said is hidden, because it would show a secret."


@functools.cache
def place(path: str) -> str:
    """Return where a file of tasks is: "jupyter/install", "playbooks/prove"; "" if not ours."""
    try:
        parts = Path(path).resolve().relative_to(COLLECTION).with_suffix("").parts
    except ValueError:
        return ""
    match parts:
        case ("roles", role, "tasks", name):
            return f"{role}/{name}"
        case ("playbooks", name) | ("playbooks", "tasks", name):
            return f"playbooks/{name}"
    return ""


def file_of(part: t.Any) -> str:
    """Return where a play or a task is written."""
    return place((part.get_path() or "").rpartition(":")[0])


def places(task: t.Any) -> Iterator[str]:
    """Where a task is, then where what imports it is, and so on."""
    while task is not None:
        if isinstance(task, Task):
            yield file_of(task)
        task = getattr(task, "_parent", None)


def stage_of(task: Task) -> Stage:
    """Return the stage of a task; one that is not ours is a stage by itself."""
    where = list(places(task))
    known = [STAGES[found] for found in where if found in STAGES]
    return known[0] if known and where[0] else LOOK if where[0] else Stage(task.get_name())


def reason(result: Mapping[str, t.Any]) -> str:
    """Return the sentence with which a task failed, or the ones of a loop.

    A program's last words say more than its exit status.
    """
    items = [item for item in result.get("results") or [] if isinstance(item, Mapping)]
    bad = [reason(item) for item in items if item.get("failed") or item.get("unreachable")]
    if bad:
        return " ".join(dict.fromkeys(bad))
    if "censored" in result:
        return HIDDEN
    words = [*result.get("stdout_lines", ()), *result.get("stderr_lines", ())]
    words += str(result.get("module_stderr", "")).splitlines()
    last = [word for word in words if str(word).strip()][-1:]
    text = str(last[0] if last else result.get("msg") or "It failed; -v shows more.")
    return " ".join(re.sub(r"^(Task failed: |Action failed: )+", "", text).split())


def kind(task: Task) -> str:
    """Return the name of a task's action without its collection."""
    return str(task.action.rpartition(".")[2])


def lines(text: object) -> list[str]:
    """Return what a task shows as lines."""
    return [str(line) for line in text] if isinstance(text, list) else str(text).splitlines()


class Brief(CallbackBase):
    """Tells a screen what happens."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"

    def __init__(self) -> None:
        super().__init__()
        # With --step Ansible asks before each task.
        live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._live = live and not context.CLIARGS.get("step")
        draw = self._draw if self._live else None
        self._screen = Screen(self._write, draw, time.monotonic, columns)
        self._check = bool(context.CLIARGS.get("check"))
        self._drawn = False
        # Up to the first answer of a machine, ssh may ask for a passphrase on the terminal.
        self._logged_in = self._any_host = self._ours = False
        self._title = ""
        self._over = threading.Event()

    def _write(self, line: str, bad: bool) -> None:
        self._display.display(line, color=C.COLOR_ERROR if bad else None)

    def _draw(self, text: str) -> None:
        """Write into the last line. Past the buffer, of which a worker would get a copy."""
        if text or self._drawn:
            os.write(sys.stdout.fileno(), f"\r\x1b[K{text}".encode())
        self._drawn = bool(text)

    def _tick(self) -> None:
        while not self._over.wait(1.0):
            self._screen.tick()

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        """Have the time shown, and the terminal left clean also by Control-C."""
        threading.Thread(target=self._tick, daemon=True).start()
        atexit.register(self._screen.finish)

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Remember what it is about."""
        told = play.get_variable_manager().get_vars(play=play)
        hosts = [str(name) for name in told.get("ansible_play_hosts_all", ())]
        self._any_host = self._any_host or bool(hosts)
        self._title, self._ours = play.get_name(), bool(file_of(play))
        self._screen.play(self._title, hosts)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Say so of a play of others; ours has one for those who name an EC2 instance."""
        if not self._ours:
            self._screen.say([f"{self._title}: no host matches."])

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        """Begin its stage, or go on with it."""
        # Neither does anything by itself, and an include may be skipped.
        if isinstance(task, TaskInclude) or kind(task) == CHECKS:
            return
        ours = next(places(task), "")
        self._screen.begin(stage_of(task), may_draw=self._logged_in and bool(ours))

    def v2_playbook_on_handler_task_start(self, task: t.Any) -> None:
        """Handlers are tasks."""
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Count it, and show what it is there to show."""
        host, task, data = parts(result)
        self._logged_in = self._logged_in or "invocation" in data
        self._warn(data)
        if isinstance(task, TaskInclude) or kind(task) == CHECKS:
            return
        if kind(task) != SHOWS:
            changed = bool(data.get("changed"))
            name = task.get_name().rpartition(" : ")[2].rpartition(" | ")[2]
            detail = f"would change: {name}" if changed and self._check else ""
            self._screen.ran(host, changed and not (detail or next(places(task))), detail)
        elif not task.loop:
            self._show(host, task, data)

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        """Show what each round of a loop is there to show."""
        host, task, data = parts(result)
        if kind(task) == SHOWS:
            self._show(host, task, data)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Say why, once."""
        host, task, data = parts(result)
        self._warn(data)
        sentence, where = reason(data), list(places(task))
        if ignore_errors:
            self._screen.ran(host)
            if not where[0]:
                self._screen.say([f"{sentence} (It goes on all the same.)"], host)
            return
        # Both end with a table, below which it is.
        keep = bool({"playbooks/setup", "playbooks/reconnect"}.intersection(where))
        if AGAIN.search(sentence) and self._screen.told(host):
            sentence = AGAIN.sub("", sentence)
        if sentence:
            self._screen.failed(host, sentence, keep)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Say why, unless the play says that it goes on without, and shows it by itself."""
        host, task, data = parts(result)
        where = list(places(task))
        if not (task.ignore_unreachable and where[0]):
            keep = bool({"playbooks/setup", "playbooks/reconnect"}.intersection(where))
            self._screen.failed(host, f"It cannot be reached: {reason(data)}", keep)

    def v2_on_file_diff(self, result: t.Any) -> None:
        """Show differences, as Ansible draws them."""
        host, _, data = parts(result)
        for item in data.get("results") or [data]:
            diff = item.get("diff") if isinstance(item, Mapping) else None
            if diff and item.get("changed"):
                text = self._get_diff(diff)
                if text:
                    self._screen.say(text.rstrip("\n").splitlines(), host)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Say what is still to be said."""
        self._over.set()
        self._screen.end()
        for host in sorted({*stats.failures, *stats.dark}):
            if not self._screen.told(host):
                self._screen.say([f"{host}: It failed; -v shows more."])
        if not self._any_host:
            self._screen.say(["No host matches: nothing was done."])
        elif self._check:
            self._screen.say(["A dry run: nothing was changed."])

    def _show(self, host: str, task: Task, data: t.Any) -> None:
        if "censored" in data:
            return
        self._clean_results(data, task.action)
        shown = lines(data["msg"]) if "msg" in data else lines(self._dump_results(data))
        if next(places(task)) and task.name in CUT:
            if self._screen.several:
                whole = len(shown) if CUT[task.name] else 0
                shown = shown[: shown.index("") if "" in shown else whole]
            shown = ["", *shown] if shown else []
        if shown:
            self._screen.say(shown, "" if task.run_once else host)

    def _warn(self, data: Mapping[str, t.Any]) -> None:
        for warning in data.get("warnings") or []:
            if not NOISE.search(str(warning)):
                self._screen.finish()
                self._display.warning(str(warning))


def columns() -> int:
    """Return the present width of the terminal."""
    return shutil.get_terminal_size().columns


def parts(result: t.Any) -> tuple[str, Task, t.Any]:
    """Return the host's name, the task and the result; before ansible-core 2.19 it has no names."""
    if hasattr(result, "host"):
        return result.host.get_name(), result.task, result.result
    return result._host.get_name(), result._task, result._result


# For who wants to see more, Ansible's own one.
Told: t.Any = Default if Display().verbosity else Brief


class CallbackModule(Told):
    """Ansible finds a plugin, and its options, by the name of the class."""

    CALLBACK_NAME = "anywhere.notebook.card"
