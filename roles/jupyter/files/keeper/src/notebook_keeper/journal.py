"""What a cell has printed, from the messages of its kernel alone.

Message types and their content: https://jupyter-client.readthedocs.io/en/stable/messaging.html
The outputs are those of the notebook format 4: https://nbformat.readthedocs.io/en/latest/format_description.html
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Output = dict[str, Any]

# The largest whole number below which JavaScript has all of them.
EXACT = 2**53 - 1

# Halves of a character; JSON can have them without the other one.
LONE = re.compile("[\ud800-\udfff]")

# Messages that add to a cell's outputs, or change them.
PRINTS = {
    "stream",
    "display_data",
    "execute_result",
    "error",
    "update_display_data",
    "clear_output",
}


class Stream:
    """The text of standard output or standard error, as a terminal shows its lines.

    A carriage return goes back to the start of the line, and what follows overwrites it; a
    backspace goes back by one. Lines that are complete never change again.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._complete: list[str] = []
        self._line = ""
        self._cursor = 0
        # What somebody has taken of it: complete chunks, and the line that was not complete then.
        self._taken, self._taken_line = 0, ""

    def feed(self, text: str) -> None:
        """Print ``text``."""
        if "\r" not in text and "\b" not in text and self._cursor == len(self._line):
            head, newline, tail = text.rpartition("\n")
            if newline:
                self._complete.append(self._line + head + newline)
                self._line = ""
            self._line += tail
            self._cursor = len(self._line)
            return
        lines = text.split("\n")
        for number, line in enumerate(lines):
            self._overwrite(line)
            if number < len(lines) - 1:
                self._complete.append(self._line + "\n")
                self._line, self._cursor = "", 0

    def _overwrite(self, text: str) -> None:
        for number, part in enumerate(text.split("\r")):
            if number:
                self._cursor = 0
            for count, piece in enumerate(part.split("\b")):
                if count:
                    self._cursor = max(0, self._cursor - 1)
                    if self._cursor == len(self._line) - 1:
                        self._line = self._line[:-1]
                end = self._cursor + len(piece)
                self._line = self._line[: self._cursor] + piece + self._line[end:]
                self._cursor = end

    @property
    def text(self) -> str:
        """Everything that is to be seen."""
        return "".join(self._complete) + self._line

    def take(self) -> tuple[str, str]:
        """What has changed since the last ``take``: text to remove at the end, text to add."""
        old = self._taken_line
        new = "".join(self._complete[self._taken :]) + self._line
        self._taken, self._taken_line = len(self._complete), self._line
        if new.startswith(old):
            return "", new[len(old) :]
        return old, new

    def as_output(self) -> Output:
        """As the notebook format has it."""
        return {"output_type": "stream", "name": self.name, "text": self.text}


@dataclass
class Journal:
    """The outputs of one execution; of displays and errors, those of the notebook format.

    ``limit`` is the size in bytes from which on nothing more is kept.
    """

    limit: int
    outputs: list[Stream | Output] = field(default_factory=list)
    # Outputs that were changed, or taken away, since somebody has looked.
    changed: set[int] = field(default_factory=set)
    cleared: bool = False
    count: int | None = None
    size: int = 0
    _displays: dict[str, list[int]] = field(default_factory=dict)
    _clear_next: bool = False

    def add(self, kind: str, content: dict[str, Any]) -> None:
        """Take in a message that is in ``PRINTS``."""
        if kind == "clear_output":
            self._clear_next = bool(content.get("wait"))
            if not self._clear_next:
                self._clear()
        elif kind == "update_display_data":
            self.update(content)
        else:
            if self._clear_next:
                self._clear()
            if self.size <= self.limit:
                self._print(kind, content)

    def _clear(self) -> None:
        self.outputs, self._displays, self.changed = [], {}, set()
        self.cleared, self._clear_next, self.size = True, False, 0

    def _print(self, kind: str, content: dict[str, Any]) -> None:
        self.size += sum(_sizes(content))
        if kind == "stream":
            self._stream(content["name"]).feed(as_in_pages(content["text"]))
        else:
            names = ("data", "metadata", "execution_count", "ename", "evalue", "traceback")
            kept = {name: as_in_pages(content[name]) for name in names if name in content}
            self.outputs.append({"output_type": kind, **kept})
            display = (content.get("transient") or {}).get("display_id")
            if display:
                self._displays.setdefault(display, []).append(len(self.outputs) - 1)
        if self.size > self.limit:
            self.note(
                f"This cell has printed more than {self.limit >> 20} MB. What it prints from here "
                "on is not kept while no page is open."
            )

    def _stream(self, name: str) -> Stream:
        last = self.outputs[-1] if self.outputs else None
        if isinstance(last, Stream) and last.name == name:
            return last
        self.outputs.append(Stream(name))
        stream = self.outputs[-1]
        assert isinstance(stream, Stream)
        return stream

    def update(self, content: dict[str, Any]) -> bool:
        """Exchange the data of a display; return whether the cell has it."""
        places = self._displays.get((content.get("transient") or {}).get("display_id", ""), [])
        for place in places:
            output = self.outputs[place]
            assert isinstance(output, dict)
            for name in ("data", "metadata"):
                output[name] = as_in_pages(content[name])
            self.changed.add(place)
        return bool(places)

    @property
    def has_displays(self) -> bool:
        """Whether another cell may still change these outputs."""
        return bool(self._displays)

    def note(self, text: str) -> None:
        """Say something of our own, on a line by itself."""
        stream = self._stream("stderr")
        stream.feed(("" if stream.text.endswith("\n") or not stream.text else "\n") + text + "\n")

    def forget(self) -> None:
        """Drop what somebody has taken, because it was removed where it was put."""
        last = self.outputs[-1] if self.outputs else None
        rest = last.take()[1] if isinstance(last, Stream) else ""
        self._clear()
        self.cleared = False
        if rest and isinstance(last, Stream):
            self._stream(last.name).feed(rest)

    def as_outputs(self) -> list[Output]:
        """All outputs, as the notebook format has them."""
        return [item.as_output() if isinstance(item, Stream) else item for item in self.outputs]


def as_in_pages(value: Any) -> Any:
    """A JSON value as pages make it: large numbers lose their last digits, broken text is marked.

    A shared document has no place for anything else.
    """
    if isinstance(value, dict):
        return {as_in_pages(name): as_in_pages(part) for name, part in value.items()}
    if isinstance(value, list):
        return [as_in_pages(part) for part in value]
    if isinstance(value, int) and abs(value) > EXACT:
        return float(value) if abs(value) < sys.float_info.max else None
    if isinstance(value, str) and LONE.search(value):
        return LONE.sub("\ufffd", value)
    return value


def _sizes(value: object) -> Iterator[int]:
    if isinstance(value, str):
        yield len(value)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _sizes(part)
    elif isinstance(value, list):
        for part in value:
            yield from _sizes(part)
