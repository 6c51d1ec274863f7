"""Ends a kernel that takes more memory than it may, before the machine has none left.

Looks at kernels now and then, so one can have taken more by the time it is seen. Where the machine
itself runs out of memory meanwhile, it is told to end kernels before all else of the account.

Files of /proc are described in proc_pid_statm(5), proc_pid_smaps(5) (``smaps_rollup``, Linux 4.14),
proc_tid_children(5) and proc_pid_oom_score_adj(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tornado.ioloop import PeriodicCallback
from traitlets import Int
from traitlets.config import Configurable

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

LOOK_MS = 500
# Of 1000, at which a process is ended before all others. Anybody may raise it for what is theirs.
FIRST = 500
PAGE = os.sysconf("SC_PAGE_SIZE")


class KernelMemory(Configurable):
    """The kernels of one server. Settings as in ``c.KernelMemory.limit_mb = 6000``."""

    limit_mb = Int(
        0,
        config=True,
        help="""How much memory a kernel may take, with the processes that it has started, in
        megabytes of 2**20 bytes, before it is ended; 0 is any.""",
    )

    def __init__(self, app: ServerApp, parent: Configurable) -> None:
        super().__init__(parent=parent)
        self._app = app
        self._marked: dict[str, int] = {}
        # Why kernels were ended, by their process, until that is told.
        self.ended: dict[int, str] = {}
        self._looking = PeriodicCallback(self.look, LOOK_MS)
        self._looking.start()

    async def look(self) -> None:
        """Look at all kernels once."""
        kernels = self._app.kernel_manager
        for kernel_id in kernels.list_kernel_ids():
            # Meanwhile it may have gone.
            kernel = kernels.get_kernel(kernel_id) if kernel_id in kernels else None
            process = getattr(getattr(kernel, "provisioner", None), "process", None)
            if process is None:
                continue
            # One that was started anew is another process.
            if self._marked.get(kernel_id) != process.pid:
                self._marked[kernel_id] = process.pid
                mark(process.pid)
            if not self.limit_mb:
                continue
            over = await asyncio.to_thread(those_over, process.pid, self.limit_mb << 20)
            if over and process.poll() is None:
                self.ended[process.pid] = (
                    "it took more memory than jupyter_kernel_memory allows, "
                    f"{self.limit_mb / 1024:.1f} GB"
                )
                end(over)
                self._app.log.warning(
                    "Kernel %s was ended: %s.", kernel_id, self.ended[process.pid]
                )


def mark(pid: int) -> None:
    """Have the machine end a process, and what it starts, before others when memory is full."""
    file = Path(f"/proc/{pid}/oom_score_adj")
    # It has ended, or there is no such file in this container.
    with contextlib.suppress(OSError, ValueError):
        if int(file.read_text()) < FIRST:
            file.write_text(str(FIRST))


def those_over(pid: int, limit: int) -> list[int]:
    """Return a process and all that it has started if they take more than so many bytes."""
    pids = family(pid)
    # What they share is counted for each here, so it may be less, but is never more.
    within = sum(map(resident, pids)) <= limit or sum(map(proportional, pids)) <= limit
    return [] if within else pids


def end(pids: list[int]) -> None:
    """End processes at once: of one that swells there is no time to ask."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def family(pid: int) -> list[int]:
    """Return a process, and all that it has started, directly or not."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def resident(pid: int) -> int:
    """Return the bytes that a process has in memory; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0


def proportional(pid: int) -> int:
    """Return the same, with its part only of what it shares with others. Takes far longer."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return resident(pid)
    found = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else resident(pid)
