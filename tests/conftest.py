"""What all tests share; it is in the package ``tests.support``."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader

# Before anything of the collection is imported, for which Ansible has a way of its own.
init_plugin_loader([str(Path(__file__).resolve().parents[1] / ".venv/collections")])
pytest.register_assert_rewrite("tests.support")
pytest_plugins = ["tests.support.plugin", "tests.support.fixtures"]
