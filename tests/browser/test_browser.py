"""A person at the public URL, with a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.accounts import PASSWORD, Account
from tests.support.browser import LOGIN, PATIENCE, log_in, new_page


@pytest.fixture(scope="module")
def url(notebook: Account) -> str:
    """The public URL that reconnect prints."""
    return notebook.url()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A tab of somebody who has not been there before, at the public URL."""
    context = browser.new_context(base_url=url)
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


def test_a_wrong_password_is_refused_with_jupyters_message(page: Page) -> None:
    page.goto("/")
    expect(page).to_have_url(LOGIN)
    expect(page.get_by_text("Invalid credentials")).not_to_be_visible()

    log_in(page, "a wrong password")

    expect(page.get_by_text("Invalid credentials")).to_be_visible()
    page.goto("/lab")
    expect(page).to_have_url(LOGIN)


def test_the_right_password_opens_jupyterlab_where_a_cell_is_executed(page: Page) -> None:
    page.goto("/")
    log_in(page, PASSWORD)
    expect(page).to_have_url(re.compile(r"/lab$"))

    section = page.get_by_role("heading", name="Notebook")
    launcher = page.locator(".jp-Launcher-section", has=section)
    launcher.get_by_role("button", name="Python 3").click()

    assert_a_cell_is_executed(page)


def test_a_cell_is_executed_in_notebook_7(page: Page) -> None:
    page.goto("/tree")
    log_in(page, PASSWORD)
    expect(page).to_have_url(re.compile(r"/tree$"))

    page.get_by_role("menuitem", name="New", exact=True).click()
    with page.expect_popup() as opened:
        page.get_by_role("menuitem", name="Python 3").click()

    assert_a_cell_is_executed(opened.value)
