# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection knows about the ngrok agent. Private to the collection.

The agent's API is described in ngrok's documentation, "Agent API": ``/api/tunnels`` since agent 2,
``/api/status`` since 3.9, ``/api/endpoints`` since 3.30. Error codes: "Error reference".
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.anywhere.notebook.plugins.module_utils import _http
from ansible_collections.anywhere.notebook.plugins.module_utils._ngrok_errors import ERRORS
from ansible_collections.anywhere.notebook.plugins.module_utils._text import hide_secrets

TIMEOUT = 5

ALREADY_ONLINE = "ERR_NGROK_334"
OFFLINE = "ERR_NGROK_3200"


# When minor versions came out: ngrok's "Agent Version Support Policy" and "Agent Changelog".
RELEASED = {
    "2.3": "2018-12-04",
    "3.16": "2024-09-09",
    "3.17": "2024-10-10",
    "3.18": "2024-10-17",
    "3.19": "2024-12-19",
    "3.20": "2025-02-20",
    "3.21": "2025-03-13",
    "3.22": "2025-03-20",
    "3.23": "2025-06-05",
    "3.24": "2025-07-17",
    "3.25": "2025-08-01",
    "3.26": "2025-08-07",
    "3.27": "2025-08-28",
    "3.28": "2025-09-11",
    "3.29": "2025-09-17",
    "3.30": "2025-09-23",
    "3.31": "2025-10-20",
    "3.32": "2025-10-23",
    "3.33": "2025-11-12",
    "3.34": "2025-12-05",
    "3.35": "2026-01-12",
    "3.36": "2026-02-03",
    "3.38": "2026-04-17",
    "3.39": "2026-04-27",
}
SUPPORT_MONTHS = 14


class NoAgent(Exception):
    """No agent's API answers; the message says what was met instead."""


def look(web_addr: str, name: str | None, log: str) -> dict[str, t.Any]:
    """Return what the module ngrok_endpoint_info returns for an agent that has written ``log``."""
    bad = trouble(log)
    result = {
        "running": False,
        "version": "",
        "status": "",
        "connected": False,
        "online": False,
        "error_code": bad.code if bad else "",
        "action": bad.action if bad else "",
        "endpoints": [],
    }
    try:
        found = agent(web_addr)
    except NoAgent as exc:
        return result | {"msg": bad.reason if bad else f"{exc}."}
    count = len(found["endpoints"])
    noun = "endpoint" if count == 1 else "endpoints"
    connected = found["status"] == "online" if found["status"] else not bad
    listed = not name or any(endpoint["name"] == name for endpoint in found["endpoints"])
    said = f"The agent answers on {web_addr} with {count} {noun}."
    return result | {
        "running": True,
        "msg": bad.reason if bad and not connected else said,
        "connected": connected,
        "online": connected and listed,
        **found,
    }


def read_log(log_file: str | None) -> str:
    """Return the text of the log, empty as long as there is none."""
    if not log_file:
        return ""
    try:
        with open(log_file, encoding="utf-8", errors="replace") as log:
            return log.read()
    except FileNotFoundError:
        return ""


def agent(web_addr: str) -> dict[str, t.Any]:
    """Return the agent whose API is at ``web_addr`` (``host:port``).

    Returns:
        ``version`` and ``status`` (such as ``online``), both empty for agents before 3.9, which do
        not tell; and ``endpoints``, a list of ``{name, url, upstream, proto, connections}``, the
        same for every agent version. Its order means nothing.

    Raises:
        NoAgent: nothing answers, or something that is no agent.
    """
    # An agent before 3.30 answers 404; a later one may know tunnels that are no endpoints.
    document = _api(web_addr, "/api/endpoints")
    entries = document.get("endpoints") or document.get("tunnels")
    if not entries:
        document = _api(web_addr, "/api/tunnels")
        entries = document.get("tunnels")
    if entries is None:
        raise NoAgent(f"something answers on {web_addr}, but it is no ngrok agent")
    status = _api(web_addr, "/api/status")
    return {
        "version": status.get("agent_version", ""),
        "status": status.get("status", ""),
        "endpoints": [_endpoint(entry | _counted(web_addr, entry)) for entry in entries],
    }


def supported_until(agent_version: str) -> str:
    """Return the day (``YYYY-MM-DD``) until which ngrok supports an agent; empty when unknown.

    After it, the service may refuse the agent (ERR_NGROK_121).
    """
    released = RELEASED.get(".".join(agent_version.split(".")[:2]))
    if not released:
        return ""
    year, month, day = map(int, released.split("-"))
    years, month = divmod(month - 1 + SUPPORT_MONTHS, 12)
    return f"{year + years}-{month + 1:02}-{day:02}"


class Trouble(t.NamedTuple):
    """Why an agent is not connected to ngrok's service.

    ``code`` is ngrok's, such as ``ERR_NGROK_107``, or empty; ``action`` is as in its table.
    """

    reason: str
    action: str
    code: str = ""


