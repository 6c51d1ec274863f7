"""Times as a person at the controller says them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from ansible_collections.anywhere.notebook.plugins.filter.local_times import local_times

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1))
WEST = timezone(-timedelta(hours=8))


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("2026-11-27T17:45:02Z", UTC, "today 17:45"),
        ("2026-11-27T17:45:02.123456Z", BERLIN, "today 18:45"),
        ("2026-11-27T17:45:02+00:00", UTC, "today 17:45"),
        ("2026-11-27 17:45 UTC", UTC, "today 17:45"),
        ("2026-11-27T23:30:00Z", BERLIN, "tomorrow 00:30"),
        ("2026-11-27T02:00:00Z", WEST, "yesterday 18:00"),
        ("2026-11-02T09:05:00Z", UTC, "2 Nov 09:05"),
        ("2025-11-27T17:45:02Z", UTC, "27 Nov 2025 17:45"),
        ("it was rebooted at 2026-11-27T17:45:02Z; it", UTC, "it was rebooted today at 17:45; it"),
        ("rebooted at 2026-11-02 09:05 UTC.", UTC, "rebooted on 2 Nov at 09:05."),
        (
            "from 2026-11-27T11:00:00Z to 2026-11-27T12:00:00Z",
            UTC,
            "from today 11:00 to today 12:00",
        ),
        # What is no time in UTC stays.
        ("run-2026-11-27.ipynb", UTC, "run-2026-11-27.ipynb"),
        ("2026-11-27 17:45 CET", UTC, "2026-11-27 17:45 CET"),
        ("2026-11-27T17:45:02+01:00", UTC, "2026-11-27T17:45:02+01:00"),
        ("2026-13-40T99:99:99Z", UTC, "2026-13-40T99:99:99Z"),
        ("0001-01-01T00:30:00Z", WEST, "0001-01-01T00:30:00Z"),
        ("", UTC, ""),
    ],
)
def test_a_time_is_local_and_short(text: str, zone: timezone, said: str) -> None:
    assert local_times(text, now=NOW, zone=zone) == said


def test_in_what_is_read_later_a_day_is_a_date() -> None:
    said = local_times("at 2026-11-27T17:45:02Z", today=False, now=NOW, zone=UTC)
    assert said == "on 27 Nov 2026 at 17:45"


def test_without_a_word_it_is_this_computer_s_time() -> None:
    now = datetime.now(UTC)
    assert local_times(f"{now:%FT%TZ}") in {
        f"{day} {now.astimezone():%H:%M}" for day in ("today", "yesterday")
    }
