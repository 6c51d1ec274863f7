"""What the keeper costs while nothing happens, beside a plain Jupyter."""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.accounts import Account
from tests.support.browser import opening, write_file
from tests.support.processes import memory
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

pytestmark = pytest.mark.acceptance

KERNELS = 10
SECONDS = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Of a server with ten kernels that do nothing, and a page."""

    requests_per_minute: float
    cpu_percent: float
    memory_mb: int


@pytest.fixture
def plain(neighbour: Account) -> Account:
    """The same Jupyter without the keeper."""
    neighbour.setup(jupyter_outputs_kept=False)
    return neighbour


def measure(account: Account, browser: Browser) -> Cost:
    """Open a page and connect to ten kernels, as pages do, and do nothing for a while."""
    visitor = account.visitor()
    write_file(account, "idle", ["1"])
    with opening(browser, account) as open_tab, ExitStack() as connections:
        tab = open_tab("idle")
        tab.run()
        expect(tab.outputs()).to_have_text("1")
        for _ in range(KERNELS - 1):
            kernel = visitor.kernel()
            visitor.run(kernel, "1")
            connections.enter_context(visitor.connection(kernel))
        states = {"idle"}
        wait_until(
            lambda: {k["execution_state"] for k in visitor.api("GET", "/api/kernels")} == states, 60
        )
        before, cpu = requests(visitor), cpu_seconds(account.pids()["jupyter"])
        # The time is what is measured.
        time.sleep(SECONDS)
        # Without the request that asks for the number.
        count = requests(visitor) - before - 1
        cpu = cpu_seconds(account.pids()["jupyter"]) - cpu
        return Cost(count * 60 / SECONDS, 100 * cpu / SECONDS, memory(account.pids()["jupyter"]))


def requests(visitor: Visitor) -> int:
    """How many requests the server has answered."""
    status, _, page = visitor.page("/metrics")
    assert status == 200
    counts = re.findall(r"^http_request_duration_seconds_count\{.*\} (\S+)$", page, re.MULTILINE)
    return int(sum(map(float, counts)))


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processors: utime and stime of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def test_ten_idle_kernels_cost_little_more_than_in_a_plain_jupyter(
    notebook: Account, plain: Account, browser: Browser
) -> None:
    with_keeper, without = measure(notebook, browser), measure(plain, browser)

    print(f"{KERNELS} idle kernels, one page    with the keeper     plain")
    for name in ("requests_per_minute", "cpu_percent", "memory_mb"):
        print(f"{name:28} {getattr(with_keeper, name):15.1f} {getattr(without, name):9.1f}")
    assert with_keeper.requests_per_minute < without.requests_per_minute + 20
    assert with_keeper.cpu_percent < without.cpu_percent + 2
    assert with_keeper.memory_mb < without.memory_mb + 80
