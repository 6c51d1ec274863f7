# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: a password as Jupyter stores it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: jupyter_password_hash
short_description: Hash a password for Jupyter
description:
  - Returns the argon2id hash that Jupyter expects in
    C(PasswordIdentityProvider.hashed_password), with the parameters Jupyter itself uses.
  - A hash that is there already is kept where the password fits it, whoever has made it. Otherwise
    the same password and salt text give the same hash. With either, a template that holds the hash
    is idempotent.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
positional: salt, kept
options:
  _input:
    description: The password.
    type: str
    required: true
  salt:
    description:
      - Text that makes the hash differ from place to place, such as the host's name. The salt
        itself is derived from it and from the password. Without one, the salt is random.
    type: str
  kept:
    description:
      - The hash that there is. It is returned if the password fits it, and setup would take it, see
        P(anywhere.notebook.jupyter_password_hash_problem#filter).
    type: str
requirements:
  - passlib and argon2-cffi on the controller
"""

EXAMPLES = r"""
- name: Show the hash
  ansible.builtin.debug:
    msg: "{{ 'correct horse' | anywhere.notebook.jupyter_password_hash(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The hash, in Jupyter's format.
  type: str
  sample: "argon2:$argon2id$v=19$m=10240,t=10,p=8$..."
"""

import hashlib
import secrets
import typing as t
import warnings

from ansible.errors import AnsibleFilterError
from ansible_collections.anywhere.notebook.plugins.filter.jupyter_password_hash_problem import (
    jupyter_password_hash_problem,
)

KIND = "argon2:"
SALT_BYTES = 16

MISSING = (
    "jupyter_password_hash needs passlib and argon2-cffi in the Python that runs Ansible: "
    "pip install passlib argon2-cffi"
)


def jupyter_password_hash(password: str, salt: str = "", kept: str = "") -> str:
    """Return ``password`` hashed as ``jupyter_server.auth.security.passwd`` does it.

    ``kept`` itself, if it is a hash of the password.

    Raises:
        AnsibleFilterError: passlib or argon2-cffi is missing on the controller.
    """
    word, there = str(password), str(kept).strip()
    # passlib 1.7.4, its last release, imports crypt and asks argon2 for its version in ways that
    # Python 3.11 and argon2-cffi 25 warn about.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            from passlib.exc import MissingBackendError
            from passlib.hash import argon2
        except ImportError as exc:
            raise AnsibleFilterError(MISSING) from exc
        hasher = argon2.using(type="ID", memory_cost=10240, time_cost=10, parallelism=8)
        try:
            fits = not jupyter_password_hash_problem(there) and argon2.verify(
                word, there.removeprefix(KIND)
            )
            if fits:
                return there
            if not salt:
                return KIND + str(hasher.using(salt=secrets.token_bytes(SALT_BYTES)).hash(word))
            # Whoever has a salt may not learn from it faster whether a guess is right.
            slow = str(hasher.using(salt=_digest(salt)).hash(word))
            return KIND + str(hasher.using(salt=_digest(slow)).hash(word))
        except MissingBackendError as exc:
            raise AnsibleFilterError(MISSING) from exc


def _digest(text: str) -> bytes:
    """Return a salt that depends on a text."""
    return hashlib.sha256(str(text).encode()).digest()[:SALT_BYTES]


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        """Return the filters by name."""
        return {"jupyter_password_hash": jupyter_password_hash}
