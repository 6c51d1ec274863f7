"""Keeps the debugger of kernels off.

While it is on, debugpy listens on ports of loopback without a password, and whoever connects there
has code executed in the kernel: every account of the machine. A kernel turns it on when a front end
sends it a ``debug_request``.

Documented interfaces: the settings ``page_config_hook`` (jupyterlab_server) and
``kernel_websocket_connection_class`` (jupyter_server) of the web application. Besides,
``handle_incoming_message`` and ``subprotocol`` of the class that is there, and
``connection.base.deserialize_msg_from_ws_v1`` and ``.deserialize_binary_message``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from jupyter_server.services.kernels.connection.base import (
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
)

EXTENSION = "@jupyterlab/debugger-extension"
REQUEST = "debug_request"

Hook = Callable[[object, dict[str, Any]], dict[str, Any]]


def turn_off(settings: dict[str, Any]) -> None:
    """Take it off the pages, and pass no request for it on, whichever front end sends it.

    ``settings`` are those of the web application.
    """
    settings["page_config_hook"] = hide(settings.get("page_config_hook"))
    name = "kernel_websocket_connection_class"
    settings[name] = refuse(settings[name])


def hide(before: Hook | None) -> Hook:
    """Return a hook that disables the extension after all that files and another hook say."""

    def hook(handler: object, page: dict[str, Any]) -> dict[str, Any]:
        page = before(handler, page) if before else page
        disabled = page.get("disabledExtensions") or []
        if isinstance(disabled, dict):
            disabled = [each for each in disabled if disabled[each]]
        return page | {"disabledExtensions": [*disabled, EXTENSION]}

    return hook


def refuse(connection_class: Any) -> type:
    """Return a class of connections to kernels that does not pass on requests to debug."""

    class WithoutDebugger(connection_class):  # type: ignore[misc]  # It depends on the server.
        def handle_incoming_message(self, incoming_msg: Any) -> None:
            if asks_to_debug(incoming_msg, bool(getattr(self, "subprotocol", None))):
                self.log.warning("A page asked for the debugger, which jupyter_debugger turns on.")
                return
            super().handle_incoming_message(incoming_msg)

    return WithoutDebugger


def asks_to_debug(message: str | bytes, v1: bool) -> bool:
    """Whether a page's message asks a kernel to debug.

    ``v1`` is whether it is one of ``v1.kernel.websocket.jupyter.org``; otherwise it is JSON, which
    begins with its length where it has binary parts.

    Raises:
        LookupError, ValueError, struct.error: it is none; it gets no further.
    """
    text = message.encode() if isinstance(message, str) else message
    if REQUEST.encode() not in text:
        return False
    if v1:
        header = json.loads(deserialize_msg_from_ws_v1(text)[1][0])
    elif isinstance(message, bytes):
        header = deserialize_binary_message(message)["header"]
    else:
        header = json.loads(message)["header"]
    return bool(header["msg_type"] == REQUEST)