def trouble(log: str) -> Trouble | None:
    """Return why the agent that wrote ``log`` is not connected, None when it is.

    ``log`` is the agent's output with ``log_format: json``; lines that are no JSON are what it
    prints for people, such as ``ERROR:  authentication failed: ...``.
    """
    # What came before the last success is history.
    lines = re.split(r'"msg":"(?:tunnel session started|started tunnel)"', log)[-1].splitlines()
    codes = re.findall(r"ERR_NGROK_\d+", "\n".join(lines))
    if codes:
        number = int(codes[-1].rpartition("_")[2])
        action = ERRORS[number].action if number in ERRORS else "stop"
        return Trouble(refusal(codes[-1], lines), action, codes[-1])
    errors = _errors(lines)
    if not errors:
        return None
    ended = any('"msg":"command failed"' in line for line in lines)
    if not ended and any("reconnect" in line for line in lines):
        return Trouble(
            f"The agent cannot reach ngrok's service: {errors[-1]}. It keeps trying. Look whether "
            "this machine may open connections to connect.ngrok-agent.com, port 443.",
            "retry",
        )
    return Trouble(f"The agent gave up: {errors[-1].rstrip('.')}.", "stop")


def refusal(code: str, lines: t.Sequence[str] = ()) -> str:
    """Return code, meaning and remedy as a sentence; the agent's own words for an unknown code."""
    number = int(code.rpartition("_")[2])
    if number in ERRORS:
        return f"ngrok refused with {explained(code)}"
    words = (_errors(lines) or ["no reason given"])[-1]
    return (
        f"ngrok refused with {code}: {words}. See https://ngrok.com/docs/errors/err_ngrok_{number}."
    )


def explained(code: str) -> str:
    """Return a code with its meaning and its remedy, or with the page that has them."""
    number = int(code.rpartition("_")[2])
    if number in ERRORS:
        return f"{code}: {ERRORS[number].meaning}. {ERRORS[number].remedy}."
    return f"{code}. See https://ngrok.com/docs/errors/err_ngrok_{number}."


def lingers(log: str) -> bool:
    """Whether the URL that the agent was refused is held by an agent that is no more.

    Its endpoint stays until the service has missed its heartbeats. A URL at which somebody answers
    is held by an agent that lives, and will not become free by waiting.
    """
    urls = re.findall(r"(https?://[^\s'\"\\]+)[^\n]*" + ALREADY_ONLINE, log)
    if not urls:
        return False
    try:
        answer = _http.request(f"{urls[-1]}/api", timeout=TIMEOUT)
    except _http.NoAnswer:
        return True
    return answer.headers.get("ngrok-error-code", OFFLINE) != OFFLINE


def _api(web_addr: str, path: str) -> dict[str, t.Any]:
    """Return the JSON object at ``path``, empty when the agent does not know the path."""
    try:
        answer = _http.request(f"http://{web_addr}{path}", timeout=TIMEOUT)
    except _http.NoAnswer as exc:
        raise NoAgent(f"no ngrok agent answers on {web_addr}: {exc}") from exc
    document = answer.json()
    return document if answer.status == 200 and isinstance(document, dict) else {}


def _counted(web_addr: str, entry: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the entry by itself, which has counters where the list, since 3.30, has none."""
    return {} if "metrics" in entry or "uri" not in entry else _api(web_addr, entry["uri"])


def _endpoint(entry: dict[str, t.Any]) -> dict[str, t.Any]:
    """Bring an element of /api/endpoints or /api/tunnels into one shape."""
    url = entry.get("url") or entry.get("public_url", "")
    upstream = entry.get("upstream", {}).get("url") or entry.get("config", {}).get("addr", "")
    return {
        "name": entry["name"],
        "url": url,
        "upstream": upstream,
        "proto": entry.get("proto") or url.partition("://")[0],
        "connections": entry.get("metrics", {}).get("conns", {}).get("count", 0),
    }


def _errors(lines: t.Sequence[str]) -> list[str]:
    """Return the errors a log speaks of, each on one line and without secrets.

    An agent 3 prints an error for people after it has recorded it, one line of it at a time, so
    what is printed counts only where nothing is recorded.
    """
    recorded = [_plain(words) for words in map(_recorded, lines) if words]
    printed = [
        found[1] for found in (re.match(r"ERROR:\s+(\S.*)", line) for line in lines) if found
    ]
    return recorded or ([_plain("\n".join(printed))] if printed else [])


def _recorded(line: str) -> str:
    """Return the error that a line of the log has recorded as JSON, or nothing."""
    try:
        record = json.loads(line)
    except ValueError:
        return ""
    bad = isinstance(record, dict) and record.get("lvl") in ("eror", "crit")
    return str(record.get("err", "")) if bad else ""


def _plain(words: str) -> str:
    return " ".join(hide_secrets(words).split())
