#!/usr/bin/python
# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: one detached tmux session."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tmux_session
short_description: Keep a command running in a detached tmux session
description:
  - Starts a command in a detached session of the account's tmux server, or ends the session.
  - A session whose command has ended counts as absent. V(present) starts the command again in the
    same pane, so other windows that somebody opened in that session stay.
  - A running session is never replaced, also not when O(argv) has changed, unless O(replaces) asks
    for it.
  - Where the program is on a file system that is mounted with noexec, or will be, the module fails
    and says so, also in check mode.
  - A tmux server that was suspended (SIGSTOP) goes on, also in check mode, which cannot ask it
    otherwise. One whose socket has vanished makes it again.
  - What the script C(start) of the roles C(jupyter) and C(ngrok) has started is found by its
    process too, whatever became of tmux and its socket. Where two notebooks of an account have
    sessions of one name, each has only its own.
  - A tmux server keeps the environment it was started in. The variables C(NGROK_AUTHTOKEN),
    C(NGROK_API_KEY), and all that begin with C(ANSIBLE_), C(SSH_) or C(SUDO_) do not get there.
  - The command is not told that it runs in tmux (C(TMUX), C(TMUX_PANE), C(TERM_PROGRAM)), so what
    it starts in turn has nothing to do with the session.
  - A server that is started reads no C(tmux.conf), unless it is the account's own, which has the
    socket C(default) in tmux's usual place.
  - Where the account has a systemd user manager that outlives logins (lingering), the tmux server
    is started in a scope of that manager, and so does not end with the login Ansible came through.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
attributes:
  check_mode:
    description: Predicts the change, and finds out whether another program has O(listens_on).
    support: full
  diff_mode:
    description: Shows the session's state before and after.
    support: full
  idempotent:
    description: A second run changes nothing as long as the command runs.
    support: full
options:
  name:
    description:
      - Name of the session. Taken literally; V(my) is not V(myjob).
      - Empty names and names with a point, a colon, a dollar sign, a backslash or an unprintable
        character are refused, because tmux would rename the session.
    type: str
    required: true
  state:
    description: Whether the session is to run or to be gone.
    type: str
    choices: [absent, present]
    default: present
  argv:
    description:
      - Program and arguments. No shell is involved; a C(~) at the start of an element is expanded.
      - Put no secrets here, every account can read them in the list of processes.
      - With O(state=absent) only needed to find what runs without its session.
    type: list
    elements: str
  chdir:
    description: Directory in which the command starts.
    type: path
    default: "~"
  socket_name:
    description: Name of the tmux server's socket, as in C(tmux -L).
    type: str
    default: default
  socket_dir:
    description:
      - Directory for the socket, made with mode 0700 where it is missing. One that belongs to
        another account, or that other accounts may write to, is refused. A relative path is
        relative to the home directory.
      - A session that was started behind the socket of this name in tmux's usual place goes on
        being used, and started again, there.
      - Without it the socket is in tmux's usual place below C(/tmp), which another account can
        block, by making a directory of that name first.
      - It has to be on a file system that can hold sockets, which some network file systems cannot.
        Machines that share a home must not share this directory.
    type: path
  listens_on:
    description:
      - IPv4 address C(host:port) on which the command listens once it is ready. The module returns
        as soon as it does, and fails as soon as the command has ended.
      - With a range of ports, C(host:lowest-highest), the module says which port is to be taken,
        see RV(listens_on). The command has to be told, so ask in check mode first.
      - When another program listens there, the module fails, names it, and starts nothing.
      - Without it, a new command is taken to run when it has not ended within half a second.
    type: str
  port_file:
    description:
      - File that keeps the port of O(listens_on) once the command runs, readable by its owner only.
        Its directory must exist.
      - When it exists, its port is the one that is taken of a range, whatever the range.
    type: path
  replaces:
    description:
      - Process id of a command of this session that is to be ended, and started anew. Nothing is
        ended when the session's command is another one by now, so two runs at the same time do it
        once.
    type: int
  timeout:
    description:
      - Seconds to wait for O(listens_on). V(0) does not wait at all, which suits a command that is
        asked for its state afterwards.
      - With O(state=absent), how long a command that was asked to end (SIGTERM) may take until it
        is ended by force.
    type: int
    default: 60
  on_boot:
    description:
      - Whether the session comes back after a reboot by itself, with the same command. It takes a
        systemd user manager that outlives logins (lingering); without one nothing is prepared, see
        RV(starts_on_boot).
      - With O(state=absent), or V(false), nothing of it remains.
    type: bool
    default: false
  missing_msg:
    description:
      - What to fail with where O(chdir), or a program that O(argv) names with its directory, would
        have to be started and is not there, also in check mode. C({account}) in it stands for the
        account's name.
      - Without it, check mode predicts that the command would be started.
    type: str
  on_purpose:
    description:
      - With O(state=absent), whether it is remembered, in the file C(stopped) beside the script
        that O(argv) is, that the command does not run because somebody wanted it so. The next start
        takes the file away.
    type: bool
    default: false
