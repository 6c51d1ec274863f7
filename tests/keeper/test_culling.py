"""Kernels that Jupyter ends because nobody uses them, and what they have printed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.pages import Cue, NewFile, OpenPage
from tests.support.waiting import wait_until_async


@pytest.mark.acceptance
async def test_a_kernel_that_is_culled_has_all_that_it_printed_in_the_notebook(
    jp_serverapp: Any, new_file: NewFile, open_page: OpenPage, cue: Cue
) -> None:
    lines = "".join(f"{number}\n" for number in range(20_000))
    source = f"print('a', flush=True)\n{cue.awaited}for n in range(20_000): print(n)"
    file = new_file("culled", [source])
    page = await open_page(file)
    await page.run_and_leave("a\n")
    cue.give()
    # As soon as Jupyter can: it counts in seconds. Not before, because a page may take as long.
    kernels = jp_serverapp.kernel_manager
    kernels.cull_idle_timeout = 1

    async with asyncio.timeout(60):
        while page.kernel in kernels:
            await kernels.cull_kernels()
            await asyncio.sleep(0.1)

    await wait_until_async(lambda: file.text() == f"a\n{lines}")
    assert file.cells[0]["execution_count"] == 1
