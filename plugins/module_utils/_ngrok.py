# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection knows about the ngrok agent. Private to the collection.

The agent's API is described in ngrok's documentation, "Agent API": ``/api/tunnels`` since agent 2,
``/api/status`` since 3.9, ``/api/endpoints`` since 3.30. Error codes: "Error reference".
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import typing as t
from urllib.parse import urlsplit

from ansible_collections.anywhere.notebook.plugins.module_utils import _http, _listener, _machine
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
    "3.37": "2026-03-05",
    "3.38": "2026-04-17",
    "3.39": "2026-04-27",
}
SUPPORT_MONTHS = 14


class NoAgent(Exception):
    """No agent's API answers; the message says what was met instead."""


class Said(t.NamedTuple):
    """What a log tells of an agent since it was started last.

    ``pid`` is the supervisor's, 0 for an agent without one. ``waits`` is true while there is no
    agent, because the server at ``upstream`` does not run, or the account ``taken_by`` has its
    port. ``endpoints`` has ``{name, url, upstream}`` of each that was opened, by name; ``visits``
    are the connections of visitors.
    """

    lines: t.Sequence[str] = ()
    pid: int = 0
    waits: bool = False
    upstream: str = ""
    taken_by: str = ""
    api: str = ""
    api_reason: str = ""
    web_addr: str = ""
    opened: bool = False
    endpoints: t.Mapping[str, dict[str, str]] = {}
    visits: int = 0


def read(log: str) -> Said:
    """Return what the log of an agent tells, which may be cut, or anything at all.

    The lines of the supervisor have ``"obj":"supervisor"``; it lets the agent have none of them.
    """
    # As the supervisor does it: at no other end of a line that Unicode knows.
    lines = log.split("\n")
    said = Said()
    endpoints: dict[str, dict[str, str]] = {}
    visits = 0
    for number, line in enumerate(lines):
        # The one line of which there may be thousands.
        if '"msg":"join connections"' in line:
            visits += 1
            continue
        record = _record(line)
        message = record.get("msg")
        if record.get("obj") == "supervisor":
            if message == "earlier connections":
                visits += _count(record.get("count"))
            if message not in ("supervisor starts", "supervisor waits", "agent starts"):
                continue
            endpoints, visits = {}, 0
            said = Said(
                lines[number + 1 :],
                _count(record.get("pid")) or said.pid,
                message == "supervisor waits",
                str(record.get("upstream", "")),
                _plain(str(record.get("taken_by", ""))),
                str(record.get("api", "")) or said.api,
                _plain(str(record.get("why", ""))) or said.api_reason,
                str(record.get("web_addr", "")),
            )
        elif message == "started tunnel":
            name, url = str(record.get("name", "")), str(record.get("url", ""))
            if re.fullmatch(r"https?://[!-~]{1,300}", url):
                upstream = str(record.get("addr", ""))
                endpoints[name] = {"name": name, "url": url, "upstream": upstream}
            said = said._replace(opened=True)
        elif message == "tunnel session started":
            said = said._replace(opened=True)
        elif message == "starting web service" and not said.pid:
            # Of an older release of this collection, whose agents always had an API.
            at = re.fullmatch(r"127(\.\d{1,3}){3}:\d{1,5}", str(record.get("addr", "")))
            said = said._replace(web_addr=at[0] if at else "")
    return said._replace(
        lines=said.lines if said.pid else lines, endpoints=endpoints, visits=visits
    )


