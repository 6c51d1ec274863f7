"""The scenarios in molecule/, each with the hosts it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import CHECKOUT

FILES = CHECKOUT.glob("molecule/*/molecule.yml")
# Where one release proves it, in make test; the others, and the other scenarios, have their time.
ONE_RELEASE = ("hardened", "reboot", "remove", "setup", "two_accounts")
SCENARIOS = [
    *((name, "bookworm") for name in ONE_RELEASE),
    *(
        pytest.param(name, "bullseye trixie", marks=pytest.mark.acceptance, id=f"{name}-others")
        for name in ONE_RELEASE
    ),
    *(
        pytest.param(name, "", marks=pytest.mark.acceptance, id=name)
        for name in sorted({file.parent.name for file in FILES}.difference(ONE_RELEASE))
    ),
]


@pytest.mark.parametrize(("name", "releases"), SCENARIOS)
def test_scenario(name: str, releases: str, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    told = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections"),
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "HOSTS_OWNER": str(os.getpid()),
        "HOSTS_RELEASES": releases,
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
