"""A link that is slow and loses packets is only slow."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.edge.client import Edge, fetch
from tests.support.hosts import Run
from tests.support.hosts.controller import RECONNECT, SETUP, Controller
from tests.support.hosts.world import CACHE, equip, inventory


def test_setup_and_reconnect_over_a_bad_link(network: tuple[Run, Edge], tmp_path: Path) -> None:
    run, edge = network
    host = run.up("far", "trixie", packages=("python3-venv", "tmux"), cache=CACHE)
    equip(host, run, edge)
    controller = Controller(tmp_path, inventory(run, edge, [{"name": "far"}], tmp_path))
    host.slow(delay_ms=200, loss_percent=5)

    setup = controller.play(SETUP)
    reconnect = controller.play(RECONNECT)

    assert setup.status == 0, setup.output
    assert (reconnect.status, reconnect.changed) == (0, 0), reconnect.output
    assert json.loads(fetch(reconnect.url, "/api").body)["version"]
