# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: why a text is no hash of a password for Jupyter."""

from __future__ import annotations

DOCUMENTATION = r"""
name: jupyter_password_hash_problem
short_description: Tell why a text is no hash of a password for Jupyter
description:
  - Returns the second half of a sentence that says why a text will not do as a hash; empty when it
    will. The sentence does not hold the hash.
  - Jupyter takes two kinds, C(argon2:$argon2id$...) and the older C(ALGORITHM:SALT:HEX), such as
    C(sha1:...). One of the older kind is computed so fast that whoever gets it finds most passwords
    within hours, so only the first will do, with no fewer rounds than is safe.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
options:
  _input:
    description: The hash.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Require a hash that Jupyter can use
  ansible.builtin.assert:
    that: problem == ''
    fail_msg: "The hash {{ problem }}."
  vars:
    problem: "{{ jupyter_password_hash | anywhere.notebook.jupyter_password_hash_problem }}"
"""

RETURN = r"""
_value:
  description: What is wrong with the hash; empty when nothing is.
  type: str
  sample: is no hash as Jupyter makes it
"""

import base64
import re
import typing as t

# The reference implementation's text form: version 19 is the only one since 2016.
ARGON2 = re.compile(
    r"argon2:\$argon2(id|i)\$v=19\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,2})"
    r"\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
OLDER = re.compile(r"[A-Za-z0-9_-]+:[0-9a-f]*:[0-9a-f]+")

# OWASP's "Password Storage Cheat Sheet" takes 7 MiB and 5 rounds, or more memory and fewer rounds;
# all its pairs are of this product or more. Jupyter itself takes 10 MiB and 10 rounds.
LEAST_MEMORY = 7168
LEAST_WORK = 7168 * 5
# A login that took more would be none, and each visitor may ask for one.
MOST_MEMORY = 2**20
MOST_WORK = 2**22
LEAST_SALT = 8
LEAST_HASH = 16


def jupyter_password_hash_problem(hashed: object) -> str:
    """Return why a text is no hash for Jupyter, empty when it is one."""
    text = str(hashed).strip()
    if OLDER.fullmatch(text):
        return (
            f"is of the old kind {text.partition(':')[0]}, which anybody who gets it can guess by "
            "the billion a second"
        )
    found = ARGON2.fullmatch(text)
    if not found:
        return 'is no hash as Jupyter makes it: one begins with "argon2:$argon2id$v=19$m="'
    memory, rounds, lanes = map(int, found.group(2, 3, 4))
    salt, digest = map(_length, found.group(5, 6))
    if salt < LEAST_SALT or digest < LEAST_HASH:
        return "is not whole: its salt or its digest is too short"
    if memory < 8 * lanes or memory > MOST_MEMORY or memory * rounds > MOST_WORK:
        return "takes more memory or time than a login may, or less than its lanes need"
    if memory < LEAST_MEMORY or memory * rounds < LEAST_WORK:
        return "was made with so little memory or so few rounds that it is guessed fast"
    return ""


def _length(text: str) -> int:
    """Return how many bytes a text in Base64 without padding stands for, 0 for none."""
    try:
        return len(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except ValueError:
        return 0


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        """Return the filters by name."""
        return {"jupyter_password_hash_problem": jupyter_password_hash_problem}
