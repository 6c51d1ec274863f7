"""Kernels that ask or die while nobody is there."""

from __future__ import annotations

import re

import pytest

from tests.support.pages import Cue, NewFile, OpenPage, Server
from tests.support.waiting import wait_until_async

ENDS = {
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
    "left": ("import os; os._exit(3)", "status 3"),
}


@pytest.mark.parametrize("early", [False, True], ids=["after-its-page-left", "before"])
async def test_a_cell_that_asks_while_nobody_is_there_says_so_and_can_be_run_again(
    early: bool, new_file: NewFile, open_page: OpenPage, cue: Cue, server: Server
) -> None:
    wait = "" if early else cue.awaited
    file = new_file("asks", [f"print('a', flush=True)\n{wait}input('your name? ')", "1"])
    page = await open_page(file)
    page.run()
    await page.wait_for_text("a\n")
    if early:
        await wait_until_async(lambda: page.question)
    await page.leave()
    cue.give()

    await wait_until_async(lambda: "asks for input" in file.text())
    assert 'This cell asks for input ("your name?")' in file.outputs()[-1]["text"]
    assert file.cells[0]["execution_count"] is None
    page = await open_page(file)
    assert page.prompt() == "[*]"
    await server.api("POST", f"kernels/{page.kernel}/interrupt")
    await wait_until_async(lambda: page.outputs()[-1].get("ename") == "KeyboardInterrupt")
    page.run()
    await wait_until_async(lambda: page.question)
    page.answer("Ada")
    await page.wait_for_prompt("[2]")
    await page.leave()
    await wait_until_async(lambda: file.cells[0]["execution_count"] == 2)
    assert file.text() == "a\n"
    assert file.outputs()[-1]["data"]["text/plain"] in ("'Ada'", ["'Ada'"])


async def test_an_answered_question_is_not_told(
    new_file: NewFile, open_page: OpenPage, cue: Cue
) -> None:
    file = new_file("answered", [f"name = input('name? ')\nprint(name)\n{cue.awaited}print('end')"])
    page = await open_page(file)
    page.run()
    await wait_until_async(lambda: page.question)
    page.answer("Ada")
    await page.wait_for_text("Ada\n")
    await page.leave()

    cue.give()

    await wait_until_async(lambda: file.cells[0]["execution_count"])
    assert file.text() == "Ada\nend\n"


@pytest.mark.parametrize("way", ENDS)
async def test_a_kernel_that_dies_while_nobody_is_there_is_told_in_the_cell_and_by_the_server(
    way: str, new_file: NewFile, open_page: OpenPage, cue: Cue, server: Server
) -> None:
    code, reason = ENDS[way]
    file = new_file("dies", [f"print('a', flush=True)\n{cue.awaited}{code}", "1 + 1", "x"])
    page = await open_page(file)
    await page.run_and_leave("a\n", "cell-0", "cell-2")

    cue.give()

    told = f"The kernel died here of {reason}; a new one was started."
    await wait_until_async(lambda: told in file.text(0))
    assert file.text(0).startswith("a\nThe kernel died here")
    assert file.cells[0]["execution_count"] is None
    state = await server.api("GET", "notebook-keeper")
    death = state["deaths"][page.kernel]
    assert death["died_of"] == reason
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", death["died"])
    # Who runs a cell has come to know of it.
    page = await open_page(file)
    assert page.prompt() == "[ ]"
    page.run("cell-1")
    await page.wait_for_prompt("[1]", "cell-1")
    assert (await server.api("GET", "notebook-keeper"))["deaths"] == {}
