"""Who may try a password, and when: decisions only, on a clock that is given.

An attempt counts as failed when it is admitted, and no longer once it has succeeded; so of many at
the same time no more are admitted than of as many one after the other.

A visitor is known who has logged in before, by the address or by a browser that shows so. Strangers
share a number of attempts, and the known do not: so the owner gets in while strangers, from however
many addresses, use up what there is for them.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

# Attempts without a wait, then the seconds to wait, doubled each time; forgotten after an hour
# without an attempt.
FREE = 5
FIRST_WAIT = 4.0
LONGEST_WAIT = 300.0
FORGOTTEN = 3600.0

# Attempts that all strangers have together: so many at once, and one more each so many seconds.
# Half of them are for those who have made fewer than two, lest a few use up all there is.
SHARED = 12
SHARED_SECONDS = 10.0
FIRST_ONES = 2

# How many visitors are remembered, of each kind.
STRANGERS = 1000
KNOWN = 100

# An attack goes on while so many logins have failed within so many seconds.
ATTACK = 10
ATTACK_SECONDS = 60.0

DAY = 86400.0
SLICE = 600.0


def visitor(address: str) -> str:
    """Whose address this is: of IPv6, a network of 64 bits belongs to one visitor."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(ip), 64), strict=False))
        ip = ip.ipv4_mapped
    return str(ip)


@dataclass
class Tries:
    """How often a visitor has failed in a row, and when last (seconds of the clock)."""

    count: int = 0
    last: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next one."""
        if self.count < FREE:
            return 0.0
        pause = min(FIRST_WAIT * 2.0 ** min(self.count - FREE, 32), LONGEST_WAIT)
        return max(0.0, self.last + pause - now)


class Book:
    """The tries of the visitors seen last; those of others are forgotten."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._tries: OrderedDict[str, Tries] = OrderedDict()

    def __contains__(self, who: str) -> bool:
        return who in self._tries

    def __len__(self) -> int:
        return len(self._tries)

    def tries(self, who: str, now: float) -> Tries:
        """Those of one visitor."""
        tries = self._tries.get(who, Tries())
        return tries if now - tries.last < FORGOTTEN else Tries()

    def note(self, who: str, tries: Tries) -> None:
        """Remember them."""
        self._tries[who] = tries
        self._tries.move_to_end(who)
        if len(self._tries) > self._size:
            self._tries.popitem(last=False)

    def forget(self, who: str) -> None:
        """Forget a visitor."""
        self._tries.pop(who, None)


class Limits:
    """What is decided of each login, and what is known of those that failed.

    ``clock`` tells seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._strangers = Book(STRANGERS)
        self._known = Book(KNOWN)
        self._shared = float(SHARED)
        self._shared_at = clock()
        self._latest: deque[float] = deque(maxlen=ATTACK)
        # Failed logins by slices of the clock, of the last day.
        self._day: Counter[int] = Counter()

    def admit(self, address: str, browser: str = "") -> float:
        """Seconds to wait before an attempt of this visitor; with 0, this one is admitted.

        ``browser`` is the name of a browser that has shown that somebody logged in with it before.
        One that is not admitted changes nothing for the next one.
        """
        now = self._clock()
        known = bool(browser) or address in self._known
        who, book = browser or address, self._known if known else self._strangers
        tries = book.tries(who, now)
        wait = tries.wait(now)
        if not known:
            wait = max(wait, self._shared_wait(tries.count, now))
        if wait > 0:
            self.failed()
            return wait
        if not known:
            self._shared -= 1
        book.note(who, Tries(tries.count + 1, now))
        return 0.0

    def succeeded(self, address: str, browser: str) -> None:
        """Somebody has logged in: both are known from now on, a browser by what it shows."""
        self._strangers.forget(address)
        self._known.note(address, Tries())
        self._known.forget(browser)

    def failed(self) -> None:
        """Somebody has not got in."""
        now = self._clock()
        self._latest.append(now)
        today = int(now // SLICE)
        if today not in self._day:
            for old in [key for key in self._day if key <= today - DAY // SLICE]:
                del self._day[old]
        self._day[today] += 1

    def failures(self) -> int:
        """How many logins have failed within a day."""
        oldest = self._clock() // SLICE - DAY // SLICE
        return sum(count for key, count in self._day.items() if key > oldest)

    def since_failure(self) -> float | None:
        """Seconds since the last one that failed."""
        return self._clock() - self._latest[-1] if self._latest else None

    def attacked(self) -> bool:
        """Whether an attack goes on."""
        return len(self._latest) == ATTACK and self._clock() - self._latest[0] < ATTACK_SECONDS

    def _shared_wait(self, count: int, now: float) -> float:
        """Seconds until strangers have an attempt left for one who has made so many."""
        gained = (now - self._shared_at) / SHARED_SECONDS
        self._shared, self._shared_at = min(self._shared + gained, SHARED), now
        needed = 1 if count < FIRST_ONES else 1 + SHARED / 2
        return max(0.0, (needed - self._shared) * SHARED_SECONDS)
