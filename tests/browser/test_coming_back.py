"""Whoever leaves a page, and comes back to it, finds the notebook as if the page had stayed."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.sync_api import expect

from tests.support.accounts import Account
from tests.support.breakages import kill
from tests.support.browser import (
    LINES,
    WAIT,
    NewFile,
    OpenTab,
    each_page,
    kernel_of,
    lines,
    run_all_left_and_stayed,
)
from tests.support.notebooks import File
from tests.support.waiting import wait_until

# One cell each, executed with "Run All Cells"; the page leaves while the first one runs.
CELLS = [
    WAIT,
    "for number in range(20_000):\n    print('line', number)",
    "for done in range(101):\n    print(f'\\r{done:3} % ' + '#' * (done // 10), end='')\nprint()",
    "print('ä€😀\\rAB')\nprint('one\\b\\b\\bt')",
    "import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('out again')",
    "from IPython.display import *\n"
    "display(HTML('<b>bold</b>'), Markdown('*soft*'), JSON({'a': [1, None, 2.5]}))",
    "import base64\nPIXEL = base64.b64decode('R0lGODlhAQABAAAAACwAAAAAAQABAAA=')\n"
    "display(Image(PIXEL, format='gif', metadata={'gif': {'width': 10}}))\n'a result'",
    "first = display('not yet', display_id=True)",
    "second = display(0, display_id=True)\nfor number in range(4):\n    second.update(number)",
    "first.update('updated from another cell')",
    "for number in range(4):\n    clear_output(wait=True)\n    print('only', number)",
    "print('gone')\nclear_output()\nprint('stays')",
    "def fail():\n    raise ValueError('on purpose')",
    "7 * 6",
    "for number in range(2000):\n    print('slowly', number)\n    time.sleep(0.001)",
    *(f"print({number})" for number in range(4)),
    "print('before the end', flush=True)\nfail()",
]


@pytest.fixture(autouse=True)
def no_kernels(notebook: Account) -> None:
    """Every test begins with a server without kernels."""
    notebook.visitor().end_kernels()


@each_page("lab")
def test_a_long_cell_goes_on_without_browser_and_agent(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"long-{page_of}", [LINES, "print(number)"])
    open_tab(file.path.stem, page_of).run_and_leave("line 4", notebook)
    kernels = notebook.visitor().kernels()

    kill(notebook.pids()["ngrok"])
    url = notebook.reconnect().url
    tab = open_tab(file.path.stem, page_of, url)

    expect(tab.prompt()).to_have_text("[*]:")
    assert tab.see_more() > 4
    file.tell()
    expect(tab.prompt()).to_have_text("[1]:")
    tab.run(1)
    expect(tab.outputs(1)).to_have_text(re.compile(r"^\d+\s*$"))
    everything = lines(int(tab.text(1)) + 1)
    wait_until(lambda: tab.text() == everything)
    file.wait_for_text(everything)
    assert notebook.visitor().kernels() == kernels


@each_page("notebook")
def test_all_that_cells_print_is_as_in_a_connected_run(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    left, stayed = (new_file(f"{name}-{page_of}", CELLS) for name in ("left", "stayed"))
    last = len(CELLS) - 1

    back, connected = run_all_left_and_stayed(left, stayed, last, open_tab, page_of, notebook)

    for shown in (back, connected):
        expect(shown.prompt(last)).to_have_text(f"[{len(CELLS)}]:")
        expect(shown.outputs(last).last).to_contain_text("on purpose")
    for number in range(len(CELLS)):
        assert left.outputs(number) == stayed.outputs(number), number
        assert left.cells[number]["execution_count"] == number + 1
        assert back.text(number) == connected.text(number), number


@each_page("lab")
def test_a_cell_that_asks_while_nobody_is_there_says_so_and_can_be_run_again(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"asks-{page_of}", [f"{WAIT}input('your name? ')"])
    open_tab(file.path.stem, page_of).run_and_leave("waiting", notebook)
    file.tell()
    wait_until(lambda: "asks for input" in file.text())

    tab = open_tab(file.path.stem, page_of)
    expect(tab.outputs().last).to_contain_text('This cell asks for input ("your name?")')
    tab.choose("Kernel", "Interrupt Kernel")
    expect(tab.outputs().last).to_contain_text("KeyboardInterrupt")
    tab.run()
    tab.page.get_by_role("textbox", name="your name?").or_(
        tab.page.locator(".jp-Stdin-input")
    ).fill("Ada")
    tab.page.keyboard.press("Enter")
    expect(tab.outputs().last).to_have_text("'Ada'")


@each_page("notebook")
def test_a_kernel_that_dies_while_nobody_is_there_is_told_in_the_cell_and_on_the_card(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"dies-{page_of}", [LINES, "1 + 1"])
    name = file.path.stem
    tab = open_tab(name, page_of)
    visitor = notebook.visitor()
    pid = visitor.run(kernel_of(visitor, name), "import os; print(os.getpid())")
    tab.run_and_leave("line 1", notebook)

    os.kill(int(pid), signal.SIGKILL)

    wait_until(lambda: "The kernel died here of signal 9" in file.text())
    card = " ".join(notebook.reconnect().output.split())
    assert re.search(rf"Kernel died: the one of {name}\.ipynb today at [0-9:]+ of signal 9", card)
    tab = open_tab(name, page_of)
    expect(tab.outputs().last).to_contain_text("The kernel died here")
    expect(tab.prompt()).to_have_text("[ ]:")
    tab.run(1)
    expect(tab.outputs(1)).to_have_text("2")
    assert visitor.api("GET", "/api/notebook-keeper")["deaths"] == {}


@each_page("lab")
def test_what_a_person_changes_while_a_cell_runs_stays(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    name = f"edited-{page_of}"
    file = new_file(name, [LINES, "print('other')", "1"])
    open_tab(name, page_of).run_and_leave("line 1", notebook)
    tab = open_tab(name, page_of)
    # Moved down, and edited.
    tab.cells.first.get_by_role("textbox").first.click()
    tab.page.keyboard.press("Control+End")
    tab.page.keyboard.type("# edited")
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Control+Shift+ArrowDown")
    visitor = notebook.visitor()
    visitor.api("PATCH", f"/api/contents/{name}.ipynb", {"path": f"renamed-{name}.ipynb"})
    renamed = File(notebook.home / f"renamed-{name}.ipynb")

    tab.see_more(1)
    file.tell()

    expect(tab.prompt(1)).to_have_text("[1]:")
    assert tab.text(1) == lines(tab.text(1).count("\n"))
    expect(tab.cells.nth(1).get_by_role("textbox").first).to_contain_text("# edited")
    renamed.wait_for_end(1)
    renamed.wait_for_text(tab.text(1), 1)
    assert renamed.cells[1]["source"][-1] == "# edited"
    assert "".join(renamed.cells[0]["source"]) == "print('other')"
    assert not file.path.exists()
    renamed.path.unlink()
