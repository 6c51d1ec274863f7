"""What libraries display is in the page and in the file as in a plain Jupyter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import unified_diff
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.support import PASSWORD
from tests.support.accounts import Account
from tests.support.browser import (
    PAGES,
    PATIENCE,
    VIEWPORT,
    WAIT,
    OpenTab,
    Tab,
    log_in,
    new_page,
    run_all_left_and_stayed,
)
from tests.support.notebooks import Cell, File, code, content
from tests.support.plays import run
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

pytestmark = pytest.mark.acceptance

# What "uv pip compile" chose for Python 3.11.
PACKAGES = [
    "bash_kernel==0.10.0",
    "ipywidgets==8.1.9",
    "matplotlib==3.11.2",
    "pandas==3.1.1",
    "tqdm==4.70.1",
]
BASH = {"display_name": "Bash", "language": "bash", "name": "bash"}

# With the keeper, a file is written a second after the last change.
SAVED_SECONDS = 6.0
# What the last cell says, so that everything before it has come when it is to be seen.
END = "the end of the notebook"

# The id of a widget is random; here it is the same in both runs. Only where comm makes it: the
# kernel takes random ids for its threads too, when a page wants it, at any time.
SEED = """\
import random
from types import SimpleNamespace
from uuid import UUID
import comm.base_comm
numbers = random.Random(1729)
comm.base_comm.uuid = SimpleNamespace(uuid4=lambda: UUID(int=numbers.getrandbits(128), version=4))
"""
# Warnings and syntax errors name the file of the cell, which has the number of the process in it.
CELL_NAME = "import os\nos.environ['IPYKERNEL_CELL_NAME'] = '<cell>'"
# Without times, which are never the same.
BAR = "bar_format='{l_bar}{bar}| {n_fmt}/{total_fmt}', mininterval=0"
PIXEL = "R0lGODlhAQABAAAAACwAAAAAAQABAAA="
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


def fails(source: str) -> Cell:
    """A cell that fails, after which the following ones are executed all the same."""
    return code(source, tags=["raises-exception"])


def text_cell(kind: str, source: str, *, attachments: Cell | None = None, **metadata: Any) -> Cell:
    """A cell that is not executed."""
    cell: Cell = {"cell_type": kind, "metadata": metadata, "source": source}
    return cell | ({"attachments": attachments} if attachments else {})


# Every notebook by name: its cells; a string is a cell with code. The last one is added to all.
NOTEBOOKS: dict[str, list[str | Cell]] = {
    "plots": [
        "import matplotlib.pyplot as plt\nimport numpy as np\nx = np.linspace(0, 7, 50)",
        "plt.plot(x, np.sin(x))\nplt.title('sine')\nplt.show()\nprint('below')",
        "figure, axes = plt.subplots(1, 2, figsize=(4, 2))\n"
        "axes[0].bar('abc', [1, 3, 2])\naxes[1].imshow(np.eye(5))\nfigure",
        # The date and the ids in an SVG would be others every time.
        "import os\nos.environ['SOURCE_DATE_EPOCH'] = '0'\nplt.rcParams['svg.hashsalt'] = 'salt'\n"
        "%config InlineBackend.figure_formats = ['svg', 'png']",
        "plt.hist([1, 1, 2, 3, 5, 8])",
    ],
    "widgets": [
        SEED + "import ipywidgets as widgets\nfrom IPython.display import display",
        "slider = widgets.IntSlider(value=3, description='how many')\nslider",
        "bar = widgets.IntProgress(max=5)\ndisplay(bar)\nfor bar.value in range(6):\n    pass",
        "words = widgets.Text('a')\nshown = widgets.Label()\n"
        "widgets.jslink((words, 'value'), (shown, 'value'))\n"
        "widgets.VBox([words, shown, widgets.Button(description='push')])",
        "slider.value = 7\nprint(slider.value)",
    ],
    "output-widget": [
        SEED + "import ipywidgets as widgets\nfrom IPython.display import HTML, display",
        "inside = widgets.Output()\ndisplay(inside)\nprint('outside')",
        "with inside:\n    print('in')\n    display(HTML('<b>inside too</b>'))\nprint('outside')",
        "@inside.capture()\ndef say():\n    print('captured')\nsay()",
        "with inside:\n    inside.clear_output()\n    print('alone')",
        "@widgets.interact(number=(0, 9))\ndef square(number=3):\n    print(number ** 2)",
    ],
    "bar-as-text": [
        "import sys, time\nfrom tqdm import tqdm, trange",
        f"for number in trange(50, {BAR}):\n    time.sleep(0.01)",
        f"for outer in trange(2, {BAR}):\n    for inner in trange(3, leave=False, {BAR}):\n"
        "        tqdm.write(f'{outer} {inner}', file=sys.stderr)",
        f"with tqdm(total=30, file=sys.stdout, ascii=True, {BAR}) as bar:\n"
        "    for step in range(3):\n        bar.set_description(f'step {step}')\n"
        "        bar.update(10)",
    ],
    "bar-as-widget": [
        SEED + "import time\nfrom tqdm.notebook import tqdm, trange",
        f"for number in trange(50, {BAR}):\n    time.sleep(0.01)",
        f"for outer in trange(2, {BAR}):\n    for inner in trange(3, leave=False, {BAR}):\n"
        "        pass",
        f"for number in tqdm(range(9), desc='fails', {BAR}):\n    if number == 5:\n        break",
    ],
    "tables": [
        "import pandas as pd\nfrom IPython.display import display",
        "table = pd.DataFrame({'a': range(100), 'b': 0.5, 'c': [None, 'ä'] * 50})\ntable",
        "display(table.head(3))\nprint(table.tail(2))\ntable.describe()",
        # Without a random id, and without its text, which has an address.
        "style = table.head(3).style.set_uuid('own').highlight_max(color='yellow')\n"
        "display({'text/html': style.to_html()}, raw=True)",
        "table.groupby(['c', 'b']).sum()",
        "table['a'].rename('numbers')",
    ],
    "errors": [
        CELL_NAME,
        fails("1 / 0"),
        fails("import json\nprint('before')\njson.loads('{')"),
        fails(
            "try:\n    {}['missing']\nexcept KeyError as error:\n"
            "    raise RuntimeError('second\\nline <b>ä</b>') from error"
        ),
        fails("def f(:"),
        fails("raise ExceptionGroup('two', [ValueError('one'), TypeError('other')])"),
        fails("import sys\nsys.exit('leaving')"),
        fails("raise KeyboardInterrupt"),
        fails("def deep(n):\n    return deep(n - 1) if n else n.missing\ndeep(30)"),
    ],
    "long": [
        "for number in range(5000):\n    print('line', number)",
        "print('x' * 200_000)",
        "print('  trailing  \\n\\n\\n\\tspaces  ', end='')",
        "list(range(3000))",
    ],
    "text-cells": [
        text_cell("markdown", "# Title\n\nText with $x^2$ and `code`\n\n* one\n  * two\n"),
        text_cell("raw", "<b>raw</b>\n", raw_mimetype="text/html"),
        text_cell("raw", "---\ntitle: ä\n---"),
        text_cell(
            "markdown",
            "![pixel](attachment:pixel.gif)",
            attachments={"pixel.gif": {"image/gif": PIXEL}},
        ),
        text_cell("markdown", ""),
        text_cell("markdown", "trailing  \n\n\n", tags=["end"], slideshow={"slide_type": "slide"}),
    ],
    "unicode": [
        "größe, π, 变量 = 1, 2, 3\nprint(größe, π, 变量, '😀👩‍👩‍👧 e\u0301 \u202ea\u202c \ufeff')",
        "print('\\x00\\x01\\x1b[31mred\\x1b[0m \\x7f \\x85 \\u2028 \\u2029 \\U0001f600')",
        "'ä€😀\\u2028'",
        text_cell("markdown", "ελληνικά \u2028 日本語 😀"),
        "raw = '\\ud83d'\nprint(ascii(raw))",
        fails("raise ValueError('日本語 😀')"),
    ],
    "streams": [
        "import sys, time\nprint('out')\nprint('err', file=sys.stderr)\nprint('out again')",
        "for number in range(20):\n    print(number, file=(sys.stdout, sys.stderr)[number % 2])",
        "for number in range(10):\n    print(number, end=' ', flush=True)\n    time.sleep(0.05)",
        "!echo from a process; echo and its errors >&2",
        "import subprocess\nprint(subprocess.run(['echo', 'x'], capture_output=True).stdout)",
        "%%bash\nfor i in 1 2 3; do echo $i; done",
        "for done in range(101):\n    print(f'\\r{done:3} %', end='')\nprint('\\rdone', end='')",
        "print('one\\b\\b\\bt')\nprint('a\\r\\nb\\rc\\n\\rd')\nprint('abc\\b\\b\\b\\b\\bX')",
    ],
    "displays": [
        "from IPython.display import *",
        "display(HTML('<b>bold</b>\\n<i>it</i>'), Markdown('*soft*'), Latex('$e^{i\\\\pi}$'))",
        "display(JSON({'a': [1, None, 2.5, {'b': True}], 'ä': ''}, expanded=True))",
        "display(Math('x^2'), Pretty('pretty'), Code('print(1)', language='python'))",
        'SVG(\'<svg xmlns="http://www.w3.org/2000/svg"><circle r="5"/></svg>\')',
        "Javascript('element.append(\"said by a script\")')",
        "display({'text/plain': 'own', 'application/x-own+json': {'a': [[]]}}, raw=True)",
        "HTML(IFrame('about:blank', 100, 50)._repr_html_())",
    ],
    "updates": [
        "first = display('not yet', display_id='first')",
        "second = display(0, display_id=True)\nfor number in range(9):\n    second.update(number)",
        "from IPython.display import HTML, update_display\nfirst.update(HTML('<b>later</b>'))",
        "third = display('a', display_id='first')\nprint('between')\nfirst.display('b')",
        "update_display('all', display_id='first', metadata={'x': {'y': [1]}})",
    ],
    "cleared": [
        "from IPython.display import clear_output, display\nimport time",
        "for number in range(9):\n    clear_output(wait=True)\n    print('only', number)",
        "print('gone')\nclear_output()\nprint('stays')",
        "print('gone')\ntime.sleep(0.2)\nclear_output(wait=True)\ntime.sleep(0.2)\ndisplay('x')",
        "print('stays, as nothing comes')\nclear_output(wait=True)",
        "print('all gone')\nclear_output()",
    ],
    "metadata": [
        code("print('tagged')", tags=["a", "b"], name="x", collapsed=False, editable=True),
        code("1", jupyter={"source_hidden": True, "outputs_hidden": False}),
        code("print(1)", own={"deep": [[1, [2, {"a": None}]], [], {}], "on": True, "e": ""}),
        code("print(2)", scrolled=True, numbers=[1, 2.5, -3, 1e-9, 123456789012]),
        text_cell("markdown", "hidden", jupyter={"source_hidden": True}),
        "display('x', metadata={'own': {'deep': [1, [2.5, None]], 'ä': {}}, 'isolated': True})",
    ],
    "images": [
        f"from base64 import b64decode\nfrom IPython.display import *\nGIF = b64decode('{PIXEL}')\n"
        f"PNG = b64decode('{PNG}')",
        "display(Image(GIF, format='gif', metadata={'gif': {'width': 10}}))",
        "Image(PNG, width=20, height=30, alt='a pixel')",
        "from PIL import Image as Picture\nPicture.new('RGB', (40, 20), 'red')",
        "import io\nfile = io.BytesIO()\nPicture.new('L', (9, 9), 99).save(file, 'jpeg')\n"
        "Image(file.getvalue())",
    ],
    "results": [
        "7 * 6",
        "None",
        "[[1, [2, [3, []]]], {'a': {'b': ()}}, {1, 2}, 2.5, 1e100, True]",
        "'quotes \\' \" and \\\\ and\\nlines'",
        "_ + '!'",
        "import numpy as np\nnp.arange(12.0).reshape(3, 4)",
        "x = 1;\nx;",
        "from IPython.display import JSON\n"
        "JSON({'a': [1.0, -0.0, 1e-7, 0.1, 1e20, 2**31, 2**53, -2**53 + 1]})",
        "class Both:\n    def _repr_html_(self):\n        return '<b>both</b>'\n"
        "    def _repr_mimebundle_(self, **_):\n        return {'text/plain': 'b'}, {'own': {}}\n"
        "Both()",
        "?len",
        "len??",
    ],
    "empty": [
        "",
        "   \n\n",
        "# nothing",
        "pass",
        "print()",
        "print('', end='')",
        "''",
        text_cell("raw", ""),
    ],
    "warnings": [
        CELL_NAME,
        "import logging, warnings\nwarnings.warn('take care')",
        "warnings.warn('old', DeprecationWarning)\nprint('after')",
        "logging.warning('logged')\nlogging.error('ä')",
        "'\\d'",
        "import numpy as np\nnp.log(np.zeros(2))",
    ],
    "again": [
        code(
            "print('new')",
            {"output_type": "stream", "name": "stdout", "text": "old\nold\n"},
            {"output_type": "stream", "name": "stderr", "text": "old error\n"},
            count=7,
            execution={"iopub.status.busy": "2024-01-01T00:00:00.000Z"},
        ),
        code(
            "x = 1",
            {
                "output_type": "execute_result",
                "data": {"text/html": "<b>old</b>", "text/plain": "old"},
                "execution_count": 3,
                "metadata": {"own": [1]},
            },
            count=3,
        ),
        code(
            "",
            {"output_type": "display_data", "data": {"image/gif": PIXEL}, "metadata": {}},
            {"output_type": "error", "ename": "E", "evalue": "old", "traceback": ["a", "b"]},
            count=12,
        ),
        code("2", count=1),
    ],
    "large-numbers": [
        "from IPython.display import JSON",
        "JSON({'large': [1e22, 2**53 + 1, 12345678901234567890]})",
    ],
}


# One cell each, after one during which the page leaves.
SHOWN = [
    "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()",
    f"from tqdm import trange\nfor number in trange(50, {BAR}):\n    time.sleep(0.02)",
    f"{SEED}from tqdm.notebook import trange\n"
    f"for number in trange(50, {BAR}):\n    time.sleep(0.02)",
    # A page rounds these; the second one has no place in a shared document.
    "from IPython.display import JSON\nJSON({'large': [2**53 + 1, 2**64, 10**400, 2**31, 0.5]})",
    # The answer to the page has this, not a message of its own.
    "len?",
]

# jupyter_ydoc makes whole numbers of all it can before it saves (utils.cast_all): 1e22 gets twenty
# zeros, and of a number that JavaScript has rounded, it writes other digits than JavaScript.
DIFFERENT = {
    "large-numbers": pytest.mark.xfail(
        strict=True, reason="jupyter_ydoc writes the digits of large numbers in its own way"
    )
}


@pytest.fixture(scope="module")
def notebook(new_account: Callable[[], Account]) -> Account:
    """An account with libraries, and with the kernel of another language."""
    made = new_account()
    made.setup(jupyter_packages=PACKAGES)
    in_environment(made, "python", "-m", "bash_kernel.install", "--sys-prefix")
    return made


@pytest.fixture(scope="module")
def plain(new_account: Callable[[], Account], notebook: Account) -> Account:
    """An account with the same Jupyter, as Jupyter is without us."""
    made = new_account()
    made.variables["jupyter_executable"] = str(notebook.state / "jupyter/venv/bin/jupyter")
    made.setup(jupyter_outputs_kept=False)
    return made


def in_environment(account: Account, program: str, *words: str) -> None:
    """Run a program of the notebook's environment."""
    done = run(
        [account.state / "jupyter/venv/bin" / program, *words], account.home, account.environment()
    )
    assert done.status == 0, done.output


