# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends with a login on a machine with systemd-logind. Private to the collection.

A process born in a login session is killed with it where logind has KillUserProcesses=yes
(logind.conf(5)); one in a scope of the account's systemd manager is not. Without lingering it is
the other way round: the manager ends with the last login, and its scopes too (both seen on
Debian 12).
"""

from __future__ import annotations

import os
import pwd
import re
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]

PROC_DIR = "/proc"
RUNTIME_DIRS = "/run/user"
LINGER_DIR = "/var/lib/systemd/linger"


def outside() -> list[str]:
    """Return the words before a command that start it outside of the present login session.

    Empty where nothing better than the login session is there. Sets XDG_RUNTIME_DIR, which the
    account may have inherited from another one through ``su``.
    """
    runtime_dir = f"{RUNTIME_DIRS}/{os.getuid()}"
    if not (os.path.exists(f"{runtime_dir}/systemd/private") and _lingers()):
        return []
    os.environ["XDG_RUNTIME_DIR"] = runtime_dir
    return ["systemd-run", "--user", "--scope", "--quiet", "--"]


def ends_with_login(pid: int, run: Run) -> bool:
    """Whether a process of this account will be ended with the account's last login.

    ``run`` is ``AnsibleModule.run_command``.
    """
    try:
        with open(f"{PROC_DIR}/{pid}/cgroup", encoding="utf-8") as file:
            cgroups = file.read()
    except OSError:
        return False
    if re.search(r"/user@[0-9]+\.service(/|$)", cgroups, re.MULTILINE):
        return not _lingers()
    if not re.search(r"/session-[^/]+\.scope(/|$)", cgroups, re.MULTILINE):
        return False
    rc, out, _ = run(["loginctl", "show-session"])  # without a session, logind itself
    settings = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    if rc != 0 or settings.get("KillUserProcesses") != "yes":
        return False
    only = settings.get("KillOnlyUsers", "").split()
    user = _user()
    return user not in settings.get("KillExcludeUsers", "").split() and (not only or user in only)


def _lingers() -> bool:
    # logind writes the names of its files as in a string of C (cescape of systemd), which matters
    # for accounts of a directory service, such as CORP\ada.
    name = _user().encode()
    for special in (b"\\", b'"', b"'"):
        name = name.replace(special, b"\\" + special)
    name = re.sub(rb"[^ -~]", lambda byte: b"\\%03o" % ord(byte[0]), name)
    return os.path.exists(os.path.join(os.fsencode(LINGER_DIR), name))


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
