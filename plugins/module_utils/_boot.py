# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that the account's systemd manager runs at boot. Private to the collection.

They are units of the account, enabled by a link as ``systemctl --user enable`` makes it
(systemd.unit(5)). The manager reads them when it starts, so a running one need not be told.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import typing as t

from ansible_collections.anywhere.notebook.plugins.module_utils._tmux import WITHHELD

if t.TYPE_CHECKING:
    from collections.abc import Sequence

UNITS = "~/.config/systemd/user"
WANTS = "default.target.wants"
MADE_HERE = (
    "# Made by the Ansible module tmux_session, which starts the session by the same command."
)


def unit_name(*words: str) -> str:
    """Return a unit's name made of words, each escaped as systemd-escape(1) does it."""
    return f"{'-'.join(_escaped(word) for word in words)}.service"


def ensure(name: str, description: str, command: Sequence[str], *, check_mode: bool) -> bool:
    """Have a command run at boot, or with an empty one nothing of this name.

    Returns:
        Whether that was a change, or would be one.
    """
    directory = os.path.expanduser(UNITS)
    file, link = f"{directory}/{name}", f"{directory}/{WANTS}/{name}"
    if not command:
        found = os.path.lexists(file) or os.path.lexists(link)
        if not check_mode:
            for path in (link, file):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        return found
    wanted = _unit(description, command)
    if _read(file) == wanted and os.path.islink(link):
        return False
    if not check_mode:
        # What others could write here would run as this account.
        before = os.umask(0o022)
        try:
            os.makedirs(os.path.dirname(link), exist_ok=True)
            draft = f"{file}.part"
            with open(draft, "w", encoding="utf-8") as lines:
                lines.write(wanted)
        finally:
            os.umask(before)
        os.replace(draft, file)
        if not os.path.islink(link):
            os.symlink(f"../{name}", link)
    return True


def others(name: str, program: str) -> list[str]:
    """Return the units of other names that were made here to run a program, by its path."""
    files = glob.glob(f"{os.path.expanduser(UNITS)}/*.service")
    return sorted(
        os.path.basename(file)
        for file in files
        if os.path.basename(file) != name
        and (text := _read(file)).startswith(MADE_HERE)
        and f" {_quoted(program)} " in text
    )


def _unit(description: str, command: Sequence[str]) -> str:
    return f"""\
{MADE_HERE}
[Unit]
Description={description.replace("%", "%%")}

[Service]
Type=oneshot
UnsetEnvironment={" ".join(WITHHELD)}
ExecStart={" ".join(_quoted(word) for word in command)}

[Install]
WantedBy=default.target
"""


def _quoted(word: str) -> str:
    """Return a word as systemd reads it literally (systemd.service(5), command lines)."""
    for special, plain in (("\\", r"\\"), ('"', r"\""), ("\n", r"\n"), ("%", "%%"), ("$", "$$")):
        word = word.replace(special, plain)
    return f'"{word}"'


def _escaped(word: str) -> str:
    return re.sub(rb"[^A-Za-z0-9_]", lambda byte: b"\\x%02x" % ord(byte[0]), word.encode()).decode()


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            return lines.read()
    except FileNotFoundError:
        return ""
