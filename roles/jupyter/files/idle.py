#!/usr/bin/env python3
# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets the machine sleep when nobody uses its notebook. A timer of systemd runs this every minute.

Usage: idle.py MINUTES GRACE_MINUTES DIRECTORY TMUX_SOCKET JUPYTER_SESSION NGROK_SESSION COMMAND...

TMUX_SOCKET is a path. What runs behind the socket of the same name in tmux's usual place, as older
releases started it, is seen as well.

Linux only, Python 3.9 or newer. In DIRECTORY, which is the server's, are ``idle.json``, what the
last look has seen, and ``idle.log``, a line for every look.

Time is CLOCK_BOOTTIME, which nobody can set. What the server and the kernel tell in hours and
minutes is only compared with what they told the last time: where it differs, there was use.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import logging.handlers
import os
import re
import subprocess
import sys
import time
import typing as t
import urllib.request

# Seconds: between two looks, and what the timer may be late or early, which is not to cost a look.
EVERY, LATE, EARLY = 60, 30, 1
PATIENCE = 10
# A time of day as ISO 8601 in UTC.
TIME_OF_DAY = "%Y-%m-%dT%H:%M:%SZ"

# How Jupyter and Visual Studio Code name the file that a kernel gets on its command line.
CONNECTION_FILE = re.compile(rb"kernel-([\w-]+)\.json\0")
# What runs below them stays when its person has gone.
MULTIPLEXERS = ("tmux: server", "screen")


class Facts(t.NamedTuple):
    """What a look has found.

    ``now`` and ``started``, the start of the Jupyter server, are seconds since the machine's start.
    ``busy`` says why the machine is in use, empty when it is not. ``stamps`` say when each thing
    was used last, in whatever way; None where the look has failed.
    """

    boot: str
    now: float
    started: float
    busy: str
    stamps: dict[str, str] | None


class State(t.TypedDict):
    """What is remembered from one look to the next, in ``idle.json``."""

    boot: str
    looked: float
    since: float
    warned: float | None
    sleeps_at: str
    stamps: dict[str, str] | None


def decide(
    facts: Facts, last: State | None, minutes: int, grace: int, wall: float
) -> tuple[str, str, State]:
    """Return what is to be done, why, and what to remember.

    It is ``busy``, ``idle``, ``warn`` (until the time is over any use ends that), ``awake`` (such a
    use) or ``sleep``. ``wall`` is the time of day, and decides nothing.
    """
    now = facts.now
    use, since, warned = facts.busy, now, None
    if last and last["boot"] == facts.boot:
        since = last["since"]
        use = use or difference(last["stamps"], facts.stamps)
        # Whoever wakes a machine that was suspended gets the whole time.
        if now - last["looked"] <= EVERY + LATE:
            warned = last["warned"]
    elif not any(map(is_old, facts.stamps or {})):
        since = facts.started
    idle = now - since
    if use:
        decision, why = ("busy" if warned is None else "awake"), use
        since, warned = now, None
    elif idle + EARLY < minutes * 60:
        decision, why, warned = "idle", f"for {idle // 60:.0f} of {minutes} minutes", None
    else:
        why = f"nobody has used it for {idle / 60:.0f} minutes"
        if warned is not None and now + EARLY >= warned + grace * 60:
            decision = "sleep"
            # Should the command fail, the time begins anew.
            warned = now
        else:
            decision = "warn"
            warned = now if warned is None else warned
    sleeps_at = ""
    if warned is not None:
        left = warned + grace * 60 - now
        sleeps_at = time.strftime(TIME_OF_DAY, time.gmtime(round(wall + left)))
    if decision == "warn":
        why += f", it goes to sleep at {sleeps_at}"
    return (
        decision,
        why,
        State(
            boot=facts.boot,
            looked=now,
            since=since,
            warned=warned,
            sleeps_at=sleeps_at,
            stamps=facts.stamps,
        ),
    )


def difference(before: dict[str, str] | None, after: dict[str, str] | None) -> str:
    """Return which things were used, began or ended, empty when none was or nobody knows."""
    if before is None or after is None:
        return ""
    names = sorted(before.keys() | after.keys())
    changed = [name for name in names if before.get(name) != after.get(name)]
    return f"there was use of {', '.join(changed)}" if changed else ""


def is_old(name: str) -> bool:
    """Whether a thing may have been used at any time since the start of the server."""
    return name.startswith(("kernel", "terminal"))


class Unseen(Exception):
    """Something could not be seen; the message says what, and why."""


