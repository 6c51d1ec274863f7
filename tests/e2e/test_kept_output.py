"""What cells print while nobody is there is on the page and in the file as if somebody had been."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import PAGES, File, Tab
from tests.edge.client import Edge
from tests.integration.conftest import PASSWORD, Account, wait_until
from tests.integration.visitor import Visitor

NewFile = Callable[..., File]
OpenTab = Callable[..., Tab]

each_page = pytest.mark.parametrize("page_of", PAGES)

COUNT = """\
import time
for number in range({lines}):
    print("line", number)
    time.sleep({pause})
x = 1729
"""

# One cell each, executed with "Run All Cells"; the page leaves while the first one runs.
CELLS = [
    "import sys, time\nfor number in range(6):\n    print('waiting', number)\n    time.sleep(1)",
    "for number in range(20_000):\n    print('line', number)",
    "for done in range(101):\n    print(f'\\r{done:3} % ' + '#' * (done // 10), end='')\nprint()",
    "print('ä€😀\\rAB')\nprint('one\\b\\b\\bt')",
    "print('out')\nprint('err', file=sys.stderr)\nprint('out again')",
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
    "print('before the end', flush=True)\nfail()",
]


@pytest.fixture(autouse=True)
def no_kernels(notebook: Account) -> None:
    """Every test begins with a server without kernels."""
    visitor = Visitor(notebook.url())
    visitor.log_in(PASSWORD)
    for session in visitor.api("GET", "/api/sessions"):
        visitor.api("DELETE", f"/api/sessions/{session['id']}")


def lines(count: int) -> str:
    """What COUNT prints."""
    return "".join(f"line {number}\n" for number in range(count))


def kernel_pid(notebook: Account) -> int:
    """The process of the only kernel."""
    children = f"/proc/{notebook.pids()['jupyter']}/task/{notebook.pids()['jupyter']}/children"
    with open(children, encoding="ascii") as pids:
        (pid,) = map(int, pids.read().split())
    return pid


def test_a_long_cell_goes_on_without_browser_and_agent(
    notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    files = {
        page: new_file(f"long-{page}", [COUNT.format(lines=100, pause=1), "print(x)"])
        for page in PAGES
    }
    tabs = {page: open_tab(files[page].path.stem, page) for page in PAGES}
    for tab in tabs.values():
        tab.run()
    for tab in tabs.values():
        expect(tab.outputs()).to_contain_text("line 4")
        tab.close()
    kernels = sorted(kernel["id"] for kernel in logged_in(notebook).api("GET", "/api/kernels"))

    os.kill(notebook.pids()["ngrok"], signal.SIGKILL)
    url = notebook.reconnect().url
    tabs = {page: open_tab(files[page].path.stem, page, url) for page in PAGES}

    for tab in tabs.values():
        expect(tab.outputs()).to_contain_text("line 10")
        assert tab.prompt().inner_text() == "[*]:"
        seen = tab.text()
        assert lines(100).startswith(seen)
        tab.page.wait_for_timeout(1500)
        assert len(tab.text()) > len(seen)
    for page, tab in tabs.items():
        expect(tab.prompt()).to_have_text("[1]:", timeout=120_000)
        assert tab.text() == lines(100)
        files[page].wait_for_end()
        files[page].wait_for_text(lines(100))
        tab.run(1)
        expect(tab.outputs(1)).to_have_text("1729")
    assert kernels == sorted(
        kernel["id"] for kernel in logged_in(notebook).api("GET", "/api/kernels")
    )


def logged_in(notebook: Account) -> Visitor:
    """Somebody for the API."""
    visitor = Visitor(notebook.url())
    visitor.log_in(PASSWORD)
    return visitor


@each_page
def test_all_that_cells_print_is_as_in_a_connected_run(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    names = [f"left-{page_of}", f"stayed-{page_of}"]
    left, stayed = (new_file(name, CELLS) for name in names)
    tab = open_tab(names[0], page_of)
    tab.choose("Run", "Run All Cells")
    expect(tab.outputs(0)).to_contain_text("waiting 1")
    tab.close()

    connected = open_tab(names[1], page_of)
    connected.choose("Run", "Run All Cells")
    last = len(CELLS) - 1
    for file in (stayed, left):
        file.wait_for_end(last, 120)
    back = open_tab(names[0], page_of)
    for shown in (back, connected):
        expect(shown.prompt(last)).to_have_text(f"[{len(CELLS)}]:")
        expect(shown.outputs(last).last).to_contain_text("on purpose")

    for number in range(len(CELLS)):
        assert left.outputs(number) == stayed.outputs(number), number
        assert left.cells[number]["execution_count"] == number + 1
        assert back.text(number) == connected.text(number), number


def test_a_page_that_stays_open_goes_on_by_itself_after_the_tunnel_was_down(
    edge: Edge, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("down", [COUNT.format(lines=40, pause=1)])
    tab = open_tab("down")
    tab.run()
    expect(tab.outputs()).to_contain_text("line 4")

    edge.fault(unreachable=True)
    edge.drop_sessions()
    edge.drop_visitors()
    # The time is what is tested.
    time.sleep(15)
    edge.fault(unreachable=False)

    expect(tab.outputs()).to_contain_text("line 39", timeout=90_000)
    expect(tab.prompt()).to_have_text("[1]:")
    assert tab.text() == lines(40)
    file.wait_for_text(lines(40))


@each_page
def test_going_and_coming_back_again_and_again(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("again", [COUNT.format(lines=300, pause=0.1)])
    tab = open_tab("again", page_of)
    tab.run()
    for seen in (10, 60, 110, 160):
        expect(tab.outputs()).to_contain_text(f"line {seen}\n")
        tab.close()
        tab = open_tab("again", page_of)
    expect(tab.prompt()).to_have_text("[1]:")

    assert tab.text() == lines(300)
    file.wait_for_end()
    file.wait_for_text(lines(300))


def test_a_cell_that_asks_while_nobody_is_there_says_so_and_can_be_run_again(
    new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("asks", ["import time\nprint('a')\ntime.sleep(8)\ninput('your name? ')"])
    tab = open_tab("asks")
    tab.run()
    expect(tab.outputs()).to_contain_text("a")
    tab.close()
    wait_until(lambda: "asks for input" in file.text())

    tab = open_tab("asks")
    expect(tab.outputs().last).to_contain_text('This cell asks for input ("your name?")')
    tab.choose("Kernel", "Interrupt Kernel")
    expect(tab.outputs().last).to_contain_text("KeyboardInterrupt")
    tab.run()
    tab.page.get_by_role("textbox", name="your name?").or_(
        tab.page.locator(".jp-Stdin-input")
    ).fill("Ada")
    tab.page.keyboard.press("Enter")
    expect(tab.outputs().last).to_have_text("'Ada'")


def test_a_kernel_that_dies_while_nobody_is_there_is_told_in_the_cell(
    notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("dies", [COUNT.format(lines=100, pause=1), "1 + 1"])
    tab = open_tab("dies")
    tab.run()
    expect(tab.outputs()).to_contain_text("line 1")
    tab.close()

    os.kill(kernel_pid(notebook), signal.SIGKILL)

    wait_until(lambda: "The kernel died here (killed by signal 9" in file.text())
    tab = open_tab("dies")
    expect(tab.outputs().last).to_contain_text("The kernel died here")
    expect(tab.prompt()).to_have_text("[ ]:")
    tab.run(1)
    expect(tab.outputs(1)).to_have_text("2")


def test_what_a_person_changes_while_a_cell_runs_stays(
    notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("edited", [COUNT.format(lines=45, pause=1), "print('other')", "1"])
    tab = open_tab("edited")
    tab.run()
    expect(tab.outputs()).to_contain_text("line 1")
    tab.close()
    tab = open_tab("edited")
    # Moved down, and edited.
    tab.cells.first.get_by_role("textbox").first.click()
    tab.page.keyboard.press("Control+End")
    tab.page.keyboard.type("\n# edited")
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Control+Shift+ArrowDown")
    visitor = logged_in(notebook)
    visitor.api("PATCH", "/api/contents/edited.ipynb", {"path": "renamed.ipynb"})
    renamed = File(notebook.home / "renamed.ipynb")
    tab.close()
    assert not file.path.exists()

    renamed.wait_for_text(lines(45), 1, 90)
    wait_until(lambda: renamed.cells[1]["execution_count"] == 1)
    assert renamed.cells[1]["source"][-1] == "# edited"
    assert "".join(renamed.cells[0]["source"]) == "print('other')"
    renamed.path.unlink()


def test_nothing_is_written_for_a_page_that_stays(new_file: NewFile, open_tab: OpenTab) -> None:
    file = new_file("cleared", [COUNT.format(lines=3, pause=0.1)])
    tab = open_tab("cleared")
    tab.run()
    expect(tab.prompt()).to_have_text("[1]:")
    file.wait_for_text(lines(3))

    tab.choose("Edit", "Clear Cell Output")
    wait_until(lambda: file.outputs() == [])
    tab.close()

    tab = open_tab("cleared")
    assert tab.text() == ""
    assert file.outputs() == []
