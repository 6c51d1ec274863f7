"""Ports of loopback that nobody uses."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator


def free_port() -> int:
    """Return a TCP port of loopback nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def free_range(count: int) -> Iterator[tuple[str, list[int]]]:
    """Find free ports in a row; the range, and the ports in the order an account tries them.

    This process listens on the first one until the block ends.
    """
    for low in range(20000 + os.getpid() % 10000, 32000, count):
        try:
            with contextlib.ExitStack() as sockets:
                for port in range(low, low + count):
                    sockets.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        order = [low + (os.getuid() + step) % count for step in range(count)]
        with socket.create_server(("127.0.0.1", order[0])):
            yield f"{low}-{low + count - 1}", order
        return
