# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what is meant by the value of a variable."""

from __future__ import annotations

DOCUMENTATION = r"""
name: converted
short_description: Make of a variable's value what is meant
description:
  - A number becomes a text and a text a list or a mapping where the variable is one, and what was
    pasted with a text goes, such as blanks, line ends, signs that cannot be seen, quotation marks,
    and of a token the command before it.
  - What cannot be meant stays as it is; P(anywhere.notebook.variable_problems#lookup) names it.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
positional: name
options:
  _input:
    description: The value.
    type: raw
    required: true
  name:
    description: Name of the variable. One that is not converted keeps its value.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show a list
  ansible.builtin.debug:
    msg: "{{ 'pandas, scipy' | anywhere.notebook.converted('jupyter_packages') }}"
"""

RETURN = r"""
_value:
  description: The value that is meant.
  type: raw
  sample: [pandas, scipy]
"""

import typing as t

from ansible_collections.anywhere.notebook.plugins.plugin_utils.variables import converted


def _converted(value: object, name: str) -> object:
    return converted(name, value)


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, t.Callable[..., object]]:
        """Return the filters by name."""
        return {"converted": _converted}
