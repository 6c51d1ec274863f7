"""The scenarios in molecule/, each with the hosts it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import CHECKOUT

SCENARIOS = sorted(file.parent.name for file in CHECKOUT.glob("molecule/*/molecule.yml"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    told = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections"),
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "HOSTS_OWNER": str(os.getpid()),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["molecule", "test", "--scenario-name", name],
        cwd=CHECKOUT,
        env=os.environ | told,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