requirements:
  - tmux 3.0 or newer on the host
  - Linux, for O(listens_on) and O(socket_dir)
"""

EXAMPLES = r"""
- name: Keep a file server running
  anywhere.notebook.tmux_session:
    name: files
    argv: [python3, -m, http.server, --bind, 127.0.0.1, "8000"]
    chdir: ~/public
    listens_on: 127.0.0.1:8000

- name: End it
  anywhere.notebook.tmux_session:
    name: files
    state: absent
"""

RETURN = r"""
name:
  description: Name of the session.
  returned: success
  type: str
  sample: files
account:
  description: Name of the account whose session it is.
  returned: success
  type: str
  sample: me
state:
  description: State of the session after the run, or after the run that check mode predicts.
  returned: success
  type: str
  sample: present
pid:
  description: Process id of the command; 0 when there is none.
  returned: success
  type: int
  sample: 4711
started:
  description: Whether the command was started by this run, or would be.
  returned: success
  type: bool
  sample: true
starts_on_boot:
  description: Whether the session comes back after a reboot by itself.
  returned: success
  type: bool
  sample: true
resumed:
  description:
    - Whether the tmux server was suspended and goes on, or had lost its socket and has it again.
      Nothing was started anew then.
  returned: success
  type: bool
  sample: false
ended:
  description:
    - How the command had ended when it was found so, as in V(signal 9) or V(status 1). Empty when
      it was running, or nothing was left of its session.
  returned: success
  type: str
  sample: signal 9
was_stopped:
  description: Whether the command did not run because it was stopped with O(on_purpose).
  returned: success
  type: bool
  sample: false
last_lines:
  description: What a command that had ended had written last.
  returned: success
  type: list
  elements: str
  sample: ["MemoryError"]
listens_on:
  description:
    - Address on which the command is to listen. Of a range, it is the port of O(port_file), or else
      the first that is free; the search begins at a port that depends on the account.
  returned: when O(listens_on) is given
  type: str
  sample: 127.0.0.1:8888
attach:
  description:
    - Command line that shows the session to a person. A path in it is relative to the account's
      home directory, where a login begins.
  returned: success
  type: str
  sample: tmux -L work attach -t files
ends_with_login:
  description:
    - Whether the command will be killed when the account's last login on the machine ends. It
      depends on logind's C(KillUserProcesses), on lingering, and on what started the tmux server.
  returned: success
  type: bool
  sample: false
