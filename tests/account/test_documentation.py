"""What people read about the collection."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import CHECKOUT
from tests.support.roles import ENTRY_POINTS

ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir())
MODULES = sorted(path.stem for path in (CHECKOUT / "plugins/modules").glob("*.py"))
FILTERS = sorted(path.stem for path in (CHECKOUT / "plugins/filter").glob("*.py"))


def ansible_doc(kind: str, name: str) -> dict[str, Any]:
    """Return what ansible-doc shows."""
    shown = subprocess.run(
        [f"{Path(sys.executable).parent}/ansible-doc", "--json", "-t", kind, name],
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections")},
        capture_output=True,
        text=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(shown.stdout)[name]
    return document


@pytest.mark.parametrize(
    ("kind", "name"),
    [("module", name) for name in MODULES] + [("filter", name) for name in FILTERS],
)
def test_plugins_are_documented_with_examples_and_results(kind: str, name: str) -> None:
    document = ansible_doc(kind, f"anywhere.notebook.{name}")

    assert document["doc"]["short_description"]
    assert yaml.safe_load(document["examples"])
    assert document["return"]


@pytest.mark.parametrize("role", ROLES)
def test_roles_are_documented_with_their_entry_points(role: str) -> None:
    entry_points = ansible_doc("role", f"anywhere.notebook.{role}")["entry_points"]

    assert entry_points.keys() >= set(ENTRY_POINTS[role])
    assert all(entry["short_description"] for entry in entry_points.values())


def test_the_readme_is_short_and_names_only_variables_that_exist() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    known = "".join((CHECKOUT / f"roles/{role}/defaults/main.yml").read_text() for role in ROLES)
    known += "".join(path.read_text() for path in (CHECKOUT / "playbooks").glob("*.yml"))
    blocks = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)

    assert len(readme.splitlines()) < 150
    variables = [name for block in blocks for name in re.findall(r"^(\w+):", block, re.MULTILINE)]
    assert len(variables) > 5
    assert [name for name in variables if name not in known] == []
