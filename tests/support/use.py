"""What the timer that lets a machine sleep sees of an account's notebook."""

from __future__ import annotations

from roles.jupyter.files import idle
from tests.support.accounts import Account


def look(notebook: Account) -> idle.Facts:
    """Look as the timer does."""
    return idle.look(str(notebook.state / "jupyter"), str(notebook.socket), "jupyter", "ngrok")


def stamps(notebook: Account) -> dict[str, str]:
    """When each thing of the server was used last."""
    facts = look(notebook)
    assert facts.stamps, facts.busy
    # Whoever else uses terminals on this machine is no part of a test.
    return {name: text for name, text in facts.stamps.items() if "terminal" not in name}
