"""The versions of Python and Ansible that the collection says it works with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import CHECKOUT
from tests.support.accounts import Account

UV = Path(sys.executable).parent / "uv"


@pytest.mark.parametrize(
    ("version", "machine"),
    [
        pytest.param("3.9", "x86_64", id="oldest"),
        pytest.param("3.13", "x86_64", id="newest"),
        *(
            pytest.param(version, machine, marks=pytest.mark.acceptance)
            for version in ("3.9", "3.10", "3.11", "3.12", "3.13")
            for machine in ("x86_64", "aarch64")
            if (version, machine) not in (("3.9", "x86_64"), ("3.13", "x86_64"))
        ),
    ],
)
def test_the_pinned_packages_fit(version: str, machine: str, tmp_path: Path) -> None:
    planned = subprocess.run(
        [
            *(UV, "pip", "install", "--dry-run", "--target", tmp_path, "--require-hashes"),
            *("--python-version", version, "--python-platform", f"{machine}-manylinux_2_28"),
            *("--only-binary", ":all:", "--requirement"),
            CHECKOUT / "roles/jupyter/files/requirements.txt",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert planned.returncode == 0, planned.stderr
    assert " + jupyterlab==" in planned.stderr


@pytest.mark.acceptance
def test_the_oldest_ansible_core_is_enough(account: Account, tmp_path: Path) -> None:
    requires = yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text())["requires_ansible"]
    oldest = re.fullmatch(r">=(\d+\.\d+)\.0", requires)
    assert oldest
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "v"], check=True)
    subprocess.run(
        [
            *(UV, "pip", "install", "--quiet", "--python", tmp_path / "v/bin/python"),
            *(f"ansible-core=={oldest[1]}.*", "passlib", "argon2-cffi"),
        ],
        check=True,
    )
    account.ansible = tmp_path / "v/bin"

    account.setup("--check", "--diff")
    url = account.setup().url
    assert account.setup().changed == 0

    play = account.reconnect()
    assert (play.changed, play.url) == (0, url)
