"""A setting that has changed is in force at once, or when nobody loses anything by it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import CHECKOUT
from tests.support.accounts import Account
from tests.support.leaks import readable_by_others
from tests.support.waiting import wait_until

PENDING = "its old configuration"
TREE = {"jupyter_settings": {"LabApp": {"default_url": "/tree"}}}
SECRET = uuid.uuid4().hex
VARIABLES = {"jupyter_environment": {"HF_TOKEN": SECRET}, "jupyter_login_environment": True}
# How long a kernel has to be idle before nobody is about to give it the next cell.
IDLE_SECONDS = 60

RULE = f"""
- hosts: all
  gather_facts: false
  vars_files: {CHECKOUT}/roles/jupyter/vars/main.yml
  tasks:
    - name: Decide
      ansible.builtin.assert:
        that: (__jupyter_restart_allowed | bool) == item.allowed
      loop: "{{{{ cases }}}}"
      loop_control:
        label: "{{{{ item.case }}}}"
      vars:
        __jupyter_before: "{{{{ item.server }}}}"
        jupyter_restart: "{{{{ item.restart }}}}"
"""


def idle(*seconds: int, terminals: int = 0) -> dict[str, Any]:
    """A server whose kernels have been idle for so long; 0: they compute."""
    return {
        "kernels": [{"idle_seconds": each} for each in seconds],
        "terminals": ["1"] * terminals,
    }


CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing to lose": (idle(), {"never", "when_idle", "always"}),
    "a kernel that computes": (idle(0), {"always"}),
    "a kernel that has just ended a cell": (idle(IDLE_SECONDS - 1), {"always"}),
    "a kernel that is idle": (idle(IDLE_SECONDS), {"when_idle", "always"}),
    "one of two computes": (idle(3600, 0), {"always"}),
    "two that are idle": (idle(3600, IDLE_SECONDS), {"when_idle", "always"}),
    "a terminal": (idle(terminals=1), {"always"}),
    "an idle kernel and a terminal": (idle(3600, terminals=1), {"always"}),
}


def test_a_server_is_restarted_only_where_nobody_loses_anything_or_somebody_wants_it(
    account: Account,
) -> None:
    play = account.home / "rule.yml"
    play.write_text(RULE)
    cases = [
        {
            "case": f"{case}, jupyter_restart={restart}",
            "server": server,
            "restart": restart,
            "allowed": restart in allowed,
        }
        for case, (server, allowed) in CASES.items()
        for restart in ("never", "when_idle", "always")
    ]

    done = account.play(play, cases=cases)

    assert done.status == 0, done.output


def test_a_changed_setting_waits_for_a_kernel_that_computes_unless_told_otherwise(
    neighbour: Account,
) -> None:
    neighbour.setup()
    server = neighbour.pids()["jupyter"]
    (neighbour.home / ".profile").write_text("exit 3\n")
    neighbour.variables |= TREE | VARIABLES
    visitor = neighbour.visitor()
    kernel = visitor.kernel()

    with visitor.computing(kernel):
        play = neighbour.setup(jupyter_restart="when_idle")
        assert PENDING in play.card("Restart pending")
        assert neighbour.pids()["jupyter"] == server
        assert visitor.page("/")[1] == "/lab"
        assert kernel in visitor.kernels()

        play = neighbour.setup(jupyter_restart="always")

    assert "Restart pending" not in play.output
    assert neighbour.pids()["jupyter"] != server
    visitor = neighbour.visitor()
    assert visitor.page("/")[1] == "/tree"
    code = "import os; print(os.environ['HF_TOKEN'])"
    assert visitor.run(visitor.kernel(), code) == f"{SECRET}\n"
    assert SECRET not in play.output
    assert readable_by_others(neighbour, [SECRET]) == []
    # The rest is as if nobody had asked for what a login sets.
    assert play.card("Variables").startswith("What a login sets is not taken over from /")
    sentence = "it ended with status 3 before. Look at what it reads"
    assert any(sentence in notice for notice in neighbour.look()["notices"])


@pytest.mark.acceptance
def test_a_changed_setting_is_in_force_a_minute_after_the_last_cell(neighbour: Account) -> None:
    neighbour.setup()
    server = neighbour.pids()["jupyter"]
    neighbour.variables |= TREE
    visitor = neighbour.visitor()
    kernel = visitor.kernel()
    visitor.run(kernel, "x = 1")
    # The time is what is tested.
    (seen,) = visitor.api("GET", "/api/kernels")
    ended = datetime.fromisoformat(seen["last_activity"])
    limit = timedelta(seconds=IDLE_SECONDS + 1)
    wait_until(lambda: datetime.now(UTC) - ended > limit, 2 * IDLE_SECONDS)

    play = neighbour.setup(jupyter_restart="when_idle")

    assert "Restart pending" not in play.output
    assert neighbour.pids()["jupyter"] != server
    assert neighbour.visitor().page("/")[1] == "/tree"
