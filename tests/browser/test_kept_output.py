"""What cells print while nobody is there is on the page and in the file as if somebody had been."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.support.accounts import Account
from tests.support.browser import (
    PAGES,
    File,
    NewFile,
    OpenTab,
    Tab,
    opening,
    run_all_left_and_stayed,
    write_file,
)
from tests.support.edge.client import Edge
from tests.support.processes import memory
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

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
    "for number in range(2000):\n    print('slowly', number)\n    time.sleep(0.001)",
    *(f"print({number})" for number in range(4)),
    "print('before the end', flush=True)\nfail()",
]


# Ten minutes without any page, while the other tests of this file run.
ABSENT_CELLS, ABSENT_LINES = 3, 200


@pytest.fixture(scope="module", autouse=True)
def absent(notebook: Account, browser: Browser) -> Iterator[File]:
    """A notebook whose page has left while all its cells were to run, a line a second."""
    file = write_file(
        notebook, "absent", [COUNT.format(lines=ABSENT_LINES, pause=1)] * ABSENT_CELLS
    )
    with opening(browser, notebook) as open_tab:
        tab = open_tab("absent")
        tab.choose("Run", "Run All Cells")
        expect(tab.outputs()).to_contain_text("line 1")
    yield file
    notebook.visitor().end_kernels()


@pytest.fixture(autouse=True)
def no_kernels(notebook: Account) -> None:
    """Every test begins with a server without other kernels."""
    notebook.visitor().end_kernels(but="absent")


def kernel_of(visitor: Visitor, name: str) -> str:
    """The id of a notebook's kernel."""
    (kernel,) = (
        str(session["kernel"]["id"])
        for session in visitor.api("GET", "/api/sessions")
        if session["path"].endswith(f"{name}.ipynb")
    )
    return kernel


def lines(count: int) -> str:
    """What COUNT prints."""
    return "".join(f"line {number}\n" for number in range(count))


def open_console(tab: Tab) -> tuple[Locator, Locator]:
    """A console of the notebook's kernel, and what is typed into it."""
    tab.choose("File", "New Console for Notebook")
    console = tab.page.locator(".jp-CodeConsole")
    prompt = console.locator(".jp-CodeConsole-input").get_by_role("textbox")
    expect(prompt).to_have_attribute("data-language", "python")
    return console, prompt


def cut_off(edge: Edge) -> None:
    """End the tunnel and all that goes through it; it stays so until the edge is reachable."""
    edge.fault(unreachable=True)
    edge.drop_sessions()
    edge.drop_visitors()


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
    kernels = sorted(notebook.visitor().kernels())

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
    assert sorted(notebook.visitor().kernels()) == kernels


