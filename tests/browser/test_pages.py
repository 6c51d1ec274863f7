"""What an open page does, in a real browser: from the bookmark to the notice of sleep."""

from __future__ import annotations

import os
import pwd
import re
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from roles.jupyter.files import idle
from tests.support import PASSWORD
from tests.support.accounts import Account
from tests.support.browser import (
    LINES,
    LOGIN,
    PATIENCE,
    NewFile,
    OpenTab,
    Tab,
    cut_off,
    each_page,
    log_in,
    new_page,
    open_console,
    write_file,
)
from tests.support.edge.client import Edge
from tests.support.ports import free_port
from tests.support.use import stamps
from tests.support.waiting import wait_until

# WCAG 2.2, success criterion 1.4.3
CONTRAST = 4.5

# The contrast of every text with its ground, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
LOWEST_CONTRAST = """
() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const luminance = color => {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(
      part => part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = node => {
    const color = getComputedStyle(node).backgroundColor;
    return color === 'rgba(0, 0, 0, 0)' ? ground(node.parentElement) : color;
  };
  const texts = [...document.body.querySelectorAll('*')].filter(
    node => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
  return Math.min(...texts.map(node => {
    const both = [getComputedStyle(node).color, ground(node)].map(luminance);
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  }));
}
"""


@pytest.fixture(autouse=True)
def no_kernels(notebook: Account) -> None:
    """Every test begins with a server without kernels."""
    notebook.visitor().end_kernels()


@pytest.fixture
def page(browser: Browser, notebook: Account) -> Iterator[Page]:
    """A tab of somebody who has not been there before, and knows the public URL."""
    context = browser.new_context(base_url=notebook.url())
    context.set_default_timeout(PATIENCE)
    yield new_page(context)
    context.close()


def assert_a_cell_is_executed(page: Page) -> None:
    """Type into the first cell of a new notebook, and see the result."""
    cell = page.get_by_role("feed", name="Cells").get_by_role("textbox").first
    # The page learns the language from the kernel; before that, Shift+Enter does nothing.
    expect(cell).to_have_attribute("data-language", "python")
    cell.fill("6*7")
    expect(page.locator(".jp-OutputArea-output")).to_have_count(0)
    cell.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output")).to_have_text("42")


def test_the_bookmark_leads_to_the_notebook(notebook: Account, page: Page) -> None:
    url = notebook.url()

    page.goto(f"file://{notebook.home}/.config/anywhere-notebook/localhost.html")

    expect(page).to_have_url(re.compile(re.escape(url) + LOGIN.pattern))


def machine() -> str:
    """How pages name this machine."""
    return f"{pwd.getpwuid(os.geteuid()).pw_name}@{socket.gethostname()}"


def mark(page: Page) -> Locator:
    """What a page of Jupyter says of the machine that it belongs to."""
    return page.get_by_role("note", name=machine())


def assert_readable(page: Page) -> None:
    """Every text stands out in the light and in the dark, and fits a narrow phone."""
    before = page.viewport_size
    page.set_viewport_size({"width": 320, "height": 480})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(LOWEST_CONTRAST) > CONTRAST, scheme
    # WCAG 2.2, success criterion 1.4.10
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert before
    page.set_viewport_size(before)
    page.emulate_media(color_scheme=None)


