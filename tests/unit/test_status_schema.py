"""The documented schema of what status reports, and the documentation of the module behind it."""

from __future__ import annotations

import json
from typing import Any

import yaml
from ansible_collections.anywhere.notebook.plugins.modules import (
    jupyter_server_info,
    notebook_info,
)

from tests.support import CHECKOUT

SCHEMA = json.loads((CHECKOUT / "playbooks/status.schema.json").read_text())["$defs"]
RETURN = yaml.safe_load(notebook_info.RETURN)
TYPES = {"boolean": "bool", "string": "str", "object": "dict", "array": "list", "integer": "int"}


def types_of(schema: dict[str, Any]) -> dict[str, str]:
    """The types of an object's properties as modules have them."""
    found = {}
    for name, declared in schema["properties"].items():
        kind = declared
        while "type" not in kind:
            reference = kind.get("$ref") or kind["anyOf"][0]["$ref"]
            kind = SCHEMA[reference.rpartition("/")[2]]
        found[name] = TYPES[kind["type"]]
    assert sorted(found) == sorted(schema["required"])
    return found


def documented(contains: dict[str, Any]) -> dict[str, str]:
    """The types of what a module returns."""
    return {name: declared["type"] for name, declared in contains.items()}


def test_a_host_is_what_the_module_returns_and_what_the_playbook_adds() -> None:
    host = {**SCHEMA["host"], "properties": dict(SCHEMA["host"]["properties"])}
    assert set(host["properties"].pop("state")["enum"]) > {"working", "broken"}
    host["required"] = [name for name in host["required"] if name != "state"]

    inner = ("account", "set_up", "exposed", "challenge", "support")
    returned = {name: RETURN[name] for name in RETURN if name not in inner}
    assert types_of(host) == documented(returned) | {"host": "str"}


def test_the_parts_are_as_the_module_returns_them() -> None:
    for name in ("server", "idle", "tunnel", "machine"):
        assert types_of(SCHEMA[name]) == documented(RETURN[name]["contains"]), name


def test_kernels_are_as_the_module_for_servers_returns_them() -> None:
    kernels = yaml.safe_load(jupyter_server_info.RETURN)["kernels"]["contains"]

    assert types_of(SCHEMA["kernel"]) == documented(kernels)
