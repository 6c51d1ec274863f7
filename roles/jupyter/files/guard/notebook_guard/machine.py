"""Which machine a page belongs to, and what its pages are told.

A page's configuration is ``page_config_data`` of the web application, which JupyterLab and Notebook
put into every page for whoever is logged in. The prebuilt extension ``notebook-guard``, which is
found by ``LabServerApp.extra_labextensions_path``, shows what is in it.
"""

from __future__ import annotations

import os
import pwd
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp
    from traitlets.config import Config

KEEPER = "notebook_keeper"
LABEXTENSIONS = Path(__file__).resolve().parents[1] / "labextensions"


def machine() -> tuple[str, str]:
    """Return the names of the account and the machine."""
    try:
        account = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        account = str(os.geteuid())
    return account, socket.gethostname()


def add_labextension(c: Config) -> None:
    """Have the pages load our extension, besides what ``jupyter_settings`` has them load."""
    paths = c.LabServerApp.get("extra_labextensions_path", [])
    c.LabServerApp.extra_labextensions_path = [*paths, str(LABEXTENSIONS)]


def tell_pages(app: ServerApp) -> None:
    """Tell pages which machine this is, and why output is not kept.

    The keeper takes the latter back when it works, whichever of the two is loaded first.
    """
    pages = app.web_app.settings.setdefault("page_config_data", {})
    pages["notebookMachine"] = "@".join(machine())
    pages.setdefault("notebookOutputLost", _why_lost(app))


def _why_lost(app: ServerApp) -> str:
    if app.jpserver_extensions.get(KEEPER) is False:
        return "jupyter_outputs_kept is false"
    if find_spec(KEEPER) is None:
        return (
            "the output keeper is not installed here, which comes with the Jupyter that setup "
            "installs on Python 3.10 or newer"
        )
    return "the output keeper does not work here, and the server's log says why"
