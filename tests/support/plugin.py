"""What holds for all tests: their order, and that nothing of theirs is left in the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support import CHECKOUT
from tests.support.hosts.client import STARTED_BY
from tests.support.hosts.listing import everything
from tests.support.waiting import wait_until

SHARING = ("tests/account/", "tests/browser/", "tests/guard/")
# What keeps a process busy for long is begun first, what takes a second comes last.
ORDER = (
    *SHARING[::-1],
    *(f"tests/machine/test_{name}.py" for name in ("scenarios", "interruption", "bare_machine")),
    "tests/machine/",
    "tests/",
)
HOSTS = [CHECKOUT / "tests/machine", CHECKOUT / "tests/standins"]
END_SECONDS = 60.0


class ByNotebook(LoadScopeScheduling):
    """Gives the tests of a file to one process where they share a notebook, others one by one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.startswith(SHARING) else nodeid


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into the order in which they are begun."""
    items.sort(
        key=lambda item: next(n for n, start in enumerate(ORDER) if item.nodeid.startswith(start))
    )


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByNotebook:
    """Distribute the tests over the processes."""
    return ByNotebook(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Mark all that the tests will start, whoever else runs tests beside them."""
    if not is_worker(session.config):
        os.environ[STARTED_BY] = secrets.token_hex(6)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail when something with the mark is left."""
    if is_worker(session.config):
        return
    try:
        wait_until(lambda: not left(session.config), END_SECONDS)
    except TimeoutError:
        print("\nLeft behind by the tests:", *sorted(left(session.config)), sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of several processes of xdist."""
    return hasattr(config, "workerinput")


def left(config: pytest.Config) -> set[str]:
    """Processes with our mark, and what of runs of hosts has it, for which it takes root."""
    mark = os.environ[STARTED_BY]
    found = set(processes(f"{STARTED_BY}={mark}".encode()))
    asked = {Path(word.partition("::")[0]).resolve() for word in config.args}
    if any(one in (path, *path.parents) or path in one.parents for path in asked for one in HOSTS):
        found.update(line for line in everything() if mark in line)
    return found


def processes(setting: bytes) -> Iterator[str]:
    """Other processes that have this in their environment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # It has ended, or is none of our business.
            continue
        if setting in words and int(process.name) != os.getpid():
            yield f"process {process.name} {command}"
