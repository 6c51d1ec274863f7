"""Kernels that ask, die, or are restarted while nobody is there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from notebook_keeper.keeper import Execution

from tests.support.pages import Cue, NewFile, OpenPage, Server
from tests.support.waiting import wait_until_async

RESTARTED = "The kernel was restarted here.\n"
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
    # Until a cell that failed has ended, its kernel refuses the next one.
    await page.wait_for_prompt("[1]")
    page.run()
    await wait_until_async(lambda: page.question)
    page.answer("Ada")
    await page.wait_for_prompt("[2]")
    await page.leave()
    await wait_until_async(lambda: file.cells[0]["execution_count"] == 2)
    await wait_until_async(lambda: "data" in (file.outputs() or [{}])[-1])
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


async def test_a_kernel_that_dies_before_its_page_is_known_to_have_gone(
    new_file: NewFile,
    open_page: OpenPage,
    new_cue: Callable[[str], Cue],
    server: Server,
    executions: Callable[[], list[Execution]],
) -> None:
    code, reason = ENDS["killed"]
    more, die = new_cue("more"), new_cue("die")
    source = f"print('a', flush=True)\n{more.awaited}print('b', flush=True)\n{die.awaited}{code}"
    file = new_file("cut-off", [source])
    page = await open_page(file)
    page.run()
    await page.wait_for_text("a\n")
    (execution,) = executions()
    page.frozen = True
    more.give()
    await wait_until_async(lambda: execution.journal.as_outputs()[0]["text"] == "a\nb\n")
    die.give()
    await wait_until_async(lambda: execution.ended)
    assert (await server.api("GET", "notebook-keeper"))["deaths"]

    await page.leave()

    await wait_until_async(lambda: f"The kernel died here of {reason}" in file.text())
    assert file.text().startswith("a\nb\nThe kernel died")


async def test_what_was_seen_of_a_kernel_that_died_is_left_to_the_person(
    new_file: NewFile,
    open_page: OpenPage,
    cue: Cue,
    executions: Callable[[], list[Execution]],
) -> None:
    file = new_file("seen", [f"print('a', flush=True)\n{cue.awaited}{ENDS['killed'][0]}", "1"])
    page = await open_page(file)
    page.run()
    await page.wait_for_text("a\n")
    (execution,) = executions()
    cue.give()
    await wait_until_async(lambda: execution.lost and execution.shown)

    page.clear()
    await wait_until_async(lambda: execution.finished)
    await page.leave()
    # Cells whose pages have gone are written together.
    page = await open_page(file)
    page.run("cell-1")
    await page.leave()

    await wait_until_async(lambda: file.cells[1]["execution_count"] == 1)
    assert file.outputs() == []


@pytest.mark.parametrize("stubborn", [False, True], ids=["interrupted", "killed"])
async def test_a_kernel_that_is_restarted_while_nobody_is_there(
    stubborn: bool, new_file: NewFile, open_page: OpenPage, cue: Cue, server: Server
) -> None:
    # A restart begins with an interrupt.
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" if stubborn else ""
    file = new_file("restarted", [f"{deaf}print('a', flush=True)\n{cue.awaited}", "1 + 1"])
    page = await open_page(file)
    await page.run_and_leave("a\n")

    await server.api("POST", f"kernels/{page.kernel}/restart")

    if stubborn:
        await wait_until_async(lambda: file.text() == f"a\n{RESTARTED}")
    else:
        await wait_until_async(lambda: says_that_it_was_ended(file.outputs()))
        assert file.text() in ("a\n", f"a\n{RESTARTED}")
    assert (await server.api("GET", "notebook-keeper"))["deaths"] == {}
    page = await open_page(file)
    page.run("cell-1")
    # The kernel's answer may come before what the cell prints.
    await page.wait_for_prompt("[1]", "cell-1")
    await wait_until_async(lambda: page.outputs("cell-1"))
    assert page.outputs("cell-1")[0]["data"] == {"text/plain": "2"}


def says_that_it_was_ended(outputs: list[dict[str, Any]]) -> bool:
    """Whether a cell does; a busy machine kills the kernel before it tells of the interrupt."""
    last = outputs[-1] if outputs else {}
    return last.get("ename") == "KeyboardInterrupt" or RESTARTED in last.get("text", "")


async def test_a_kernel_is_restarted_after_the_return_and_cells_run_again(
    new_file: NewFile, open_page: OpenPage, new_cue: Callable[[str], Cue], server: Server
) -> None:
    more, cue = new_cue("more"), new_cue("never")
    source = f"print('a', flush=True)\n{more.awaited}print('b', flush=True)\n{cue.awaited}"
    file = new_file("again", [source, "1 + 1"])
    page = await open_page(file)
    await page.run_and_leave("a\n")
    page = await open_page(file)
    more.give()
    await page.wait_for_text("a\nb\n")

    await server.api("POST", f"kernels/{page.kernel}/restart")

    await wait_until_async(lambda: says_that_it_was_ended(page.outputs()))
    assert page.text() in ("a\nb\n", f"a\nb\n{RESTARTED}")
    page.run("cell-1")
    await page.wait_for_prompt("[1]", "cell-1")
    cue.give()
    page.run("cell-0")
    await page.wait_for_prompt("[2]")
    # The kernel's answer may have come first.
    await wait_until_async(lambda: page.text() == "a\nb\n")
