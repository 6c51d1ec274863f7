"""The one way in which tests wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], seconds: float = 60, *, what: str = "", pause: float = 0.05
) -> T:
    """Return the first truthy answer of ``condition()``, asked every ``pause`` seconds.

    TimeoutError after ``seconds``, which names ``what`` was waited for.
    """
    limit = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > limit:
            raise TimeoutError(f"{what or condition} not within {seconds:g} s")
        time.sleep(pause)
    return found


async def wait_until_async(
    condition: Callable[[], T], seconds: float = 60, *, what: str = "", pause: float = 0.02
) -> T:
    """Do what ``wait_until`` does, where a server in the same process goes on meanwhile."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > limit:
            raise TimeoutError(f"{what or condition} not within {seconds:g} s")
        await asyncio.sleep(pause)
    return found
