"""What a kernel takes of the machine's memory, and how it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from notebook_keeper import memory

MB = 1 << 20
# Each says "there" when it has what it takes, and waits until it is told to end.
ALONE = "x = b'x' * (100 << 20); print('there', flush=True); input()"
SHARING = """
import os
x = b'x' * (100 << 20)
readers = []
for _ in range(3):
    read, write = os.pipe()
    if not os.fork():
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    readers.append(write)
print('there', flush=True)
input()
"""
CHILD = """
import subprocess, sys
own = "x = b'x' * (100 << 20); print('there', flush=True); input()"
child = subprocess.Popen([sys.executable, '-c', own], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
child.stdout.readline()
print('there', flush=True)
input()
"""


@contextmanager
def running(code: str) -> Iterator[int]:
    """A program; its children end with it, because what they read from is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"there\n"
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("code", "count"),
    [
        pytest.param(ALONE, 1, id="alone"),
        # Counted for each, it would be 400 MB.
        pytest.param(SHARING, 4, id="shared"),
        pytest.param(CHILD, 2, id="a-child-s"),
    ],
)
def test_what_a_kernel_and_its_children_take_is_counted_once(code: str, count: int) -> None:
    with running(code) as pid:
        assert len(memory.family(pid)) == count
        assert memory.those_over(pid, 250 * MB) == []
        assert sorted(memory.those_over(pid, 90 * MB)) == sorted(memory.family(pid))


def test_all_of_a_kernel_is_ended() -> None:
    with running(CHILD) as pid:
        pids = memory.family(pid)
        memory.end(memory.those_over(pid, 90 * MB))

        assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        child = pids[1]
        state = Path(f"/proc/{child}/stat")
        while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
            pass


def test_what_has_ended_takes_nothing() -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    assert memory.those_over(process.pid, 0) == []
    memory.mark(process.pid)
    memory.end([process.pid])


@pytest.mark.parametrize(("before", "after"), [(None, 500), (200, 500), (700, 700)])
def test_the_machine_ends_a_kernel_first_and_its_children(before: int | None, after: int) -> None:
    with running(ALONE) as pid:
        file = Path(f"/proc/{pid}/oom_score_adj")
        if before is not None:
            file.write_text(str(before))

        memory.mark(pid)

        assert int(file.read_text()) == after
