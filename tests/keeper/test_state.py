"""What the keeper tells by the server, and what it leaves behind."""

from __future__ import annotations

import json
from typing import Any

import notebook_keeper
import pytest
from tornado.httpclient import HTTPClientError

from tests.support.pages import Cue, NewFile, OpenPage, Server
from tests.support.waiting import wait_until_async


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


async def test_pages_are_told_that_output_is_kept(server: Server, jp_serverapp: Any) -> None:
    assert jp_serverapp.web_app.settings["page_config_data"]["notebookOutputLost"] == ""


async def test_how_often_somebody_wants_the_machine_to_stay_on_is_counted(server: Server) -> None:
    for told in ({"keep_on": True}, {"sleeps_at": ""}, {"keep_on": True}, {"sleeps_at": ""}):
        await server.api("POST", "notebook-keeper", told)

    assert (await server.api("GET", "notebook-keeper"))["kept_on"] == 2


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", {"keep_on": True})])
async def test_nobody_without_the_token_is_told_or_can_tell(
    method: str, body: object, server: Server
) -> None:
    stranger = Server(server.url, "wrong", server.root)
    with pytest.raises(HTTPClientError, match="403"):
        await stranger.api(method, "notebook-keeper", body)


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of Jupyter that the keeper was not tried with."""
    monkeypatch.setitem(notebook_keeper.TRIED, "jupyterlab", ("998", "999"))


@pytest.mark.usefixtures("untried")
async def test_with_an_untried_release_jupyter_stays_as_it_is_without_the_keeper(
    server: Server, jp_serverapp: Any, new_file: NewFile, open_page: OpenPage, cue: Cue
) -> None:
    (problem,) = (await server.api("GET", "notebook-keeper"))["problems"]
    assert problem.startswith("jupyterlab is ")
    told = jp_serverapp.web_app.settings["page_config_data"]
    assert told["disableRTC"] is True
    assert told["notebookOutputLost"] == problem
    file = new_file("plain", [f"print('a', flush=True)\n{cue.awaited}print('b')"])
    page = await open_page(file)
    page.run()
    await page.wait_for_text("a\n")
    await page.leave()
    cue.give()
    # What was not sent waits for the page that comes back.
    await page.connect()
    await page.wait_for_text("a\nb\n")


async def test_a_document_is_dropped_from_memory_when_nobody_uses_it(
    server: Server,
    jp_serverapp: Any,
    new_file: NewFile,
    open_page: OpenPage,
    cue: Cue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("notebook_keeper.keeper.DROP_SECONDS", 0.1)
    (extension,) = jp_serverapp.extension_manager.extension_apps["jupyter_server_ydoc"]
    rooms = extension.ywebsocket_server.rooms
    file = new_file("dropped", [f"print('a', flush=True)\n{cue.awaited}print('b')"])
    page = await open_page(file)
    await page.run_and_leave("a\n")
    assert rooms
    cue.give()

    await wait_until_async(lambda: not rooms)

    assert file.text() == "a\nb\n"
    assert (await open_page(file)).text() == "a\nb\n"
