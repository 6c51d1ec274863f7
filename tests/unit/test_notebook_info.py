"""What the module notebook_info says of a notebook; on a real one: tests/account."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.modules.notebook_info import CLOSE, attacks


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((0, "", False), ""),
        ((1, "2026-11-23T09:12:33Z", False), "1 login failed in the last day, the last one at "),
        ((7, "2026-11-23T09:12:33Z", False), "7 logins failed in the last day, the last one at "),
        ((7, "", False), "7 logins failed in the last day."),
        (
            (700, "", True),
            f"Strangers try passwords now: 700 logins failed in the last day. {CLOSE}",
        ),
        # The log of a server without an answer tells no more.
        ((0, "", True), f"Strangers try passwords now. {CLOSE}"),
    ],
)
def test_logins_that_failed_are_told(found: tuple[int, str, bool], said: str) -> None:
    count, last, attacked = found
    report: dict[str, Any] = {
        "failed_logins": count,
        "last_failed_login": last,
        "attacked": attacked,
    }

    assert attacks(report) == said + ("2026-11-23 09:12 UTC." if last else "")


def test_what_is_offered_against_an_attack_ends_no_kernel() -> None:
    assert "notebook_tunnel_only=true" in CLOSE
    assert "jupyter_restart" not in CLOSE
