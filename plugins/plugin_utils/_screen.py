# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees of a run: a line per stage, each sentence once, and the card.

Knows nothing of Ansible: the callback says what happened, functions that it is given write.
This is PRIVATE to the collection.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import textwrap
import threading
import typing as t
from collections.abc import Callable, Iterable

Said = t.ParamSpec("Said")

# Columns of a stage's title and of its time.
TITLE, TIME = 32, 9
# Without a terminal a stage that lasts so long says, once, what it waits for.
PATIENCE_SECONDS = 10.0
COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run that a person knows by its title.

    ``waits_for`` is what takes the time where it takes long. One that is not ``told`` is seen on a
    terminal while it lasts, and leaves no line.
    """

    title: str
    waits_for: str = ""
    told: bool = True


def took(seconds: float) -> str:
    """Return a time as people say it; tenths of a second where they tell something."""
    if seconds < 9.95 and not isinstance(seconds, int):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def plain(line: str) -> str:
    """Return a line without what a terminal would obey instead of showing it.

    Names of notebooks and words of programs come from elsewhere.
    """
    line = COLOR.sub("", line.expandtabs())
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line
    )


def some(names: Iterable[str]) -> str:
    """Return the first of the names, and how many there are besides."""
    first, *others = names
    return first if not others else f"{first} and {len(others)} more"


def alone(
    method: Callable[t.Concatenate[Screen, Said], None],
) -> Callable[t.Concatenate[Screen, Said], None]:
    """Let nobody else change the screen meanwhile."""

    @functools.wraps(method)
    def locked(self: Screen, /, *args: Said.args, **kwargs: Said.kwargs) -> None:
        with self.lock:
            method(self, *args, **kwargs)

    return locked


class Screen:
    """Writes the lines of a run.

    ``write`` gets finished lines and whether they are bad news; ``draw``, only on a terminal, what
    stands in its last line until the next call. ``clock`` tells seconds, ``columns`` the width.
    Another thread may call ``tick``.
    """

    def __init__(
        self,
        write: Callable[[str, bool], None],
        draw: Callable[[str], None] | None,
        clock: Callable[[], float],
        columns: Callable[[], int],
    ) -> None:
        self._put, self._draw, self._clock, self._columns = write, draw, clock, columns
        self.lock = threading.RLock()
        self.hosts: list[str] = []
        self._heading, self._headed = "", True
        self._stage: Stage | None = None
        self._started = 0.0
        self._reset()
        self._may_draw = False
        self._said: set[tuple[str, str]] = set()
        self._kept: dict[str, list[str]] = {}

    def _reset(self) -> None:
        self._ran = self._changed = self._patient = False
        self._done: set[str] = set()
        self._failed: list[str] = []
        self._details: dict[str, None] = {}

    @property
    def several(self) -> bool:
        """Whether the present play is for more than one host."""
        return len(self.hosts) > 1

    @alone
    def play(self, title: str, hosts: list[str]) -> None:
        """Another play begins; its heading is written with the first that is said of it."""
        self.finish()
        self.hosts = hosts
        of = f"{len(hosts)} hosts" if self.several else "".join(hosts)
        # In batches it begins several times.
        if self._heading != f"{title}: {of}":
            self._heading, self._headed = f"{title}: {of}", False

    @alone
    def begin(self, stage: Stage, may_draw: bool = False) -> None:
        """A task of this stage begins. ``may_draw``: nobody else writes to the terminal now."""
        self._done, self._may_draw = set(), may_draw
        if stage != self._stage:
            self.finish()
            self._stage, self._started = stage, self._clock()
        if self._draw and stage.told:
            self._head()
        self.tick()

    @alone
    def ran(self, host: str, changed: bool = False, detail: str = "") -> None:
        """A task of the stage has done something on this host; ``detail`` is a line about it."""
        self._ran, self._changed = True, self._changed or changed
        self._done.add(host)
        if detail:
            self._details[detail] = None

    @alone
    def failed(self, host: str, sentence: str, keep: bool = False) -> None:
        """A task has failed there; ``keep`` the sentence for the end, below the table."""
        self._ran = True
        self._failed.append(host)
        if keep and self.several:
            kept = self._kept.setdefault(sentence, [])
            if host not in kept:
                kept.append(host)
            return
        self.finish()
        self._sentence([host], sentence, named=self.several)

    def told(self, host: str) -> bool:
        """Whether it was said, or will be, what is wrong with this host."""
        return any(host == known for known, _ in self._said) or any(
            host in hosts for hosts in self._kept.values()
        )

    @alone
    def say(self, lines: Iterable[str], host: str = "") -> None:
        """Write lines as they are; below the host's name where several have such lines."""
        self.finish()
        if host and self.several:
            lines = [f"{host}:", *(f"  {line}" for line in lines)]
        for line in lines:
            self._write(line, False)

    @alone
    def finish(self) -> None:
        """End the stage with its line, if something was done in it."""
        if self._draw:
            self._draw("")
        stage, self._stage = self._stage, None
        if stage and stage.told and self._ran:
            self._head()
            note = "failed" if self._failed else "changed" if self._changed else ""
            if self._failed and self.several:
                note = f"failed on {some(dict.fromkeys(self._failed))}"
            line = self._line(stage, took(self._clock() - self._started), note)
            self._write(line, bool(self._failed))
            for detail in self._details:
                self._write(f"    {detail}", False)
        self._reset()

    @alone
    def end(self) -> None:
        """The run is over: say what was kept."""
        self.finish()
        for sentence, hosts in self._kept.items():
            self._sentence(hosts, sentence, named=True)
        self._kept = {}

    @alone
    def tick(self) -> None:
        """Show that the stage lasts: on a terminal in its line, elsewhere once."""
        stage, lasts = self._stage, self._clock() - self._started
        if not stage or not self._may_draw:
            return
        waits = f"waits for {stage.waits_for}" if stage.waits_for else ""
        if self._draw:
            if self.several:
                waits = (
                    f"{len(self._done)} of {len(self.hosts)} hosts{', ' + waits if waits else ''}"
                )
            line = plain(self._line(stage, took(int(lasts)), waits))
            self._draw(line[: self._columns() - 1])
        elif waits and not self._patient and lasts >= PATIENCE_SECONDS:
            self._patient = True
            self._head()
            self._write(f"  {stage.title} {waits}", False)

    def _write(self, line: str, bad: bool) -> None:
        self._put(plain(line), bad)

    def _head(self) -> None:
        if not self._headed:
            self._headed = True
            if self._draw:
                self._draw("")
            self._write(self._heading, False)

    def _sentence(self, hosts: list[str], sentence: str, named: bool) -> None:
        unsaid = [host for host in hosts if (host, sentence) not in self._said]
        self._said |= {(host, sentence) for host in unsaid}
        if not unsaid:
            return
        self._head()
        text = f"{', '.join(unsaid)}: {sentence}" if named else sentence
        lines = (
            textwrap.wrap(text, self._columns(), break_long_words=False, break_on_hyphens=False)
            if self._draw
            else [text]
        )
        for line in lines:
            self._write(line, True)

    @staticmethod
    def _line(stage: Stage, time: str, note: str) -> str:
        title = textwrap.shorten(stage.title, TITLE, placeholder=" ...")
        return f"  {title:{TITLE}}{time:>{TIME}}{'  ' + note if note else ''}"
