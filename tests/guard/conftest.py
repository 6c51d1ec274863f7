"""A Jupyter server with the guard alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.guarded import Guarded, guarded


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Guarded]:
    """The one that the tests of a file share, with what SETTINGS of the file are."""
    settings: Any = getattr(request.module, "SETTINGS", "")
    with guarded(tmp_path_factory.mktemp("guard") / "base", settings) as running:
        yield running
