"""What counts as use of a notebook besides what happens on its pages."""

from __future__ import annotations

import json
import re

from tests.support.accounts import Account
from tests.support.processes import descendants
from tests.support.use import look
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until


def test_a_busy_kernel_is_use(notebook: Account, visitor: Visitor) -> None:
    kernel = visitor.kernel()
    assert kernel not in look(notebook).busy

    with visitor.computing(kernel):
        wait_until(lambda: f"kernel {kernel} is busy" in look(notebook).busy)
    visitor.end_kernels()


def test_a_terminal_that_prints_is_use_though_no_page_shows_it(
    notebook: Account, visitor: Visitor
) -> None:
    name = visitor.api("POST", "/api/terminals")["name"]
    with visitor.websocket(f"/terminals/websocket/{name}") as channel:
        channel.send(json.dumps(["stdin", "tty; while sleep 0.5; do echo line; done\r"]))
        found = wait_until(lambda: re.search(r"/dev/pts/\d+", str(channel.recv(30))))
        assert found
        wait_until(lambda: json.loads(channel.recv(30)) == ["stdout", "line\r\n"])

    seen = look(notebook)
    assert seen.stamps
    before = seen.stamps[f"terminal {found[0]}"]
    # It is no login.
    for pid in descendants(notebook.pids()["jupyter"]):
        assert f"(process {pid})" not in seen.busy
    wait_until(lambda: (look(notebook).stamps or {}).get(f"terminal {found[0]}") != before)
    visitor.api("DELETE", f"/api/terminals/{name}")
