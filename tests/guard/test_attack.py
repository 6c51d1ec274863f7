"""Guesses of strangers: they are few, and nobody else notices them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.guarded import OWNER, Guarded, Person, attack, guarded


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Guarded]:
    """One that nobody has attacked yet."""
    with guarded(tmp_path / "base") as server:
        yield server


def elsewhere(server: Guarded, _known: Person) -> Person:
    """The owner at another machine, where nobody has logged in yet."""
    return server.visitor("192.0.2.33")


def known_browser(server: Guarded, known: Person) -> Person:
    """The owner with the browser of yesterday, elsewhere and logged out."""
    known.page("/logout")
    known._forwarded["X-Forwarded-For"] = "192.0.2.33"
    return known


def known_address(server: Guarded, _known: Person) -> Person:
    """The owner with another browser where somebody has logged in before."""
    return server.visitor(OWNER)


@pytest.mark.parametrize(
    ("seconds", "addresses", "owner"),
    [
        (4, 1, elsewhere),
        (4, 5000, known_browser),
        pytest.param(60, 1, elsewhere, marks=pytest.mark.acceptance),
        pytest.param(60, 5000, known_browser, marks=pytest.mark.acceptance),
        pytest.param(60, 5000, known_address, marks=pytest.mark.acceptance),
    ],
)
def test_during_fifty_guesses_a_second_the_owner_logs_in_and_works(
    seconds: float,
    addresses: int,
    owner: Callable[[Guarded, Person], Person],
    fresh: Guarded,
) -> None:
    session, before = fresh.owner(), fresh.owner()

    guesses = asyncio.run(attack(fresh, seconds, 50, addresses, owner(fresh, before), session))

    assert guesses.answers.keys() <= {401, 429}
    assert 0 < guesses.answers[401] < 20
    # Nearly always 0.02 s, of which other programs of the machine may make more.
    assert sorted(guesses.page)[len(guesses.page) * 9 // 10] < 1
    assert max(guesses.page + guesses.owner) < 5
    state = fresh.state()
    assert state["attacked"]
    assert state["failed_logins"] == guesses.answers.total()
    assert state["last_failed_login"]
    assert "(@203.0." in fresh.log
    assert "logins without a look at the password, the last one from 203.0." in fresh.log
