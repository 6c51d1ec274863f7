"""A private tmux, a web server with captured answers, and a way to run modules."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.modules import run_module
from tests.support.sites import Site, serving
from tests.support.tmux import TmuxServer


@pytest.fixture(name="run_module")
def _run_module() -> Callable[..., dict[str, Any]]:
    """Run a module of the collection; its result."""
    return run_module


@pytest.fixture
def tmux(monkeypatch: pytest.MonkeyPatch) -> Iterator[TmuxServer]:
    """A tmux server that ends with the test."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setenv("TMUX_TMPDIR", directory)
        server = TmuxServer()
        try:
            yield server
        finally:
            server.ask("kill-server")


@pytest.fixture
def private_tmux(tmux: TmuxServer) -> Iterator[TmuxServer]:
    """A tmux server of the same name whose socket is in a private directory, not there yet."""
    with tempfile.TemporaryDirectory() as directory:
        server = TmuxServer(f"{directory}/tmux", tmux.socket_name)
        try:
            yield server
        finally:
            server.ask("kill-server")


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server that ends with the test."""
    with serving(Site()) as server:
        yield server


@pytest.fixture
def closed_address() -> str:
    """An address of this machine where nobody listens."""
    with Site() as server:
        return server.address
