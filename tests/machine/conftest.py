"""Hosts and an edge for tests that break what lies between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.edge.client import Edge
from tests.support.hosts import Run
from tests.support.hosts.world import CACHE, fill, service


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[Run, Edge]]:
    """A run without hosts yet, and an edge that its hosts can reach."""
    fill(CACHE, {"bookworm", "trixie"})
    with Run() as run, service(tmp_path / "edge", run) as edge:
        yield run, edge
