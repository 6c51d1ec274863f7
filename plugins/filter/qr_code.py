# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: a text as a QR code for a terminal."""

from __future__ import annotations

DOCUMENTATION = r"""
name: qr_code
short_description: Draw a QR code with characters
description:
  - Returns lines of block characters which a phone's camera reads off a terminal with light text on
    a dark ground.
  - Where the package C(segno) is missing on the controller, the only line says so.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
options:
  _input:
    description: The text, such as a URL.
    type: str
    required: true
requirements:
  - segno on the controller
"""

EXAMPLES = r"""
- name: Show the notebook's URL to a phone
  ansible.builtin.debug:
    msg: "{{ notebook.url | anywhere.notebook.qr_code }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

import typing as t

MISSING = "A QR code takes the package segno on this computer: pip install segno"
BORDER = 2

# Two modules above each other, light is drawn.
HALVES = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}


def qr_code(text: str) -> list[str]:
    """Return ``text`` as the lines of a QR code, two rows of modules in each."""
    try:
        import segno
    except ImportError:
        return [MISSING]
    rows = [list(row) for row in segno.make(text, micro=False).matrix_iter(border=BORDER)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return [
        "".join(HALVES[pair] for pair in zip(upper, lower, strict=True)) for upper, lower in pairs
    ]


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return the filters by name."""
        return {"qr_code": qr_code}
