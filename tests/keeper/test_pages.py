"""Pages that go, come back, and change what is shown meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from notebook_keeper.keeper import Execution

from tests.support.pages import Cue, NewFile, Notebook, OpenPage, Server
from tests.support.waiting import wait_until_async

NewCue = Callable[[str], Cue]


def steps(new_cue: NewCue, *words: str) -> tuple[str, list[Cue]]:
    """A cell that prints each of these on a line, after what it waits for."""
    cues = [new_cue(word) for word in words]
    printed = [
        f"{cue.awaited}print({word!r}, flush=True)\n" for word, cue in zip(words, cues, strict=True)
    ]
    return "".join(["print('begins', flush=True)\n", *printed]), cues


async def test_going_and_coming_back_again_and_again(
    new_file: NewFile, open_page: OpenPage, new_cue: NewCue
) -> None:
    words = [f"word {number}" for number in range(8)]
    source, cues = steps(new_cue, *words)
    file = new_file("again", [source])
    page = await open_page(file)
    await page.run_and_leave("begins\n")
    for number in range(0, 8, 2):
        cues[number].give()
        page = await open_page(file)
        await page.wait_for_text(f"word {number}\n")
        if number < 6:
            assert page.prompt() == "[*]"
        cues[number + 1].give()
        await page.wait_for_text(f"word {number + 1}\n")
        await page.leave()

    wanted = "".join(f"{word}\n" for word in ["begins", *words])
    await wait_until_async(lambda: file.cells[0]["execution_count"])
    assert file.text() == wanted
    assert (await open_page(file)).text() == wanted


async def test_a_page_that_was_cut_off_goes_on_by_itself(
    new_file: NewFile, open_page: OpenPage, new_cue: NewCue
) -> None:
    source, (away, back) = steps(new_cue, "away", "back")
    file = new_file("cut-off", [source, "print('next')"])
    page = await open_page(file)
    await page.run_and_leave("begins\n")
    away.give()
    await wait_until_async(lambda: "away" in file.text())

    page.told.clear()
    await page.connect()
    back.give()

    # The kernel's answer comes to the page at once, its lines come with the document.
    await page.wait_for_text("begins\naway\nback\n")
    page.run("cell-1")
    await page.wait_for_text("next\n", "cell-1")
    assert page.text() == "begins\naway\nback\n"
    # The keeper writes the first cell; a page that did so too would show lines twice for a moment.
    assert page.told == {"cell-1"}
    await wait_until_async(lambda: file.text(1) == "next\n")
    await wait_until_async(lambda: file.text() == "begins\naway\nback\n")


async def test_what_a_page_could_not_show_any_more_before_it_left_is_kept(
    new_file: NewFile, open_page: OpenPage, cue: Cue
) -> None:
    file = new_file("frozen", [f"print('a', flush=True)\n{cue.awaited}print('b')"])
    page = await open_page(file)
    page.run()
    await page.wait_for_text("a\n")
    page.frozen = True
    cue.give()
    await page.leave()

    await wait_until_async(lambda: file.cells[0]["execution_count"])
    assert file.text() == "a\nb\n"


@pytest.mark.parametrize("leaver", ["runs", "looks"])
async def test_when_one_of_two_pages_leaves_the_other_one_sees_all(
    leaver: str, new_file: NewFile, open_page: OpenPage, new_cue: NewCue
) -> None:
    source, (more,) = steps(new_cue, "more")
    file = new_file("two", [source])
    pages = {"runs": await open_page(file), "looks": await open_page(file)}
    pages["runs"].run()
    await pages["looks"].wait_for_text("begins\n")
    await pages.pop(leaver).leave()

    more.give()

    (page,) = pages.values()
    await page.wait_for_prompt("[1]")
    # The kernel's answer may have come first.
    await page.wait_for_text("more\n")
    assert page.text() == "begins\nmore\n"
    await wait_until_async(lambda: file.text() == "begins\nmore\n")


async def test_what_a_person_changes_while_a_cell_runs_stays(
    new_file: NewFile, open_page: OpenPage, new_cue: NewCue, server: Server
) -> None:
    source, (more,) = steps(new_cue, "more")
    file = new_file("edited", [source, "print('other')", "1"])
    page = await open_page(file)
    await page.run_and_leave("begins\n")
    page = await open_page(file)
    page.type("# edited")
    page.move("cell-0", 1)
    await server.api("PATCH", "contents/edited.ipynb", {"path": "renamed.ipynb"})
    await page.leave()

    more.give()

    renamed = Notebook(server.root / "renamed.ipynb")
    await wait_until_async(lambda: renamed.cells and renamed.cells[1]["execution_count"] == 1)
    assert renamed.text(1) == "begins\nmore\n"
    assert "".join(renamed.cells[1]["source"]).endswith("# edited")
    assert renamed.cells[0]["source"] in ("print('other')", ["print('other')"])
    assert not file.path.exists()


async def test_a_cell_that_is_deleted_while_it_runs_does_not_come_back(
    new_file: NewFile, open_page: OpenPage, new_cue: NewCue
) -> None:
    source, (more,) = steps(new_cue, "more")
    file = new_file("deleted", [source, "print('other')"])
    page = await open_page(file)
    await page.run_and_leave("begins\n")
    page = await open_page(file)
    page.delete("cell-0")
    page.run("cell-1")
    await page.leave()

    more.give()

    await wait_until_async(lambda: file.cells[0]["execution_count"] == 2)
    assert len(file.cells) == 1
    assert file.text() == "other\n"


async def test_a_file_that_is_changed_on_the_disk_meanwhile(
    new_file: NewFile, open_page: OpenPage, new_cue: NewCue
) -> None:
    source, (more,) = steps(new_cue, "more")
    file = new_file("disk", [source])
    page = await open_page(file)
    looks = await open_page(file)
    await page.run_and_leave("begins\n")
    # Jupyter takes a change in the instant after it has saved for its own.
    await wait_until_async(
        lambda: file.text() and time.time() - file.path.stat().st_mtime > 1, what="a saved file"
    )
    content = json.loads(file.path.read_text())
    added = {"cell_type": "markdown", "id": "added", "metadata": {}, "source": "from elsewhere"}
    content["cells"].append(added)
    file.path.write_text(json.dumps(content))
    await wait_until_async(lambda: "added" in looks.cells)

    more.give()

    await wait_until_async(lambda: file.cells[0]["execution_count"])
    assert file.text() == "begins\nmore\n"
    assert "".join(json.loads(file.path.read_text())["cells"][1]["source"]) == "from elsewhere"


async def test_three_notebooks_at_once_and_text_that_was_just_typed(
    new_file: NewFile, open_page: OpenPage, new_cue: NewCue
) -> None:
    source, (more,) = steps(new_cue, "more")
    files = [new_file(f"several-{number}", [source, ""]) for number in range(3)]
    pages = [await open_page(file) for file in files]
    for page in pages:
        page.run()
    for page in pages:
        await page.wait_for_text("begins\n")
        page.type("typed = True", "cell-1")
    await asyncio.gather(*(page.leave() for page in pages))

    more.give()

    await wait_until_async(lambda: all(file.cells[0]["execution_count"] for file in files))
    for file in files:
        assert file.text() == "begins\nmore\n"
        assert "".join(file.cells[1]["source"]) == "typed = True"


async def test_what_a_console_of_the_same_kernel_prints_is_not_the_notebook_s(
    new_file: NewFile, open_page: OpenPage, new_cue: NewCue
) -> None:
    source, (more,) = steps(new_cue, "more")
    file = new_file("console", [source, "print('last')"])
    page = await open_page(file)
    page.run()
    page.run_in_console("print('from the console')")
    page.run("cell-1")
    await page.wait_for_text("begins\n")
    await page.leave()

    more.give()

    await wait_until_async(lambda: file.cells[1]["execution_count"] == 3)
    assert (file.text(0), file.text(1)) == ("begins\nmore\n", "last\n")


async def test_nothing_is_written_for_a_page_that_stays(
    new_file: NewFile,
    open_page: OpenPage,
    executions: Callable[[], list[Execution]],
) -> None:
    file = new_file("cleared", ["print('a')", "1"])
    page = await open_page(file)
    page.run()
    await page.wait_for_prompt("[1]")
    (execution,) = executions()
    # The keeper has seen that the page shows all.
    await wait_until_async(lambda: execution.finished)

    page.clear()
    page.run("cell-1")
    await page.leave()

    # Cells whose pages have gone are written together.
    await wait_until_async(lambda: file.cells[1]["execution_count"] == 2)
    assert file.outputs() == []
    assert (await open_page(file)).outputs() == []