@dataclass(frozen=True)
class Person:
    """Somebody who has logged in at an account's notebook, and stays so."""

    account: Account
    context: BrowserContext
    visitor: Visitor
    # Pages that were opened before they are needed, by the name of the notebook.
    ahead: dict[str, Tab] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """A notebook's file."""
        return self.account.home / f"{name}.ipynb"

    def begin(self, name: str) -> None:
        """Make a notebook and begin to open it, which takes a while."""
        cells = [*NOTEBOOKS[name], f"print('{END}')"]
        self.path(name).write_text(content(cells, title=name))
        page = new_page(self.context)
        page.goto(PAGES["notebook"].format(name=name), wait_until="commit")
        self.ahead[name] = Tab(page)

    def take(self, name: str) -> Tab:
        """The page of a notebook, which may have been opened ahead."""
        if name not in self.ahead:
            self.begin(name)
        return self.ahead.pop(name)


@pytest.fixture(scope="module")
def people(browser: Browser, notebook: Account, plain: Account) -> Iterator[list[Person]]:
    """One person at each of the two accounts."""
    made = []
    for account in (notebook, plain):
        context = browser.new_context(base_url=account.url(), viewport=VIEWPORT)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto("/login?next=/api")
        log_in(page, PASSWORD)
        expect(page).to_have_url(re.compile("/api$"))
        page.close()
        made.append(Person(account, context, account.visitor()))
    yield made
    for person in made:
        person.visitor.end_kernels()
        person.context.close()


