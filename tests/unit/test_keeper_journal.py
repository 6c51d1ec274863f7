"""What the journal of the output keeper makes of a kernel's messages."""

from __future__ import annotations

from typing import Any

import pytest
from notebook_keeper.journal import Journal, Stream

MB = 1 << 20


def stream(text: str, name: str = "stdout") -> tuple[str, dict[str, Any]]:
    return "stream", {"name": name, "text": text}


def display(data: object, display_id: str = "", kind: str = "display_data") -> tuple[str, Any]:
    content = {"data": {"text/plain": data}, "metadata": {}}
    return kind, {**content, "transient": {"display_id": display_id} if display_id else {}}


def shown(data: object) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {"text/plain": data}, "metadata": {}}


def text(value: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": value}


def written(*messages: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    journal = Journal(MB)
    for kind, content in messages:
        journal.add(kind, content)
    return journal.as_outputs()


@pytest.mark.parametrize(
    ("pieces", "seen"),
    [
        pytest.param(["one\ntwo"], "one\ntwo", id="lines"),
        pytest.param(["on", "e\n", "two"], "one\ntwo", id="pieces"),
        pytest.param(["10 %\r20 %"], "20 %", id="overwritten"),
        pytest.param(["10 %", "\r", "20 %"], "20 %", id="overwritten-in-pieces"),
        pytest.param(["longer\rshort"], "shortr", id="a-rest-stays"),
        pytest.param(["dos\r\nlines\r", "\n"], "dos\nlines\n", id="return-and-newline"),
        pytest.param(["done\nbar\rBAR\nnext"], "done\nBAR\nnext", id="only-its-line"),
        pytest.param(["ä€😀\rAB"], "AB😀", id="not-ascii"),
        pytest.param(["spin|\b/\b-"], "spin-", id="backspace"),
        pytest.param(["a\n\bb"], "a\nb", id="backspace-keeps-lines"),
    ],
)
def test_text_is_as_a_terminal_shows_it(pieces: list[str], seen: str) -> None:
    assert written(*map(stream, pieces)) == [text(seen)]


@pytest.mark.parametrize(
    "pieces",
    [
        ["a", "b\n", "c", "\n"],
        ["10 %\r", "20 %\r", "100 %\n", "end"],
        ["x" * 10, "\ry\n", "ä€\r", "ö\n"],
    ],
)
def test_what_is_taken_piece_by_piece_makes_the_whole(pieces: list[str]) -> None:
    stream, document = Stream("stdout"), ""
    for piece in pieces:
        stream.feed(piece)
        removed, added = stream.take()
        assert document.endswith(removed)
        document = document[: len(document) - len(removed)] + added
        assert document == stream.text
    assert stream.take() == ("", "")


def test_text_of_one_kind_is_one_output_until_another_comes_between() -> None:
    assert written(stream("a"), stream("b"), stream("c", "stderr"), stream("d")) == [
        text("ab"),
        text("c", "stderr"),
        text("d"),
    ]


def test_an_error_and_a_result_are_those_of_the_notebook_format() -> None:
    error = {"ename": "ValueError", "evalue": "no", "traceback": ["..."]}
    result = {"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 3}

    assert written(("execute_result", {**result, "transient": {}}), ("error", error)) == [
        {"output_type": "execute_result", **result},
        {"output_type": "error", **error},
    ]


def test_numbers_are_those_that_a_page_can_have() -> None:
    large = {"a": [2**53 - 1, -(2**53) - 1, 2**64, 10**400], "b": True, "c": 0.5, "d": None}
    (output,) = written(display(large))
    made = {"a": [2**53 - 1, -float(2**53), float(2**64), None], "b": True, "c": 0.5, "d": None}
    assert repr(output["data"]["text/plain"]) == repr(made)


def test_text_is_one_that_can_be_written() -> None:
    messages = [stream("\ud83dx"), display({"\udc00": ["\ud83d\ude00"[:1], "😀"]})]
    assert written(*messages) == [text("\ufffdx"), shown({"\ufffd": ["\ufffd", "😀"]})]


def test_a_display_is_exchanged_wherever_it_is_shown() -> None:
    outputs = written(
        display(1, "bar"), stream("-"), display(1, "bar"), display(2, "bar", "update_display_data")
    )

    assert outputs == [shown(2), text("-"), shown(2)]


def test_a_display_of_another_cell_is_not_its_own() -> None:
    journal = Journal(MB)
    journal.add(*display(1, "bar"))

    assert not journal.update(display(2, "foo")[1])
    assert journal.update(display(2, "bar")[1])
    assert journal.changed == {0}


def test_clearing_takes_effect_at_once_or_with_the_next_output() -> None:
    wait, now = ("clear_output", {"wait": True}), ("clear_output", {"wait": False})

    assert written(stream("a"), now) == []
    assert written(stream("a"), wait) == [text("a")]
    assert written(stream("a"), wait, stream("b")) == [text("b")]


def test_what_is_over_the_limit_is_not_kept_and_that_is_said_once() -> None:
    journal = Journal(MB)
    for _ in range(30):
        journal.add(*stream("x" * (MB // 10) + "\n"))

    kept, note = journal.as_outputs()
    assert MB < len(kept["text"]) < 1.2 * MB
    assert note["name"] == "stderr"
    assert note["text"].count("has printed more than 1 MB") == 1


def test_a_note_begins_on_a_line_of_its_own() -> None:
    journal = Journal(MB)
    journal.add(*stream("warning", "stderr"))
    journal.note("The end.")

    assert journal.as_outputs() == [text("warning\nThe end.\n", "stderr")]


def test_what_a_person_has_removed_does_not_come_back() -> None:
    journal = Journal(MB)
    journal.add(*stream("removed\n"))
    last = journal.outputs[-1]
    assert isinstance(last, Stream)
    last.take()
    journal.add(*stream("new\n"))

    journal.forget()

    assert journal.as_outputs() == [text("new\n")]