def look(
    web_addr: str, name: str | None, log: str, pid: int = 0, upstream: str = ""
) -> dict[str, t.Any]:
    """Return what the module ngrok_endpoint_info returns for an agent that has written ``log``.

    ``pid`` is the process of its session, 0 when it is not known. ``upstream`` is where the
    endpoint has to lead to, empty for anywhere.
    """
    said = read(log)
    bad = trouble("\n".join(said.lines))
    current = not (pid and said.pid) or pid == said.pid
    alive = current and _machine.runs(said.pid or pid)
    result: dict[str, t.Any] = {
        "running": False,
        "waiting": False,
        "version": "",
        "status": "",
        "connected": False,
        "online": False,
        "error_code": bad.code if bad else "",
        "action": bad.action if bad else "",
        "api": said.api,
        "api_reason": said.api_reason,
        "endpoints": [],
    }
    if said.pid and not alive:
        # What it has said before it ended, unless that was another one.
        if current:
            return result | {"msg": bad.reason if bad else "The agent does not run."}
        return result | {"error_code": "", "action": "", "msg": "The agent has not started yet."}
    if said.waits:
        return result | waiting(said, upstream)
    if said.api == "off":
        opened = [
            {**endpoint, "proto": endpoint["url"].partition("://")[0], "connections": said.visits}
            for endpoint in said.endpoints.values()
        ]
        found: dict[str, t.Any] = {"version": "", "status": "", "endpoints": opened}
        where = "The agent runs"
        connected = said.opened and not bad
    else:
        try:
            found = agent(said.web_addr or web_addr, said.pid or pid)
        except NoAgent as exc:
            return result | {"msg": bad.reason if bad else f"{exc}."}
        where = f"The agent answers on {said.web_addr or web_addr}"
        # The API may go on to list the URL of an earlier session (seen with agent 2.3).
        for endpoint in found["endpoints"]:
            if endpoint["name"] in said.endpoints:
                endpoint["url"] = said.endpoints[endpoint["name"]]["url"]
        connected = found["status"] == "online" if found["status"] else not bad
    result |= {"running": True, **found}
    for endpoint in found["endpoints"]:
        other = {endpoint["upstream"], said.endpoints.get(endpoint["name"], endpoint)["upstream"]}
        wrong = [each for each in other if upstream and not same(each, upstream)]
        if endpoint["name"] == name and wrong:
            # Where it leads to is nobody's business: whoever opens it there may be a stranger.
            endpoint["url"] = ""
            return result | {"connected": connected, **misled(wrong[0], upstream)}
    count = len(found["endpoints"])
    listed = not name or any(endpoint["name"] == name for endpoint in found["endpoints"])
    said_so = f"{where} with {count} {'endpoint' if count == 1 else 'endpoints'}."
    if said.api == "off" and not said.opened:
        said_so = "The agent is about to connect."
    return result | {
        "msg": bad.reason if bad and not connected else said_so,
        "connected": connected,
        "online": connected and listed,
    }


def waiting(said: Said, upstream: str) -> dict[str, t.Any]:
    """Return what is to be said of an agent that waits for its server."""
    if upstream and not same(said.upstream, upstream):
        return {"waiting": True, **misled(said.upstream, upstream)}
    if said.taken_by:
        return {
            "waiting": True,
            "action": "stop",
            "msg": f"The tunnel is closed, because a program of the account {said.taken_by} "
            f"listens at {said.upstream}, where the server should. It opens by itself once the "
            "server does.",
        }
    return {
        "waiting": True,
        "action": "retry",
        "msg": f"The tunnel is closed, because no server runs at {said.upstream}. It opens by "
        "itself once the server does.",
    }


def misled(found: str, upstream: str) -> dict[str, t.Any]:
    """Return what is to be said of an endpoint that leads, or will lead, to another upstream."""
    return {
        "action": "repair",
        "msg": f"The tunnel leads to {found or 'nowhere'}, and not to {upstream}. If it stays so, "
        "run setup.",
    }


def same(one: str, other: str) -> bool:
    """Whether two upstreams are the same: a URL, ``host:port``, a host or a port.

    localhost is another host than 127.0.0.1: an agent may take it for ::1, where another account
    may listen on the same port, and pass on to the server what it hears.
    """

    def parts(upstream: str) -> tuple[object, ...]:
        text = f"localhost:{upstream}" if upstream.isdigit() else upstream
        try:
            url = urlsplit(text if "://" in text else f"http://{text}")
            port = url.port or (443 if url.scheme == "https" else 80)
        except ValueError:
            return (upstream,)
        return url.scheme, url.hostname, port, url.path.rstrip("/")

    return parts(one) == parts(other)


def read_log(log_file: str | None, pid: int = 0) -> str:
    """Return the text of the log, empty as long as there is none.

    Where the disk is full, the supervisor ``pid`` has it in memory.
    """
    if not log_file:
        return ""
    for path in (*_in_memory(pid), log_file):
        with (
            contextlib.suppress(FileNotFoundError),
            open(path, encoding="utf-8", errors="replace", newline="\n") as log,
        ):
            return log.read()
    return ""


def _in_memory(pid: int) -> list[str]:
    """Return where the log of a supervisor is if it is in memory."""
    found = []
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd") if pid else ():
            path = f"/proc/{pid}/fd/{number}"
            if os.readlink(path).startswith("/memfd:agent.log "):
                found.append(path)
    return found


