"""What people read about the collection."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.anywhere.notebook.plugins.plugin_utils.variables import PLAYBOOKS

from tests.support import CHECKOUT
from tests.support.roles import ENTRY_POINTS

README = CHECKOUT / "README.md"
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir())
MODULES = sorted(path.stem for path in (CHECKOUT / "plugins/modules").glob("*.py"))
FILTERS = sorted(path.stem for path in (CHECKOUT / "plugins/filter").glob("*.py"))
LOOKUPS = sorted(path.stem for path in (CHECKOUT / "plugins/lookup").glob("*.py"))
CALLBACKS = sorted(path.stem for path in (CHECKOUT / "plugins/callback").glob("*.py"))


def ansible_doc(kind: str, *names: str) -> dict[str, Any]:
    """What ansible-doc shows of plugins or roles, by name."""
    full = [f"anywhere.notebook.{name}" for name in names]
    shown = subprocess.run(
        [f"{Path(sys.executable).parent}/ansible-doc", "--json", "-t", kind, *full],
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections")},
        capture_output=True,
        text=True,
        check=True,
    )
    documents: dict[str, Any] = json.loads(shown.stdout)
    return {name: documents[long] for name, long in zip(names, full, strict=True)}


@pytest.mark.parametrize(
    ("kind", "names"), [("module", MODULES), ("filter", FILTERS), ("lookup", LOOKUPS)]
)
def test_plugins_are_documented_with_examples_and_results(kind: str, names: list[str]) -> None:
    for name, document in ansible_doc(kind, *names).items():
        assert document["doc"]["short_description"], name
        assert yaml.safe_load(document["examples"]), name
        assert document["return"], name


def test_callbacks_say_how_they_are_turned_on() -> None:
    for name, document in ansible_doc("callback", *CALLBACKS).items():
        (required,) = document["doc"]["requirements"]
        assert f"ANSIBLE_STDOUT_CALLBACK=anywhere.notebook.{name}" in required
        assert f"ANSIBLE_STDOUT_CALLBACK=anywhere.notebook.{name}" in README.read_text()


def test_roles_are_documented_with_their_entry_points() -> None:
    for role, document in ansible_doc("role", *ROLES).items():
        entry_points = document["entry_points"]
        assert entry_points.keys() >= set(ENTRY_POINTS[role])
        assert all(entry["short_description"] for entry in entry_points.values()), role


def test_the_readme_is_short_and_names_only_variables_that_exist() -> None:
    readme = README.read_text()
    known = "".join((CHECKOUT / f"roles/{role}/defaults/main.yml").read_text() for role in ROLES)
    known += " ".join(PLAYBOOKS)
    blocks = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)

    assert len(readme.splitlines()) < 150
    variables = [name for block in blocks for name in re.findall(r"^(\w+):", block, re.MULTILINE)]
    assert len(variables) > 5
    assert [name for name in variables if name not in known] == []


def test_what_ships_has_all_that_is_used_and_nothing_of_the_tests(tmp_path: Path) -> None:
    subprocess.run(
        [Path(sys.executable).with_name("ansible-galaxy"), "collection", "build", CHECKOUT],
        cwd=tmp_path,
        env=os.environ | {"ANSIBLE_HOME": str(tmp_path / "home")},
        capture_output=True,
        check=True,
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = set(files.getnames())

    kept = subprocess.run(
        ["git", "ls-files", "README.md", "SECURITY.md", "playbooks", "plugins", "roles"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"SECURITY.md", "plugins/plugin_utils/common_passwords.txt"} <= set(kept)
    assert [name for name in kept if name not in names] == []
    assert [name for name in names if name.split("/")[0] in ("tests", ".venv", ".cache")] == []
