"""What the keeper tells by the server, and what it leaves behind."""

from __future__ import annotations

import json

import notebook_keeper

from tests.support.pages import Server


async def test_when_the_machine_goes_to_sleep_is_told_to_pages(server: Server) -> None:
    socket = await server.connect("events/subscribe")
    at = "2026-11-27T21:00:00Z"

    answer = await server.api("POST", "notebook-keeper", {"sleeps_at": at})

    assert answer == {"sleeps_at": at, "kept_on": 0}
    while (event := json.loads(await socket.read_message() or ""))["schema_id"] != (
        notebook_keeper.SLEEP["$id"]
    ):
        pass
    assert event["sleeps_at"] == at
    state = await server.api("GET", "notebook-keeper")
    assert state == {"problems": [], "deaths": {}, "sleeps_at": at, "kept_on": 0}
    answer = await server.api("POST", "notebook-keeper", {"keep_on": True})
    assert answer == {"sleeps_at": "", "kept_on": 1}
    event = json.loads(await socket.read_message() or "")
    assert event["sleeps_at"] == ""
    socket.close()
