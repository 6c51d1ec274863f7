# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One way to ask over HTTP, for the agent's API and for Jupyter. Private to the collection."""

from __future__ import annotations

import http.client
import json
import typing as t
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit

from ansible.module_utils.urls import open_url

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class NoAnswer(Exception):
    """Nothing answered over HTTP; the message is the reason in the system's words."""


@dataclass(frozen=True)
class Answer:
    """Status, headers with lower-case names, and body of an HTTP response of any status."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: dict[str, str]

    def json(self) -> t.Any:
        """Return the decoded body, None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def request(
    url: str,
    headers: dict[str, str] | None = None,
    timeout: float = 10,
    form: dict[str, str] | None = None,
) -> Answer:
    """Return what ``url`` answers within ``timeout`` seconds; redirects are not followed.

    With a ``form`` it is sent by POST, otherwise it is a GET.

    Loopback is never asked through a proxy. A name below ``localhost`` is loopback (RFC 6761
    section 6.3), whatever the system's resolver says.

    Raises:
        NoAnswer: no connection, or no HTTP.
    """
    headers = dict(headers or {})
    parts = urlsplit(url)
    host = parts.hostname or ""
    loopback = host in LOOPBACK
    if host.endswith(".localhost"):
        loopback = True
        headers["Host"] = parts.netloc
        url = parts._replace(netloc=f"127.0.0.1:{parts.port or 80}").geturl()
    try:
        reply = open_url(
            url,
            data=None if form is None else urlencode(form),
            method="GET" if form is None else "POST",
            headers=headers,
            timeout=timeout,
            use_proxy=not loopback,
            follow_redirects="none",
        )
    except HTTPError as exc:
        reply = exc
    except URLError as exc:
        raise NoAnswer(getattr(exc.reason, "strerror", None) or str(exc.reason)) from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise NoAnswer(str(exc) or type(exc).__name__) from exc
    try:
        body = reply.read()
    except (OSError, http.client.HTTPException) as exc:
        raise NoAnswer(str(exc) or type(exc).__name__) from exc
    cookies = [line.partition(";")[0] for line in reply.headers.get_all("Set-Cookie", [])]
    return Answer(
        reply.code,
        {name.lower(): value for name, value in reply.headers.items()},
        body,
        dict(cookie.strip().split("=", 1) for cookie in cookies if "=" in cookie),
    )
