# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what sudo says, for people."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sudo_words
short_description: Make one sentence of what sudo prints when it refuses
description:
  - Returns what says why, without warnings, lectures and the lines of the file that it quotes.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
options:
  _input:
    description: What sudo, or the shell that did not find it, has printed.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show why sudo refuses
  ansible.builtin.debug:
    msg: "{{ 'sudo: a password is required' | anywhere.notebook.sudo_words }}"
"""

RETURN = r"""
_value:
  description: The sentence, without a full stop at its end.
  type: str
  sample: sudo says "a password is required"
"""

import re
import typing as t

# What says why; all else is about something else, or about what follows from it.
REASONS = re.compile(
    r"syntax error|parse error|password|tty|not allowed|may not|not in the sudoers|expired|locked|"
    r"account|not found|PAM|LDAP|SSS|permission|setuid|owned by|effective uid|no new privileges|"
    r"unable to (?!resolve host)",
    re.IGNORECASE,
)
CONSEQUENCES = re.compile(r"lecture|quitting|audit plugin|policy plugin", re.IGNORECASE)
MISSING = re.compile(r"sudo: (command )?not found|sudo: No such file", re.IGNORECASE)
LONGEST = 200


def sudo_words(said: object) -> str:
    """Return why sudo refuses, in its own words."""
    text = str(said)
    if MISSING.search(text):
        return "sudo is not installed"
    lines = [_cleaned(line) for line in text.splitlines()]
    lines = [line for line in lines if line]
    reasons = [line for line in lines if REASONS.search(line) and not CONSEQUENCES.search(line)]
    words = "; ".join(dict.fromkeys(reasons or lines[-1:]))[:LONGEST]
    return f'sudo says "{words}"' if words else "sudo does not say why"


def _cleaned(line: str) -> str:
    """Return a line without the program's name, and without what a terminal takes as orders."""
    line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)
    line = "".join(sign if sign.isprintable() else " " for sign in line).strip()
    line = re.sub(r"^>>> *| *<<<$|  +This incident .*", "", line)
    return re.sub(r"^(sudo: +)?(sorry, )?|\.$", "", line, flags=re.IGNORECASE)


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        """Return the filters by name."""
        return {"sudo_words": sudo_words}
