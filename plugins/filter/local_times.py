# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: a text with its times as a person here says them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: local_times
short_description: Tell times in UTC as times of the controller
description:
  - Replaces each time in UTC in a text by the same one in the controller's time zone, to the
    minute, and as short as it can be, such as C(today 17:45) or C(27 Nov 17:45).
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
options:
  _input:
    description: A text with any number of times, ISO 8601 in UTC.
    type: str
    required: true
  today:
    description: Whether days near now have names. Not so in what is read later.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Say since when the server runs
  ansible.builtin.debug:
    msg: "Running since {{ server.started | anywhere.notebook.local_times }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
  sample: The machine was rebooted today at 17:45.
"""

import re
import typing as t
from datetime import datetime, timedelta, tzinfo

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
STAMP = re.compile(
    r"(?P<at>\bat )?\b(?P<day>\d{4}-\d\d-\d\d)[T ](?P<minute>\d\d:\d\d)(:\d\d(\.\d+)?)?"
    r"(Z| ?UTC|\+00:00)(?![\w:])"
)


def local_times(
    text: str, today: bool = True, now: datetime | None = None, zone: tzinfo | None = None
) -> str:
    """Return ``text`` with its times in ``zone``, which is the one of this computer."""
    present = (now or datetime.now()).astimezone(zone)

    def said(found: re.Match[str]) -> str:
        try:
            then = datetime.fromisoformat(f"{found['day']}T{found['minute']}+00:00")
            then = then.astimezone(zone)
        except (ValueError, OverflowError):
            return found[0]
        return _said(then, present, today, bool(found["at"]))

    return STAMP.sub(said, text)


def _said(then: datetime, now: datetime, today: bool, at: bool) -> str:
    days = (then.date() - now.date()) // timedelta(days=1)
    name = {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(days) if today else None
    day = name or f"{then.day} {MONTHS[then.month - 1]}"
    if not today or (not name and then.year != now.year):
        day += f" {then.year}"
    if not at:
        return f"{day} {then:%H:%M}"
    return f"{'' if name else 'on '}{day} at {then:%H:%M}"


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        """Return the filters by name."""
        return {"local_times": local_times}
