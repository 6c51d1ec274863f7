"""A kernel that takes more memory than it may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from tests.support.pages import Cue, NewFile, OpenPage, Server
from tests.support.waiting import wait_until_async

WHY = "signal 9: it took more memory than jupyter_kernel_memory allows, 0.4 GB"


@pytest.fixture
def jp_server_config(jp_server_config: Config) -> Config:
    """A kernel that does nothing takes 80 MB."""
    jp_server_config.KernelMemory.limit_mb = 400
    return jp_server_config


async def test_a_kernel_that_takes_too_much_memory_is_ended_and_told_why_and_no_other(
    server: Server, jp_serverapp: Any, new_file: NewFile, open_page: OpenPage, cue: Cue
) -> None:
    big = new_file(
        "big", [f"print('a', flush=True)\n{cue.awaited}x = b'x' * (600 << 20)\ntime.sleep(600)"]
    )
    small = new_file("small", ["x = b'x' * (100 << 20)", "len(x)"])
    other = await open_page(small)
    other.run()
    await other.wait_for_prompt("[1]")
    page = await open_page(big)
    await page.run_and_leave("a\n")

    cue.give()

    await wait_until_async(lambda: f"The kernel died here of {WHY}" in big.text())
    state = await server.api("GET", "notebook-keeper")
    assert {kernel: death["died_of"] for kernel, death in state["deaths"].items()} == {
        page.kernel: WHY
    }
    other.run("cell-1")
    await other.wait_for_prompt("[2]", "cell-1")
    # Were the machine's memory full, kernels would be ended before the server.
    kernel = jp_serverapp.kernel_manager.get_kernel(other.kernel)
    adjusted = Path(f"/proc/{kernel.provisioner.process.pid}/oom_score_adj")
    await wait_until_async(lambda: adjusted.read_text() == "500\n")
