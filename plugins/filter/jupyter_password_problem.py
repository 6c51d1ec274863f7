# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: why a password will not do for a notebook that is on the internet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: jupyter_password_problem
short_description: Tell why a password is too easy to guess
description:
  - Returns the second half of a sentence that says why a password will not do; empty when it will.
    The sentence does not hold the password.
  - A password will not do when it has fewer than 8 characters or cannot be typed, when it is one
    of the 20,000 most common ones, and when it is a part of a name or of a text that is shown.
  - "The last because ansible-core 2.22 puts C($REDACTED$) in the place of a password wherever it
    is shown. Of a text that everybody knows, the gap gives the password away. So it may not be in
    any file of this collection, which all its words come from, among Ansible's own, or in O(shown).
    What is not known beforehand, such as the names of notebooks, cannot be looked at."
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
positional: shown
options:
  _input:
    description: The password.
    type: str
    required: true
  shown:
    description:
      - Names that are shown beside, such as the host's and the account's, in lists or not; empty
        ones count as none.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Require a password that is hard to guess
  ansible.builtin.assert:
    that: problem == ''
    fail_msg: "The password {{ problem }}."
  vars:
    problem: "{{ password | anywhere.notebook.jupyter_password_problem([inventory_hostname]) }}"
"""

RETURN = r"""
_value:
  description: What is wrong with the password; empty when nothing is.
  type: str
  sample: is too short
"""

import functools
import typing as t
from pathlib import Path

SHORTEST = 8

COLLECTION = Path(__file__).resolve().parents[2]
COMMON = COLLECTION / "plugins/plugin_utils/common_passwords.txt"
# What the words that people are shown come from.
SOURCES = ("README.md", "playbooks/**/*", "plugins/*/*.py", "roles/**/*")
# Lists, in which no word is shown: of packages, with some thousand hashes.
UNSHOWN = ("requirements.txt",)
# Words of Ansible itself, of the shells and programs whose output is shown, and of no file of ours.
OTHERS = """
    ansible-playbook [WARNING] [DEPRECATION WARNING] [ERROR] PLAY RECAP RUNNING HANDLER
    FAILED - RETRYING fatal: changed=0 unreachable=0 skipped=0 rescued=0 ignored=0 UNREACHABLE!
    skipping: no hosts matched included: No such file or directory Permission denied
    Connection refused Connection timed out Traceback (most recent call last): TERMINATED
"""


def jupyter_password_problem(password: object, shown: t.Iterable[object] = ()) -> str:
    """Return why a password will not do, empty when it will.

    ``shown`` are names, or lists of names, that are shown beside. All is compared without regard to
    upper and lower case: guesses vary that first.
    """
    text = str(password)
    if len(text) < SHORTEST:
        return (
            f"is too short: the notebook will be on the internet, so it takes {SHORTEST} "
            "characters or more"
        )
    # Ansible, the file that a password is kept in and forms of browsers cut blanks off.
    if not text.isprintable() or text != text.strip():
        return "begins or ends with a blank, or holds what cannot be typed, such as a line's end"
    folded = text.casefold()
    if len(set(folded)) == 1:
        return "is one character again and again"
    if folded in _common():
        return "is among the 20,000 most common ones, which are what others try first"
    words = _plain(text)
    if any(words in name for name in _names(shown)):
        return "is the name of the host or of the account, or a part of a setting that is shown"
    if words in _plain(OTHERS) or any(words in source for source in _sources()):
        return (
            "is a part of what this collection and Ansible print, where Ansible 2.22 puts a gap "
            "in its place and so gives it away"
        )
    return ""


def _names(shown: t.Iterable[object]) -> t.Iterator[str]:
    for name in shown:
        if isinstance(name, (list, tuple)):
            yield from _names(name)
        elif name:
            yield _plain(str(name))


@functools.cache
def _common() -> frozenset[str]:
    lines = COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not (line == "#" or line.startswith("# ")))


@functools.cache
def _sources() -> tuple[str, ...]:
    """Return the texts of our files; where one breaks a line, its words may be shown in one."""
    files = (file for pattern in SOURCES for file in sorted(COLLECTION.glob(pattern)))
    return tuple(
        _plain(file.read_text(encoding="utf-8", errors="replace"))
        for file in files
        if file.is_file() and file.name not in UNSHOWN and file.suffix != ".pyc"
    )


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        """Return the filters by name."""
        return {"jupyter_password_problem": jupyter_password_problem}
