# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback: what a playbook passes on, as one JSON document on standard output."""

from __future__ import annotations

DOCUMENTATION = r"""
name: document
type: stdout
short_description: Print nothing but the JSON document that a playbook passes on
description:
  - For programs that read what a playbook such as C(anywhere.notebook.status) has found. It
    prints what M(ansible.builtin.set_stats) was given for the whole run, once, at the end.
  - Where there is no such document it prints nothing, and says on standard error why; the playbook
    C(anywhere.notebook.status) passes one on with C(notebook_format=json) only, and fails without.
  - Warnings and errors of Ansible itself go to standard error, as always.
version_added: 0.1.0
author: The anywhere.notebook authors (@anywhere-notebook)
requirements:
  - ANSIBLE_STDOUT_CALLBACK=anywhere.notebook.document in the environment
"""

import json
import typing as t

from ansible.plugins.callback import CallbackBase

NOTHING = (
    "No document was passed on, so there is none to print. The playbook anywhere.notebook.status "
    "passes one on with -e notebook_format=json, and without -e notebook_report."
)


class CallbackModule(CallbackBase):
    """Says nothing until the end, unless a task fails."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "anywhere.notebook.document"

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Say why a task has failed, on standard error."""
        # The names without underscores are those of ansible-core 2.19 and newer.
        host = getattr(result, "host", None) or result._host
        said = getattr(result, "result", None) or result._result
        if not ignore_errors:
            self._display.display(f"{host}: {said.get('msg', 'failed')}", stderr=True)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Print the document. Ansible keeps what holds for the whole run under ``_run``."""
        document = stats.custom.get("_run")
        if document:
            self._display.display(json.dumps(document, indent=2))
        elif not stats.failures:
            self._display.display(NOTHING, stderr=True)
