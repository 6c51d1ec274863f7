"""Keeps what the cells of a notebook print while no page is connected.

An extension of Jupyter Server, on top of jupyter-collaboration. Cells are executed as they always
are; see ``notebook_keeper.keeper`` for how it works.

Besides documented interfaces it uses these names, which others may change. They were tried with the
releases in ``TRIED``; with any other, Jupyter stays as it is without this extension:

- jupyter_server: ``ZMQChannelsWebsocketConnection.handle_incoming_message``,
  ``.handle_outgoing_message``, ``.session_key``, ``.subprotocol``, ``deserialize_msg_from_ws_v1``;
  ``MappingKernelManager._kernel_buffers``; the setting ``kernel_websocket_connection_class`` of the
  web application.
- jupyter_server_ydoc: ``YDocExtension.ywebsocket_server``, ``.file_loaders``, ``._room_locks``;
  ``DocumentRoom._document``, ``._save_to_disc``, ``.cleaner``, ``.clients``; room ids of the form
  ``json:notebook:ID``; the page setting ``disableRTC``.
- jupyterlab: ``window._JUPYTERLAB``, where prebuilt extensions are found; the class
  ``jp-Dialog-button`` of buttons.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

TRIED = {
    "jupyter_server": ("2.21", "2.22"),
    "jupyter_server_ydoc": ("3.0", "3.1"),
    "jupyterlab": ("4.6", "4.7"),
}


# Of the event that tells the open pages; JupyterLab subscribes to all events.
SLEEP: dict[str, Any] = {
    "$id": "https://anywhere.notebook/events/sleep",
    "version": "1",
    "title": "When the machine goes to sleep",
    "type": "object",
    "required": ["sleeps_at"],
    "properties": {
        "sleeps_at": {"type": "string", "description": "ISO 8601 in UTC, empty when it does not."}
    },
}


def untried(tried: dict[str, tuple[str, str]] = TRIED) -> list[str]:
    """The packages that are missing here, or of a release that this was not tried with."""
    found = []
    for name, (lowest, beyond) in tried.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            found.append(f"{name} is not installed")
            continue
        if not numbers(lowest) <= numbers(installed) < numbers(beyond):
            found.append(f"{name} is {installed}, not {lowest} or newer and below {beyond}")
    return found


def numbers(text: str) -> list[int]:
    """A release as numbers: of 2.21.1rc0, 2, 21 and 1."""
    return [int(number) for number in re.findall(r"\d+", text)[:3]]


def add_state(app: ServerApp, problems: list[str], deaths: dict[str, dict[str, str]]) -> None:
    """Answer ``GET /api/notebook-keeper`` with what there is to know.

    That is ``problems`` (without any it works), ``deaths``, which are those of
    ``keeper.OutputKeeper``, ``sleeps_at``, and ``kept_on``, how often somebody has wanted the
    machine to stay on. By ``POST``, the program that lets it sleep tells ``sleeps_at``, and a page
    that somebody wants it to stay on: ``{"keep_on": true}``.
    """
    from jupyter_server.base.handlers import APIHandler
    from jupyter_server.utils import url_path_join
    from tornado.web import HTTPError, authenticated

    sleep = {"sleeps_at": "", "kept_on": 0}
    assert app.event_logger is not None
    app.event_logger.register_event_schema(SLEEP)

    class StateHandler(APIHandler):
        @authenticated
        def get(self) -> None:
            self.finish({"problems": problems, "deaths": deaths, **sleep})

        @authenticated
        def post(self) -> None:
            told = self.get_json_body()
            if told is None:
                raise HTTPError(400, "Nothing was told")
            sleep["sleeps_at"] = told.get("sleeps_at", "")
            sleep["kept_on"] += told.get("keep_on", False)
            data = {"sleeps_at": sleep["sleeps_at"]}
            self.event_logger.emit(schema_id=SLEEP["$id"], data=data)
            self.finish(sleep)

    route = url_path_join(app.web_app.settings["base_url"], "api", "notebook-keeper")
    app.web_app.add_handlers(".*$", [(route, StateHandler)])


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "notebook_keeper"}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    settings = app.web_app.settings
    # What the pages say of it, where something shows it there.
    pages = settings.setdefault("page_config_data", {})
    problems = untried()
    if problems:
        add_state(app, problems, {})
        pages["notebookOutputLost"] = "; ".join(problems)
        # Documents that nobody writes into are no better than files.
        pages["disableRTC"] = True
        app.log.warning("Output is not kept while no page is open: %s.", "; ".join(problems))
        return
    from .keeper import KeepingConnection, OutputKeeper, hear_bursts

    hear_bursts(app)
    KeepingConnection.keeper = keeper = OutputKeeper(app)
    add_state(app, problems, keeper.deaths)
    # What another extension does with messages, it goes on doing.
    name = "kernel_websocket_connection_class"
    settings[name] = type("KeepingConnection", (KeepingConnection, settings[name]), {})
    pages["notebookOutputLost"] = ""
    app.log.info("Output is kept while no page is open, up to %d MB of a cell.", keeper.limit_mb)
