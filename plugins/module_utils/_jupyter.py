# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection knows about a Jupyter server's REST API. Private to the collection.

The routes are those of jupyter_server's ``services/api/api.yaml``: ``/api`` needs no login,
``/api/status``, ``/api/kernels``, ``/api/sessions`` and ``/api/terminals`` do.
"""

from __future__ import annotations

import datetime
import time
import typing as t
from urllib.parse import urlsplit

from ansible_collections.anywhere.notebook.plugins.module_utils import _http, _listener, _machine
from ansible_collections.anywhere.notebook.plugins.module_utils._ngrok import explained

# Any value makes ngrok's free plan skip its page for browsers (documentation of ERR_NGROK_6024).
SKIP_INTERSTITIAL = {"ngrok-skip-browser-warning": "1"}

POLL = 0.1
REQUEST_TIMEOUT = 10


class JupyterError(Exception):
    """The server answers, but not as asked; the message says what to do."""


class NotJupyter(Exception):
    """No Jupyter server answers; the message is what was met instead.

    ``answered`` is whether anything answered, ``error_code`` the code of ngrok's if it was ngrok.
    """

    def __init__(self, message: str, *, answered: bool = True, error_code: str = "") -> None:
        super().__init__(message)
        self.answered = answered
        self.error_code = error_code


def look(
    url: str, token_file: str | None, password: str | None, deadline: float
) -> dict[str, t.Any]:
    """Return what the module jupyter_server_info returns, once a server answers.

    Waits for it until ``deadline`` (time.monotonic).

    Raises:
        JupyterError: the server refuses the token, or stops answering.
        OSError: the token file cannot be read.
    """
    result = {
        "running": False,
        "msg": "",
        "url": url,
        "answered": False,
        "error_code": "",
        "login": "",
        "version": "",
        "pid": 0,
        "started": "",
        "last_activity": "",
        "outputs_kept": False,
        "outputs_problem": "",
        "terminals": [],
        "kernels": [],
    }
    while True:
        # One that answers slowly gets the time that is left.
        timeout = max(REQUEST_TIMEOUT, deadline - time.monotonic())
        try:
            result["version"] = version(url, timeout)
            break
        except NotJupyter as exc:
            if time.monotonic() >= deadline:
                found = {"answered": exc.answered, "error_code": exc.error_code}
                return result | found | {"msg": f"{exc}."}
        time.sleep(POLL)
    result["answered"] = True
    parts = urlsplit(url)
    if parts.hostname in ("127.0.0.1", "localhost"):
        listener = _listener.find(f"127.0.0.1:{parts.port or 80}")
        result["pid"] = listener.pid if listener else 0
    if token_file:
        with open(token_file, encoding="utf-8") as token:
            result |= activity(url, token.read().strip(), timeout)
    if password:
        try:
            result["login"], started = log_in(url, password, timeout)
        except JupyterError as exc:
            return result | {"msg": f"{exc}."}
        result["started"] = started or result["started"]
    said = f"Jupyter server {result['version']} answers at {url}."
    return result | {"running": True, "msg": said}


def version(url: str, timeout: float) -> str:
    """Return the version of the Jupyter server at ``url``.

    Raises:
        NotJupyter: nothing answers, or something else does.
    """
    try:
        answer = _http.request(f"{url}/api", SKIP_INTERSTITIAL, timeout)
    except _http.NoAnswer as exc:
        raise NotJupyter(f"{url} does not answer: {exc}", answered=False) from exc
    # ngrok's edge sets this header on its own pages and on nothing that passes through it.
    code = answer.headers.get("ngrok-error-code")
    if code:
        words = explained(code).rstrip(".")
        raise NotJupyter(f"{url} is answered by ngrok itself with {words}", error_code=code)
    document = answer.json()
    if answer.status != 200 or not isinstance(document, dict) or "version" not in document:
        raise NotJupyter(f"{url} answers with status {answer.status}, but is no Jupyter server")
    return str(document["version"])


def log_in(url: str, password: str, timeout: float) -> tuple[str, str]:
    """Type a password on the login page, as a person would.

    Returns:
        ``accepted`` or ``refused``, empty where there is no such page; and, where it was accepted,
        the server's start (ISO 8601, UTC), by which one server is told from another.

    Raises:
        JupyterError: the server stops answering.
    """
    try:
        page = _http.request(f"{url}/login", SKIP_INTERSTITIAL, timeout)
        xsrf = page.cookies.get("_xsrf", "")
        cookies = {"Cookie": _cookies(page.cookies)}
        form = {"_xsrf": xsrf, "password": password}
        answer = _http.request(f"{url}/login", SKIP_INTERSTITIAL | cookies, timeout, form)
        if answer.status != 302:
            return ("refused" if answer.status == 401 else "", "")
        cookies = {"Cookie": _cookies(page.cookies | answer.cookies), "X-XSRFToken": xsrf}
        status = _http.request(f"{url}/api/status", SKIP_INTERSTITIAL | cookies, timeout).json()
    except _http.NoAnswer as exc:
        raise JupyterError(f"{url} does not answer any more: {exc}") from exc
    return "accepted", str(status["started"]) if isinstance(
        status, dict
    ) and "started" in status else ""


def activity(url: str, token: str, timeout: float) -> dict[str, t.Any]:
    """Return what the server does.

    Returns:
        ``started`` and ``last_activity`` of the server (ISO 8601, UTC), ``outputs_kept`` and
        ``outputs_problem``, the names of its ``terminals``, and its ``kernels``, each as the module
        jupyter_server_info has it.

    Raises:
        JupyterError: the server refuses the token, or answers with an error.
    """
    status, kernels, sessions = (
        _authorized(f"{url}/api/{route}", token, timeout)
        for route in ("status", "kernels", "sessions")
    )
    # These two are extensions of the server, which need not be there.
    terminals = _authorized(f"{url}/api/terminals", token, timeout, missing=[])
    keeper = _authorized(f"{url}/api/notebook-keeper", token, timeout, missing={})
    problems = keeper.get("problems", [])
    # jupyter-collaboration puts the name of its drive before the path.
    paths = {
        session["kernel"]["id"]: session["path"].removeprefix("RTC:")
        for session in sessions
        if session["kernel"]
    }
    processes = _machine.kernels({kernel["id"] for kernel in kernels})
    return {
        "started": status["started"],
        "last_activity": status["last_activity"],
        "outputs_kept": bool(keeper) and not problems,
        "outputs_problem": "; ".join(problems),
        "terminals": [terminal["name"] for terminal in terminals],
        "kernels": [
            {
                "id": kernel["id"],
                "name": kernel["name"],
                "path": paths.get(kernel["id"], ""),
                "execution_state": kernel["execution_state"],
                "last_activity": kernel["last_activity"],
                "idle_seconds": _idle_seconds(kernel),
                **processes.get(kernel["id"], {"pid": 0, "memory_mb": 0}),
                **keeper.get("deaths", {}).get(kernel["id"], {"died": "", "died_of": ""}),
            }
            for kernel in kernels
        ],
    }


def _cookies(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _idle_seconds(kernel: dict[str, t.Any]) -> int:
    if kernel["execution_state"] == "busy":
        return 0
    # Up to Python 3.10 fromisoformat does not know the Z.
    last = datetime.datetime.fromisoformat(kernel["last_activity"].replace("Z", "+00:00"))
    return max(0, int((datetime.datetime.now(last.tzinfo) - last).total_seconds()))


def _authorized(url: str, token: str, timeout: float, missing: t.Any = None) -> t.Any:
    """Return what is at ``url``; where there is nothing, ``missing`` if given."""
    try:
        answer = _http.request(url, {"Authorization": f"token {token}"}, timeout)
    except _http.NoAnswer as exc:
        raise JupyterError(f"GET {url}: {exc}") from exc
    if answer.status in (401, 403):
        raise JupyterError(
            f"GET {url}: the server does not accept the token. It was started with another one; "
            "restart it, or point token_file at the right file."
        )
    if answer.status == 404 and missing is not None:
        return missing
    document = answer.json()
    if answer.status != 200 or document is None:
        raise JupyterError(f"GET {url}: status {answer.status}")
    return document
