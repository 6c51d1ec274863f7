# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the variables of the environment that a notebook's server and kernels get."""

from __future__ import annotations

DOCUMENTATION = r"""
name: jupyter_environment
short_description: Tell which variables a notebook's server and kernels get, or why not
description:
  - Returns the variables with their values as texts. What is wrong with any of them is told as a
    sentence, which holds no value.
  - Names that change what the server itself reads are refused, such as C(JUPYTER_TOKEN), and those
    that are no name in a shell. C(JUPYTER_PATH), C(JUPYTER_DATA_DIR) and what begins with C(PYTHON)
    are taken; the latter is for kernels and terminals only.
  - A value is a text or a number. Whether V(true) is to be C(true), C(True) or C(1) depends on who
    reads it, so it has to be quoted.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
options:
  _input:
    description: Values by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what a server would get
  ansible.builtin.debug:
    msg: "{{ {'HF_HOME': '/data/hf', 'THREADS': 4} | anywhere.notebook.jupyter_environment }}"
"""

RETURN = r"""
_value:
  description: The variables as C(variables), and as C(problem) what is wrong, if anything.
  type: dict
  sample: {variables: {HF_HOME: /data/hf, THREADS: "4"}, problem: ""}
"""

import re
import typing as t
from collections.abc import Mapping

from ansible_collections.anywhere.notebook.plugins.module_utils._tmux import INSIDE

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# What the server's start withholds (WITHHELD and KEPT of the role's guard/start.py), but Python's.
OTHERS = re.compile(r"JUPYTER|TRAITLETS_|JPY_|NOTEBOOK_GUARD\Z")
KEPT = ("JUPYTER_PATH", "JUPYTER_DATA_DIR")


def jupyter_environment(asked: object) -> dict[str, t.Any]:
    """Return ``variables`` and ``problem``; without a problem the former is what was asked for."""
    if not isinstance(asked, Mapping):
        problem = "is no list of names with their values, such as {HF_HOME: /data/hf}"
        return {"variables": {}, "problem": f"jupyter_environment {problem}."}
    problems = [problem for pair in asked.items() if (problem := _wrong(*pair))]
    if problems:
        return {"variables": {}, "problem": f"In jupyter_environment {'; '.join(problems)}."}
    return {"variables": {str(name): str(asked[name]) for name in asked}, "problem": ""}


def _wrong(name: object, value: object) -> str:
    """Return why a variable cannot be had, nothing when it can."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"{str(name)!r} is no name: letters, digits and underscores make one"
    if OTHERS.match(name) and name not in KEPT:
        return f"{name} would change what the server reads, for which jupyter_settings is"
    if name in INSIDE:
        return f"{name} would have programs take the notebook's tmux server for yours"
    if name == "HOME":
        return f"{name} is the account's; everything of the notebook is there"
    # A text of Ansible's vault is no str before 2.19, but becomes one.
    if value is None or isinstance(value, (bool, Mapping, list, tuple)):
        return f'{name} has no text or number for a value; quote it, as in {name}: "true"'
    if "\0" in str(value):
        return f"{name} has a value with a zero byte in it"
    return ""


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, t.Callable[..., dict[str, t.Any]]]:
        """Return the filters by name."""
        return {"jupyter_environment": jupyter_environment}
