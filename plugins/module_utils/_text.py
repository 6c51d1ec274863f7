# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be shown of the words of other programs. Private to the collection."""

from __future__ import annotations

import re

# What follows such a word up to the end of the line; JSON logs spell line ends as \r and \n.
SECRET = re.compile(
    r"""((?:token|password|secret|api_?key)["']?\s*[=:]\s*["']?)(?:(?!\\[rn])[^\r\n"'])+""",
    re.IGNORECASE,
)


def hide_secrets(text: str) -> str:
    """Return ``text`` with the values of tokens, passwords and keys replaced.

    ngrok repeats the authtoken in the messages of ERR_NGROK_105 and 107 ("Your authtoken: ...").
    """
    return SECRET.sub(r"\1(hidden)", text)
