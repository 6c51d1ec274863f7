# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: which variables have values that will not do."""

from __future__ import annotations

DOCUMENTATION = r"""
name: variable_problems
short_description: Tell which variables of roles have values that will not do
description:
  - Looks at every variable that the argument specifications of the roles declare and that is set.
  - Returns a sentence for each that has a value of another type than can be meant, or that cannot
    be worked out, one after the other; an empty text when all will do. No sentence holds a value.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
options:
  _terms:
    description: Names of roles of this collection, and C(playbooks) for what only playbooks take.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Require variables that can be meant
  ansible.builtin.assert:
    that: problems == ''
    fail_msg: "{{ problems }}"
  vars:
    problems: "{{ lookup('anywhere.notebook.variable_problems', 'jupyter') }}"
"""

RETURN = r"""
_raw:
  description: The sentences, in one text.
  type: list
  elements: str
"""

import os
import re
import typing as t
from pathlib import Path

import yaml
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.lookup import LookupBase
from ansible_collections.anywhere.notebook.plugins.plugin_utils.variables import PLAYBOOKS, problem

ROLES = Path(__file__).resolve().parents[2] / "roles"
# Given by the environment otherwise, so its default is a person's, too.
AUTHTOKEN = "ngrok_authtoken"
AUTHTOKEN_VARIABLE = "NGROK_AUTHTOKEN"


class LookupModule(LookupBase):
    """Looks at the variables of a play."""

    def run(
        self, terms: list[str], variables: t.Mapping[str, t.Any] | None = None, **_: t.Any
    ) -> list[str]:
        """Return the sentences as the one text of a list."""
        given = dict(variables or {})
        found = []
        for role in terms:
            for name, option in declared(role).items():
                if name == AUTHTOKEN and name not in given:
                    given[name] = os.environ.get(AUTHTOKEN_VARIABLE, "")
                if name in given:
                    found.append(self._problem(name, option, given[name]))
        return [" ".join(filter(None, found))]

    def _problem(self, name: str, option: dict[str, t.Any], raw: object) -> str:
        try:
            # What is not given has the role's default, which may be costly to work out.
            if name != AUTHTOKEN and raw == option.get("default"):
                return ""
            return problem(name, option, self._templar.template(raw))
        except AnsibleUndefinedVariable as exc:
            missing = re.search(r"'(\w+)' is undefined", str(exc))
            return f"{name} is made of {missing[1] if missing else 'a variable'}, which is not set."
        except AnsibleError as exc:
            if re.search("vault|decrypt", str(exc), re.IGNORECASE):
                return (
                    f"{name} is encrypted and cannot be decrypted: give the password of its vault, "
                    "such as with --ask-vault-pass."
                )
            return f"{name} cannot be worked out: look at the expression that it is."


def declared(role: str) -> dict[str, dict[str, t.Any]]:
    """Return the variables of a role with their options, of all entry points."""
    if role == "playbooks":
        return PLAYBOOKS
    file = ROLES / role / "meta/argument_specs.yml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    specs = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)["argument_specs"]
    return {name: option for spec in specs.values() for name, option in spec["options"].items()}
