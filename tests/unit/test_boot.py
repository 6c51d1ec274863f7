"""Units that run a command at boot, as files. That systemd runs them, the scenario reboot shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _boot

NAME = "tmux-notebook-jupyter.service"
COMMAND = ["/usr/bin/tmux", "-L", "notebook", "new-session"]


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the account's units are."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".config/systemd/user"


def ensure(*command: str, check_mode: bool = False) -> bool:
    """Have a command run at boot; without one, none."""
    return _boot.ensure(NAME, "a session", command, check_mode=check_mode)


def test_a_command_is_run_at_boot(units: Path) -> None:
    assert ensure(*COMMAND)
    link = units / "default.target.wants" / NAME
    assert link.resolve() == units / NAME
    assert 'ExecStart="/usr/bin/tmux" "-L" "notebook" "new-session"' in link.read_text()


def test_nobody_else_may_write_what_runs_at_boot(units: Path) -> None:
    before = os.umask(0)
    try:
        ensure(*COMMAND)
    finally:
        os.umask(before)
    for path in (units / NAME, units / "default.target.wants", units, units.parent):
        assert path.stat().st_mode & 0o022 == 0, path


@pytest.mark.usefixtures("units")
def test_a_second_run_changes_nothing() -> None:
    ensure(*COMMAND)
    assert not ensure(*COMMAND)


def test_another_command_takes_its_place(units: Path) -> None:
    ensure(*COMMAND)
    assert ensure("/opt/tmux")
    assert "/usr/bin" not in (units / NAME).read_text()


def test_what_a_cut_off_run_has_left_is_completed(units: Path) -> None:
    ensure(*COMMAND)
    link = units / "default.target.wants" / NAME
    link.unlink()
    assert ensure(*COMMAND)
    assert link.exists()


@pytest.mark.parametrize("left", [NAME, f"default.target.wants/{NAME}"])
def test_without_a_command_nothing_of_it_is_left(units: Path, left: str) -> None:
    ensure(*COMMAND)
    for path in (units / NAME, units / "default.target.wants" / NAME):
        if path != units / left:
            path.unlink()
    assert ensure()
    assert not list(units.rglob("*.service"))
    assert not ensure()


def test_check_mode_says_what_would_change(units: Path) -> None:
    assert ensure(*COMMAND, check_mode=True)
    assert not units.exists()
    ensure(*COMMAND)
    assert ensure(check_mode=True)
    assert (units / NAME).exists()


def test_sessions_of_different_sockets_have_different_units() -> None:
    assert _boot.unit_name("tmux", "a-b", "c") != _boot.unit_name("tmux", "a", "b-c")


def test_a_name_becomes_one_that_systemd_takes() -> None:
    # As systemd-escape writes it.
    assert _boot.unit_name("tmux", "né w/%") == r"tmux-n\xc3\xa9\x20w\x2f\x25.service"