"""

import contextlib
import os
import signal
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.anywhere.notebook.plugins.module_utils import _boot, _listener, _machine
from ansible_collections.anywhere.notebook.plugins.module_utils._login import ends_with_login
from ansible_collections.anywhere.notebook.plugins.module_utils._script import Script
from ansible_collections.anywhere.notebook.plugins.module_utils._tmux import (
    Command,
    DuplicateError,
    Pane,
    Tmux,
    TmuxError,
    has_panes,
    private,
    withhold,
)

if t.TYPE_CHECKING:
    from ansible_collections.anywhere.notebook.plugins.module_utils._login import Run

SETTLED = 0.5
GRACE = 5
POLL = 0.1
LINES = 15
# Sessions of one script, which is at most one in each of the places that there are for them.
MANY = 10


class EndedError(TmuxError):
    """The command ended while it was waited for."""


def ensure(tmux: Tmux, params: dict[str, t.Any], run: Run, *, check_mode: bool) -> dict[str, t.Any]:
    """Bring one session to the state asked for and say what that took.

    ``run`` is ``AnsibleModule.run_command``.

    Raises:
        TmuxError: tmux refused, the command ended at once, or its address is taken.
        ValueError: the address or the remembered port is malformed.
    """
    name, wanted = params["name"], params["state"]
    command = Command(name, params["argv"], params["chdir"])
    script = Script.of(params["argv"])
    pane = found_pane = look(tmux, name, script)
    alive = pane is not None and not pane.dead
    if script and wanted == "absent" and not (pane or os.path.isdir(script.directory)):
        refuse_another(tmux, name, script)
    if params["listens_on"]:
        own_pid = pane.pid if pane and alive else 0
        address = choose_address(params["listens_on"], params["port_file"], own_pid)
        params = {**params, "listens_on": address}
    lines = tmux.last_lines(pane, LINES).splitlines() if pane and pane.dead else []
    was_stopped = script is not None and os.path.exists(script.mark) and not alive
    found = "present" if alive else "absent"
    # A pane that outlived its command still has to go when the session is to be absent.
    changed = pane is not None if wanted == "absent" else not alive

    if wanted == "present":
        if changed:
            refuse_missing(params)
        refuse_foreign_listener(params["listens_on"], pane.pid if pane and alive else 0)
        if changed:
            refuse_closed_disk(params["argv"][0])
        if pane and alive and pane.pid == params["replaces"]:
            changed = True
            if not check_mode:
                end(pane.pid, GRACE)
                pane = settled(tmux, name, script)
                if pane and not pane.pane_id:
                    pane = None
    if changed and not check_mode:
        if wanted == "absent":
            end_all(tmux, name, script, params["timeout"])
            pane = None
        elif not os.path.isdir(params["chdir"]):
            # tmux would start the command somewhere else without a word.
            raise TmuxError(f"chdir: there is no directory {params['chdir']}")
        else:
            if script:
                forget(script)
            try:
                tmux.start(command, dead=pane)
            except DuplicateError as exc:
                # Another run, or one that was cut off, has started it since we looked.
                changed = False
                if not tmux.pane(name, script):
                    raise TmuxError(
                        f"Another notebook of this account has the session {name}. Give this one "
                        "another name (in the roles: jupyter_session_name, ngrok_session_name, or "
                        "tmux_socket_name for both)."
                    ) from exc
            pane = tmux.pane(name, script)
    if wanted == "present" and params["timeout"] and not check_mode:
        try:
            wait_until_ready(tmux, params, new=changed)
        except EndedError:
            # What it printed has been reported; an older session may hold a person's windows.
            if found_pane is None and (pane := tmux.pane(name, script)):
                tmux.kill(pane)
            raise
    pid = 0 if pane is None or pane.dead else pane.pid
    if wanted == "present" and pid and params["port_file"] and not check_mode:
        keep_port(params["port_file"], params["listens_on"])
    at_boot = wanted == "present" and params["on_boot"]
    boot_words = tmux.boot_words(command) if at_boot else []
    unit = _boot.unit_name("tmux", params["socket_name"], name)
    prepared = _boot.ensure(unit, f"tmux session {name}", boot_words, check_mode=check_mode)
    if script:
        # What was prepared for a socket of another name would start a second one.
        for other in _boot.others(unit, f"{script.directory}/start"):
            prepared |= _boot.ensure(other, "", [], check_mode=check_mode)
        if wanted == "absent" and params["on_purpose"]:
            prepared |= remember(script, check_mode=check_mode)
    # tmux 3.4 and newer moves a command into a scope of the account's systemd manager. It ends with
    # tmux all the same, and while tmux is left in a login session, logind keeps the manager.
    ends = pane is not None and bool(pid) and ends_with_login(pane.server, run)
    return {
        "changed": changed or tmux.resumed or prepared,
        "started": changed and wanted == "present",
        "starts_on_boot": bool(boot_words),
        "resumed": tmux.resumed and not changed,
        "diff": {"before": {"state": found}, "after": {"state": wanted}},
        "name": name,
        "account": _listener.user_name(os.getuid()),
        "state": wanted,
        "pid": pid,
        "was_stopped": was_stopped,
        "ended": found_pane.ending if found_pane and found_pane.dead else "",
        "last_lines": lines,
        "attach": tmux.attach(name, pane),
        "ends_with_login": ends,
        **({"listens_on": params["listens_on"]} if params["listens_on"] else {}),
    }


def look(tmux: Tmux, name: str, script: Script | None = None) -> Pane | None:
    """Return the session's pane; of a dead one tmux may have to be told to see how it ended."""
    pane = tmux.pane(name, script)
    if pane and pane.dead and not pane.ending:
        tmux.reap(pane)
        pane = tmux.pane(name, script)
    return pane