def test_without_scripts_the_login_page_is_readable_and_opens_the_notebook(
    browser: Browser, notebook: Account
) -> None:
    with browser.new_context(base_url=notebook.url(), java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/login?next=/api/status")
        expect(page).to_have_title(f"{machine()}: log in")
        expect(page.get_by_role("heading")).to_have_text(
            "Notebook of {} on {}".format(*machine().split("@"))
        )
        password = page.get_by_label("Password", exact=True)
        expect(password).to_be_focused()
        hint = "The card at the end of setup and reconnect says where the password is."
        expect(password).to_have_accessible_description(hint)
        assert_readable(page)

        log_in(page, "a wrong password")

        expect(page.get_by_role("alert")).to_have_text("This is not the password.")
        expect(password).to_have_accessible_description(f"This is not the password. {hint}")
        assert_readable(page)
        log_in(page, PASSWORD)
        expect(page).to_have_url(re.compile("/api/status$"))


def test_a_wrong_password_is_refused_and_the_page_says_so(page: Page) -> None:
    page.goto("/")
    expect(page).to_have_url(LOGIN)
    expect(page.get_by_text("This is not the password.")).not_to_be_visible()

    log_in(page, "a wrong password")

    expect(page.get_by_text("This is not the password.")).to_be_visible()
    page.goto("/lab")
    expect(page).to_have_url(LOGIN)


def test_the_right_password_opens_jupyterlab_where_a_cell_is_executed(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/")
    log_in(page, PASSWORD)
    expect(page).to_have_url(re.compile(r"/lab$"))
    # Which machine it is: the window says so before there is a document, and with one.
    named = rf"(^| - ){re.escape(machine())} - JupyterLab$"
    expect(page).to_have_title(re.compile(named))
    expect(mark(page)).to_have_text(f"{machine()}: output is kept")

    section = page.get_by_role("heading", name="Notebook")
    launcher = page.locator(".jp-Launcher-section", has=section)
    launcher.get_by_role("button", name="Python 3").click()

    assert_a_cell_is_executed(page)
    # Another test may have left one, or have it open.
    expect(page).to_have_title(re.compile(rf"^Untitled\d*\.ipynb( \(\d+\))?{named}"))
    expect(mark(page)).to_be_visible()
    # Neither the question about news, nor news, nor a look for updates.
    expect(page.get_by_text("Jupyter news")).to_have_count(0)
    assert not [url for url in asked if re.search(r"/lab/api/(news|update)", url)]


def test_a_cell_is_executed_in_notebook_7(page: Page) -> None:
    page.goto("/tree")
    log_in(page, PASSWORD)
    expect(page).to_have_url(re.compile(r"/tree$"))
    expect(page).to_have_title(f"{machine()} - Home")
    expect(mark(page)).to_have_text(f"{machine()}: output is kept")

    page.get_by_role("menuitem", name="New", exact=True).click()
    with page.expect_popup() as opened:
        page.get_by_role("menuitem", name="Python 3").click()

    assert_a_cell_is_executed(opened.value)
    expect(opened.value).to_have_title(re.compile(rf"^Untitled\d* - {re.escape(machine())}$"))
    expect(mark(opened.value)).to_be_visible()


@pytest.fixture
def status_page(notebook: Account, tmp_path: Path) -> str:
    """The page of a fleet: a host with an open notebook, and one that is off and oddly named."""
    visitor = notebook.visitor()
    write_file(notebook, "all & <sundry>", ["6 * 7"])
    visitor.api(
        "POST",
        "/api/sessions",
        {
            "path": "all & <sundry>.ipynb",
            "name": "",
            "type": "notebook",
            "kernel": {"name": "python3"},
        },
    )
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        "[all]\nbox ansible_connection=local\n"
        f"<b>off</b> ansible_host=127.0.0.1 ansible_port={free_port()}\n"
    )
    file = tmp_path / "notebooks.html"
    # From where the person stands.
    told = os.path.relpath(file, notebook.home)
    variables = {"notebook_format": "html", "notebook_report": told}
    play = notebook.play("anywhere.notebook.status", "-i", str(inventory), **variables)
    assert play.status == 0, play.output
    assert f"The report is in {file}" in play.output
    return f"file://{file}"


def test_the_page_of_a_fleet_opens_the_notebooks(
    notebook: Account, page: Page, status_page: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto(status_page)

    # Nothing comes from elsewhere.
    assert asked == [status_page]
    box, off = page.locator("section").all()
    expect(box.locator("h2")).to_have_text("boxworking")
    expect(off.locator("h2")).to_have_text("<b>off</b>unreachable")
    expect(off).to_contain_text(re.compile(r'host "?127\.0\.0\.1'))
    expect(box.locator("a").first).to_have_text(notebook.url())
    expect(box.locator("td").nth(1)).to_have_text("python3")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(LOWEST_CONTRAST) > CONTRAST, scheme

    box.get_by_role("link", name="all & <sundry>.ipynb").click()
    log_in(page, PASSWORD)
    # JupyterLab opens again what another test had open, too.
    expect(page.locator(".jp-Notebook .jp-CodeCell", has_text="6 * 7")).to_be_visible()


@each_page("notebook")
def test_a_page_that_stays_open_goes_on_by_itself_after_the_tunnel_was_down(
    page_of: str, edge: Edge, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file(f"down-{page_of}", [LINES, "'a second cell'"])
    tab = open_tab(file.path.stem, page_of)
    tab.run()
    expect(tab.outputs()).to_contain_text("line 4")

    cut_off(edge)
    # Until something was printed that the page cannot have got.
    seen = tab.text().count("\n")
    wait_until(lambda: file.text().count("\n") > seen + 10)
    assert tab.text().count("\n") < seen + 10
    edge.fault(unreachable=False)

    tab.see_more()
    file.tell()
    expect(tab.prompt()).to_have_text("[1]:")
    tab.wait_for_all_lines(file)
    # No dialog is in the way.
    expect(tab.page.locator(".jp-Dialog:visible")).to_have_count(0)
    tab.run(1)
    expect(tab.outputs(1)).to_have_text("'a second cell'")


def test_notebook_and_console_connect_again_though_jupyterlab_has_given_up(
    edge: Edge, new_file: NewFile, open_tab: OpenTab
) -> None:
    file = new_file("given-up", ["print('there')"])
    tab = open_tab(file.path.stem)
    console, prompt = open_console(tab)
    # JupyterLab draws its pauses: now all seven attempts are over at once.
    tab.page.evaluate("Math.random = () => 0")
    shown = tab.page.get_by_role("button", name="Disconnected")

    cut_off(edge)
    expect(tab.indicator).to_have_attribute("data-status", "disconnected")
    expect(shown).to_be_visible()
    edge.fault(unreachable=False)

    expect(shown).to_be_hidden()
    prompt.fill("print('from the console')")
    prompt.press("Shift+Enter")
    expect(console.locator(".jp-OutputArea-output")).to_have_text("from the console")
    expect(tab.indicator).not_to_have_attribute("data-status", "disconnected")
    tab.run()
    expect(tab.outputs()).to_have_text("there")


def wait_on(tab: Tab, condition: Callable[[], bool]) -> None:
    """Return once it is so; meanwhile the page's events are heard."""
    limit = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < limit
        tab.page.wait_for_timeout(100)


def poll(tab: Tab) -> None:
    """Return when a page has asked for its kernels, as it does at times without anybody."""
    with tab.page.expect_response(re.compile(r"/api/kernels(\?|$)")):
        pass


@each_page("lab")
def test_what_somebody_does_on_a_page_is_use_and_a_page_that_is_only_open_is_none(
    page_of: str, notebook: Account, edge: Edge, open_tab: OpenTab, new_file: NewFile
) -> None:
    file = new_file(f"use-{page_of}", ["print('done')"])
    tab = open_tab(file.path.stem, page_of)
    before = stamps(notebook)
    (kernel,) = (name for name in before if name.startswith("kernel "))

    tab.run()
    file.wait_for_text("done\n")
    assert stamps(notebook)[kernel] != before[kernel]

    poll(tab)
    before = stamps(notebook)
    # A tunnel breaks, after which the page connects again by itself.
    connected: list[str] = []
    tab.page.on("websocket", lambda socket: connected.append(socket.url))
    edge.drop_visitors()
    wait_on(tab, lambda: "/channels" in "".join(connected))
    wait_on(tab, lambda: "/collaboration/room/" in "".join(connected))
    poll(tab)
    assert stamps(notebook) == before

    tab.cells.first.get_by_role("textbox").first.press_sequentially("# a thought\n")
    wait_until(lambda: stamps(notebook)["a document"] != before["a document"])
    assert stamps(notebook)[kernel] == before[kernel]


@pytest.fixture
def tell(notebook: Account) -> Iterator[Callable[[str], None]]:
    """Say when the machine goes to sleep, as the timer does."""
    base = str(notebook.state / "jupyter")
    yield lambda sleeps_at: idle.tell(base, sleeps_at)
    idle.tell(base, "")


def notice(tab: Tab) -> Locator:
    """What a page says before the machine goes to sleep."""
    return tab.page.get_by_role("alert").filter(has_text="goes to sleep at")


@each_page("lab")
def test_the_pages_say_when_the_machine_goes_to_sleep_and_keep_it_on(
    page_of: str,
    notebook: Account,
    open_tab: OpenTab,
    new_file: NewFile,
    tell: Callable[[str], None],
) -> None:
    name = new_file(f"sleep-{page_of}", ["1"]).path.stem
    earlier = open_tab(name, page_of)
    expect(notice(earlier)).to_have_count(0)

    soon = datetime.now(UTC) + timedelta(minutes=5)
    tell(f"{soon:%Y-%m-%dT%H:%M:%SZ}")
    later = open_tab(name, {"lab": "notebook", "notebook": "lab"}[page_of])
    for tab in (earlier, later):
        expect(notice(tab)).to_have_text(
            re.compile(rf"Nobody uses this machine\. It goes to sleep at {soon:%-I}:{soon:%M}")
        )
    before = stamps(notebook)

    later.page.get_by_role("button", name="Keep it on").click()

    for tab in (earlier, later):
        expect(notice(tab)).to_have_count(0)
    wait_until(lambda: stamps(notebook)["the page"] != before["the page"])
    tell("")
    tell(f"{soon:%Y-%m-%dT%H:%M:%SZ}")
    for tab in (earlier, later):
        expect(notice(tab)).to_have_count(1)
    tell("")
    for tab in (earlier, later):
        expect(notice(tab)).to_have_count(0)
