"""A person with a real browser, at the public URL of a notebook that setup made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from playwright.sync_api import Browser

from tests.support.accounts import Account
from tests.support.browser import NewFile, OpenTab, chromium, opening, write_file
from tests.support.notebooks import TOLD, File


# Not for all tests of a process: as long as it is there, nothing else can have an event loop.
@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests of a file; each person in it has a context of their own."""
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def open_tab(browser: Browser, notebook: Account) -> Iterator[OpenTab]:
    """Open notebooks of the shared account."""
    with opening(browser, notebook) as open_it:
        yield open_it


@pytest.fixture
def new_file(notebook: Account) -> Iterator[NewFile]:
    """Make notebooks with these cells."""
    files: list[File] = []
    told = notebook.home / TOLD
    told.unlink(missing_ok=True)

    def make(name: str, cells: Sequence[str]) -> File:
        files.append(write_file(notebook, name, cells))
        return files[-1]

    yield make
    for file in files:
        file.path.unlink(missing_ok=True)
    told.unlink(missing_ok=True)
