"""A slow and lossy wire between two network interfaces.

``python relay.py ONE OTHER DELAY_MS LOSS_PERCENT``: every frame that arrives at one interface
leaves through the other; a round trip takes DELAY_MS longer, and each direction loses its share.
It ends when an interface goes away. The kernel's own emulation (netem) is not in every kernel.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import sys
import time
from collections import deque

ETH_P_ALL = 3
# linux/if_packet.h
SOL_PACKET = 263
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
LARGEST = 70_000


def attach(interface: str) -> socket.socket:
    """A socket for all frames that arrive at an interface.

    Each has the header in front that says what the sender left for the card to do (checksums,
    segmentation), so that frames which were never cut to size can be passed on as they are.
    """
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, struct.pack("i", 1))
    packets.setsockopt(SOL_PACKET, PACKET_VNET_HDR, struct.pack("i", 1))
    packets.bind((interface, ETH_P_ALL))
    packets.setblocking(False)
    return packets


def relay(one: socket.socket, other: socket.socket, delay: float, loss: float) -> None:
    """Pass frames on, each ``delay`` seconds late, without the share ``loss`` of them."""
    towards = {one: other, other: one}
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for source in select.select([one, other], [], [], left)[0]:
            with contextlib.suppress(BlockingIOError):
                frame = source.recv(LARGEST)
                if random.random() >= loss:
                    waiting.append((time.monotonic() + delay, towards[source], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, target, frame = waiting.popleft()
            # A full queue loses frames, as on any wire.
            with contextlib.suppress(OSError):
                target.send(frame)


def main() -> None:
    """Read the command line and relay until an interface is gone."""
    one, other, delay_ms, loss_percent = sys.argv[1:]
    with contextlib.suppress(OSError):
        relay(attach(one), attach(other), float(delay_ms) / 2000, float(loss_percent) / 100)


if __name__ == "__main__":
    main()
