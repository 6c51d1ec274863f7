"""The pages that are made for a person's own computer: the status of a fleet, and the bookmark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.accounts import PASSWORD, Account
from tests.support.browser import LOGIN, PATIENCE, log_in, new_page, write_file
from tests.support.ports import free_port

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


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of somebody who has not logged in."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    yield new_page(context)
    context.close()


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
    variables = {"notebook_format": "html", "notebook_report": str(file)}
    play = notebook.play("anywhere.notebook.status", "-i", str(inventory), **variables)
    assert play.status == 0, play.output
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


def test_the_bookmark_leads_to_the_notebook(notebook: Account, page: Page) -> None:
    url = notebook.url()

    page.goto(f"file://{notebook.home}/.config/anywhere-notebook/localhost.html")

    expect(page).to_have_url(re.compile(re.escape(url) + LOGIN.pattern))