def has(path: Path, text: str) -> bool:
    """Whether a file is complete, with this text in its outputs."""
    with suppress(json.JSONDecodeError):
        cells = json.loads(path.read_text())["cells"]
        return any(text in json.dumps(cell.get("outputs")) for cell in cells)
    return False


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=DIFFERENT.get(name, ())) for name in NOTEBOOKS]
)
def test_a_connected_run_leaves_the_same_file_with_and_without_the_keeper(
    name: str, people: list[Person]
) -> None:
    tabs = [person.take(name) for person in people]
    names = list(NOTEBOOKS)
    following = names[names.index(name) + 1 :][:1]
    for tab in tabs:
        tab.wait_for_kernel()
        tab.choose("Run", "Run All Cells")
    for person in people:
        # The last notebook's kernel has lived on, so that the keeper did all it does when a page
        # has gone.
        person.visitor.end_kernels(but=name)
        for other in following:
            person.begin(other)
    for tab in tabs:
        expect(tab.outputs(-1)).to_have_text(f"{END}\n")
        expect(tab.prompt(-1)).to_have_text(re.compile(r"\[\d+\]:"))
        tab.choose("File", "Save Notebook")
    kept, without = (person.path(name) for person in people)
    wait_until(lambda: has(without, END))
    with suppress(AssertionError):
        wait_until(lambda: kept.read_bytes() == without.read_bytes(), SAVED_SECONDS)
    same = kept.read_bytes() == without.read_bytes()
    for tab in tabs:
        tab.page.close()

    assert same, differences(kept, without)


