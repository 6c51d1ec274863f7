"""A person with a real browser, the pages of notebooks, and the files behind them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.support import PASSWORD
from tests.support.accounts import Account
from tests.support.edge.client import Edge
from tests.support.notebooks import TOLD, File, code, content
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOGIN = re.compile(r"/login\?next=")

# JupyterLab and its kernel start on a machine that may be busy with other tests.
PATIENCE = 120_000.0
# High enough that all cells are on the page, which only has those in sight.
VIEWPORT = ViewportSize(width=1200, height=3000)
# A workspace by itself, so that JupyterLab does not open what another test had open.
PAGES = {"lab": "/lab/workspaces/{name}/tree/{name}.ipynb", "notebook": "/notebooks/{name}.ipynb"}

# Cells that end when they are told, by File.tell, however fast the machine is.
LINES = f"""\
import itertools, pathlib, time
for number in itertools.count():
    print("line", number)
    if pathlib.Path("{TOLD}").exists():
        break
    time.sleep(0.2)
"""
WAIT = f"""\
import pathlib, time
print("waiting")
while not pathlib.Path("{TOLD}").exists():
    time.sleep(0.2)
print("no more")
"""


def lines(count: int) -> str:
    """The first lines that ``LINES`` prints."""
    return "".join(f"line {number}\n" for number in range(count))


def each_page(first: str) -> pytest.MarkDecorator:
    """Both pages that show notebooks; the other one than ``first`` is for ``make acceptance``."""
    others = [pytest.param(page, marks=pytest.mark.acceptance) for page in PAGES if page != first]
    return pytest.mark.parametrize("page_of", [first, *others])


@contextmanager
def chromium(home: Path) -> Iterator[Browser]:
    """Debian's chromium, with a home of its own."""
    program = shutil.which("chromium")
    assert program, "there is no chromium on the PATH: apt install chromium"
    expect.set_options(timeout=PATIENCE)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=program, args=ARGUMENTS, env={**os.environ, "HOME": str(home)}
        ) as running,
    ):
        yield running


def log_in(page: Page, password: str) -> None:
    """Type a password on the login page."""
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in", exact=True).click()


def new_page(context: BrowserContext) -> Page:
    """An empty tab in which nothing that JupyterLab says by itself is in the way."""
    page = context.new_page()
    # Seen once, on a busy machine: a style sheet did not arrive. It is not what is tested.
    theme = page.locator(".jp-Dialog", has_text="Error Loading Theme")
    page.add_locator_handler(theme, lambda: theme.locator(".jp-Dialog-button").click())
    return page


@dataclass(frozen=True)
class Tab:
    """A notebook in a browser of its own."""

    page: Page

    @property
    def cells(self) -> Locator:
        """The cells with code."""
        return self.page.locator(".jp-Notebook .jp-CodeCell")

    @property
    def indicator(self) -> Locator:
        """Where the notebook shows what its kernel does, and whether it is connected to it."""
        return self.page.locator(".jp-Notebook-ExecutionIndicator")

    def prompt(self, cell: int = 0) -> Locator:
        """``[1]:`` of a cell, or ``[*]:``."""
        return self.cells.nth(cell).locator(".jp-InputPrompt")

    def outputs(self, cell: int = 0) -> Locator:
        """What a cell shows below its code."""
        return self.cells.nth(cell).locator(".jp-OutputArea-output")

    def text(self, cell: int = 0) -> str:
        """The text of all outputs of a cell."""
        return "".join(self.outputs(cell).all_inner_texts())

    def run(self, cell: int = 0) -> None:
        """Execute one cell."""
        self.cells.nth(cell).get_by_role("textbox").first.click()
        self.page.keyboard.press("Control+Enter")

    def run_and_leave(self, seen: str, notebook: Account) -> None:
        """Execute the first cell, and leave when it has printed this."""
        self.run()
        expect(self.outputs()).to_contain_text(seen)
        self.leave(notebook)

    def choose(self, menu: str, entry: str) -> None:
        """Click an entry of the menu bar."""
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        # Its name may end with the keys for it.
        self.page.get_by_role("menuitem", name=re.compile(f"^{entry}")).first.click()

    def wait_for_kernel(self, language: str = "python") -> None:
        """Return when cells can be executed: the page learns the language from the kernel."""
        first = self.cells.first.get_by_role("textbox").first
        expect(first).to_have_attribute("data-language", language)

    def wait_for_all_lines(self, file: File) -> None:
        """Return when page and file have all that ``LINES`` has printed, after its end."""
        file.wait_for_end()
        printed = file.text()
        assert printed == lines(printed.count("\n"))
        wait_until(lambda: self.text() == printed, what="the same lines on the page")

    def see_more(self, cell: int = 0) -> int:
        """Return when a cell shows ten lines more than now; how many those of now are."""
        seen = self.text(cell).count("\n")
        expect(self.outputs(cell)).to_contain_text(f"line {seen + 10}\n")
        return seen

    def close(self) -> None:
        """Leave, as a laptop does that is closed."""
        self.page.context.close()

    def leave(self, notebook: Account) -> None:
        """Leave, as the last one who is there; return when the server knows of it."""
        name = unquote(urlsplit(self.page.url).path).rpartition("/")[2].removesuffix(".ipynb")
        self.close()
        visitor = notebook.visitor()
        kernel = kernel_of(visitor, name)
        wait_until(lambda: not visitor.api("GET", f"/api/kernels/{kernel}")["connections"])


