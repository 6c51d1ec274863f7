"""What the guard tells pages of the machine they belong to."""

from __future__ import annotations

import os
import pwd
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest
from notebook_guard import machine
from traitlets.config import Config


def told(extensions: dict[str, bool], pages: dict[str, Any]) -> dict[str, Any]:
    """The configuration of pages on a server with these extensions."""
    app = SimpleNamespace(
        jpserver_extensions=extensions,
        web_app=SimpleNamespace(settings={"page_config_data": pages} if pages else {}),
    )
    machine.tell_pages(cast("Any", app))
    return dict(app.web_app.settings["page_config_data"])


@pytest.mark.parametrize(
    ("extensions", "module", "why"),
    [
        ({"notebook_keeper": False}, "notebook_keeper", "jupyter_outputs_kept is false"),
        ({"notebook_keeper": False}, "no_such_module", "jupyter_outputs_kept is false"),
        ({"jupyterlab": True}, "no_such_module", "the output keeper is not installed here"),
        ({}, "no_such_module", "the output keeper is not installed here"),
        ({"notebook_keeper": True}, "notebook_keeper", "the output keeper does not work here"),
    ],
)
def test_why_output_is_not_kept_is_told_until_the_keeper_works(
    extensions: dict[str, bool], module: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extensions = {
        module if name == "notebook_keeper" else name: on for name, on in extensions.items()
    }
    monkeypatch.setattr(machine, "KEEPER", module)

    assert told(extensions, {})["notebookOutputLost"].startswith(why)


@pytest.mark.parametrize("said", ["", "jupyterlab is 3.0, not 4.6 or newer and below 4.7"])
def test_what_the_keeper_has_said_already_stays(said: str) -> None:
    pages = told({}, {"notebookOutputLost": said, "disableRTC": False})

    assert pages["notebookOutputLost"] == said
    assert pages["disableRTC"] is False


def test_the_machine_is_the_account_and_the_host() -> None:
    account = pwd.getpwuid(os.geteuid()).pw_name

    assert machine.machine() == (account, socket.gethostname())
    assert told({}, {})["notebookMachine"] == f"{account}@{socket.gethostname()}"


def test_an_account_without_a_name_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)

    assert machine.machine() == (str(os.geteuid()), socket.gethostname())


@pytest.mark.parametrize("given", [[], ["/opt/theirs"], ["/opt/theirs", "/opt/more"]])
def test_the_pages_load_our_extension_besides_those_of_the_settings(given: list[str]) -> None:
    c = Config({"LabServerApp": {"extra_labextensions_path": given}} if given else {})

    machine.add_labextension(c)

    assert c.LabServerApp.extra_labextensions_path == [*given, str(machine.LABEXTENSIONS)]
    assert (machine.LABEXTENSIONS / "notebook-guard/static/remoteEntry.js").is_file()
