"""What is written into a shared document, without a server."""

from __future__ import annotations

from typing import Any

from notebook_keeper.document import Writer
from notebook_keeper.journal import Journal
from pycrdt import Array, Doc, Map, Text


def test_a_bar_of_any_characters_leaves_nothing_of_its_earlier_states() -> None:
    journal, doc = Journal(1 << 20), Doc[Any]()
    writer = Writer(journal)
    doc["cells"] = cells = Array[Any]([Map({"outputs": Array()})])
    cell = cells[0]
    for done in range(4):
        bar = f"\r{done} € {'█' * done}"
        journal.add("stream", {"name": "stderr", "text": bar})
        writer.write(cell)

    (output,) = cell["outputs"]
    assert isinstance(output["text"], Text)
    assert str(output["text"]) == "3 € ███"
