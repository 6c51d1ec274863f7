"""A link that is slow and loses packets is only slow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.edge.client import Edge, fetch
from tests.support.hosts import Run, ready
from tests.support.hosts.controller import RECONNECT, SETUP, Controller
from tests.support.hosts.world import inventory


@pytest.mark.acceptance
def test_setup_and_reconnect_over_a_bad_link(network: tuple[Run, Edge], tmp_path: Path) -> None:
    run, edge = network
    (host,) = run.up_all([ready.spec("far")])
    ready.wait(edge)
    given = inventory(run, edge, [{"name": "far"}], tmp_path)
    controller = Controller(tmp_path, given, **ready.VARIABLES)
    host.slow(delay_ms=200, loss_percent=5)

    setup = controller.play(SETUP)
    reconnect = controller.play(RECONNECT)

    assert setup.status == 0, setup.output
    assert (reconnect.status, reconnect.changed) == (0, 0), reconnect.output
    assert json.loads(fetch(reconnect.url, "/api").body)["version"]
