"""What cells print while nobody is there."""

from __future__ import annotations

from tests.support.pages import Cue, NewFile, OpenPage
from tests.support.waiting import wait_until_async


async def test_help_that_a_cell_asks_for_is_kept_below_what_it_prints(
    new_file: NewFile, open_page: OpenPage, cue: Cue
) -> None:
    file = new_file("help", [f"print('begins', flush=True)\n{cue.awaited}", "len?"])
    page = await open_page(file)
    await page.run_and_leave("begins", *page.cells)

    cue.give()

    await wait_until_async(lambda: file.outputs(1))
    (output,) = file.outputs(1)
    assert "Return the number of items" in "".join(output["data"]["text/plain"])
    assert file.cells[1]["execution_count"] == 2
