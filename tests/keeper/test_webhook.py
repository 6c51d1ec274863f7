"""Who is told of a long cell that has ended while nobody was there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hooks import Hook
from tests.support.pages import Cue, NewFile, OpenPage, Server
from tests.support.sites import serving
from tests.support.waiting import wait_until_async

PUBLIC = "https://example.ngrok.app"
ENDS = {
    "ended": ("print('b')", ""),
    "failed": ("raise LookupError('a secret of the cell')", "LookupError"),
    "died": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
}


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook."""
    with serving(Hook()) as server:
        yield server


@pytest.fixture
def tell(tmp_path: Path, hook: Hook) -> Callable[[float], None]:
    """Have the webhook told from so many minutes on, as setup does."""
    (tmp_path / "url").write_text(f"{PUBLIC}\n")

    def write(minutes: float) -> None:
        told = {
            "url": hook.url,
            "minutes": minutes,
            "host": "box",
            "public_url_file": str(tmp_path / "url"),
        }
        (tmp_path / "cell_webhook.json").write_text(json.dumps(told))

    return write


@pytest.mark.parametrize("state", ENDS)
async def test_a_webhook_is_told_of_a_cell_that_ends_or_dies_while_no_page_is_open(
    state: str,
    hook: Hook,
    tell: Callable[[float], None],
    new_file: NewFile,
    open_page: OpenPage,
    cue: Cue,
) -> None:
    code, of = ENDS[state]
    file = new_file("thesis", [f"print('a', flush=True)\n{cue.awaited}{code}", "1 + 1"])
    page = await open_page(file)
    # The second one has not begun when the first one ends.
    await page.run_and_leave("a\n", "cell-0", "cell-1")
    # From now on: the server need not be restarted for it.
    tell(0.0)
    cue.give()

    await wait_until_async(lambda: hook.got)
    told: dict[str, Any] = hook.got[0]
    assert told.pop("seconds") < 120
    sentence = told.pop("text")
    assert told == {
        "host": "box",
        "url": PUBLIC,
        "notebook": "thesis.ipynb",
        "state": state,
        "of": of,
    }
    assert sentence.startswith("thesis.ipynb on box: a cell ")
    # What is printed is nobody's concern.
    assert "a secret" not in json.dumps(hook.got)
    # What is kept is kept all the same.
    await wait_until_async(lambda: len(file.outputs()) > 0 and file.text().startswith("a\n"))
    # Until a kernel answers that has died: Jupyter cannot end one that it is just starting.
    await open_page(file)


async def test_a_short_cell_is_told_to_nobody(
    hook: Hook,
    tell: Callable[[float], None],
    server: Server,
    new_file: NewFile,
    open_page: OpenPage,
) -> None:
    file = new_file("short", ["print('a')", "print('b')"])
    page = await open_page(file)
    tell(60)
    page.run("cell-0")
    await page.wait_for_prompt("[1]", "cell-0")
    tell(0)
    page.run("cell-1")
    await page.wait_for_prompt("[2]", "cell-1")

    await wait_until_async(lambda: hook.got)

    assert [told["notebook"] for told in hook.got] == ["short.ipynb"]
