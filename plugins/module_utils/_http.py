# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One way to ask over HTTP, for the agent's API and for Jupyter. Private to the collection.

Whoever answers may mean harm: neither how long it takes nor how much it sends is up to them.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import threading
import typing as t
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit

from ansible.module_utils.urls import open_url

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LIMIT_MB = 4
PART = 1 << 16

# Called with ``host:port`` once there is a connection, before anything is sent; it may raise.
Check = t.Callable[[str], None]


class NoAnswer(Exception):
    """Nothing answered over HTTP; the message is the reason in the system's words."""


@dataclass(frozen=True)
class Answer:
    """Status, headers with lower-case names, and body of an HTTP response of any status."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> t.Any:
        """Return the decoded body, None when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def request(
    url: str,
    headers: dict[str, str] | None = None,
    timeout: float = 10,
    form: dict[str, str] | None = None,
    check: Check | None = None,
) -> Answer:
    """Return what ``url`` answers within ``timeout`` seconds; redirects are not followed.

    With a ``form`` it is sent by POST, otherwise it is a GET. With a ``check`` only loopback is
    asked, and what the check raises is raised.

    Loopback is never asked through a proxy. A name below ``localhost`` is loopback (RFC 6761
    section 6.3), whatever the system's resolver says.

    Raises:
        NoAnswer: no connection, no HTTP, more than LIMIT_MB, or not all of it in time.
    """
    found: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found.put(_ask(url, dict(headers or {}), timeout, form, check))
        except Exception as exc:
            found.put(exc)

    # A socket's time-out is for each of its packets, and the resolver has none.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = found.get(timeout=timeout)
    except queue.Empty:
        raise NoAnswer("timed out") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _ask(
    url: str,
    headers: dict[str, str],
    timeout: float,
    form: dict[str, str] | None,
    check: Check | None,
) -> Answer:
    method, data = ("GET", None) if form is None else ("POST", urlencode(form))
    reply: t.Any
    with contextlib.ExitStack() as stack:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 80
            if parts.scheme not in ("http", "https"):
                raise NoAnswer(f"{url} is no address of the web")
            if parts.scheme == "http" and (host in LOOPBACK or host.endswith(".localhost")):
                there = host if host == "::1" else "127.0.0.1"
                connection = http.client.HTTPConnection(there, port, timeout=timeout)
                stack.callback(connection.close)
                connection.connect()
                if check:
                    check(f"{there}:{port}")
                headers |= {"Host": parts.netloc, "Connection": "close"}
                if data is not None:
                    headers["Content-Type"] = "application/x-www-form-urlencoded"
                target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
                connection.request(method, target, data, headers)
                reply = connection.getresponse()
            elif check:
                raise NoAnswer("it is not on this machine")
            else:
                reply = open_url(
                    url,
                    data=data,
                    method=method,
                    headers=headers,
                    timeout=timeout,
                    use_proxy=host not in LOOPBACK,
                    follow_redirects="none",
                    # No unpacking, and no passwords but those that are given.
                    decompress=False,
                    use_netrc=False,
                )
        except HTTPError as exc:
            reply = exc
        except URLError as exc:
            raise NoAnswer(getattr(exc.reason, "strerror", None) or str(exc.reason)) from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            words = getattr(exc, "strerror", None) or str(exc)
            raise NoAnswer(words or type(exc).__name__) from exc
        stack.callback(reply.close)
        try:
            body = _body(reply)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise NoAnswer(str(exc) or type(exc).__name__) from exc
        return Answer(
            reply.status, {name.lower(): value for name, value in reply.headers.items()}, body
        )


def _body(reply: t.Any) -> bytes:
    """Return the body of a response of http.client, which is read in parts."""
    length, body = reply.length, b""
    while length is None or len(body) < length:
        part = reply.read1(PART)
        if not part:
            break
        body += part
        if len(body) > LIMIT_MB << 20:
            raise NoAnswer(f"it answers with more than {LIMIT_MB} MB")
    if length is not None and len(body) < length:
        raise NoAnswer("the answer was cut off")
    return body
