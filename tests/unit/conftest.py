"""A private tmux, a web server with captured answers, and a way to run modules."""

from __future__ import annotations

import importlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.support.sites import Site
from tests.support.tmux import TmuxServer

MODULES = "ansible_collections.anywhere.notebook.plugins.modules"


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run a module of the collection; its result."""

    def run(name: str, /, *, check_mode: bool = False, **args: object) -> dict[str, Any]:
        module = importlib.import_module(f"{MODULES}.{name}")
        document = {"_ansible_check_mode": check_mode, "_ansible_diff": True, **args}
        with patch_module_args(document), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


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
def site() -> Iterator[Site]:
    """A web server that ends with the test."""
    with Site() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def closed_address() -> str:
    """An address of this machine where nobody listens."""
    with Site() as server:
        return server.address
