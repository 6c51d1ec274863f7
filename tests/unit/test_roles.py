"""What the roles declare, and whether it agrees."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import CHECKOUT
from tests.support.roles import ENTRY_POINTS

ROLES = sorted((CHECKOUT / "roles").iterdir())
each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def entry_points(role: Path) -> dict[str, dict[str, Any]]:
    """The options of every entry point, by name."""
    document = yaml.safe_load((role / "meta/argument_specs.yml").read_text())
    return {name: spec["options"] for name, spec in document["argument_specs"].items()}


def options(role: Path) -> list[tuple[str, dict[str, Any]]]:
    """The options of all entry points; an option of several is there several times."""
    return [pair for declared in entry_points(role).values() for pair in declared.items()]


def comparable(document: object) -> str:
    """Text that tells 1 from "1" and from true."""
    return json.dumps(document, indent=1, sort_keys=True)


@each_role
def test_defaults_are_the_declared_ones(role: Path) -> None:
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    declared = {name: option["default"] for name, option in options(role) if "default" in option}

    assert comparable(defaults) == comparable(declared)


@each_role
def test_an_option_is_declared_the_same_everywhere(role: Path) -> None:
    seen: dict[str, str] = {}
    for name, option in options(role):
        declared = {key: option.get(key) for key in ("type", "elements", "default", "choices")}

        assert seen.setdefault(name, comparable(declared)) == comparable(declared), name


@each_role
def test_a_variable_begins_with_its_role_s_name(role: Path) -> None:
    assert [name for name, _ in options(role) if not name.startswith(f"{role.name}_")] == []


@each_role
def test_an_internal_variable_begins_with_underscores_and_its_role_s_name(role: Path) -> None:
    file = role / "vars/main.yml"
    names = yaml.safe_load(file.read_text()) if file.exists() else {}

    assert [name for name in names if not name.startswith(f"__{role.name}_")] == []


@each_role
def test_a_flag_that_is_given_as_a_word_means_what_it_says(role: Path) -> None:
    """``-e`` and inventories in INI give words, and to a template "false" is true."""
    flags = {name for name, option in options(role) if option["type"] == "bool"}
    files = [file for part in ("tasks", "templates", "vars") for file in role.glob(f"{part}/*")]
    used = re.compile(rf"\b({'|'.join(flags) or '(?!)'})\b(?! \| bool| to true)")

    assert [
        line for file in files for line in file.read_text().splitlines() if used.search(line)
    ] == []


@each_role
def test_an_option_without_a_default_is_a_comment_in_the_defaults(role: Path) -> None:
    commented = re.findall(r"^# (\w+):$", (role / "defaults/main.yml").read_text(), re.MULTILINE)
    without = {name for name, option in options(role) if "default" not in option}

    assert sorted(commented) == sorted(without)


@each_role
def test_the_entry_points_have_tasks_and_a_specification(role: Path) -> None:
    for entry_point in ENTRY_POINTS[role.name]:
        assert (role / f"tasks/{entry_point}.yml").is_file()
        assert entry_point in entry_points(role)


@each_role
def test_every_specification_has_tasks(role: Path) -> None:
    assert [name for name in entry_points(role) if not (role / f"tasks/{name}.yml").exists()] == []


def test_only_the_role_ec2_needs_what_is_of_aws() -> None:
    """Who names no instance needs neither the collection nor boto3; here there is none."""
    files = [
        file
        for part in ("playbooks", "plugins", "roles")
        for file in (CHECKOUT / part).rglob("*")
        if file.suffix in (".py", ".yml", ".j2") and CHECKOUT / "roles/ec2" not in file.parents
    ]

    assert [file for file in files if re.search(r"amazon\.aws|boto", file.read_text())] == []
    assert [name for name in ("boto3", "botocore") if find_spec(name)] == []


def test_nothing_of_the_role_ec2_is_resolved_before_it_is_needed() -> None:
    """An import is resolved when the playbook is read, an include when it is reached."""
    for file in (CHECKOUT / "playbooks").glob("*.yml"):
        assert not re.search(r"import_role:\s+name: anywhere\.notebook\.ec2", file.read_text()), (
            file
        )


def imports(node: object) -> Iterator[tuple[str, str]]:
    """Role and entry point of everything that imports or includes a role."""
    if isinstance(node, list):
        for item in node:
            yield from imports(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if re.fullmatch(r"(ansible\.builtin\.)?(import|include)_role", str(key)):
                yield value["name"], value.get("tasks_from", "main")
            elif key in ("roles", "dependencies"):
                for role in value:
                    yield (role if isinstance(role, str) else role["role"]), "main"
            else:
                yield from imports(value)


def imported() -> list[tuple[str, str]]:
    files = [
        *(CHECKOUT / "playbooks").rglob("*.yml"),
        *(CHECKOUT / "roles").glob("*/tasks/*.yml"),
        *(CHECKOUT / "roles").glob("*/meta/main.yml"),
    ]
    return sorted({pair for file in files for pair in imports(yaml.safe_load(file.read_text()))})


@pytest.mark.parametrize(
    ("name", "entry_point"), imported(), ids=lambda part: part.removeprefix("anywhere.notebook.")
)
def test_every_role_that_is_imported_exists(name: str, entry_point: str) -> None:
    role = name.removeprefix("anywhere.notebook.")

    assert name != role
    assert (CHECKOUT / f"roles/{role}/tasks/{entry_point}.yml").is_file()


# Options of the playbooks, which no specification names.
PLAYBOOKS_FLAGS = ("notebook_force", "notebook_tunnel_only", "notebook_qr")


def test_a_flag_of_the_playbooks_that_is_given_as_a_word_means_what_it_says() -> None:
    used = re.compile(rf"\b({'|'.join(PLAYBOOKS_FLAGS)})\b(?!( \| default\(false\))? \| bool)(?!=)")
    files = [path for path in (CHECKOUT / "playbooks").rglob("*") if path.suffix in (".yml", ".j2")]

    assert [
        line for file in files for line in file.read_text().splitlines() if used.search(line)
    ] == []
