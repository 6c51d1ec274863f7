"""Files of notebooks: to make them, and to read what Jupyter has written."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

Cell = dict[str, Any]
PYTHON = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

# Beside a notebook, the file that cells wait for.
TOLD = "told"


@dataclass(frozen=True)
class File:
    """A notebook on the disk of the machine."""

    path: Path

    @property
    def cells(self) -> list[dict[str, Any]]:
        """The cells with code, as the file has them."""
        while True:
            # Jupyter empties a file before it writes it.
            with suppress(json.JSONDecodeError):
                cells = json.loads(self.path.read_text())["cells"]
                return [cell for cell in cells if cell["cell_type"] == "code"]
            time.sleep(0.01)

    def outputs(self, cell: int = 0) -> list[dict[str, Any]]:
        """The outputs of a cell; of text, the lines are joined."""
        return [joined(output) for output in self.cells[cell]["outputs"]]

    def text(self, cell: int = 0) -> str:
        """What a cell has printed."""
        return "".join(output.get("text", "") for output in self.outputs(cell))

    def tell(self) -> None:
        """Tell the cells that wait for it to end, of all notebooks that are beside this one."""
        (self.path.parent / TOLD).touch()

    def wait_for_end(self, cell: int = 0, seconds: float = 120) -> None:
        """Return when the file has a cell that has ended."""
        wait_until(lambda: self.cells[cell]["execution_count"], seconds)

    def wait_for_text(self, text: str, cell: int = 0, seconds: float = 120) -> None:
        """Return when the file has all that a cell has printed, and nothing else."""
        wait_until(lambda: self.text(cell) == text, seconds)


def joined(output: dict[str, Any]) -> dict[str, Any]:
    """An output of the notebook format, which may have a text as a list of lines."""
    text = output.get("text")
    return {**output, "text": "".join(text)} if text is not None else output


def code(source: str, *outputs: Cell, count: int | None = None, **metadata: object) -> Cell:
    """A cell with code, maybe with outputs of a former run."""
    return {
        "cell_type": "code",
        "execution_count": count,
        "metadata": metadata,
        "outputs": list(outputs),
        "source": source,
    }


def content(
    cells: Sequence[str | Cell], *, kernel: dict[str, str] = PYTHON, **metadata: object
) -> str:
    """A notebook file with these cells; a string is a cell with code."""
    made = [code(cell) if isinstance(cell, str) else cell for cell in cells]
    return json.dumps(
        {
            "cells": [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(made)],
            "metadata": {"kernelspec": kernel, **metadata},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )
