"""What a person sees of a run, and what the pictures of it show."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.anywhere.notebook.plugins.callback import card
from ansible_collections.anywhere.notebook.plugins.plugin_utils._screen import Screen, Stage, took

from tests.support import CHECKOUT

INSTALL = Stage("Install Jupyter", "its packages")
QUIET = Stage("Card", told=False)
ONE = ["box"]
THREE = ["a", "b", "c"]


class Terminal:
    """Runs a screen through events; keeps what is written, and what is drawn in the last line."""

    def __init__(self, drawing: bool = False, columns: int = 100) -> None:
        self.lines: list[str] = []
        self.bad: list[str] = []
        self.drawn: list[str] = []
        self.now = 0.0
        draw = self.drawn.append if drawing else None
        self.screen = Screen(self._write, draw, lambda: self.now, lambda: columns)

    def _write(self, line: str, bad: bool) -> None:
        self.lines.append(line)
        if bad:
            self.bad.append(line)

    def go(self, *events: tuple[Any, ...]) -> Terminal:
        """Have these happen: the name of a method and its arguments, or seconds that pass."""
        for name, *given in events:
            if isinstance(name, str):
                getattr(self.screen, name)(*given)
            else:
                self.now += name
        return self


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        pytest.param(
            [("play", "Set up", ONE), ("begin", INSTALL), ("ran", "box"), (24.2,), ("end",)],
            ["Set up: box", "  Install Jupyter                      24 s"],
            id="a stage",
        ),
        pytest.param(
            [
                ("play", "Set up", ONE),
                *[("begin", INSTALL), ("ran", "box"), (1.0,)] * 3,
                ("begin", QUIET),
                ("ran", "box"),
                ("say", ["", "Notebook: x"]),
                ("end",),
            ],
            ["Set up: box", "  Install Jupyter                     3.0 s", "", "Notebook: x"],
            id="many tasks of a stage, and a card",
        ),
        pytest.param(
            [("play", "Set up", ONE), ("begin", INSTALL), (9.0,), ("end",)],
            [],
            id="all of it skipped",
        ),
        pytest.param(
            [
                ("play", "Set up", ONE),
                ("begin", INSTALL),
                ("failed", "box", "No."),
                ("begin", QUIET),
                ("failed", "box", "No."),
                ("end",),
            ],
            ["Set up: box", "  Install Jupyter                     0.0 s  failed", "No."],
            id="said twice",
        ),
        pytest.param(
            [
                ("play", "Set up", ONE),
                ("begin", INSTALL),
                ("failed", "box", "No.", True),
                ("begin", QUIET),
                ("failed", "box", "Nor this.", True),
                ("end",),
            ],
            [
                "Set up: box",
                "  Install Jupyter                     0.0 s  failed",
                "No.",
                "Nor this.",
            ],
            id="one host has no table",
        ),
        pytest.param(
            [
                ("play", "Set up", THREE),
                ("begin", INSTALL),
                ("failed", "b", "No.", True),
                ("failed", "c", "No.", True),
                ("failed", "a", "Nor this.", True),
                ("say", ["the table"]),
                ("end",),
            ],
            [
                "Set up: 3 hosts",
                "  Install Jupyter                     0.0 s  failed on b and 2 more",
                "the table",
                "b, c: No.",
                "a: Nor this.",
            ],
            id="several hosts have a table",
        ),
        pytest.param(
            [
                ("play", "Set up", THREE),
                ("begin", QUIET),
                ("failed", "b", "No.", True),
                ("play", "Another", ONE),
                ("begin", INSTALL),
                ("ran", "box"),
                ("end",),
            ],
            ["Another: box", "  Install Jupyter                     0.0 s", "b: No."],
            id="a play for one host follows",
        ),
        pytest.param(
            [
                ("play", "Their own", THREE),
                ("begin", Stage("Something")),
                ("failed", "b", "No."),
                ("say", ["hello"], "a"),
                ("end",),
            ],
            [
                "Their own: 3 hosts",
                "  Something                           0.0 s  failed on b",
                "b: No.",
                "a:",
                "  hello",
            ],
            id="a play without a table",
        ),
        pytest.param(
            [
                ("play", "Set up", ONE),
                ("begin", INSTALL),
                ("ran", "box", False, "would change: A file"),
                ("ran", "box", False, "would change: A file"),
                ("begin", Stage("Their own")),
                ("ran", "box", True),
                ("end",),
            ],
            [
                "Set up: box",
                "  Install Jupyter                     0.0 s",
                "    would change: A file",
                "  Their own                           0.0 s  changed",
            ],
            id="a dry run, and a task of others",
        ),
    ],
)
def test_what_happens_is_said_in_these_lines(
    events: list[tuple[Any, ...]], lines: list[str]
) -> None:
    assert Terminal().go(*events).lines == lines


def test_on_a_terminal_a_long_stage_is_drawn_again_in_its_line_and_then_written() -> None:
    terminal = Terminal(drawing=True, columns=60)

    terminal.go(("play", "Set up", THREE), ("begin", INSTALL, True), ("ran", "a"))
    terminal.go((12.0,), ("tick",), (12.0,), ("tick",))
    assert terminal.lines == ["Set up: 3 hosts"]
    first, second = terminal.drawn[-2:]
    assert first == "  Install Jupyter                      12 s  1 of 3 hosts, "[:59]
    assert "24 s" in second
    terminal.go(("end",))
    assert terminal.drawn[-1] == ""
    assert terminal.lines[1:] == ["  Install Jupyter                      24 s"]


def test_nothing_is_drawn_while_somebody_else_may_ask_on_the_terminal() -> None:
    terminal = Terminal(drawing=True)

    terminal.go(("play", "Set up", ONE), ("begin", INSTALL, False), (30.0,), ("tick",))

    assert terminal.lines == ["Set up: box"]
    assert set(terminal.drawn) <= {""}


def test_without_a_terminal_a_long_stage_says_once_what_it_waits_for() -> None:
    terminal = Terminal()

    terminal.go(("play", "Set up", ONE), ("begin", INSTALL, True), ("ran", "box"))
    terminal.go(*[(2.0,), ("tick",)] * 20, ("end",))

    assert terminal.lines == [
        "Set up: box",
        "  Install Jupyter waits for its packages",
        "  Install Jupyter                      40 s",
    ]


def test_a_sentence_is_broken_between_words_and_is_bad_news() -> None:
    terminal = Terminal(drawing=True, columns=20)

    terminal.go(("play", "P", ONE), ("begin", QUIET), ("failed", "box", "word " * 8))

    assert terminal.bad == ["word word word word", "word word word word"]


def test_a_terminal_shows_what_comes_from_elsewhere_and_obeys_none_of_it() -> None:
    terminal = Terminal()

    terminal.go(
        ("play", "P", ONE), ("say", ["\x1b]0;title\x07 a\tb \x1b[31mred\x1b[0m ü \u202e.ipynb"])
    )
    terminal.go(("begin", QUIET), ("failed", "box", "no\x1b[2Jthing"))

    odd = "\N{REPLACEMENT CHARACTER}"
    assert terminal.lines == [
        f"{odd}]0;title{odd} a".ljust(16) + f"b red ü {odd}.ipynb",
        "P: box",
        f"no{odd}[2Jthing",
    ]


def test_a_play_in_batches_has_one_heading() -> None:
    terminal = Terminal()

    for _ in range(2):
        terminal.go(("play", "P", THREE), ("begin", INSTALL), ("ran", "a"))
    terminal.go(("end",))

    assert [line.split()[0] for line in terminal.lines] == ["P:", "Install", "Install"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (3, "3 s"),
        (59.6, "1 min 0 s"),
        (125.0, "2 min 5 s"),
    ],
)
def test_a_time_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert took(seconds) == said


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"msg": "No."}, "No."),
        ({"msg": "Task failed: Action failed: No\n  way."}, "No way."),
        ({"msg": "non-zero return code", "stderr_lines": ["a", "b", " "]}, "b"),
        ({"msg": "non-zero return code", "stdout_lines": ["a"], "stderr_lines": []}, "a"),
        (
            {"results": [{}, {"failed": True, "msg": "One."}, {"failed": True, "msg": "Two."}]},
            "One. Two.",
        ),
        ({"censored": "hidden", "msg": "s3cret"}, card.HIDDEN),
        ({"results": [{"censored": "hidden", "msg": "s3cret", "failed": True}]}, card.HIDDEN),
        ({}, "It failed; -v shows more."),
    ],
)
def test_the_reason_of_a_failure_is_one_sentence_without_a_secret(
    result: dict[str, Any], said: str
) -> None:
    assert card.reason(result) == said


def test_every_stage_is_declared_for_a_file_that_there_is() -> None:
    """And each playbook has one, so that nobody looks at nothing."""
    files = [*(CHECKOUT / "roles").glob("*/tasks/*.yml"), *(CHECKOUT / "playbooks").rglob("*.yml")]
    places = {card.place(str(file)) for file in files} - {""}

    assert set(card.STAGES) <= places
    playbooks = {f"playbooks/{file.stem}" for file in (CHECKOUT / "playbooks").glob("*.yml")}
    assert playbooks - {"playbooks/reconnect"} <= set(card.STAGES)


def test_the_pictures_are_of_this_release_and_short_enough() -> None:
    drawn = subprocess.run(
        [sys.executable, "-m", "tests.pictures", "--check"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert drawn.returncode == 0, f"{drawn.stdout}: draw anew with python -m tests.pictures"
    limits = {"setup": 25, "reconnect": 15, "refusal": 5}
    heights = {name: re.search(r'height="(\d+)"', svg(name)) for name in limits}
    # But for the line in which the command was typed.
    lines = {name: (int(found[1]) - 32) // 18 - 1 for name, found in heights.items() if found}
    assert {name: lines[name] for name in limits if lines[name] > limits[name]} == {}


def svg(name: str) -> str:
    """The text of a picture."""
    return (CHECKOUT / f"docs/{name}.svg").read_text()
