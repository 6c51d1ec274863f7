"""Tells a webhook of cells that have run for long: that they have ended, or their kernel has died.

Whom to tell is in a file, which is read each time, so that a server need not be restarted for it:
``{"url": ..., "minutes": 10, "host": "box", "public_url_file": ...}``. ``url`` is a secret with
most services, so it is in no message of ours. Without the file nobody is told.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

# Seconds in which the whole of an answer has to be there.
PATIENCE = 10.0
# Seconds before each attempt: a network that is away for a moment is no reason to be silent.
PAUSES = (0.0, 30.0, 300.0)
# Bytes that an answer may have.
MOST = 1_000_000
# How many may wait to be told; further ones are not.
WAITING = 20


@dataclass(frozen=True)
class Ended:
    """A cell that has ended. ``state`` is ``ended``, ``failed`` or ``died``, ``of`` of what."""

    notebook: str
    seconds: float
    state: str
    of: str = ""


def duration(seconds: float) -> str:
    """A time, as people say it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def message(cell: Ended, host: str, public_url: str) -> dict[str, Any]:
    """What is told; ``host`` and ``url`` are as when the URL itself is told."""
    of = f" ({cell.of})" if cell.of else ""
    said = {
        "ended": "has ended",
        "failed": f"has failed{of}",
        "died": f"is lost: its kernel died{of}",
    }
    return {
        "host": host,
        "url": public_url,
        "notebook": cell.notebook,
        "state": cell.state,
        "of": cell.of,
        "seconds": round(cell.seconds),
        "text": f"{cell.notebook} on {host}: a cell {said[cell.state]}, "
        f"after {duration(cell.seconds)}.",
    }


class Webhook:
    """Whom to tell, by the file that says it; an empty name is nobody."""

    def __init__(self, file: str, log: Logger, pauses: Sequence[float] = PAUSES) -> None:
        self._file = Path(file) if file else None
        self._log = log
        self._pauses = pauses
        self._telling: set[asyncio.Task[None]] = set()

    def tell(self, seconds: float, cell: Callable[[], Ended]) -> None:
        """Tell in the background of a cell that has ended, if it has run for so long."""
        if self._file is None:
            return
        try:
            told = json.loads(self._file.read_text(encoding="utf-8"))
            if seconds < 60 * float(told["minutes"]):
                return
            address = str(told["url"])
            public_url = _first_line(str(told["public_url_file"]))
            body = json.dumps(message(cell(), str(told["host"]), public_url))
        except FileNotFoundError:
            return
        except Exception as exc:  # What the keeper does next matters more.
            # The text might have what the file has.
            self._log.warning("The webhook for cells was not told: %s.", type(exc).__name__)
            return
        if len(self._telling) >= WAITING:
            self._log.warning("The webhook for cells was not told: it does not keep up.")
            return
        task = asyncio.ensure_future(self._send(address, body))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _send(self, address: str, body: str) -> None:
        # One of its own, which no setting makes wait for others, and which ends with the answer.
        client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=MOST)
        try:
            for pause in self._pauses:
                await asyncio.sleep(pause)
                why = await self._attempt(client, address, body)
                if not why:
                    return
            self._log.warning("The webhook for cells was not told: %s.", why)
        finally:
            client.close()

    @staticmethod
    async def _attempt(client: AsyncHTTPClient, address: str, body: str) -> str:
        """Return why it was not taken, empty when it was."""
        try:
            await client.fetch(
                address,
                method="POST",
                headers={"Content-Type": "application/json"},
                body=body,
                follow_redirects=False,
                connect_timeout=PATIENCE,
                request_timeout=PATIENCE,
                # What it says is of no use.
                streaming_callback=lambda _: None,
            )
        except HTTPClientError as exc:
            # Tornado's own number for no answer, or none in time.
            return "it does not answer" if exc.code == 599 else f"it answered with {exc.code}"
        except Exception as exc:  # Of a network and its names many things can go wrong.
            return f"it does not answer ({type(exc).__name__})"
        return ""


def _first_line(file: str) -> str:
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.partition("\n")[0].strip()
