"""What asks a kernel to debug, and what a page is told of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jupyter_server.services.kernels.connection.base import (
    serialize_binary_message,
    serialize_msg_to_ws_v1,
)
from notebook_guard.debugger import EXTENSION, asks_to_debug, hide


def message(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "header": {"msg_type": kind, "msg_id": "1"},
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "control",
    }


def as_text(told: dict[str, Any]) -> str:
    return json.dumps(told)


def as_escaped_text(told: dict[str, Any]) -> str:
    return json.dumps(told | {"content": "ä"}, ensure_ascii=False, indent=1)


def with_binary_parts(told: dict[str, Any]) -> bytes:
    return bytes(serialize_binary_message(told | {"buffers": [b"debug_request"]}))


def as_v1(told: dict[str, Any]) -> bytes:
    parts = [
        json.dumps(told[part]).encode()
        for part in ("header", "parent_header", "metadata", "content")
    ]
    return bytes(serialize_msg_to_ws_v1([*parts, b"debug_request"], "control"))


@pytest.mark.parametrize("written", [as_text, as_escaped_text, with_binary_parts, as_v1])
@pytest.mark.parametrize(
    ("kind", "content", "asks"),
    [
        ("debug_request", {"command": "initialize"}, True),
        ("debug_request", {"command": "attach"}, True),
        ("debug_request", {}, True),
        ("execute_request", {"code": 'ask("debug_request")'}, False),
        ("comm_msg", {"data": {"msg_type": "debug_request"}}, False),
        ("debug_reply", {"command": "initialize"}, False),
        ("kernel_info_request", {}, False),
    ],
)
def test_a_request_to_debug_is_known_by_its_type(
    kind: str, content: dict[str, Any], asks: bool, written: Any
) -> None:
    assert asks_to_debug(written(message(kind, content)), written is as_v1) is asks


@pytest.mark.parametrize(
    ("said", "disabled"),
    [
        ({}, [EXTENSION]),
        ({"disabledExtensions": None}, [EXTENSION]),
        ({"disabledExtensions": ["a"]}, ["a", EXTENSION]),
        ({"disabledExtensions": {"a": True, "b": False, EXTENSION: False}}, ["a", EXTENSION]),
    ],
)
@pytest.mark.parametrize("hooked", [False, True])
def test_a_page_has_no_debugger_whatever_files_and_hooks_say(
    said: dict[str, Any], disabled: list[str], hooked: bool
) -> None:
    def of_others(_handler: object, page: dict[str, Any]) -> dict[str, Any]:
        return page | {"theirs": 1, "disabledExtensions": said.get("disabledExtensions")}

    page = hide(of_others if hooked else None)(None, dict(said))

    assert page["disabledExtensions"] == disabled
    assert ("theirs" in page) is hooked
