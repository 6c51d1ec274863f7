"""What tests are made of: accounts, plays, visitors, browsers, the edge, disposable hosts.

A plain package: tests import from here by name, and never from each other.
"""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
# Of the notebooks of the tests.
PASSWORD = "a password with spaces"
