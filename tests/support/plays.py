"""Runs of ansible-playbook, and what they say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What a playbook adds at its end, so that it fails for every host that has failed.
WHERE = re.compile(
    r"(There is no working notebook|[Tt]his run did not come to its end) on \S+, "
    r"for the reason above\."
)


@dataclass(frozen=True)
class Play:
    """What a run of ansible-playbook said."""

    status: int
    output: str

    @property
    def changed(self) -> int:
        """Number of changed tasks, over all hosts. Our callback does not tell it."""
        assert "PLAY RECAP" in self.output, self.output
        return sum(map(int, re.findall(r" changed=(\d+) ", self.output)))

    @property
    def url(self) -> str:
        """The public URL on the card."""
        return self.card("Notebook").split()[0]

    def card(self, label: str) -> str:
        """Return a line of the card without its label; fail when there is none.

        Ansible's own callback shows it within quotes, ours as it is.
        """
        found = re.search(
            rf"^(?: +- '{label}:\s+(.*?)'?|{label}:\s+(.*))$", self.output, re.MULTILINE
        )
        assert found, self.output
        return found[1] or found[2]


def run(
    command: Sequence[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None
) -> Play:
    """Run a command that runs a playbook, without a terminal."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Play(done.returncode, done.stdout)


def errors(play: Play) -> list[str]:
    """The sentences with which tasks failed, without those that only say where."""
    said = re.findall(r"^\[ERROR\]: (?:Task failed: )?(.*)", play.output, re.MULTILINE)
    return [sentence for sentence in said if not WHERE.search(sentence)]


def refused(play: Play) -> str:
    """Return the one sentence with which a play failed."""
    assert play.status != 0, play.output
    assert "Traceback" not in play.output
    sentences = errors(play)
    assert len(sentences) == 1, play.output
    return sentences[0]
