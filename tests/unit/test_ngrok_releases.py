"""The pinned agent, the table of releases, and what ``make lock`` makes of ngrok's list."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils._ngrok import supported_until
from ansible_collections.anywhere.notebook.plugins.module_utils._ngrok_errors import ERRORS

from tests import lock_agent
from tests.lock_agent import Odd, Release

NOTICE = timedelta(days=60)


@pytest.fixture
def role(tmp_path: Path) -> Path:
    """A copy of the files that have the pins."""
    for name in ("vars", "defaults", "meta"):
        shutil.copytree(lock_agent.ROLE / name, tmp_path / name)
    return tmp_path


def listed(version: str, /, **changes: Any) -> str:
    """ngrok's list of releases, in its form of 2026-07, with a change."""
    archives = {
        name: {
            "url": f"https://bin.ngrok.com/a/aB3{arch}/ngrok-v3-{version}-linux-{arch}.zip",
            "sha256": f"{number:x}" * 64,
        }
        for number, (arch, name) in enumerate(lock_agent.ARCHS.items())
    }
    return json.dumps(archives | {"version": version} | changes)


def newest() -> tuple[str, Release]:
    """What is pinned."""
    return next(iter(lock_agent.pinned(lock_agent.ROLE).items()))


def test_the_pinned_agent_is_supported_for_two_months_more() -> None:
    version, _ = newest()
    until = supported_until(version)

    assert until, f"RELEASED of _ngrok.py does not know when {version} came out."
    assert date.fromisoformat(until) - NOTICE > date.today(), (
        f"ngrok refuses the agent {version} to free accounts from {until} on. Run make lock."
    )


@pytest.mark.parametrize(
    ("version", "until"),
    [
        # As ngrok's chart has them.
        ("3.27.0", "2026-10-28"),
        ("3.36.1", "2027-04-03"),
        ("3.35.0", "2027-03-12"),
        ("3.37.6", "2027-05-05"),
        ("3.37.0", "2027-05-05"),
        ("3.39.9", "2027-06-27"),
        ("2.3.41", "2020-02-04"),
        ("3.999.0", ""),
        ("", ""),
    ],
)
def test_how_long_a_release_is_supported(version: str, until: str) -> None:
    assert supported_until(version) == until


@pytest.mark.parametrize(
    ("number", "says", "action"),
    [
        (121, "Free accounts take a release for 14 months, paid ones any", "repair"),
        (334, "would lead now to one notebook and now to the other", "retry"),
        (348, "as many agents connected as its plan allows", "stop"),
        (349, "have connected within a short time", "stop"),
        (351, "were opened within a short time", "stop"),
        (743, "more visitors than it can serve at this moment", "retry"),
        (15004, "which are 5 on the free one", "stop"),
    ],
)
def test_an_error_says_what_ngrok_means_by_it(number: int, says: str, action: str) -> None:
    error = ERRORS[number]

    assert says in f"{error.meaning}. {error.remedy}."
    assert error.action == action


@pytest.mark.parametrize("version", ["3.39.10", "3.40.0", "3.100.2"])
def test_a_newer_release_is_pinned_for_each_processor(role: Path, version: str) -> None:
    before, release = newest()

    said = lock_agent.renew(role, listed(version))

    assert said.startswith(f"The agent {version} is pinned, in the place of {before}. ")
    assert ("RELEASED" in said) == (not supported_until(version))
    assert lock_agent.pinned(role) == {
        version: {
            arch: {"id": f"aB3{arch}", "sha256": f"{number:x}" * 64}
            for number, arch in enumerate(("amd64", "arm64", "arm", "386"))
        },
        before: release,
    }
    assert f'ngrok_version: "{version}"\n' in (role / "defaults/main.yml").read_text()
    specs = (role / "meta/argument_specs.yml").read_text()
    assert f'        default: "{version}"\n' in specs
    # Nothing else.
    for name in ("vars/main.yml", "defaults/main.yml", "meta/argument_specs.yml"):
        old = set((lock_agent.ROLE / name).read_text().splitlines())
        new = set((role / name).read_text().splitlines())
        assert len(new - old) <= 5, name


