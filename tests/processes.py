"""What the tests ask about processes of this machine."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """A process and everything below it, each after the one that has started it."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(OSError):  # It has ended.
                found += map(int, children.read_text().split())
    return found


def memory(pid: int) -> int:
    """The resident memory of a process, in MB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) >> 10
