"""The shared documents of jupyter-collaboration, and what the keeper writes into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycrdt import Map, Text

from .journal import Journal, Output, Stream

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp
    from jupyter_server_ydoc.rooms import DocumentRoom


class Documents:
    """The rooms in which open notebooks are, by the id that the file keeps when it is renamed."""

    def __init__(self, app: ServerApp) -> None:
        self._app = app

    def file_id(self, path: str) -> str | None:
        """The id of a file below the server's root; None when there is no such file."""
        found: str | None = self._app.web_app.settings["file_id_manager"].index(path)
        return found

    def path(self, file_id: str) -> str | None:
        """Where a file is, below the server's root; None when it has gone."""
        found: str | None = self._app.web_app.settings["file_id_manager"].get_path(file_id)
        return found

    async def room(self, file_id: str, *, create: bool) -> DocumentRoom | None:
        """The room of a notebook; one whose file has gone has none."""
        if self._app.web_app.settings["file_id_manager"].get_path(file_id) is None:
            return None
        room_id = f"json:notebook:{file_id}"
        document = await self._extension.get_document(room_id=room_id, copy=False, create=create)
        if document is None:
            return None
        room = await self._extension.ywebsocket_server.get_room(room_id)
        if room.cleaner is not None and not room.clients:
            # It would be dropped a minute after its last page has gone; now that is our part.
            room.cleaner.cancel()
        return room

    async def save(self, room: DocumentRoom) -> bool:
        """Write a notebook to its file now; by itself a room waits for a second without change.

        Return whether it was written, and not while the file was being read, or a disk was full.
        """
        room._document.dirty = True
        saving = room._save_to_disc()
        if saving is None:
            return False
        await saving
        return not room._document.dirty

    async def drop(self, room: DocumentRoom) -> None:
        """Forget a room that no page uses; its file was saved."""
        async with self._extension._room_locks[room.room_id]:
            rooms = self._extension.ywebsocket_server.rooms
            if room.clients or rooms.get(room.room_id) is not room:
                return
            if room.cleaner is not None:
                room.cleaner.cancel()
            await self._extension.ywebsocket_server.delete_room(room=room)
            file_id = room.room_id.rpartition(":")[2]
            loaders = self._extension.file_loaders
            if file_id in loaders and not loaders[file_id].number_of_subscriptions:
                await loaders.remove(file_id)

    @property
    def _extension(self) -> Any:
        return next(iter(self._app.extension_manager.extension_apps["jupyter_server_ydoc"]))


def find_cell(room: DocumentRoom, cell_id: str) -> Map[Any] | None:
    """The code cell with this id."""
    for cell in room._document.ycells:
        if cell.get("id") == cell_id:
            return cell if "outputs" in cell else None
    return None


class Writer:
    """Brings the outputs of one cell to what a journal says, again and again.

    Only what is different is written, so that pages get it once, and at once.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # How many outputs it has written, and the length of the last one's text; None: not yet.
        self._written: int | None = None
        self._length = 0

    def write(self, cell: Map[Any]) -> None:
        """Write what is new. In a transaction of the document."""
        journal, outputs = self._journal, cell["outputs"]
        if journal.cleared:
            outputs.clear()
            journal.cleared = False
            self._written = 0
        if self._written and not len(outputs):
            # A person has cleared the cell.
            journal.forget()
            self._written = 0
        if self._written is None or not self._is_as_left(outputs):
            self._reconcile(outputs)
        else:
            self._go_on(outputs, self._written)
        journal.changed.clear()
        self._written = len(outputs)
        last = outputs[-1] if self._written else {}
        self._length = len(last["text"]) if is_stream(last) else 0

    def _is_as_left(self, outputs: Any) -> bool:
        if len(outputs) != self._written:
            return False
        last = outputs[-1] if self._written else {}
        return not is_stream(last) or len(last["text"]) == self._length

    def _go_on(self, outputs: Any, written: int) -> None:
        wanted = self._journal.outputs
        for place in sorted(self._journal.changed):
            if place < written:
                outputs[place] = make(wanted[place])
        last = wanted[written - 1] if written else None
        if isinstance(last, Stream):
            removed, added = last.take()
            text = outputs[written - 1]["text"]
            if removed:
                del text[len(text) - len(removed.encode()) :]
            if added:
                text += added
        for item in wanted[written:]:
            outputs.append(make(item))

    def _reconcile(self, outputs: Any) -> None:
        wanted = self._journal.outputs
        same = 0
        for found, item in zip(outputs, wanted, strict=False):
            if not agrees(found.to_py(), item):
                break
            same += 1
        if same < len(outputs) and same < len(wanted):
            item, found = wanted[same], outputs[same]
            if isinstance(item, Stream) and is_stream(found) and found["name"] == item.name:
                text, shown = item.text, str(found["text"])
                if text.startswith(shown):
                    grown = found["text"]
                    grown += text[len(shown) :]
                    same += 1
        del outputs[same:]
        for item in wanted[same:]:
            outputs.append(make(item))
        for item in wanted:
            if isinstance(item, Stream):
                item.take()


def is_stream(output: Any) -> bool:
    """Whether an output of a document is text that can grow."""
    return isinstance(output.get("text"), Text)


def make(item: Stream | Output) -> Map[Any]:
    """An output as documents have it."""
    if isinstance(item, Stream):
        item.take()
        return Map({**item.as_output(), "text": Text(item.text)})
    return Map(dict(item))


def agrees(found: Output, item: Stream | Output) -> bool:
    """Whether an output of a document is what a journal says."""
    if isinstance(item, Stream):
        text = found.get("text")
        shown = "".join(text) if isinstance(text, list) else text
        kind = (found.get("output_type"), found.get("name"))
        return kind == ("stream", item.name) and shown == item.text
    return found == item


def shows(cell: Map[Any], journal: Journal) -> bool:
    """Whether a cell shows all that a journal says, and nothing else."""
    outputs = cell["outputs"]
    wanted = journal.outputs
    return len(outputs) == len(wanted) and all(
        agrees(found.to_py(), item) for found, item in zip(outputs, wanted, strict=True)
    )