@pytest.mark.parametrize("version", [newest()[0], "3.39.7", "3.4.99", "3.0.0"])
def test_an_older_release_is_not(role: Path, version: str) -> None:
    text = listed(version)
    if version == newest()[0]:
        names = {
            name: {
                "url": f"https://bin.ngrok.com/a/{archive['id']}/ngrok-v3-{version}-linux-{arch}.zip",
                "sha256": archive["sha256"],
            }
            for (arch, name), archive in zip(
                lock_agent.ARCHS.items(), newest()[1].values(), strict=True
            )
        }
        text = listed(version, **names)

    assert "stays pinned" in lock_agent.renew(role, text)
    assert lock_agent.pinned(role) == lock_agent.pinned(lock_agent.ROLE)


def elsewhere(url: str, digest: str = "0" * 64) -> dict[str, Any]:
    """An archive for one processor."""
    return {"amd64": {"url": url, "sha256": digest}}


GOOD = "https://bin.ngrok.com/a/aB3/ngrok-v3-3.40.0-linux-amd64.zip"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("<html>", id="a-page"),
        pytest.param("[]", id="a-list"),
        pytest.param("{}", id="no-version"),
        pytest.param(listed("3.40.0", arm=None), id="a-processor-less"),
        pytest.param(listed("4.0.0"), id="another-agent"),
        pytest.param(listed("3.40.0-rc1"), id="not-finished"),
        pytest.param(listed("3.40.0", version=3.4), id="a-number"),
        pytest.param(listed("3.40.0", **elsewhere(GOOD, "0" * 63)), id="short-digest"),
        pytest.param(listed("3.40.0", **elsewhere(GOOD, "G" * 64)), id="no-digest"),
        pytest.param(listed("3.40.0", **elsewhere("https://example.org/a.zip")), id="elsewhere"),
        pytest.param(
            listed("3.40.0", **elsewhere(GOOD.replace("aB3", "a}, sha256: {b"))), id="yaml"
        ),
        pytest.param(
            listed("3.40.0", **elsewhere(GOOD.replace("amd64", "arm64"))), id="another-processor"
        ),
        pytest.param(
            listed("3.40.0", **elsewhere(GOOD.replace("3.40", "3.39"))), id="another-release"
        ),
        pytest.param(listed(newest()[0]), id="other-archives-of-the-pinned-one"),
    ],
)
def test_a_list_that_is_odd_pins_nothing(
    role: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = role / "releases.json"
    file.write_text(text)

    with pytest.raises(Odd):
        lock_agent.renew(role, text)
    with pytest.raises(SystemExit, match=r"Nothing was pinned\. The list .* is odd: "):
        lock_agent.main(file.as_uri(), role)
    assert lock_agent.pinned(role) == lock_agent.pinned(lock_agent.ROLE)


def missing(tmp_path: Path) -> str:
    """A list that is not there."""
    return (tmp_path / "missing.json").as_uri()


def closed(_: Path) -> str:
    """A port where nobody listens."""
    return "http://127.0.0.1:9/releases.json"


def unknown(_: Path) -> str:
    """A host without an address."""
    return "http://no.such.host.invalid/releases.json"


@pytest.mark.parametrize("url", [missing, closed, unknown])
def test_a_list_that_cannot_be_had_is_told_and_no_error(
    role: Path, url: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    lock_agent.main(url(role), role)

    said = capsys.readouterr().out
    version, _ = newest()
    assert said.startswith(f"The agent {version} stays pinned, which ngrok supports until ")
    assert "cannot be had" in said
    assert lock_agent.pinned(role) == lock_agent.pinned(lock_agent.ROLE)