@each_page
def test_all_that_cells_print_is_as_in_a_connected_run(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    left, stayed = (new_file(f"{name}-{page_of}", CELLS) for name in ("left", "stayed"))
    last = len(CELLS) - 1

    back, connected = run_all_left_and_stayed(left, stayed, last, open_tab, page_of)

    for shown in (back, connected):
        expect(shown.prompt(last)).to_have_text(f"[{len(CELLS)}]:")
        expect(shown.outputs(last).last).to_contain_text("on purpose")

    for number in range(len(CELLS)):
        assert left.outputs(number) == stayed.outputs(number), number
        assert left.cells[number]["execution_count"] == number + 1
        assert back.text(number) == connected.text(number), number


@each_page
def test_a_page_that_stays_open_goes_on_by_itself_after_the_tunnel_was_down(
    page_of: str, edge: Edge, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"down-{page_of}", [COUNT.format(lines=40, pause=1), "'a second cell'"])
    tab = open_tab(file.path.stem, page_of)
    tab.run()
    expect(tab.outputs()).to_contain_text("line 4")

    cut_off(edge)
    # The time is what is tested.
    time.sleep(15)
    edge.fault(unreachable=False)

    expect(tab.outputs()).to_contain_text("line 39", timeout=90_000)
    expect(tab.prompt()).to_have_text("[1]:")
    assert tab.text() == lines(40)
    file.wait_for_text(lines(40))
    # No dialog is in the way.
    expect(tab.page.locator(".jp-Dialog:visible")).to_have_count(0)
    tab.run(1)
    expect(tab.outputs(1)).to_have_text("'a second cell'")


@each_page
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
    shown = tab.page.locator(".jp-Notebook-ExecutionIndicator")

    cut_off(edge)
    expect(shown).to_have_attribute("data-status", status)
    edge.fault(unreachable=False)
    wait_until(lambda: edge.state()["endpoints"])

    expect(shown).not_to_have_attribute("data-status", status, timeout=30_000)
    tab.run()
    expect(tab.outputs()).to_have_text("there")


def test_a_console_connects_to_its_kernel_when_the_server_is_back(
    edge: Edge, new_file: NewFile, open_tab: OpenTab
) -> None:
    new_file("back-console", ["print('first')"])
    tab = open_tab("back-console")
    console, prompt = open_console(tab)
    tab.page.evaluate("Math.random = () => 0")

    cut_off(edge)
    shown = tab.page.get_by_role("button", name="Disconnected")
    expect(shown).to_be_visible()
    edge.fault(unreachable=False)

    expect(shown).to_be_hidden()
    prompt.fill("print('from the console')")
    prompt.press("Shift+Enter")
    expect(console.locator(".jp-OutputArea-output")).to_have_text("from the console")


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


@each_page
def test_one_of_two_pages_leaves(page_of: str, new_file: NewFile, open_tab: OpenTab) -> None:
    file = new_file(f"two-{page_of}", [COUNT.format(lines=100, pause=0.2)])
    runs, sees, leaves = (open_tab(file.path.stem, page_of) for _ in range(3))
    runs.run()
    for tab in (runs, sees, leaves):
        expect(tab.outputs()).to_contain_text("line 5\n")
    leaves.close()
    expect(runs.outputs()).to_contain_text("line 30\n")
    runs.close()

    expect(sees.outputs()).to_contain_text("line 99\n")
    expect(sees.prompt()).to_have_text("[1]:")
    assert sees.text() == lines(100)
    file.wait_for_text(lines(100))


@each_page
def test_a_cell_that_asks_while_nobody_is_there_says_so_and_can_be_run_again(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    asks = "import time\nprint('a')\ntime.sleep(8)\ninput('your name? ')"
    file = new_file(f"asks-{page_of}", [asks])
    open_tab(file.path.stem, page_of).run_and_leave("a")
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


@each_page
def test_a_kernel_that_dies_while_nobody_is_there_is_told_in_the_cell_and_on_the_card(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"dies-{page_of}", [COUNT.format(lines=100, pause=1), "1 + 1"])
    name = file.path.stem
    tab = open_tab(name, page_of)
    visitor = notebook.visitor()
    kernel = kernel_of(visitor, name)
    others = set(visitor.kernels()) - {kernel}
    pid = visitor.run(kernel, "import os; print(os.getpid())")
    tab.run_and_leave("line 1")

    os.kill(int(pid), signal.SIGKILL)

    wait_until(lambda: "The kernel died here of signal 9" in file.text())
    assert others < set(visitor.kernels())
    card = notebook.reconnect().output
    assert re.search(rf"{name}\.ipynb: python3, \w+\W+It died at \S+Z of signal 9", card)
    tab = open_tab(name, page_of)
    expect(tab.outputs().last).to_contain_text("The kernel died here")
    expect(tab.prompt()).to_have_text("[ ]:")
    tab.run(1)
    expect(tab.outputs(1)).to_have_text("2")
    assert "It died" not in notebook.reconnect().output


def test_a_kernel_that_dies_before_its_page_is_known_to_have_gone(
    notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("cut-off", [COUNT.format(lines=100, pause=1)])
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


@each_page
def test_a_kernel_that_is_restarted_while_nobody_is_there(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"restarted-{page_of}", [COUNT.format(lines=100, pause=1), "1 + 1"])
    open_tab(file.path.stem, page_of).run_and_leave("line 1")
    visitor = notebook.visitor()

    visitor.api("POST", f"/api/kernels/{kernel_of(visitor, file.path.stem)}/restart")

    # As it is where a page is open: a restart begins with an interrupt.
    wait_until(lambda: any(output.get("ename") for output in file.outputs()))
    assert file.outputs()[-1]["ename"] == "KeyboardInterrupt"
    assert lines(100).startswith(file.text())
    tab = open_tab(file.path.stem, page_of)
    expect(tab.outputs().last).to_contain_text("KeyboardInterrupt")
    tab.run(1)
    expect(tab.outputs(1)).to_have_text("2")


@each_page
def test_a_kernel_is_restarted_after_the_return(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"again-{page_of}", [COUNT.format(lines=100, pause=1), "1 + 1"])
    open_tab(file.path.stem, page_of).run_and_leave("line 1\n")
    tab = open_tab(file.path.stem, page_of)
    expect(tab.outputs()).to_contain_text("line 3\n")

    tab.choose("Kernel", "Restart Kernel…")
    tab.page.locator(".jp-Dialog").get_by_role("button", name="Confirm").click()
    tab.run(1)

    expect(tab.outputs(1)).to_have_text("2")
    assert lines(100).startswith(file.text().partition("The kernel")[0])


@each_page
def test_what_a_person_changes_while_a_cell_runs_stays(
    page_of: str, notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    name = f"edited-{page_of}"
    file = new_file(name, [COUNT.format(lines=60, pause=0.5), "print('other')", "1"])
    open_tab(name, page_of).run_and_leave("line 1")
    tab = open_tab(name, page_of)
    # Moved down, and edited.
    tab.cells.first.get_by_role("textbox").first.click()
    tab.page.keyboard.press("Control+End")
    tab.page.keyboard.type("\n# edited")
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Control+Shift+ArrowDown")
    visitor = notebook.visitor()
    visitor.api("PATCH", f"/api/contents/{name}.ipynb", {"path": f"renamed-{name}.ipynb"})
    renamed = File(notebook.home / f"renamed-{name}.ipynb")
    tab.close()
    assert not file.path.exists()

    renamed.wait_for_text(lines(60), 1, 90)
    wait_until(lambda: renamed.cells[1]["execution_count"] == 1)
    assert renamed.cells[1]["source"][-1] == "# edited"
    assert "".join(renamed.cells[0]["source"]) == "print('other')"
    renamed.path.unlink()


@each_page
def test_a_cell_is_split_while_it_runs(page_of: str, new_file: NewFile, open_tab: OpenTab) -> None:
    file = new_file(f"split-{page_of}", [COUNT.format(lines=60, pause=0.25)])
    keys = "Enter Control+Home ArrowDown Control+Shift+Minus"
    leave_return_and_press(keys, file, open_tab, page_of)

    wait_until(lambda: len(file.cells) == 2)
    file.wait_for_end(1)
    file.wait_for_text(lines(60), 1)
    assert file.outputs(0) == []
    assert file.cells[0]["source"] == ["import time"]


@each_page
def test_a_cell_is_deleted_while_it_runs(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"deleted-{page_of}", [COUNT.format(lines=60, pause=0.1), "print('other')"])
    tab = leave_return_and_press("d d", file, open_tab, page_of)

    wait_until(lambda: len(file.cells) == 1)
    # It waits for the cell that is not there any more.
    tab.run()
    file.wait_for_end()
    file.wait_for_text("other\n")
    expect(tab.outputs()).to_have_text("other")


def leave_return_and_press(keys: str, file: File, open_tab: OpenTab, page_of: str) -> Tab:
    """Start the first cell, leave it, come back while it runs, and press keys on it."""
    open_tab(file.path.stem, page_of).run_and_leave("line 1\n")
    tab = open_tab(file.path.stem, page_of)
    expect(tab.outputs()).to_contain_text("line 3\n")
    tab.prompt().click()
    for key in keys.split():
        tab.page.keyboard.press(key)
    return tab


@each_page
def test_a_file_that_is_changed_on_the_disk_meanwhile(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"disk-{page_of}", [COUNT.format(lines=8, pause=2)])
    open_tab(file.path.stem, page_of).run_and_leave("line 1\n")
    expected = file.text() + "line"
    wait_until(lambda: file.text().startswith(expected))
    # Jupyter takes a change in the instant after it has saved for its own.
    wait_until(lambda: time.time() - file.path.stat().st_mtime > 0.5)

    content = json.loads(file.path.read_text())
    added = {"cell_type": "markdown", "id": "added", "metadata": {}, "source": "from elsewhere"}
    content["cells"].append(added)
    file.path.write_text(json.dumps(content))

    file.wait_for_end()
    file.wait_for_text(lines(8))
    assert json.loads(file.path.read_text())["cells"][1]["source"] == ["from elsewhere"]


@each_page
def test_three_notebooks_at_once_and_text_that_was_not_saved(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    files = [
        new_file(f"several-{page_of}-{number}", [COUNT.format(lines=50, pause=0.2), ""])
        for number in range(3)
    ]
    tabs = [open_tab(file.path.stem, page_of) for file in files]
    for tab in tabs:
        tab.run()
    for tab in tabs:
        expect(tab.outputs()).to_contain_text("line 1\n")
        tab.cells.nth(1).get_by_role("textbox").first.fill("typed = True")
        tab.close()

    for file in files:
        file.wait_for_end()
        file.wait_for_text(lines(50))
        assert file.cells[1]["source"] == ["typed = True"]


def test_what_a_console_of_the_same_kernel_prints_is_not_the_notebook_s(
    new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("console", ["print('first')", COUNT.format(lines=50, pause=0.2)])
    tab = open_tab("console")
    tab.run()
    expect(tab.outputs()).to_contain_text("first")
    _, prompt = open_console(tab)
    prompt.fill("import time; time.sleep(4); print('from the console')")
    prompt.press("Shift+Enter")
    tab.run(1)
    tab.close()

    file.wait_for_end(1)
    file.wait_for_text(lines(50), 1)
    assert file.text() == "first\n"


def test_a_changed_setting_waits_for_a_cell_and_is_then_in_force(
    neighbour: Account, browser: Browser
) -> None:
    account = neighbour
    url = account.setup().url
    file = write_file(account, "setting", [COUNT.format(lines=60, pause=1)])
    with opening(browser, account) as open_tab:
        open_tab("setting", "lab", url).run_and_leave("line 1\n")
    server = account.pids()["jupyter"]
    account.variables["jupyter_settings"] = {"LabApp": {"default_url": "/tree"}}

    play = account.setup(jupyter_restart="when_idle")

    assert "its old configuration" in play.card("Restart pending")
    assert account.pids()["jupyter"] == server
    file.wait_for_end(0, 90)
    file.wait_for_text(lines(60))
    # A kernel counts as idle a minute after its last cell.
    (kernel,) = account.visitor().api("GET", "/api/kernels")
    ended = datetime.fromisoformat(kernel["last_activity"])
    wait_until(lambda: datetime.now(UTC) - ended > timedelta(seconds=61), 90)
    play = account.setup(jupyter_restart="when_idle")
    assert "Restart pending" not in play.output
    assert account.pids()["jupyter"] != server
    visitor = account.visitor()
    assert visitor.page("/")[1] == "/tree"
    assert file.text() == lines(60)

    # A terminal is in the way too, unless it is not to matter.
    visitor.api("POST", "/api/terminals")
    server = account.pids()["jupyter"]
    account.variables["jupyter_settings"] = {}
    play = account.setup()
    assert "its old configuration" in play.card("Restart pending")
    assert account.pids()["jupyter"] == server
    account.setup(jupyter_restart="always")
    assert account.visitor().page("/")[1] == "/lab"


def test_fifty_megabytes_take_a_bounded_memory(
    notebook: Account, new_file: NewFile, open_tab: OpenTab
) -> None:
    line = "0123456789" * 10
    megabytes = 50
    count = (megabytes << 20) // (len(line) + 1)
    code = (
        "import time\nprint('begins', flush=True)\ntime.sleep(8)\n"
        f"for number in range({count}):\n    print('{line}')"
    )
    file = new_file("large", [code])
    open_tab("large").run_and_leave("begins")
    server = notebook.pids()["jupyter"]
    before, peak = memory(server), 0

    def ended() -> bool:
        nonlocal peak
        peak = max(peak, memory(server))
        return bool(file.cells[0]["execution_count"])

    wait_until(ended, 240)
    file.wait_for_text("begins\n" + f"{line}\n" * count, seconds=60)
    wait_until(lambda: memory(server) < peak, 120)
    print(f"server: {before} MB before, {peak} MB at most, {memory(server)} MB in the end")
    assert peak - before < 12 * megabytes


@each_page
def test_nothing_is_written_for_a_page_that_stays(
    page_of: str, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"cleared-{page_of}", [COUNT.format(lines=3, pause=0.1)])
    tab = open_tab(file.path.stem, page_of)
    tab.run()
    expect(tab.prompt()).to_have_text("[1]:")
    file.wait_for_text(lines(3))

    tab.choose("Edit", "Clear Cell Output")
    wait_until(lambda: file.outputs() == [])
    tab.close()

    tab = open_tab(file.path.stem, page_of)
    assert tab.text() == ""
    assert file.outputs() == []


def test_nothing_is_lost_in_ten_minutes_without_a_page(absent: File, open_tab: OpenTab) -> None:
    absent.wait_for_end(ABSENT_CELLS - 1, ABSENT_CELLS * ABSENT_LINES)

    tab = open_tab("absent")
    for cell in range(ABSENT_CELLS):
        expect(tab.prompt(cell)).to_have_text(f"[{cell + 1}]:")
        assert tab.text(cell) == lines(ABSENT_LINES)
        absent.wait_for_text(lines(ABSENT_LINES), cell)
