"""Further things that happen to pages while cells run, much output, and a long absence."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, expect

from tests.support.accounts import Account
from tests.support.browser import (
    LINES,
    PAGES,
    WAIT,
    NewFile,
    OpenTab,
    Tab,
    cut_off,
    kernel_of,
    lines,
    open_console,
    opening,
    write_file,
)
from tests.support.edge.client import Edge
from tests.support.notebooks import File
from tests.support.processes import memory
from tests.support.waiting import wait_until

pytestmark = pytest.mark.acceptance
both_pages = pytest.mark.parametrize("page_of", PAGES)

# Ten minutes without any page, while the other tests of this file run.
ABSENT_CELLS, ABSENT_LINES = 3, 200
COUNT = f"""\
import time
for number in range({ABSENT_LINES}):
    print("line", number)
    time.sleep(1)
"""


@pytest.fixture(scope="module", autouse=True)
def absent(notebook: Account, browser: Browser) -> Iterator[File]:
    """A notebook whose page has left while all its cells were to run, a line a second."""
    file = write_file(notebook, "absent", [COUNT] * ABSENT_CELLS)
    with opening(browser, notebook) as open_tab:
        tab = open_tab("absent")
        tab.choose("Run", "Run All Cells")
        expect(tab.outputs()).to_contain_text("line 1")
    yield file
    notebook.visitor().end_kernels()
    file.path.unlink()


@pytest.fixture(autouse=True)
def no_kernels(notebook: Account) -> None:
    """Every test begins with a server without other kernels."""
    notebook.visitor().end_kernels(but="absent")


@both_pages
@pytest.mark.parametrize(
    ("drawn", "status"),
    [
        # JupyterLab draws its pauses: all seven attempts are over at once,
        pytest.param(0, "disconnected", id="given-up"),
        # or after the first it pauses for a minute.
        pytest.param(60, "connecting", id="long-pause"),
    ],
)
def test_a_page_connects_to_its_kernel_as_soon_as_the_server_is_back(
    page_of: str, drawn: int, status: str, edge: Edge, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"back-{page_of}-{status}", ["print('there')"])
    tab = open_tab(file.path.stem, page_of)
    tab.page.evaluate(f"Math.random = () => {drawn}")

    cut_off(edge)
    expect(tab.indicator).to_have_attribute("data-status", status)
    edge.fault(unreachable=False)
    wait_until(lambda: edge.state()["endpoints"])

    # It looks every 5 s; JupyterLab alone would do nothing any more, or in a minute.
    expect(tab.indicator).not_to_have_attribute("data-status", status, timeout=40_000)
    tab.run()
    expect(tab.outputs()).to_have_text("there")


@both_pages
def test_going_and_coming_back_again_and_again(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("again", [LINES])
    tab = open_tab("again", page_of)
    tab.run()
    for _ in range(4):
        tab.see_more()
        tab.close()
        tab = open_tab("again", page_of)
    file.tell()
    expect(tab.prompt()).to_have_text("[1]:")

    tab.wait_for_all_lines(file)


@both_pages
def test_one_of_two_pages_leaves(page_of: str, new_file: NewFile, open_tab: OpenTab) -> None:
    file = new_file(f"two-{page_of}", [LINES])
    runs, sees, leaves = (open_tab(file.path.stem, page_of) for _ in range(3))
    runs.run()
    for tab in (runs, sees, leaves):
        expect(tab.outputs()).to_contain_text("line 5\n")
    leaves.close()
    runs.see_more()
    runs.close()
    sees.see_more()
    file.tell()

    expect(sees.prompt()).to_have_text("[1]:")
    sees.wait_for_all_lines(file)


def test_a_kernel_that_dies_before_its_page_is_known_to_have_gone(
    notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("cut-off", [LINES])
    tab = open_tab("cut-off")
    visitor = notebook.visitor()
    pid = visitor.run(kernel_of(visitor, "cut-off"), "import os; print(os.getpid())")
    tab.run()
    expect(tab.outputs()).to_contain_text("line 1")
    os.kill(int(pid), signal.SIGKILL)
    expect(tab.page.locator(".jp-Dialog")).to_contain_text("restart automatically")

    tab.close()

    wait_until(lambda: "The kernel died here of signal 9" in file.text())
    assert file.text().startswith("line 0\nline 1\n")


@both_pages
def test_a_kernel_is_restarted_after_the_return(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"again-{page_of}", [LINES, "1 + 1"])
    open_tab(file.path.stem, page_of).run_and_leave("line 1\n", notebook)
    tab = open_tab(file.path.stem, page_of)
    expect(tab.outputs()).to_contain_text("line 3\n")

    tab.choose("Kernel", "Restart Kernel…")
    tab.page.locator(".jp-Dialog").get_by_role("button", name="Confirm").click()
    tab.run(1)

    expect(tab.outputs(1)).to_have_text("2")
    printed = file.text().partition("The kernel")[0]
    assert printed == lines(printed.count("\n"))


@both_pages
def test_a_cell_is_split_while_it_runs(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"split-{page_of}", [LINES])
    keys = "Enter Control+Home ArrowDown Control+Shift+Minus"
    leave_return_and_press(keys, file, notebook, open_tab, page_of)

    wait_until(lambda: len(file.cells) == 2)
    file.tell()
    file.wait_for_end(1)
    wait_until(partial(has_whole_lines, file, 1))
    assert file.outputs(0) == []
    assert file.cells[0]["source"] == ["import itertools, pathlib, time"]


@both_pages
def test_a_cell_is_deleted_while_it_runs(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"deleted-{page_of}", [LINES, "print('other')"])
    tab = leave_return_and_press("d d", file, notebook, open_tab, page_of)

    wait_until(lambda: len(file.cells) == 1)
    # It waits for the cell that is not there any more.
    tab.run()
    file.tell()
    file.wait_for_end()
    file.wait_for_text("other\n")
    expect(tab.outputs()).to_have_text("other")


def has_whole_lines(file: File, cell: int = 0) -> bool:
    """Whether a file has lines of ``LINES`` from the first one on, and nothing else."""
    text = file.text(cell)
    return text == lines(text.count("\n")) != ""


def leave_return_and_press(
    keys: str, file: File, notebook: Account, open_tab: OpenTab, page_of: str
) -> Tab:
    """Start the first cell, leave it, come back while it runs, and press keys on it."""
    open_tab(file.path.stem, page_of).run_and_leave("line 1\n", notebook)
    tab = open_tab(file.path.stem, page_of)
    expect(tab.outputs()).to_contain_text("line 3\n")
    tab.prompt().click()
    for key in keys.split():
        tab.page.keyboard.press(key)
    return tab


def test_three_notebooks_at_once_and_text_that_was_not_saved(
    new_file: NewFile, open_tab: OpenTab
) -> None:
    files = [new_file(f"several-{number}", [LINES, ""]) for number in range(3)]
    tabs = [
        open_tab(file.path.stem, page) for file, page in zip(files, [*PAGES, "lab"], strict=True)
    ]
    for tab in tabs:
        tab.run()
    for tab in tabs:
        expect(tab.outputs()).to_contain_text("line 1\n")
        tab.cells.nth(1).get_by_role("textbox").first.fill("typed = True")
        tab.close()
    files[0].tell()

    for file in files:
        file.wait_for_end()
        wait_until(partial(has_whole_lines, file))
        assert file.cells[1]["source"] == ["typed = True"]


def test_what_a_console_of_the_same_kernel_prints_is_not_the_notebook_s(
    notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("console", ["print('first')", LINES])
    tab = open_tab("console")
    tab.run()
    expect(tab.outputs()).to_contain_text("first")
    console, prompt = open_console(tab)
    prompt.fill(f"{WAIT}print('from the console')")
    prompt.press("Shift+Enter")
    expect(console.locator(".jp-OutputArea-output")).to_have_text("waiting")
    tab.run(1)
    expect(tab.prompt(1)).to_have_text("[*]:")
    tab.leave(notebook)
    file.tell()

    file.wait_for_end(1)
    file.wait_for_text(lines(1), 1)
    assert file.text() == "first\n"


def test_fifty_megabytes_take_a_bounded_memory(
    notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    line = "0123456789" * 10
    megabytes = 50
    count = (megabytes << 20) // (len(line) + 1)
    code = f"{WAIT}for number in range({count}):\n    print('{line}')"
    file = new_file("large", [code])
    open_tab("large").run_and_leave("waiting", notebook)
    server = notebook.pids()["jupyter"]
    before, peak = memory(server), 0
    file.tell()

    def ended() -> bool:
        nonlocal peak
        peak = max(peak, memory(server))
        return bool(file.cells[0]["execution_count"])

    # Reading a file of this size takes a while itself.
    wait_until(ended, 300, pause=1)
    file.wait_for_text("waiting\nno more\n" + f"{line}\n" * count)
    wait_until(lambda: memory(server) < peak, 120)
    print(f"server: {before} MB before, {peak} MB at most, {memory(server)} MB in the end")
    assert peak - before < 12 * megabytes


@both_pages
def test_nothing_is_written_for_a_page_that_stays(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"cleared-{page_of}", ["print('done')"])
    tab = open_tab(file.path.stem, page_of)
    tab.run()
    expect(tab.prompt()).to_have_text("[1]:")
    file.wait_for_text("done\n")

    tab.choose("Edit", "Clear Cell Output")
    wait_until(lambda: file.outputs() == [])
    tab.close()

    tab = open_tab(file.path.stem, page_of)
    assert tab.text() == ""
    assert file.outputs() == []


def test_nothing_is_lost_in_ten_minutes_without_a_page(absent: File, open_tab: OpenTab) -> None:
    absent.wait_for_end(ABSENT_CELLS - 1, 2 * ABSENT_CELLS * ABSENT_LINES)

    tab = open_tab("absent")
    for cell in range(ABSENT_CELLS):
        expect(tab.prompt(cell)).to_have_text(f"[{cell + 1}]:")
        assert tab.text(cell) == lines(ABSENT_LINES)
        absent.wait_for_text(lines(ABSENT_LINES), cell)
