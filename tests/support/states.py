"""Broken states of a notebook: what status says of one, and what reconnect does about it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support import PASSWORD
from tests.support.accounts import Account
from tests.support.breakages import Break, mend
from tests.support.edge.client import Edge, fetch
from tests.support.plays import Play, errors

RECONNECT = "anywhere.notebook.reconnect"
NOTHING = "nothing, everything ran"
BOTH = ("jupyter", "ngrok")
CALLED = {"server": "Jupyter server", "agent": "ngrok agent"}


@dataclass(frozen=True)
class State:
    """A broken state.

    ``told`` are the problems that status has, all of them, as regular expressions; without them
    status is not asked. Only who fetches the ``public`` URL knows that it is dead.

    ``repaired`` is what the card of reconnect may say; without it reconnect has to fail. Its card,
    or its one error, ``says`` each of these. The processes of the sessions in ``kept`` are the same
    afterwards; the tunnel that visitors must not use is ``closed``. Where reconnect had to fail and
    the cause is gone, ``repaired_later`` is what the next one repairs; without it there is none.
    """

    broken: Break
    told: tuple[str, ...] = ()
    public: bool = False
    repaired: str | tuple[str, ...] | None = None
    kept: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    closed: bool = False
    variables: dict[str, object] = field(default_factory=dict)
    repaired_later: str | tuple[str, ...] | None = None


def each_state(by_day: dict[str, State], further: dict[str, State]) -> pytest.MarkDecorator:
    """Give a test its ``state``, by name; ``further`` ones have their time in acceptance."""
    return pytest.mark.parametrize(
        "state",
        [pytest.param(state, id=name) for name, state in by_day.items()]
        + [
            pytest.param(state, id=name, marks=pytest.mark.acceptance)
            for name, state in further.items()
        ],
    )


def called(repaired: str | tuple[str, ...]) -> list[str]:
    """What the card may say, in the words that it has for what was repaired."""
    either = (repaired,) if isinstance(repaired, str) else repaired
    return [", ".join(CALLED.get(name, name) for name in names.split(", ")) for names in either]


def meet(state: State, notebook: Account, edge: Edge, *flags: str) -> Play:
    """Bring a notebook into a state, and see that all is as promised; what reconnect said."""
    visitor = notebook.visitor()
    kernel = visitor.kernel()
    visitor.run(kernel, "x = 1729")
    url, before = notebook.url(), notebook.pids()
    with state.broken(notebook, edge):
        present = notebook.pids()
        if state.told:
            found = look_through_the_url(notebook) if state.public else notebook.look()
            problems = found["problems"]
            assert len(problems) == len(state.told), problems
            assert all(map(re.search, state.told, problems)), problems
            assert state.public or found["url"] == url
            # While tmux is suspended, nobody knows.
            assert not present or notebook.pids() == present
        present = before | present
        kept = {session: present[session] for session in state.kept}

        play = notebook.play(RECONNECT, *flags, **state.variables)

        after = notebook.pids()
        assert {session: after.get(session) for session in state.kept} == kept
        if state.repaired is None:
            assert play.status != 0
            assert len(errors(play)) == 1, play.output
            assert "Show the card" not in play.output
            said = errors(play)[0]
            all_said = " ".join(play.output.split())
            assert ("The tunnel is closed, so that no visitor" in all_said) == state.closed
        else:
            assert play.status == 0, play.output
            assert play.card("Repaired") in called(state.repaired), play.output
            assert fetch(play.url, "/api").status == 200
            said = " ".join(play.output.split())
        assert [words for words in state.says if words not in said] == [], said
        assert PASSWORD not in play.output
    mend(edge)
    if state.repaired_later:
        assert notebook.reconnect().card("Repaired") in called(state.repaired_later)
    visitor = notebook.visitor()
    if notebook.pids()["jupyter"] == before["jupyter"]:
        assert visitor.run(kernel, "print(x)") == "1729\n"
        visitor.api("DELETE", f"/api/kernels/{kernel}")
    return play


def look_through_the_url(notebook: Account) -> dict[str, Any]:
    """What the playbook status says, which fetches the public URL."""
    report = notebook.home / "status.json"
    play = notebook.play(
        "anywhere.notebook.status", notebook_format="json", notebook_report=str(report)
    )
    assert (play.status, play.changed) == (0, 0), play.output
    assert PASSWORD not in play.output
    (host,) = json.loads(report.read_text())["hosts"]
    assert isinstance(host, dict)
    assert host["state"] == "broken"
    return host
