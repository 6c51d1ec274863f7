"""What the tests ask about processes of this machine, and how they end them."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waiting import wait_until

STOP_SECONDS = 10.0

# Becomes another program, to which the kernel does not have these system calls, given as
# NUMBER=ERRNO (seccomp(2), linux/bpf_common.h; as a classic BPF program has it).
WITHOUT = """
import ctypes, os, struct, sys
calls, words = sys.argv[1], sys.argv[2:]
rules = [tuple(map(int, call.split("="))) for call in calls.split(",")]
program = struct.pack("=HBBI", 0x20, 0, 0, 0)
for number, error in rules:
    program += struct.pack("=HBBI", 0x15, 0, 1, number)
    program += struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | error)
program += struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
zero = ctypes.c_ulong(0)
filtered = Program(len(program) // 8, program)
if libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) or libc.prctl(
    22, ctypes.c_ulong(2), ctypes.byref(filtered), zero, zero
):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execvp(words[0], words)
"""
# ptrace(2), waitpid(2)
DETACH, SEIZE, INTERRUPT, WALL = 17, 0x4206, 0x4207, 0x40000000


def runs(pid: int) -> bool:
    """Whether a process has not ended, so that it may still have files and ports.

    One that was only not reaped yet has ended when its other threads have.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    # The second field of proc_pid_stat(5), in parentheses, may hold anything.
    state, *_, threads = stat.rpartition(")")[2].split()[:18]
    return state not in ("X", "Z") or int(threads) > 1


def end_sessions(path: Path) -> int:
    """End a tmux server and what runs in it, by their ids; return how many commands ran."""
    if not path.exists():
        return 0
    # From within the directory, because the path of a socket must not be long.
    tmux = ["env", "-C", str(path.parent), "tmux", "-S", path.name]
    fields = "#{pane_dead} #{pane_pid}"
    panes = subprocess.run(
        [*tmux, "list-panes", "-a", "-F", fields], capture_output=True, text=True, check=False
    )
    rows = [row.split() for row in panes.stdout.splitlines()]
    pids = [int(pid) for dead, pid in rows if dead == "0"]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    with suppress(TimeoutError):
        wait_until(lambda: not any(map(runs, pids)), STOP_SECONDS)
    # What is left ends with its terminal.
    subprocess.run([*tmux, "kill-server"], capture_output=True, check=False)
    path.unlink(missing_ok=True)
    return len(pids)


def descendants(pid: int) -> list[int]:
    """A process and everything below it, each after the one that has started it."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(OSError):  # It has ended.
                found += map(int, children.read_text().split())
    return found


def without(calls: dict[int, int], words: list[str]) -> list[str]:
    """A command line that runs another on a kernel that answers system calls with an errno."""
    told = ",".join(f"{number}={error}" for number, error in calls.items())
    return [sys.executable, "-I", "-S", "-c", WITHOUT, told, *words]


def debuggers(place: Path) -> list[int]:
    """The processes of debugpy that listen for a kernel of the server in a directory.

    They are below no other process, but have the kernel's environment.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes()
            if b"debugpy/adapter" in words and bytes(place) in (path / "environ").read_bytes():
                found.append(int(path.name))
    return found


def memory(pid: int) -> int:
    """The resident memory of a process, in MB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) >> 10


@contextmanager
def frozen(pid: int, seconds: float | None = None) -> Iterator[None]:
    """Keep a process from doing anything until the block ends, or for a time.

    As a debugger does it: tmux itself lets a command go on that a signal has stopped.
    """
    held, let_go = threading.Event(), threading.Event()
    failed: list[OSError] = []

    def hold() -> None:
        threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
        try:
            for thread in threads:
                _trace(SEIZE, thread)
                _trace(INTERRUPT, thread)
                os.waitpid(thread, WALL)
        except OSError as exc:
            failed.append(exc)
        held.set()
        passed = 0.0
        while not let_go.wait(0.05) and (seconds is None or passed < seconds):
            passed += 0.05
            for thread in threads:
                # Whoever started it learns of its end only after this.
                with suppress(ChildProcessError):
                    os.waitpid(thread, WALL | os.WNOHANG)
        for thread in threads:
            with suppress(OSError):
                _trace(DETACH, thread)

    tracer = threading.Thread(target=hold)
    tracer.start()
    held.wait()
    try:
        assert not failed, failed
        yield
    finally:
        let_go.set()
        tracer.join()


def _trace(request: int, thread: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of {thread}")
