# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of ngrok, from the one table that has them, for the documentation of modules."""

from __future__ import annotations

import json

from ansible_collections.anywhere.notebook.plugins.module_utils._ngrok_errors import ERRORS


class ModuleDocFragment:
    """Notes, one for each error."""

    # JSON is YAML.
    DOCUMENTATION = json.dumps(
        {
            "options": {},
            "notes": [
                f"ERR_NGROK_{number} ({error.action}) - {error.meaning}. {error.remedy}."
                for number, error in ERRORS.items()
            ],
        }
    )
