"""What counts as use of a notebook, and what its pages say before the machine goes to sleep."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, WebSocketRoute, expect

from roles.jupyter.files import idle
from tests.support.accounts import Account
from tests.support.browser import PAGES, PATIENCE, NewFile, OpenTab, Tab
from tests.support.processes import descendants
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

POLLS = 2


@pytest.fixture
def facts(notebook: Account) -> Callable[[], idle.Facts]:
    """Look as the timer does."""
    base = str(notebook.state / "jupyter")
    return lambda: idle.look(base, notebook.socket_name, "jupyter", "ngrok")


def stamps(facts: idle.Facts) -> dict[str, str]:
    """Those of the server; other things happen on this machine, too."""
    assert facts.stamps, facts.busy
    return {name: text for name, text in facts.stamps.items() if "terminal" not in name}


def wait_on(tab: Tab, condition: Callable[[], bool]) -> None:
    """Return once it is so; meanwhile the page's events are heard."""
    limit = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < limit
        tab.page.wait_for_timeout(100)


def poll(tab: Tab) -> None:
    """Return when a page has asked for its kernels a few times, as it does without anybody."""
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url.partition("?")[0]))
    wait_on(tab, lambda: sum(url.endswith("/api/kernels") for url in asked) >= POLLS)


@pytest.mark.parametrize("page_of", PAGES)
def test_a_page_that_is_only_open_is_no_use(
    open_tab: OpenTab, new_file: NewFile, facts: Callable[[], idle.Facts], page_of: str
) -> None:
    file = new_file(f"open-{page_of}", ["print('done')"])
    tab = open_tab(file.path.stem, page_of)
    tab.run()
    file.wait_for_text("done\n")
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    tab.page.route_web_socket(re.compile("/channels"), connect)
    tab.page.reload()
    tab.wait_for_kernel()
    poll(tab)
    before = stamps(facts())

    # As when a tunnel breaks, after which a page connects again by itself.
    connections = len(sockets)
    for socket in [*sockets]:
        socket.close()
    wait_on(tab, lambda: len(sockets) > connections)
    poll(tab)

    assert stamps(facts()) == before


def test_what_somebody_does_on_a_page_is_use(
    open_tab: OpenTab, new_file: NewFile, facts: Callable[[], idle.Facts]
) -> None:
    earlier = stamps(facts())
    tab = open_tab(new_file("used", ["print('done')"]).path.stem)
    before = stamps(facts())
    (kernel,) = (name for name in before.keys() - earlier if name.startswith("kernel "))

    tab.run()
    expect(tab.outputs()).to_contain_text("done")
    assert stamps(facts())[kernel] != before[kernel]

    poll(tab)
    before = stamps(facts())
    tab.cells.first.get_by_role("textbox").first.press_sequentially("# a thought\n")
    wait_until(lambda: stamps(facts())["a document"] != before["a document"])
    assert stamps(facts())[kernel] == before[kernel]


def test_a_busy_kernel_is_use(visitor: Visitor, facts: Callable[[], idle.Facts]) -> None:
    kernel = visitor.kernel()
    assert kernel not in facts().busy

    with visitor.computing(kernel):
        wait_until(lambda: f"kernel {kernel} is busy" in facts().busy)
    visitor.end_kernels()


def test_a_terminal_that_prints_is_use_though_no_page_shows_it(
    notebook: Account, visitor: Visitor, facts: Callable[[], idle.Facts]
) -> None:
    before = facts().stamps or {}
    name = visitor.api("POST", "/api/terminals")["name"]
    (terminal,) = (found for found in facts().stamps or {} if found not in before)
    shell = "while sleep 0.5; do echo line; done\r"
    with visitor.websocket(f"/terminals/websocket/{name}") as channel:
        channel.send(json.dumps(["stdin", shell]))
        wait_until(lambda: json.loads(channel.recv(10)) == ["stdout", "line\r\n"])

    seen = facts()
    assert seen.stamps
    before = seen.stamps
    # It is no login.
    for pid in descendants(notebook.pids()["jupyter"]):
        assert f"(process {pid})" not in seen.busy
    wait_until(lambda: (facts().stamps or {})[terminal] != before[terminal])
    visitor.api("DELETE", f"/api/terminals/{name}")
    assert terminal not in (facts().stamps or {})


@pytest.fixture
def tell(notebook: Account) -> Iterator[Callable[[str], None]]:
    """Say when the machine goes to sleep, as the timer does."""
    base = str(notebook.state / "jupyter")
    yield lambda sleeps_at: idle.tell(base, sleeps_at)
    idle.tell(base, "")


def notice(tab: Tab) -> Locator:
    """What a page says before the machine goes to sleep."""
    return tab.page.get_by_role("alert").filter(has_text="goes to sleep at")


@pytest.mark.parametrize("page_of", PAGES)
def test_the_pages_say_when_the_machine_goes_to_sleep_and_keep_it_on(
    open_tab: OpenTab,
    new_file: NewFile,
    tell: Callable[[str], None],
    facts: Callable[[], idle.Facts],
    page_of: str,
) -> None:
    name = new_file(f"sleep-{page_of}", ["1"]).path.stem
    earlier = open_tab(name, page_of)
    expect(notice(earlier)).to_have_count(0)

    soon = datetime.now(UTC) + timedelta(minutes=5)
    tell(f"{soon:%Y-%m-%dT%H:%M:%SZ}")
    later = open_tab(name, page_of)
    for tab in (earlier, later):
        expect(notice(tab)).to_have_text(
            re.compile(rf"Nobody uses this machine\. It goes to sleep at {soon:%-I}:{soon:%M}")
        )
    before = stamps(facts())

    later.page.get_by_role("button", name="Keep it on").click()

    for tab in (earlier, later):
        expect(notice(tab)).to_have_count(0)
    wait_until(lambda: stamps(facts())["the page"] != before["the page"])
    tell("")
    tell(f"{soon:%Y-%m-%dT%H:%M:%SZ}")
    expect(notice(earlier)).to_have_count(1)
    tell("")
    expect(notice(earlier)).to_have_count(0)
