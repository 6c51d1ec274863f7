"""What is read of processes and of the machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _machine

# Ending it takes the system a while, because of its threads and of its memory.
HEAVY = """
import socket, threading, time
taken = socket.create_server(("127.0.0.1", 0))
for _ in range(30):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
memory = b"1" * (300 << 20)
print(taken.getsockname()[1], flush=True)
time.sleep(600)
"""
# As an interpreter that somebody else starts, such as that of "conda run"; with a child.
KERNEL = """
import subprocess, sys, time
memory = b"1" * (50 << 20)
below = "import time; memory = b'1' * (30 << 20); print(flush=True); time.sleep(600)"
inner = [*sys.orig_argv[1:], "inner"] if not sys.argv[2:] else ["-c", below]
child = subprocess.Popen([sys.executable, *inner])
time.sleep(600)
"""


# How long a process takes to end is the system's affair, so it is tried again.
def test_a_process_that_has_ended_has_left_its_port() -> None:
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", HEAVY], stdout=subprocess.PIPE) as child:
            assert child.stdout
            port = int(child.stdout.readline())
            assert _machine.runs(child.pid)

            child.kill()
            while _machine.runs(child.pid):
                pass

            socket.create_server(("127.0.0.1", port)).close()
            # It was not reaped, which is somebody else's task.
            assert Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "Z"


def test_a_suspended_process_is_told_from_one_that_sleeps() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        assert not _machine.is_suspended(child.pid)

        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)

        assert _machine.is_suspended(child.pid)
        child.kill()
    assert not _machine.is_suspended(child.pid)


@pytest.fixture
def kernel() -> Iterator[tuple[str, int]]:
    """A kernel's id and its process; it has 130 MB with what it has started."""
    name = str(uuid.uuid4())
    with subprocess.Popen(
        [sys.executable, "-c", KERNEL, f"/run/kernel-{name}.json"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        assert child.stdout
        child.stdout.readline()
        yield name, child.pid
        os.killpg(child.pid, signal.SIGKILL)


def test_a_kernel_s_memory_is_that_of_all_it_has_started(kernel: tuple[str, int]) -> None:
    name, pid = kernel

    found = _machine.kernels({name, "another"})

    assert set(found) == {name}
    assert found[name]["pid"] == pid
    assert 130 <= found[name]["memory_mb"] < 180


def test_nobody_s_kernels_are_nothing() -> None:
    assert _machine.kernels(set()) == {}
    assert _machine.kernels({str(uuid.uuid4())}) == {}


def test_room_is_that_of_the_disk_that_will_have_a_directory(tmp_path: Path) -> None:
    there = _machine.disk(str(tmp_path))

    assert 0 < there["disk_free_mb"] < there["disk_mb"]
    assert _machine.disk(str(tmp_path / "not/yet"))["disk_mb"] == there["disk_mb"]