OpenTab = Callable[..., Tab]


@contextmanager
def opening(browser: Browser, notebook: Account) -> Iterator[OpenTab]:
    """Open notebooks as somebody who has not been there before; all are closed in the end."""
    tabs: list[Tab] = []

    def open_it(name: str, page_of: str = "lab", url: str = "", language: str = "python") -> Tab:
        context = browser.new_context(base_url=url or notebook.url(), viewport=VIEWPORT)
        context.set_default_timeout(PATIENCE)
        page = new_page(context)
        tab = Tab(page)
        tabs.append(tab)
        page.goto(PAGES[page_of].format(name=name))
        log_in(page, PASSWORD)
        expect(page).to_have_url(re.compile(rf"{name}\.ipynb$"))
        tab.wait_for_kernel(language)
        return tab

    try:
        yield open_it
    finally:
        for tab in tabs:
            tab.close()


NewFile = Callable[..., File]


def kernel_of(visitor: Visitor, name: str) -> str:
    """The id of a notebook's kernel."""
    (kernel,) = (
        str(session["kernel"]["id"])
        for session in visitor.api("GET", "/api/sessions")
        if session["path"].endswith(f"{name}.ipynb")
    )
    return kernel


def open_console(tab: Tab) -> tuple[Locator, Locator]:
    """A console of the notebook's kernel, and what is typed into it."""
    tab.choose("File", "New Console for Notebook")
    console = tab.page.locator(".jp-CodeConsole")
    prompt = console.locator(".jp-CodeConsole-input").get_by_role("textbox")
    expect(prompt).to_have_attribute("data-language", "python")
    return console, prompt


def cut_off(edge: Edge) -> None:
    """End the tunnel and all that goes through it; it stays so until the edge is reachable.

    At once: whoever connects again in the meantime is told that there is no such endpoint.
    """
    edge.fault(unreachable=True)


def write_file(notebook: Account, name: str, cells: Sequence[str]) -> File:
    """Make a notebook with these cells."""
    path = notebook.home / f"{name}.ipynb"
    # Long outputs take little room, so that all cells are in sight.
    path.write_text(content([code(source, scrolled=True) for source in cells]))
    return File(path)


def run_all_left_and_stayed(
    left: File, stayed: File, last: int, open_tab: OpenTab, page_of: str, notebook: Account
) -> tuple[Tab, Tab]:
    """Run all cells of two notebooks, and leave one while its first cell runs, which is ``WAIT``.

    Return when both files have the end of the ``last`` cell: a new page of the notebook that was
    left, and the page of the other one.
    """
    (left.path.parent / TOLD).unlink(missing_ok=True)
    tab = open_tab(left.path.stem, page_of)
    tab.choose("Run", "Run All Cells")
    expect(tab.outputs(0)).to_contain_text("waiting")
    tab.leave(notebook)
    left.tell()
    connected = open_tab(stayed.path.stem, page_of)
    connected.choose("Run", "Run All Cells")
    for file in (stayed, left):
        file.wait_for_end(last, 120)
    return open_tab(left.path.stem, page_of), connected