def differences(kept: Path, without: Path) -> str:
    """The lines in which two files differ."""
    before, after = (path.read_text().splitlines() for path in (without, kept))
    return "\n".join(unified_diff(before, after, "without the keeper", "with it", lineterm=""))


@pytest.mark.parametrize("page_of", PAGES)
def test_a_figure_a_bar_and_a_widget_are_there_after_a_return(
    page_of: str, notebook: Account, open_tab: OpenTab
) -> None:
    names = [f"left-{page_of}", f"stayed-{page_of}"]
    left, stayed = files = [File(notebook.home / f"{name}.ipynb") for name in names]
    for file in files:
        file.path.write_text(content([WAIT, *SHOWN]))
        # As everybody's own notebooks are, which Jupyter has made itself.
        in_environment(notebook, "jupyter", "trust", file.path.name)

    last = len(SHOWN)

    back, connected = run_all_left_and_stayed(left, stayed, last, open_tab, page_of, notebook)

    for shown in (connected, back):
        expect(shown.prompt(len(SHOWN))).to_have_text(f"[{len(SHOWN) + 1}]:")
        figure = shown.outputs(1).get_by_role("img")
        expect(figure).to_have_count(1)
        expect(figure).to_have_js_property("complete", True)
        assert figure.evaluate("image => image.naturalWidth") > 100
        expect(shown.outputs(2)).to_have_text(re.compile(r"^100%\|█+\| 50/50\s*$"))
        bar = shown.outputs(3).locator(".progress-bar")
        expect(bar).to_have_count(1)
        expect(bar).to_have_attribute("style", re.compile("width: 100%"))
        expect(shown.outputs(3)).to_contain_text("100%")
        expect(shown.outputs(3)).to_contain_text("50/50")
    for number in range(len(SHOWN) + 1):
        wait_until(partial(has_same_outputs, left, stayed, number))
    assert [cell["execution_count"] for cell in left.cells] == list(range(1, len(SHOWN) + 2))


def has_same_outputs(file: File, other: File, cell: int) -> bool:
    """Whether a cell has the same outputs in two files."""
    return file.outputs(cell) == other.outputs(cell)


def test_a_cell_of_another_kernel_is_kept_too(notebook: Account, open_tab: OpenTab) -> None:
    file = File(notebook.home / "shell.ipynb")
    source = (
        "i=0\nuntil [ -e told-shell ]; do echo line $i; i=$((i + 1)); sleep 0.2; done\n"
        "echo line $i; rm told-shell"
    )
    file.path.write_text(content([source], kernel=BASH))
    open_tab("shell", language="shell").run_and_leave("line 3\n", notebook)

    tab = open_tab("shell", language="shell")
    tab.see_more()
    (notebook.home / "told-shell").touch()
    expect(tab.prompt()).to_have_text("[1]:")
    tab.wait_for_all_lines(file)


# The last one: until then, the keeper had time.
def test_the_files_of_connected_runs_stay_the_same_when_their_pages_have_gone(
    people: list[Person],
) -> None:
    for name in NOTEBOOKS.keys() - DIFFERENT:
        kept, without = (person.path(name) for person in people)
        assert kept.read_bytes() == without.read_bytes(), differences(kept, without)
