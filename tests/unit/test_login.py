"""What the collection can tell about the end of a login. A machine's files, and logind's words."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _login

ME = pwd.getpwuid(os.getuid()).pw_name
PID = 4711

# /proc/PID/cgroup has one line with version 2 of cgroups, one for each controller with version 1.
SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
SESSION_V1 = (
    "12:cpuset:/\n"
    "5:pids:/user.slice/user-1000.slice/session-c12.scope\n"
    "1:name=systemd:/user.slice/user-1000.slice/session-c12.scope\n"
)
MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1f.scope\n"
MANAGER_V1 = (
    "12:cpuset:/\n1:name=systemd:/user.slice/user-1000.slice/user@1000.service/run-r1f.scope\n"
)
SERVICE = "0::/system.slice/notebook.service\n"
# A value may be empty, or several names.
LOGIND = {
    "EnableWallMessages": "no",
    "NAutoVTs": "6",
    "KillOnlyUsers": "",
    "KillExcludeUsers": "root",
    "KillUserProcesses": "yes",
    "IdleHint": "no",
    "BlockInhibited": "handle-power-key:handle-suspend-key",
}


class Logind:
    """What ``loginctl`` answers when it is asked for its settings."""

    def __init__(self, settings: dict[str, str], status: int = 0) -> None:
        self.settings = settings
        self.status = status

    def __call__(self, argv: list[str]) -> tuple[int, str, str]:
        # Without the name of a session it is logind that is shown (loginctl(1)).
        assert argv == ["loginctl", "show-session"]
        lines = [f"{name}={value}\n" for name, value in self.settings.items()]
        return (self.status, "", "refused") if self.status else (0, "".join(lines), "")


class Machine:
    """The files of a machine that tell how this account is logged in."""

    def __init__(self, directory: Path) -> None:
        self.proc_dir = directory / "proc"
        self.runtime_dirs = directory / "user"
        self.linger_dir = directory / "linger"
        for made in (self.proc_dir / str(PID), self.runtime_dirs, self.linger_dir):
            made.mkdir(parents=True)

    def let_run(self, cgroups: str) -> None:
        """Let the process run in these cgroups."""
        (self.proc_dir / f"{PID}/cgroup").write_text(cgroups)

    def let_linger(self) -> None:
        """Let this account's processes outlive its logins."""
        (self.linger_dir / ME).touch()

    def start_manager(self) -> str:
        """Start a systemd manager of this account; its directory."""
        directory = self.runtime_dirs / str(os.getuid())
        (directory / "systemd").mkdir(parents=True)
        (directory / "systemd/private").touch()
        return str(directory)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine of which nothing is known yet."""
    made = Machine(tmp_path)
    monkeypatch.setattr(_login, "PROC_DIR", str(made.proc_dir))
    monkeypatch.setattr(_login, "RUNTIME_DIRS", str(made.runtime_dirs))
    monkeypatch.setattr(_login, "LINGER_DIR", str(made.linger_dir))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/of-somebody-else")
    return made


@pytest.mark.parametrize(
    ("cgroups", "settings", "ends"),
    [
        pytest.param(SESSION, {}, True, id="session"),
        pytest.param(SESSION_V1, {}, True, id="session-v1"),
        pytest.param(SESSION, {"KillUserProcesses": "no"}, False, id="session-not-killed"),
        pytest.param(SESSION, {"KillExcludeUsers": f"root {ME}"}, False, id="excluded"),
        pytest.param(SESSION, {"KillExcludeUsers": f"{ME}2"}, True, id="longer-name-excluded"),
        pytest.param(SESSION, {"KillOnlyUsers": "ada zoe"}, False, id="only-others"),
        pytest.param(
            SESSION, {"KillOnlyUsers": f"ada {ME}", "KillExcludeUsers": ""}, True, id="only-me"
        ),
        pytest.param(
            SESSION, {"KillOnlyUsers": ME, "KillExcludeUsers": ME}, False, id="only-me-excluded"
        ),
        pytest.param(MANAGER, {"KillUserProcesses": "no"}, True, id="manager"),
        pytest.param(MANAGER_V1, {"KillUserProcesses": "no"}, True, id="manager-v1"),
        pytest.param(SERVICE, {}, False, id="service-of-the-machine"),
        pytest.param("0::/\n", {}, False, id="container"),
    ],
)
def test_what_ends_with_the_last_login(
    machine: Machine, cgroups: str, settings: dict[str, Any], ends: bool
) -> None:
    machine.let_run(cgroups)
    logind = LOGIND | {"KillExcludeUsers": ""} | settings

    assert _login.ends_with_login(PID, Logind(logind)) is ends


@pytest.mark.parametrize(
    ("cgroups", "ends"),
    [
        pytest.param(MANAGER, False, id="manager"),
        pytest.param(MANAGER_V1, False, id="manager-v1"),
        # Seen on Debian 12: lingering saves the manager, not what a login session has.
        pytest.param(SESSION, True, id="session"),
    ],
)
def test_what_ends_with_the_last_login_of_an_account_that_lingers(
    machine: Machine, cgroups: str, ends: bool
) -> None:
    machine.let_run(cgroups)
    machine.let_linger()

    logind = Logind(LOGIND | {"KillExcludeUsers": ""})
    assert _login.ends_with_login(PID, logind) is ends


def test_where_logind_does_not_answer_nothing_is_said_to_end(machine: Machine) -> None:
    machine.let_run(SESSION)

    assert not _login.ends_with_login(PID, Logind(LOGIND, status=1))


def test_a_process_that_is_gone_does_not_end_again(machine: Machine) -> None:
    assert not _login.ends_with_login(PID + 1, Logind(LOGIND))


@pytest.mark.parametrize(
    ("lingers", "has_manager"),
    [
        pytest.param(False, False, id="neither"),
        pytest.param(True, False, id="no-manager"),
        # Its scopes would end with the last login.
        pytest.param(False, True, id="no-lingering"),
    ],
)
def test_without_a_manager_that_stays_a_command_is_started_as_it_is(
    machine: Machine, lingers: bool, has_manager: bool
) -> None:
    if lingers:
        machine.let_linger()
    if has_manager:
        machine.start_manager()

    assert _login.outside() == []
    assert os.environ["XDG_RUNTIME_DIR"] == "/run/user/of-somebody-else"


def test_with_a_manager_that_stays_a_command_is_started_in_a_scope_of_it(machine: Machine) -> None:
    machine.let_linger()
    directory = machine.start_manager()

    assert _login.outside()[:3] == ["systemd-run", "--user", "--scope"]
    assert os.environ["XDG_RUNTIME_DIR"] == directory


@pytest.mark.parametrize(
    ("name", "file"),
    # As logind of systemd 252 names them.
    [("ada", "ada"), (r"CORP\ada", r"CORP\\ada"), ("ada l'o", r"ada l\'o"), ("zoë", r"zo\303\253")],
)
def test_an_account_lingers_whatever_it_is_called(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    entry = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd((name, *entry[1:])))
    machine.let_run(MANAGER)
    assert _login.ends_with_login(PID, Logind(LOGIND))

    (machine.linger_dir / file).touch()

    assert not _login.ends_with_login(PID, Logind(LOGIND))
