"""What the roles offer to plays."""

from __future__ import annotations

# What runs on a host has these; the machine itself is another matter.
ENTRY_POINTS = {role: ["main", "preflight", "session"] for role in ("jupyter", "ngrok", "tmux")} | {
    "jupyter": ["main", "preflight", "password", "session"],
    "ec2": ["wake", "sleep", "launch", "terminate", "shutdown"],
}
