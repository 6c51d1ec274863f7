"""What all tests share; it is in the package ``tests.support``."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.support")
pytest_plugins = ["tests.support.plugin", "tests.support.fixtures"]
