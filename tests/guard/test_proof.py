"""What the modules make of a server with the guard: it is proven, and what it says is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _jupyter

from tests.support.guarded import PASSWORD, TOKEN

if TYPE_CHECKING:
    from tests.support.guarded import Guarded


def on_the_machine(server: Guarded) -> dict[str, Any]:
    """What a call on the server's machine returns."""
    assert server.process
    found = _jupyter.look(
        server.url, time.monotonic(), token_file=str(server.base / "token"), pid=server.process.pid
    )
    assert found["running"], found
    assert found["exposed"] == ""
    return found


def through_the_url(server: Guarded, password: str, challenge: dict[str, str]) -> dict[str, Any]:
    """What a call from elsewhere returns."""
    return _jupyter.look(server.url, time.monotonic(), challenge=challenge, password=password)


def test_the_guard_proves_whose_server_it_is_and_then_gets_the_password(server: Guarded) -> None:
    found = through_the_url(server, PASSWORD, on_the_machine(server)["challenge"])

    assert (found["running"], found["proven"], found["login"]) == (True, True, "accepted")
    assert found["exposed"] == ""


def test_another_machine_s_challenge_is_not_answered(server: Guarded) -> None:
    found = through_the_url(server, PASSWORD, _jupyter.new_challenge(TOKEN[::-1]))

    assert (found["proven"], found["login"]) == (False, "")
    assert found["msg"].endswith("its proof is wrong.")


def test_logins_that_fail_are_told_and_the_product_s_own_waits_for_its_turn(
    server: Guarded,
) -> None:
    before = on_the_machine(server)
    logins = [through_the_url(server, "wrong", before["challenge"])["login"] for _ in range(12)]

    after = on_the_machine(server)
    assert "refused" in logins
    assert logins[-1] == "limited"
    assert after["failed_logins"] > before["failed_logins"]
    assert after["last_failed_login"]


@pytest.mark.parametrize("nonce", ["", "0" * 31, "0" * 129, "g" * 64, "0" * 64 + "%0a"])
def test_a_nonce_that_is_none_gets_no_answer(server: Guarded, nonce: str) -> None:
    challenge = {"nonce": nonce, "answer": ""}

    assert not through_the_url(server, PASSWORD, challenge)["proven"]
