"""What comes between a socket and the handlers of Jupyter, for each request.

tornado reads the body of a request before any handler is asked, up to 512 MB, and waits for it
without an end. So who asks is looked at as soon as the headers are there, and what a stranger may
send is little and has to come soon. Nothing here decides who may do what: that the handlers do.

Documented interfaces of tornado's: ``httputil.HTTPServerConnectionDelegate.start_request``,
``HTTPMessageDelegate``, ``HTTP1Connection.set_max_body_size``, ``.set_body_timeout``,
``.write_headers``. Besides, ``HTTP1Connection.context`` and ``.stream`` of releases 6.1 to 6.5.
"""

from __future__ import annotations

import ipaddress
import resource
from collections import OrderedDict
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakSet, ref

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1Connection
    from tornado.web import Application

    from .identity import OwnerIdentityProvider

# The body of a stranger's request, and of all of them together; small ones, such as that of a
# login, always get through. Bytes.
BODY = 1_000_000
BODIES = 16_000_000
SMALL_BODY = 16_000

# Connections that strangers may have at the same time, if the server may open four times as many
# files; of more, those that have waited longest are closed.
CONNECTIONS = 500

# Seconds in which the headers of a stranger's request have to be there, and then its body.
HEADERS_SECONDS = 60.0
BODY_SECONDS = 30.0

YEAR = 365 * 86400


def origin(peer: str, tls: bool, headers: HTTPHeaders) -> tuple[str, str]:
    """Return the address of the visitor and the protocol that the visitor speaks.

    What a proxy says of them counts where it is a program of this machine, ngrok's agent, and of
    that the last, which the visitor cannot have sent.
    """
    protocol = "https" if tls else "http"
    if not _address(peer) or not ipaddress.ip_address(peer).is_loopback:
        return peer, protocol
    said = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    address = _address(headers.get("X-Forwarded-For", "").rpartition(",")[2].strip())
    return address or peer, said if said in ("http", "https") else protocol


def _close(connection: ReferenceType[HTTP1Connection]) -> None:
    there = connection()
    if there is not None:
        there.close()


def _address(text: str) -> str:
    """The text if it is an address, otherwise nothing."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def harden(headers: HTTPHeaders, https: bool) -> None:
    """Have the browser keep what it is told to itself."""
    cookies = headers.get_list("Set-Cookie")
    for number, cookie in enumerate(cookies):
        named = [part.partition("=")[0].strip().lower() for part in cookie.split(";")[1:]]
        more = "" if "samesite" in named else "; SameSite=Lax"
        more += "; Secure" if https and "secure" not in named else ""
        if number:
            headers.add("Set-Cookie", cookie + more)
        else:
            # In the place of all of them: to delete a header that nobody has read fails in 6.5.10.
            headers["Set-Cookie"] = cookie + more
    if https:
        headers["Strict-Transport-Security"] = f"max-age={YEAR}"


class Door:
    """Where all requests come in."""

    def __init__(self, web_app: Application, owner: OwnerIdentityProvider) -> None:
        self.owner = owner
        self.start = web_app.start_request
        # Connections that have been used by somebody who was logged in.
        self.insiders: WeakSet[Any] = WeakSet()
        # Connections on which a session is served now: a websocket, or an answer that goes on.
        self.sessions: WeakSet[IOStream] = WeakSet()
        # Connections on which nobody has shown yet to be somebody, the oldest first.
        self.strangers: OrderedDict[IOStream, None] = OrderedDict()
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.places = min(CONNECTIONS, files // 4) if files > 0 else CONNECTIONS
        # Bytes of strangers' bodies that are held in memory.
        self.held = 0
        # A web application takes no other one in its place.
        web_app.start_request = self.start_request  # type: ignore[method-assign]

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """A connection is ready for its next request."""
        return Request(self, server_conn, request_conn)

    def wait(self, stream: IOStream) -> None:
        """Have a stranger wait here; where too many do, the first ones have to go."""
        self.strangers[stream] = None
        self.strangers.move_to_end(stream)
        if len(self.strangers) > self.places:
            for gone in [each for each in self.strangers if each.closed()]:
                del self.strangers[gone]
        while len(self.strangers) > self.places:
            self.strangers.popitem(last=False)[0].close()

    def end_sessions(self) -> int:
        """Cut off what sessions are served now; return how many connections that were."""
        streams = [stream for stream in self.sessions if not stream.closed()]
        self.sessions.clear()
        for stream in streams:
            stream.close()
        return len(streams)


class Request(HTTPMessageDelegate):
    """One request: passes what comes on to the handlers of Jupyter."""

    def __init__(self, door: Door, server_conn: object, connection: Any) -> None:
        self._door = door
        self._server_conn = server_conn
        self._connection: HTTP1Connection = connection
        # What was asked before on this connection has been answered.
        door.sessions.discard(connection.stream)
        self._delegate = door.start(server_conn, connection)
        self._stranger = True
        self._held = 0
        self._timer: object = None
        if server_conn not in door.insiders:
            door.wait(connection.stream)
            # A connection that has ended need not stay in memory for it.
            self._timer = IOLoop.current().call_later(HEADERS_SECONDS, _close, ref(connection))

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """See who asks."""
        self._stop_timer()
        assert isinstance(start_line, RequestStartLine)
        connection = self._connection
        context: Any = connection.context
        # Of a Unix socket, the address is no pair.
        peer = context.address[0] if isinstance(context.address, tuple) else "127.0.0.1"
        tls = isinstance(connection.stream, SSLIOStream)
        context.remote_ip, context.protocol = origin(peer, tls, headers)
        self._harden_response(https=context.protocol == "https")
        request = HTTPServerRequest(connection=connection, start_line=start_line, headers=headers)
        shown = self._door.owner.credential(request)
        self._stranger = not shown
        if self._stranger:
            connection.set_max_body_size(BODY)
            connection.set_body_timeout(BODY_SECONDS)
            # To compress the pages' programs, which are for everybody, takes a processor's time.
            headers["Accept-Encoding"] = "identity"
        else:
            self._door.insiders.add(self._server_conn)
            self._door.strangers.pop(connection.stream, None)
            if shown == "session":
                self._door.sessions.add(connection.stream)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass on a part of the body, if there is room for it."""
        if self._stranger:
            self._held += len(chunk)
            self._door.held += len(chunk)
            if self._held > SMALL_BODY and self._door.held > BODIES:
                self._connection.close()
                return None
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        """All of it is there."""
        self._let_go()
        self._delegate.finish()

    def on_connection_close(self) -> None:
        """The rest of it will not come."""
        self._stop_timer()
        self._let_go()
        self._delegate.on_connection_close()

    def _harden_response(self, https: bool) -> None:
        write_headers = self._connection.write_headers

        def write(
            start_line: RequestStartLine | ResponseStartLine,
            headers: HTTPHeaders,
            chunk: bytes | None = None,
        ) -> Any:
            harden(headers, https)
            return write_headers(start_line, headers, chunk)

        # All handlers write by it, those of extensions and websockets too.
        self._connection.write_headers = write  # type: ignore[method-assign]

    def _let_go(self) -> None:
        self._door.held -= self._held
        self._held = 0

    def _stop_timer(self) -> None:
        if self._timer is not None:
            IOLoop.current().remove_timeout(self._timer)
            self._timer = None