class Server:
    """The Jupyter server with the directory ``base``."""

    def __init__(self, base: str) -> None:
        with open(f"{base}/port", encoding="ascii") as port:
            self._url = f"http://127.0.0.1:{int(port.read())}"
        with open(f"{base}/token", encoding="ascii") as token:
            self._headers = {"Authorization": f"token {token.read().strip()}"}

    def ask(self, route: str, document: object = None) -> t.Any:
        """Return the answer of a GET, or of a POST with a document; None where there is nothing.

        Raises:
            Unseen: there is no answer, or an error.
        """
        data = None if document is None else json.dumps(document).encode()
        # Otherwise the server would take our looks for use.
        url = f"{self._url}/api/{route}?no_track_activity=1"
        request = urllib.request.Request(url, data, self._headers)
        # Never through a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            if getattr(exc, "code", 0) == 404:
                return None
            raise Unseen(f"the Jupyter server does not tell its {route}: {exc}") from exc


class Pane(t.NamedTuple):
    """A pane of our tmux server; the first one of a session is the one it was made with."""

    session: str
    number: int
    dead: bool
    pid: int
    terminal: str


class Process(t.NamedTuple):
    """What proc_pid_stat(5) says of a process, and its words."""

    name: str
    parent: int
    session: int
    terminal: int
    started: float
    words: bytes


def look(base: str, socket: str, server: str, agent: str) -> Facts:
    """Return what there is to see; what cannot be seen is use.

    ``server`` and ``agent`` are the names of our sessions, whose output is no use.
    """
    boot, now = boot_id(), clock()
    try:
        return Facts(boot, now, *look_closely(base, socket, server, agent))
    except Exception as exc:  # whatever it is, nobody knows then
        return Facts(boot, now, now, str(exc) or repr(exc), None)


def look_closely(
    base: str, socket: str, server: str, agent: str
) -> tuple[float, str, dict[str, str]]:
    """Return ``started``, ``busy`` and ``stamps`` of the facts."""
    first: dict[str, Pane] = {}
    for pane in sorted(panes(socket)):
        first.setdefault(pane.session, pane)
    # After tmux has ended, which is a client of its server for a moment.
    alive = processes()
    if server not in first or first[server].dead or first[server].pid not in alive:
        raise Unseen("the Jupyter server does not run")
    started = alive[first[server].pid].started
    stamps = {"the server": f"{started}"}
    busy = [*logins(alive), *attached(alive)]

    asked = Server(base)
    known = asked.ask("kernels")
    for kernel in known:
        name, state = f"kernel {kernel['id']}", kernel["execution_state"]
        # One that starts was just asked for, which its stamp tells; without a page it may say
        # nothing after that.
        if state not in ("starting", "idle", "dead"):
            busy.append(f"{name} is {state}")
        stamps[name] = f"{state} {kernel['last_activity']}"
    ids = {kernel["id"] for kernel in known}
    busy += [f"kernel {name} is of another server" for name in kernels(alive) if name not in ids]

    # A page that is only open writes nothing there, also when it connects again.
    with contextlib.suppress(FileNotFoundError):
        stamps["a document"] = str(os.stat(f"{base}/documents/history.db").st_mtime)
    page = asked.ask("notebook-keeper") or {}
    stamps["the page"] = str(page.get("kept_on", 0))
    stamps.update(terminals({first[name].terminal for name in (server, agent) if name in first}))
    return started, "; ".join(busy), stamps


def panes(socket: str) -> list[Pane]:
    """Return the panes of our tmux servers.

    Raises:
        Unseen: none tells them, or one does not in time.
    """
    directory, name = os.path.split(os.path.expanduser(socket))
    fields = "#{pane_id} #{pane_dead} #{pane_pid} #{pane_tty} #{session_name}"
    rows, failed = [], []
    # From within the directory, because a socket's path may have 107 bytes (unix(7)). In the usual
    # place tmux itself looks whose the socket is.
    for place, start in ((["-S", name], directory), (["-L", name], "/")):
        try:
            done = subprocess.run(
                ["tmux", "-u", *place, "list-panes", "-a", "-F", fields],
                cwd=start,
                capture_output=True,
                encoding="utf-8",
                check=True,
                timeout=PATIENCE,
            )
        except subprocess.CalledProcessError as exc:
            failed.append(exc.stderr.strip())
        except subprocess.TimeoutExpired as exc:
            raise Unseen(f"tmux does not tell its panes: {exc}") from exc
        except OSError as exc:
            failed.append(str(exc))
        else:
            rows += done.stdout.splitlines()
    if not rows:
        raise Unseen(f"tmux does not tell its panes: {failed[0]}")
    found = []
    for line in rows:
        number, dead, pid, terminal, session = line.split(" ", 4)
        found.append(Pane(session, int(number[1:]), dead == "1", int(pid), terminal))
    return found


