"""Who may try a password, and when."""

from __future__ import annotations

from pathlib import Path

import notebook_guard
import pytest
from notebook_guard.connections import harden, origin
from notebook_guard.limits import (
    ATTACK,
    ATTACK_SECONDS,
    DAY,
    FORGOTTEN,
    FREE,
    KNOWN,
    LONGEST_WAIT,
    SHARED,
    STRANGERS,
    Limits,
    visitor,
)
from tornado.httputil import HTTPHeaders
from traitlets.config import Config

OWNER, BROWSER = "198.51.100.7", "0a1b"


class Clock:
    """Seconds, as a test wants them."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(clock)


def guess(limits: Limits, clock: Clock, seconds: float, rate: float, addresses: int) -> int:
    """Guess for so long from so many addresses; return how many were admitted."""
    admitted = 0
    for number in range(int(seconds * rate)):
        admitted += limits.admit(f"203.0.113.{number % addresses}") == 0
        clock.now += 1 / rate
    return admitted


@pytest.mark.parametrize("addresses", [1, 2, 3, 30, 3000])
@pytest.mark.parametrize("rate", [1, 50])
def test_of_a_minute_of_guesses_fewer_than_twenty_are_admitted(
    rate: float, addresses: int, limits: Limits, clock: Clock
) -> None:
    assert guess(limits, clock, 60, rate, addresses) < 20


@pytest.mark.parametrize("addresses", [1, 2, 3])
def test_from_few_addresses_nobody_keeps_the_owner_out(
    addresses: int, limits: Limits, clock: Clock
) -> None:
    for _ in range(60):
        guess(limits, clock, 1, 50, addresses)
        assert limits._shared_wait(0, clock.now) == 0
    assert limits.admit(OWNER) == 0


@pytest.mark.parametrize(
    ("address", "browser"), [(OWNER, ""), ("192.0.2.99", BROWSER)], ids=["address", "browser"]
)
def test_from_however_many_addresses_nobody_keeps_out_who_has_logged_in_before(
    address: str, browser: str, limits: Limits, clock: Clock
) -> None:
    assert limits.admit(OWNER) == 0
    limits.succeeded(OWNER, BROWSER)
    guess(limits, clock, 59, 50, 3000)
    assert limits.admit("192.0.2.99") > 0
    assert limits.admit(address, browser) == 0


def test_a_known_browser_gets_in_where_guesses_come_from_its_own_address(
    limits: Limits, clock: Clock
) -> None:
    limits.succeeded(OWNER, BROWSER)
    while limits.admit(OWNER) == 0:
        pass
    assert limits.admit(OWNER, BROWSER) == 0


@pytest.mark.parametrize("browser", ["", BROWSER], ids=["stranger", "known"])
def test_each_further_failure_doubles_the_wait(browser: str, limits: Limits, clock: Clock) -> None:
    waits = []
    for _ in range(FREE + 9):
        wait = limits.admit(OWNER, browser)
        waits.append(wait)
        clock.now += wait
        assert not wait or limits.admit(OWNER, browser) == 0
    assert waits == [0] * FREE + [4, 8, 16, 32, 64, 128, 256, LONGEST_WAIT, LONGEST_WAIT]


def test_an_attempt_that_is_refused_makes_nobody_wait_longer(limits: Limits, clock: Clock) -> None:
    for _ in range(FREE):
        limits.admit(OWNER)
    first = limits.admit(OWNER)
    for _ in range(100):
        limits.admit(OWNER)
    assert limits.admit(OWNER) == first
    clock.now += first
    assert limits.admit(OWNER) == 0


@pytest.mark.parametrize("ending", ["an hour", "a success"])
def test_failures_are_forgotten_with(ending: str, limits: Limits, clock: Clock) -> None:
    while limits.admit(OWNER) == 0:
        pass
    if ending == "an hour":
        clock.now += FORGOTTEN
    else:
        limits.succeeded(OWNER, BROWSER)
    assert [limits.admit(OWNER) for _ in range(FREE)] == [0] * FREE


def test_many_at_the_same_time_are_no_more_than_as_many_after_each_other(limits: Limits) -> None:
    assert [limits.admit(OWNER) == 0 for _ in range(100)].count(True) == FREE


def test_the_memory_is_bounded(limits: Limits, clock: Clock) -> None:
    for number in range(5 * STRANGERS):
        limits.admit(f"stranger {number}")
        limits.succeeded(f"known {number}", f"browser {number}")
        clock.now += DAY / STRANGERS
    assert len(limits._strangers) <= STRANGERS
    assert len(limits._known) <= KNOWN
    assert len(limits._day) <= DAY / 600 + 1


def test_the_failures_of_a_day_are_counted(limits: Limits, clock: Clock) -> None:
    assert (limits.failures(), limits.since_failure()) == (0, None)
    for hour in range(30):
        if hour:
            clock.now += 3600
        limits.failed()
    assert limits.failures() == 24
    clock.now += 5
    assert limits.since_failure() == 5
    clock.now += 2 * DAY
    assert limits.failures() == 0


def test_what_is_refused_is_a_failure_and_what_succeeds_is_none(limits: Limits) -> None:
    while limits.admit(OWNER) == 0:
        limits.failed()
    assert limits.failures() == FREE + 1
    limits.succeeded(OWNER, BROWSER)
    limits.admit(OWNER)
    limits.succeeded(OWNER, BROWSER)
    assert limits.failures() == FREE + 1


def test_an_attack_is_many_failures_in_a_short_time(limits: Limits, clock: Clock) -> None:
    for _ in range(ATTACK - 1):
        limits.failed()
    assert not limits.attacked()
    limits.failed()
    assert limits.attacked()
    clock.now += ATTACK_SECONDS
    assert not limits.attacked()
    for _ in range(100):
        limits.failed()
        clock.now += ATTACK_SECONDS / ATTACK * 1.5
        assert not limits.attacked()


def test_strangers_have_all_their_attempts_again_after_a_while(
    limits: Limits, clock: Clock
) -> None:
    guess(limits, clock, 60, 50, 3000)
    clock.now += 10 * DAY
    assert [limits.admit(f"192.0.2.{n}") == 0 for n in range(100)].count(True) == SHARED


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1%eth0", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", "unknown"),
        ("x" * 100_000, "unknown"),
    ],
)
def test_a_visitor_is_an_address_or_a_network(address: str, whose: str) -> None:
    assert visitor(address) == whose


@pytest.mark.parametrize(
    ("peer", "headers", "known"),
    [
        ("127.0.0.1", {}, ("127.0.0.1", "http")),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.7"}, ("203.0.113.7", "http")),
        ("::1", {"X-Forwarded-For": "2001:db8::1"}, ("2001:db8::1", "http")),
        # A visitor can send one too; the agent adds what is true.
        ("127.0.0.1", {"X-Forwarded-For": "1.1.1.1, 203.0.113.7"}, ("203.0.113.7", "http")),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.7, junk"}, ("127.0.0.1", "http")),
        ("127.0.0.1", {"X-Real-Ip": "1.1.1.1"}, ("127.0.0.1", "http")),
        ("127.0.0.1", {"X-Forwarded-Proto": "https"}, ("127.0.0.1", "https")),
        ("127.0.0.1", {"X-Forwarded-Proto": "https, http"}, ("127.0.0.1", "http")),
        ("127.0.0.1", {"X-Forwarded-Proto": "gopher"}, ("127.0.0.1", "http")),
        ("127.0.0.1", {"X-Scheme": "https"}, ("127.0.0.1", "http")),
        # Somebody else than a program of this machine is who it is.
        (
            "192.0.2.1",
            {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"},
            ("192.0.2.1", "http"),
        ),
        ("odd", {"X-Forwarded-For": "203.0.113.7"}, ("odd", "http")),
    ],
)
def test_what_a_proxy_says_counts_if_it_runs_here(
    peer: str, headers: dict[str, str], known: tuple[str, str]
) -> None:
    assert origin(peer, False, HTTPHeaders(headers)) == known
    assert origin(peer, True, HTTPHeaders())[1] == "https"


@pytest.mark.parametrize(
    ("cookie", "https", "hardened"),
    [
        ("a=b; Path=/", False, "a=b; Path=/; SameSite=Lax"),
        ("a=b; Path=/", True, "a=b; Path=/; SameSite=Lax; Secure"),
        ("a=b; samesite=Strict; secure", True, "a=b; samesite=Strict; secure"),
        ("secure=samesite", True, "secure=samesite; SameSite=Lax; Secure"),
    ],
)
def test_cookies_are_kept_from_other_sites_and_from_the_network(
    cookie: str, https: bool, hardened: str
) -> None:
    headers = HTTPHeaders()
    headers.add("Set-Cookie", cookie)
    headers.add("Set-Cookie", cookie)
    harden(headers, https)
    assert headers.get_list("Set-Cookie") == [hardened, hardened]
    assert ("Strict-Transport-Security" in headers) is https


@pytest.mark.parametrize("name", ["token", "password_hash"])
@pytest.mark.parametrize("content", ["\n", None])
def test_there_is_no_configuration_without_a_secret(
    name: str, content: str | None, tmp_path: Path
) -> None:
    for file in {"token", "password_hash"} - ({name} if content is None else set()):
        (tmp_path / file).write_text("secret" if file != name else content or "")
    with pytest.raises((ValueError, OSError), match=name):
        notebook_guard.apply(Config(), tmp_path)


def test_nothing_that_was_set_before_overrules_the_guard(tmp_path: Path) -> None:
    from notebook_guard.identity import OwnerIdentityProvider

    for file in ("token", "password_hash"):
        (tmp_path / file).write_text(f"{file} of ours\n")
    loose = {"token": "", "hashed_password": "", "allow_password_change": True, "base": "/"}
    loose |= {"cookie_options": {"httponly": False}}
    config = Config(
        dict.fromkeys(
            ("IdentityProvider", "PasswordIdentityProvider", "OwnerIdentityProvider"), loose
        )
    )
    config.ServerApp.identity_provider_class = "jupyter_server.auth.IdentityProvider"
    config.ServerApp.jpserver_extensions = {"notebook_guard": False, "other": True}

    notebook_guard.apply(config, tmp_path)

    provider = OwnerIdentityProvider(config=config)
    assert (provider.token, provider.hashed_password) == ("token of ours", "password_hash of ours")
    assert (provider.base, provider.allow_password_change) == (str(tmp_path), False)
    assert provider.cookie_options == {}
    assert provider.auth_enabled
    assert config.ServerApp.identity_provider_class is OwnerIdentityProvider
    assert config.ServerApp.jpserver_extensions == {"notebook_guard": True, "other": True}