def end_all(tmux: Tmux, name: str, script: Script | None, patience: int) -> None:
    """End a session, and whatever else runs of its script, wherever it is.

    Raises:
        TmuxError: something does not end, or is started again and again.
    """
    for _ in range(MANY):
        pane = tmux.pane(name, script)
        if pane is None:
            return
        if not pane.dead:
            end(pane.pid, patience)
        if pane.pane_id:
            tmux.kill(pane)
        elif pane.server != pane.pid and not has_panes(pane.server):
            # Nobody can reach this tmux server any more, and it has nothing to do.
            end(pane.server, GRACE)
    raise TmuxError(f"session {name} is started again and again by something else.")


def remember(script: Script, *, check_mode: bool) -> bool:
    """Have the mark there that tells of a stop on purpose; whether that was a change."""
    if os.path.exists(script.mark) or not os.path.isdir(script.directory):
        return False
    if not check_mode:
        # On a full disk, stopping it matters more.
        with contextlib.suppress(OSError), open(script.mark, "wb", opener=private):
            pass
    return True


def forget(script: Script) -> None:
    """Take the mark away."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(script.mark)


def end(pid: int, patience: int) -> None:
    """End a process: by asking it, and where that does not help within ``patience`` s by force.

    Raises:
        TmuxError: that does not help either.
    """
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, GRACE)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        limit = time.monotonic() + seconds
        while _machine.runs(pid) and time.monotonic() < limit:
            time.sleep(POLL)
        if not _machine.runs(pid):
            return
    raise TmuxError(f"process {pid} does not end, not even by force.")


def settled(tmux: Tmux, name: str, script: Script | None) -> Pane | None:
    """Return the session's pane once tmux has seen that its command ended."""
    limit = time.monotonic() + GRACE
    while (pane := look(tmux, name, script)) and not pane.dead and time.monotonic() < limit:
        time.sleep(POLL)
    return pane


def choose_address(wanted: str, port_file: str | None, own_pid: int) -> str:
    """Return ``host:port``; of a range the remembered port, else the first that is free or ours.

    Raises:
        TmuxError: all ports of the range are taken.
        ValueError: the range, or the port in the file, is malformed.
    """
    ports = _listener.split_range(wanted)
    if ports.low == ports.high:
        return wanted
    remembered = _listener.read_port(port_file) if port_file else None
    if remembered:
        return f"{ports.host}:{remembered}"
    for port in ports.candidates():
        address = f"{ports.host}:{port}"
        listener = _listener.find(address)
        if listener is None or (own_pid and listener.descends_from(own_pid)):
            return address
    raise TmuxError(f"every port of {wanted} is taken. End a program, or choose other ports.")


def keep_port(file: str, address: str) -> None:
    """Have a file hold the port of ``host:port``, never half of it."""
    port = address.rpartition(":")[2]
    with contextlib.suppress(OSError), open(file, encoding="ascii", errors="replace") as lines:
        if lines.read() == port:
            return
    draft = f"{file}.part"
    with open(draft, "w", encoding="ascii", opener=private) as lines:
        lines.write(port)
    os.replace(draft, file)


def refuse_another(tmux: Tmux, name: str, script: Script) -> None:
    """Raise TmuxError when a session that was to be ended is another notebook's."""
    other = tmux.pane(name)
    if other and not other.dead and script.is_other(other.pid):
        raise TmuxError(
            f"There is nothing in {script.directory}; the session {name} is of a notebook in "
            f"{script.directory_of(other.pid)}, and was left alone. To end that one, name its "
            "directory (in the roles: jupyter_base_dir, ngrok_base_dir)."
        )


def refuse_foreign_listener(address: str | None, own_pid: int) -> None:
    """Raise TmuxError when a program other than ``own_pid`` or its children has the address."""
    listener = _listener.find(address) if address else None
    if listener and not (own_pid and listener.descends_from(own_pid)):
        raise TmuxError(
            f"{address} is taken by {listener}. End that program, or choose another port."
        )


