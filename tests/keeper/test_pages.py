"""Pages that go, come back, and see what was printed meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.pages import Cue, NewFile, OpenPage
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

    await page.connect()
    back.give()

    # The kernel's answer comes to the page at once, its lines come with the document.
    await page.wait_for_text("begins\naway\nback\n")
    page.run("cell-1")
    await page.wait_for_text("next\n", "cell-1")
    assert page.text() == "begins\naway\nback\n"
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


@pytest.mark.parametrize("leaver", ["looks"])
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
    await page.wait_for_text("more\n")
    assert page.text() == "begins\nmore\n"
    await wait_until_async(lambda: file.text() == "begins\nmore\n")
