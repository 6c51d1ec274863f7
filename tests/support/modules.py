"""Modules of the collection without Ansible, in the process of the test."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from typing import Any

from ansible.module_utils.testing import patch_module_args

MODULES = "ansible_collections.anywhere.notebook.plugins.modules"


def run_module(name: str, /, *, check_mode: bool = False, **args: object) -> dict[str, Any]:
    """Run a module; its result. What it asks of its environment is asked of the test's."""
    module = importlib.import_module(f"{MODULES}.{name}")
    document = {"_ansible_check_mode": check_mode, "_ansible_diff": True, **args}
    printed = io.StringIO()
    with (
        patch_module_args(document),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result