def refuse_missing(params: dict[str, t.Any]) -> None:
    """Raise TmuxError when the directory or the program is not there, and that can be said well."""
    if not params["missing_msg"]:
        return
    said = params["missing_msg"].replace("{account}", _listener.user_name(os.getuid()))
    if not os.path.isdir(params["chdir"]):
        raise TmuxError(said)
    program = os.path.expanduser(params["argv"][0])
    if "/" in program and not os.path.exists(program):
        raise TmuxError(f"There is no {program}. {said}")


def refuse_closed_disk(program: str) -> None:
    """Raise TmuxError when nothing may be executed where a program is, or will be.

    One that is only named, and so is looked for on the PATH, may be anywhere.
    """
    if "/" not in program:
        return
    place, closed = os.path.abspath(os.path.expanduser(program)), ""
    while not os.path.exists(place):
        place = os.path.dirname(place)
    while place != closed and os.statvfs(place).f_flag & os.ST_NOEXEC:
        closed, place = place, os.path.dirname(place)
    if closed:
        raise TmuxError(
            f"{program} cannot be run, because {closed} is mounted with noexec. Choose a directory "
            "on another file system (in the roles: jupyter_base_dir and ngrok_base_dir), or have "
            "it mounted without noexec."
        )


def wait_until_ready(tmux: Tmux, params: dict[str, t.Any], *, new: bool) -> None:
    """Return when the command listens, or without an address when it has settled.

    Raises:
        EndedError: the command has ended; with its last lines.
        TmuxError: it does not listen in time; with its last lines.
    """
    name, address = params["name"], params["listens_on"]
    script = Script.of(params["argv"])
    started = time.monotonic()
    while True:
        # Before the look: on a busy machine its answer may be old by the time it is here.
        waited = time.monotonic() - started
        pane = look(tmux, name, script)
        if pane is None or pane.dead:
            ending = f" ({pane.ending})" if pane and pane.ending else ""
            raise EndedError(
                f"the command of session {name} ended at once{ending}.{last_words(tmux, pane)}"
            )
        if address is None:
            if not new or waited > SETTLED:
                return
        else:
            listener = _listener.find(address)
            if listener and listener.descends_from(pane.pid):
                return
            if waited > params["timeout"]:
                raise TmuxError(
                    f"session {name} runs, but does not listen on {address} after "
                    f"{params['timeout']} s.{last_words(tmux, pane)}"
                )
        time.sleep(POLL)


def last_words(tmux: Tmux, pane: Pane | None) -> str:
    """Return the command's last lines as the end of a sentence, empty when it printed nothing."""
    lines = tmux.last_lines(pane, LINES) if pane else ""
    if "\n" in lines:
        return f" Its last lines:\n{lines}"
    return f" It said: {lines}" if lines else " It printed nothing."


def main() -> None:
    """Declare the arguments, call ensure, report."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "argv": {"type": "list", "elements": "str"},
            "chdir": {"type": "path", "default": "~"},
            "socket_name": {"type": "str", "default": "default"},
            "socket_dir": {"type": "path"},
            "listens_on": {"type": "str"},
            "port_file": {"type": "path"},
            "replaces": {"type": "int"},
            "timeout": {"type": "int", "default": 60},
            "on_boot": {"type": "bool", "default": False},
            "missing_msg": {"type": "str"},
            "on_purpose": {"type": "bool", "default": False},
        },
        required_if=[("state", "present", ("argv",))],
        required_by={"port_file": "listens_on"},
        supports_check_mode=True,
    )
    name = module.params["name"]
    if not name or set(name) & set(".:$\\") or not name.isprintable():
        module.fail_json(msg=f"name: tmux would rename a session called {name!r}")
    if module.params["state"] == "present" and not module.params["argv"]:
        module.fail_json(msg="argv: there is no command to run")
    withhold()
    where = (module.params["socket_name"], module.params["socket_dir"])
    try:
        # What runs ends without it, too.
        binary = module.get_bin_path("tmux")
        if not binary and module.params["state"] == "present":
            refuse_missing(module.params)
            # Before it is installed, a dry run has nothing to ask.
            module.get_bin_path("tmux", required=not module.check_mode)
        tmux = Tmux(module.run_command, binary or "", *where, may_bind=not module.check_mode)
        result = ensure(tmux, module.params, module.run_command, check_mode=module.check_mode)
    except (TmuxError, ValueError, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
