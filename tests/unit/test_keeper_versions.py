"""With which releases of Jupyter the output keeper does its work."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

import pytest
from notebook_keeper import TRIED, numbers, untried
from packaging.requirements import Requirement

from tests.support import CHECKOUT

FILES = CHECKOUT / "roles/jupyter/files"


def test_what_is_not_installed_is_told() -> None:
    assert untried({"no-such-package": ("1.0", "2.0")}) == ["no-such-package is not installed"]


@pytest.mark.parametrize(
    ("lowest", "beyond", "fits"),
    [("0.1", "999", True), ("998", "999", False), ("0.1", "0.2", False)],
)
def test_a_release_outside_of_the_range_is_told(lowest: str, beyond: str, fits: bool) -> None:
    told = untried({"pytest": (lowest, beyond)})

    expected = f"pytest is {version('pytest')}, not {lowest} or newer and below {beyond}"
    assert told == ([] if fits else [expected])


def test_releases_are_compared_by_number() -> None:
    assert numbers("2.9") < numbers("2.21.1rc0") < numbers("2.22")


def test_the_ranges_are_written_in_order() -> None:
    assert all(numbers(lowest) < numbers(beyond) for lowest, beyond in TRIED.values())


def test_the_pinned_installer_builds_the_keeper_by_itself() -> None:
    """Of another release than it is of itself, uv would fetch its build backend, without hashes."""
    keeper = tomllib.loads((FILES / "keeper/pyproject.toml").read_text())["build-system"]
    pinned = re.findall(r"^uv==(\S+)", (FILES / "requirements.txt").read_text(), re.MULTILINE)
    (backend,) = map(Requirement, keeper["requires"])

    assert (keeper["build-backend"], backend.name) == ("uv_build", "uv_build")
    assert len(pinned) == 1
    assert pinned[0] in backend.specifier
