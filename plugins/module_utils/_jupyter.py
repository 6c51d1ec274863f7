# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection knows about a Jupyter server's REST API. Private to the collection.

The routes are those of jupyter_server's ``services/api/api.yaml``: ``/api`` needs no login,
``/api/status``, ``/api/kernels`` and ``/api/sessions`` do.
"""

from __future__ import annotations

import typing as t

from ansible_collections.anywhere.notebook.plugins.module_utils import _http

# Any value makes ngrok's free plan skip its page for browsers (documentation of ERR_NGROK_6024).
SKIP_INTERSTITIAL = {"ngrok-skip-browser-warning": "1"}


class JupyterError(Exception):
    """The server answers, but not as asked; the message says what to do."""


class NotJupyter(Exception):
    """No Jupyter server answers; the message is what was met instead."""


def version(url: str, timeout: float) -> str:
    """Return the version of the Jupyter server at ``url``.

    Raises:
        NotJupyter: nothing answers, or something else does.
    """
    try:
        answer = _http.get(f"{url}/api", SKIP_INTERSTITIAL, timeout)
    except _http.NoAnswer as exc:
        raise NotJupyter(f"{url} does not answer: {exc}") from exc
    # ngrok's edge sets this header on its own pages and on nothing that passes through it.
    code = answer.headers.get("ngrok-error-code")
    if code:
        raise NotJupyter(f"{url} is answered by ngrok itself: {code}")
    document = answer.json()
    if answer.status != 200 or not isinstance(document, dict) or "version" not in document:
        raise NotJupyter(f"{url} answers with status {answer.status}, but is no Jupyter server")
    return str(document["version"])


def activity(url: str, token: str, timeout: float) -> dict[str, t.Any]:
    """Return what the server does.

    Returns:
        ``started`` and ``last_activity`` of the server (ISO 8601, UTC), and ``kernels``: a list of
        ``{id, name, path, execution_state, last_activity}``; ``path`` is the notebook's, relative
        to the server's root, or empty for a kernel without a notebook. ``outputs_kept`` and
        ``outputs_problem`` as the module jupyter_server_info has them.

    Raises:
        JupyterError: the server refuses the token, or answers with an error.
    """
    status, kernels, sessions = (
        _authorized(f"{url}/api/{route}", token, timeout)
        for route in ("status", "kernels", "sessions")
    )
    # jupyter-collaboration puts the name of its drive before the path.
    paths = {
        session["kernel"]["id"]: session["path"].removeprefix("RTC:")
        for session in sessions
        if session["kernel"]
    }
    return {
        **_outputs(url, token, timeout),
        "started": status["started"],
        "last_activity": status["last_activity"],
        "kernels": [
            {
                "id": kernel["id"],
                "name": kernel["name"],
                "path": paths.get(kernel["id"], ""),
                "execution_state": kernel["execution_state"],
                "last_activity": kernel["last_activity"],
            }
            for kernel in kernels
        ],
    }


def _outputs(url: str, token: str, timeout: float) -> dict[str, t.Any]:
    """Ask our extension of the server, which need not be there."""
    authorization = {"Authorization": f"token {token}"}
    try:
        answer = _http.get(f"{url}/api/notebook-keeper", authorization, timeout)
    except _http.NoAnswer as exc:
        raise JupyterError(f"GET {url}/api/notebook-keeper: {exc}") from exc
    document = answer.json()
    if answer.status != 200 or not isinstance(document, dict):
        return {"outputs_kept": False, "outputs_problem": ""}
    problems = document.get("problems", [])
    return {"outputs_kept": not problems, "outputs_problem": "; ".join(problems)}


def _authorized(url: str, token: str, timeout: float) -> t.Any:
    try:
        answer = _http.get(url, {"Authorization": f"token {token}"}, timeout)
    except _http.NoAnswer as exc:
        raise JupyterError(f"GET {url}: {exc}") from exc
    if answer.status in (401, 403):
        raise JupyterError(
            f"GET {url}: the server does not accept the token. It was started with another one; "
            "restart it, or point token_file at the right file."
        )
    document = answer.json()
    if answer.status != 200 or document is None:
        raise JupyterError(f"GET {url}: status {answer.status}")
    return document