def processes() -> dict[int, Process]:
    """Return the processes of this machine, of all accounts.

    Raises:
        Unseen: the machine shows an account only its own (proc_pid(5), hidepid).
    """
    found = {}
    ticks = os.sysconf("SC_CLK_TCK")
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                # The name may hold spaces and parentheses itself.
                name, _, rest = stat.read().partition("(")[2].rpartition(")")
            with open(f"/proc/{pid}/cmdline", "rb") as line:
                words = line.read()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        fields = rest.split()
        parent, session, terminal = int(fields[1]), int(fields[3]), int(fields[4])
        found[pid] = Process(name, parent, session, terminal, int(fields[19]) / ticks, words)
    if 1 not in found:
        raise Unseen("the machine does not show the processes of other accounts")
    return found


def logins(alive: dict[int, Process]) -> list[str]:
    """Return who is logged in with a terminal, by the first process in it."""
    found = []
    for pid, process in alive.items():
        if process.session == pid and process.terminal and "getty" not in process.name:
            above = pid
            while above and not is_multiplexer(alive.get(above)):
                above = alive[above].parent if above in alive else 0
            if not above:
                found.append(f"{process.name} (process {pid}) has a terminal")
    return found


def is_multiplexer(process: Process | None) -> bool:
    """Whether what runs below a process stays when its person has gone."""
    return process is not None and process.name in MULTIPLEXERS and not process.terminal


def attached(alive: dict[int, Process]) -> list[str]:
    """Return the clients of tmux that show somebody a session."""
    return [
        f"a client of tmux (process {pid}) is attached"
        for pid, process in alive.items()
        if process.name == "tmux: client" and process.terminal
    ]


def kernels(alive: dict[int, Process]) -> set[str]:
    """Return the ids of all kernels on the machine, whoever has started them."""
    found = (CONNECTION_FILE.search(process.words) for process in alive.values())
    return {match[1].decode() for match in found if match}


def terminals(ours: set[str]) -> dict[str, str]:
    """Return when what runs in the terminals wrote and read last; Linux tells in steps of 8 s."""
    found = {}
    for entry in os.scandir("/dev/pts"):
        if entry.name.isdigit() and entry.path not in ours:
            try:
                stat = entry.stat()
            except FileNotFoundError:  # it has just ended
                continue
            found[f"terminal {entry.path}"] = f"{stat.st_mtime} {stat.st_atime}"
    return found


def clock() -> float:
    """Return the seconds since the machine's start, also those in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return what the kernel calls this run of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def read(file: str) -> State | None:
    """Return what the last look has remembered, None where that is nothing, or no state."""
    try:
        with open(file, encoding="utf-8") as text:
            state: State = json.load(text)
        times = [state["looked"], state["since"]]
        times += [] if state["warned"] is None else [state["warned"]]
        stamps = {} if state["stamps"] is None else state["stamps"]
        right = [isinstance(words, str) for words in (state["boot"], state["sleeps_at"])]
        right += [isinstance(words, str) for words in stamps.values()]
        right += [type(moment) in (int, float) and 0 <= moment < 1e12 for moment in times]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return state if all(right) else None


def write(file: str, state: State) -> None:
    """Remember, all at once."""
    with open(f"{file}.part", "w", encoding="utf-8") as text:
        json.dump(state, text)
    os.replace(f"{file}.part", file)


def tell(base: str, sleeps_at: str) -> None:
    """Have the open pages say when the machine sleeps, empty when it does not."""
    try:
        server = Server(base)
        page = server.ask("notebook-keeper") or {}
        # A server without our extension, or with an older one, has nothing to say it with.
        if page.get("sleeps_at", sleeps_at) != sleeps_at:
            server.ask("notebook-keeper", {"sleeps_at": sleeps_at})
    except (OSError, ValueError, AttributeError, Unseen):  # the next look will say so
        return


def run(command: t.Sequence[str]) -> str:
    """Run the command; why it has failed, empty when it has not."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=EVERY,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)
    said = " ".join(done.stdout.split())
    return f"{command[0]} ended with {done.returncode}: {said}" if done.returncode else ""


def main(words: list[str]) -> None:
    """Look, decide, do it."""
    minutes, grace, base, socket, server, agent, *command = words
    os.umask(0o077)
    handler = logging.handlers.RotatingFileHandler(
        f"{base}/idle.log", maxBytes=1_000_000, backupCount=1, encoding="utf-8"
    )
    line = logging.Formatter("%(asctime)s %(message)s", TIME_OF_DAY)
    line.converter = time.gmtime
    handler.setFormatter(line)
    log = logging.getLogger()
    log.addHandler(handler)
    log.setLevel(logging.INFO)

    facts = look(base, socket, server, agent)
    decision, why, state = decide(
        facts, read(f"{base}/idle.json"), int(minutes), int(grace), time.time()
    )
    log.info("%s: %s", decision, why)
    write(f"{base}/idle.json", state)
    if decision == "sleep":
        failed = run(command)
        if failed:
            log.error("failed: %s", failed)
    else:
        tell(base, state["sleeps_at"])


if __name__ == "__main__":
    main(sys.argv[1:])
