"""What cells print while nobody is there."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from notebook_keeper.keeper import Execution
from traitlets.config import Config

from tests.support.pages import JSON, V1, Cue, NewFile, Notebook, OpenPage
from tests.support.waiting import wait_until_async


def printed(text: str, name: str = "stdout") -> dict[str, Any]:
    """Text as the notebook format has it."""
    return {"output_type": "stream", "name": name, "text": text}


def shown(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """A display as the notebook format has it."""
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}


def joined(output: dict[str, Any]) -> dict[str, Any]:
    """An output whose texts are no lists of lines."""
    if "data" not in output:
        return output
    data = output["data"].items()
    return {
        **output,
        "data": {kind: "".join(one) if isinstance(one, list) else one for kind, one in data},
    }


# Code of cells, and their outputs. The first waits; the display of one is updated by the next.
CASES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "lines": (
        "for number in range(20_000):\n    print('line', number)",
        [printed("".join(f"line {number}\n" for number in range(20_000)))],
    ),
    "progress": (
        "for done in range(101):\n    print(f'\\r{done:3} %', '#' * (done // 10), end='')\nprint()",
        [printed("100 % ##########\n")],
    ),
    "characters": ("print('ä€😀\\rAB')\nprint('one\\b\\b\\bt')", [printed("AB😀\nt\n")]),
    "two-kinds": (
        "import sys\nprint('out', flush=True)\n"
        "print('err', file=sys.stderr, flush=True)\nprint('out again')",
        [printed("out\n"), printed("err\n", "stderr"), printed("out again\n")],
    ),
    "displays": (
        "from IPython.display import *\n"
        "display(HTML('<b>bold</b>'), JSON({'a': [1, None, 2.5]}), metadata={'kind': 'x'})",
        [
            shown(
                {"text/plain": "<IPython.core.display.HTML object>", "text/html": "<b>bold</b>"},
                {"kind": "x"},
            ),
            shown(
                {
                    "text/plain": "<IPython.core.display.JSON object>",
                    "application/json": {"a": [1, None, 2.5]},
                },
                {"kind": "x", "application/json": {"expanded": False, "root": "root"}},
            ),
        ],
    ),
    "picture-and-result": (
        "display(Image(b'GIF89a', format='gif'))\n7 * 6",
        [
            shown({"text/plain": "<IPython.core.display.Image object>", "image/gif": "R0lGODlh"}),
            {
                "output_type": "execute_result",
                "data": {"text/plain": "42"},
                "metadata": {},
                "execution_count": 7,
            },
        ],
    ),
    "updated-later": (
        "first = display('not yet', display_id=True)",
        [shown({"text/plain": "'from the next cell'"})],
    ),
    "updated": (
        "second = display(0, display_id=True)\nfor number in range(4):\n    second.update(number)\n"
        "first.update('from the next cell')",
        [shown({"text/plain": "3"})],
    ),
    "cleared-with-the-next": (
        "for number in range(4):\n    print('only', number)\n    clear_output(wait=number < 3)\n"
        "    print('and', number) if number == 3 else None",
        [printed("and 3\n")],
    ),
    "cleared-when-something-comes": (
        "for number in range(4):\n    clear_output(wait=True)\n    print('only', number)",
        [printed("only 3\n")],
    ),
    "nothing": ("x = 1", []),
    "error": (
        "print('before', flush=True)\nraise ValueError('on purpose')",
        [
            printed("before\n"),
            {"output_type": "error", "ename": "ValueError", "evalue": "on purpose"},
        ],
    ),
    "after-an-error": ("print('never')", []),
}


@pytest.mark.parametrize(
    ("leaves", "protocol"),
    [
        pytest.param(True, V1, id="left"),
        pytest.param(True, JSON, id="left-by-an-older-page"),
        pytest.param(False, V1, id="stayed"),
    ],
)
async def test_the_file_has_what_cells_print_whether_their_page_has_left_or_stayed(
    leaves: bool, protocol: str, new_file: NewFile, open_page: OpenPage, cue: Cue
) -> None:
    first = f"print('begins', flush=True)\n{cue.awaited}print('ends')"
    file = new_file("cells", [first, *(code for code, _ in CASES.values())])
    page = await open_page(file, protocol)
    page.run(*page.cells)
    await page.wait_for_text("begins\n")

    if leaves:
        await page.leave()
    cue.give()

    # A page may have the kernel's answer before it has all that the cell prints.
    with suppress(TimeoutError):
        await wait_until_async(lambda: not wrong(file))
    assert not wrong(file)
    back = await open_page(file)
    ran = [f"[{number}]" for number in range(1, len(back.cells))]
    assert [back.prompt(name) for name in back.cells] == [*ran, "[ ]"]


def wrong(file: Notebook) -> dict[str, object]:
    """The cells that have something else than they should; all of them would take minutes."""
    found = {
        name: [joined(output) for output in file.outputs(number)]
        for number, name in enumerate(CASES, 1)
    }
    for output in found["error"]:
        if "on purpose" in "".join(output.get("traceback", "")):
            del output["traceback"]
    cells: dict[str, object] = {
        name: outputs for name, outputs in found.items() if outputs != CASES[name][1]
    }
    if file.text(0) != "begins\nends\n":
        cells["first"] = file.text(0)
    counts = [cell["execution_count"] for cell in file.cells]
    if counts != [*range(1, len(counts)), None]:
        cells["counts"] = counts
    return cells


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


async def test_a_display_is_updated_though_its_cell_has_ended_before_its_page_left(
    new_file: NewFile,
    open_page: OpenPage,
    cue: Cue,
    executions: Callable[[], list[Execution]],
) -> None:
    update = f"print('begins', flush=True)\n{cue.awaited}shown.update('new')"
    file = new_file("display", ["shown = display('old', display_id=True)", update])
    page = await open_page(file)
    page.run()
    await page.wait_for_prompt("[1]")
    (execution,) = executions()
    await wait_until_async(lambda: execution.finished)
    await page.run_and_leave("begins", "cell-1")

    cue.give()

    wanted = [shown({"text/plain": "'new'"})]
    await wait_until_async(lambda: [joined(output) for output in file.outputs(0)] == wanted)
    assert file.cells[0]["execution_count"] == 1


async def test_what_is_drawn_again_and_again_is_so_in_the_file(
    new_file: NewFile, open_page: OpenPage, new_cue: Callable[[str], Cue]
) -> None:
    cues = [new_cue(str(number)) for number in range(3)]
    steps = "".join(
        f"print('\\rü {number} % █', end='', flush=True)\nbar.update({number})\n{cue.awaited}"
        for number, cue in enumerate(cues)
    )
    file = new_file("drawn", [f"bar = display('', display_id=True)\n{steps}"])
    page = await open_page(file)
    await page.run_and_leave("0 %")

    def drawn(number: int) -> bool:
        wanted = [shown({"text/plain": str(number)}), printed(f"ü {number} % █")]
        return [joined(output) for output in file.outputs()] == wanted

    for number, cue in enumerate(cues):
        await wait_until_async(partial(drawn, number))
        cue.give()
    await wait_until_async(lambda: file.cells[0]["execution_count"])
    assert drawn(2)


async def test_what_a_widget_takes_while_its_page_is_there_is_not_put_into_the_cell(
    new_file: NewFile, open_page: OpenPage, new_cue: Callable[[str], Cue]
) -> None:
    go, end = new_cue("go"), new_cue("end")
    # As "with ipywidgets.Output():" does it.
    source = f"""\