def agent(web_addr: str, pid: int = 0) -> dict[str, t.Any]:
    """Return the agent whose API is at ``web_addr`` (``host:port``).

    It is asked only when it is this account's, and, where ``pid`` is given, that process or one
    below it; and it is believed only when it is the same afterwards.

    Returns:
        ``version`` and ``status`` (such as ``online``), both empty for agents before 3.9, which do
        not tell; and ``endpoints``, a list of ``{name, url, upstream, proto, connections}``, the
        same for every agent version. Its order means nothing.

    Raises:
        NoAgent: nothing answers, or something that is no agent, or not this one.
    """
    listener = _own(web_addr, pid)
    # An agent before 3.30 answers 404; a later one may know tunnels that are no endpoints.
    document = _api(web_addr, "/api/endpoints")
    entries = document.get("endpoints") or document.get("tunnels")
    if not entries:
        document = _api(web_addr, "/api/tunnels")
        entries = document.get("tunnels")
    if entries is None:
        raise NoAgent(f"something answers on {web_addr}, but it is no ngrok agent")
    status = _api(web_addr, "/api/status")
    try:
        endpoints = [_endpoint(entry | _counted(web_addr, entry)) for entry in entries]
    except (AttributeError, KeyError, TypeError) as exc:
        raise NoAgent(f"what answers on {web_addr} does not answer as an ngrok agent") from exc
    if _own(web_addr, pid) != listener:
        raise NoAgent(f"another program has taken {web_addr}")
    return {
        "version": str(status.get("agent_version", "")),
        "status": str(status.get("status", "")),
        "endpoints": endpoints,
    }


def supported_until(agent_version: str) -> str:
    """Return the day (``YYYY-MM-DD``) until which ngrok supports an agent; empty when unknown.

    After it, the service may refuse the agent of a free account (ERR_NGROK_121), never that of a
    paid one.
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
    codes = re.findall(r"ERR_NGROK_[0-9]{1,6}", "\n".join(lines))
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
    # The first one before the code, in each line that has both.
    before = [line.rpartition(ALREADY_ONLINE)[0] for line in log.splitlines()]
    urls = [
        found[0] for found in (re.search(r"https?://[^\s'\"\\]+", it) for it in before) if found
    ]
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


def _own(web_addr: str, pid: int) -> _listener.Listener:
    """Return who has the address of the API.

    Raises:
        NoAgent: nobody, or somebody else.
    """
    try:
        listener = _listener.find(web_addr)
    except (OSError, ValueError) as exc:
        raise NoAgent(f"no ngrok agent can be at {web_addr}: {exc}") from exc
    if listener is None:
        raise NoAgent(f"no ngrok agent answers on {web_addr}: Connection refused")
    own = listener.descends_from(pid) if pid else listener.uid == os.getuid()
    if not own:
        raise NoAgent(f"{web_addr} is taken by {listener}")
    return listener


def _counted(web_addr: str, entry: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the entry by itself, which has counters where the list, since 3.30, has none."""
    uri = str(entry.get("uri", ""))
    # Anything else could be another address.
    known = "metrics" in entry or not re.fullmatch(r"/api/[!-~]{1,300}", uri)
    return {} if known else _api(web_addr, uri)


def _endpoint(entry: dict[str, t.Any]) -> dict[str, t.Any]:
    """Bring an element of /api/endpoints or /api/tunnels into one shape.

    Raises:
        AttributeError, KeyError, TypeError: it has another one.
    """
    url = entry.get("url") or entry.get("public_url", "")
    upstream = entry.get("upstream", {}).get("url") or entry.get("config", {}).get("addr", "")
    found = {
        "name": entry["name"],
        "url": url,
        "upstream": upstream,
        "proto": entry.get("proto") or url.partition("://")[0],
    }
    count = _count(entry.get("metrics", {}).get("conns", {}).get("count", 0))
    return {**{name: _shown(value) for name, value in found.items()}, "connections": count}


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
    record = _record(line)
    return str(record.get("err", "")) if record.get("lvl") in ("eror", "crit") else ""


def _record(line: str) -> dict[str, t.Any]:
    """Return a line of the log as a record, empty for one that is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < 1 << 53 else 0


def _shown(text: str) -> str:
    """Return a text that can be written; JSON can hold halves of characters."""
    return text.encode("utf-8", "replace").decode()


def _plain(words: str) -> str:
    return " ".join(hide_secrets(words).split())
