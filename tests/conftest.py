"""What holds for all tests: their order, and that nothing of theirs is left in the end."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.hosts.listing import RUNS, everything

SHARING = ("tests/e2e/", "tests/integration/")
HOSTS = Path(__file__).parent / "hosts"
STARTED_BY = "NOTEBOOK_TESTS_STARTED_BY"
END_SECONDS = 10.0

before = pytest.StashKey[frozenset[str]]()


class ByNotebook(LoadScopeScheduling):
    """Gives the tests of a file to one process where they share a notebook, others one by one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.startswith(SHARING) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByNotebook:
    """Distribute the tests over the processes."""
    return ByNotebook(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Mark every process that the tests will start, and list what is there."""
    if not is_worker(session.config):
        os.environ[STARTED_BY] = secrets.token_hex(8)
        session.config.stash[before] = things(session.config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail when something is left that was not there before."""
    if is_worker(session.config):
        return
    earlier = session.config.stash[before]
    limit = time.monotonic() + END_SECONDS
    while left := things(session.config) - earlier:
        if time.monotonic() > limit:
            print("\nLeft behind by the tests:", *sorted(left), sep="\n  ")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        time.sleep(0.1)


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of several processes of xdist."""
    return hasattr(config, "workerinput")


def things(config: pytest.Config) -> frozenset[str]:
    """Processes with our mark, and all that belongs to runs of hosts, which takes root."""
    asked = [Path(word.partition("::")[0]).resolve() for word in config.args]
    marked: set[str] = set()
    if any(HOSTS in (path, *path.parents) or path in HOSTS.parents for path in asked):
        marked.update(line for line in everything() if RUNS.search(line))
    wanted = f"{STARTED_BY}={os.environ[STARTED_BY]}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # It has ended, or is none of our business.
            continue
        if wanted in words and int(process.name) != os.getpid():
            marked.add(f"process {process.name} {command}")
    return frozenset(marked)