from comm import create_comm
widget = create_comm(target_name="jupyter.widget", data={{"state": {{}}}})
message = get_ipython().get_parent()["header"]["msg_id"]
print("in the cell", flush=True)
widget.send({{"method": "update", "state": {{"msg_id": message}}}})
print("in the widget", flush=True)
widget.send({{"method": "update", "state": {{"msg_id": ""}}}})
print("in the cell again", flush=True)
{go.awaited}
widget.send({{"method": "update", "state": {{"msg_id": message}}}})
print("while nobody is there", flush=True)
{end.awaited}"""
    file = new_file("widget", [source])
    page = await open_page(file)
    await page.run_and_leave("in the cell again")
    go.give()

    await wait_until_async(lambda: "nobody" in file.text())
    end.give()
    await wait_until_async(lambda: file.cells[0]["execution_count"])
    assert file.text() == "in the cell\nin the cell again\nwhile nobody is there\n"


MEGABYTES = "for _ in range(COUNT):\n    print('x' * 99_999, flush=True)"


@pytest.mark.parametrize(
    "leaves",
    [
        pytest.param(False, id="stayed"),
        pytest.param(True, id="left", marks=pytest.mark.acceptance),
    ],
)
@pytest.mark.parametrize(
    ("code", "count", "line"),
    [
        pytest.param(MEGABYTES, 60, "x" * 99_999, id="six-megabytes"),
        pytest.param(
            MEGABYTES, 500, "x" * 99_999, id="fifty-megabytes", marks=pytest.mark.acceptance
        ),
    ],
)
async def test_a_cell_that_prints_a_lot_at_once_is_whole_whether_its_page_has_left_or_stayed(
    code: str, count: int, line: str, leaves: bool, new_file: NewFile, open_page: OpenPage, cue: Cue
) -> None:
    flood = code.replace("COUNT", str(count))
    file = new_file("much", [f"print('begins', flush=True)\n{cue.awaited}{flood}\nprint('ends')"])
    page = await open_page(file)
    page.run()
    await page.wait_for_text("begins\n")

    if leaves:
        await page.leave()
    cue.give()

    # As long as a busy machine may take for it.
    await wait_until_async(lambda: file.text().endswith("ends\n"), 300)
    (output,) = file.outputs()
    assert output["name"] == "stdout"
    assert "".join(output["text"]) == "\n".join(["begins", *[line] * count, "ends", ""])


@pytest.fixture
def small(jp_server_config: Config) -> None:
    """A server that keeps little."""
    jp_server_config.OutputKeeper.limit_mb = 1


@pytest.mark.usefixtures("small")
async def test_what_a_cell_prints_forever_does_not_fill_the_memory(
    new_file: NewFile, open_page: OpenPage
) -> None:
    file = new_file("forever", [MEGABYTES.replace("COUNT", "10**9")])
    page = await open_page(file)

    page.run()

    await page.wait_for_text("IOPub data rate exceeded")
    assert 1_800_000 < page.text().count("x") < 2 << 20


@pytest.fixture(
    params=[
        "ZMQChannelsWebsocketConnection",
        pytest.param("ServerApp", marks=pytest.mark.acceptance),
    ]
)
def limited(jp_server_config: Config, request: pytest.FixtureRequest) -> None:
    """A server whose connections have a limit that somebody has set, of 600 kB a minute."""
    jp_server_config[request.param].iopub_data_rate_limit = 10_000


@pytest.mark.usefixtures("limited")
async def test_a_limit_that_somebody_has_set_counts(new_file: NewFile, open_page: OpenPage) -> None:
    page = await open_page(new_file("limited", [MEGABYTES.replace("COUNT", "10")]))

    page.run()

    await page.wait_for_text("IOPub data rate exceeded")
    assert page.text().count("x") < 600_000


@pytest.mark.usefixtures("small")
async def test_what_is_over_the_limit_is_not_kept_and_the_cell_says_so(
    new_file: NewFile, open_page: OpenPage, cue: Cue
) -> None:
    lines = "for _ in range(30):\n    print('x' * 100_000, flush=True)"
    flood = f"print('begins', flush=True)\n{cue.awaited}{lines}"
    file = new_file("limit", [flood, "print('next')"])
    page = await open_page(file)
    await page.run_and_leave("begins", *page.cells)

    cue.give()

    await wait_until_async(lambda: file.cells[1]["execution_count"])
    kept, note = file.outputs(0)
    # The line with which it was over the limit is the last one.
    assert re.fullmatch(r"begins\n(x{100000}\n){10}x{100000}\n?", kept["text"])
    assert note["name"] == "stderr"
    assert note["text"].count("This cell has printed more than 1 MB") == 1
    assert file.cells[0]["execution_count"] == 1
    assert file.text(1) == "next\n"
