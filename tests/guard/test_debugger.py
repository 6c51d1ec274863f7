"""No kernel is debugged, which opens ports without a password, unless that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.guarded import Guarded, guarded
from tests.support.processes import debuggers
from tests.support.waiting import wait_until

V1 = "v1.kernel.websocket.jupyter.org"
ON = """
import functools
notebook_guard.apply = functools.partial(notebook_guard.apply, debugger=True)
"""


@pytest.fixture
def permissive(tmp_path: Path) -> Iterator[Guarded]:
    """One that lets kernels be debugged."""
    with guarded(tmp_path / "base", ON) as server:
        yield server
    wait_until(lambda: not debuggers(server.base))


@pytest.mark.parametrize("protocol", ["", V1])
def test_a_front_end_that_asks_for_the_debugger_opens_no_port(
    protocol: str, server: Guarded
) -> None:
    owner = server.owner()

    assert not owner.debug(owner.kernel(), protocol)

    assert debuggers(server.base) == []
    assert "asked for the debugger, which jupyter_debugger turns on" in server.log


def test_where_it_was_asked_for_it_works(permissive: Guarded) -> None:
    owner = permissive.owner()

    assert owner.debug(owner.kernel())

    assert len(debuggers(permissive.base)) == 1
