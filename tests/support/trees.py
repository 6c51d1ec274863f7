"""What is in a directory."""

from __future__ import annotations

import hashlib
from pathlib import Path


def tree(directory: Path) -> dict[str, str]:
    """Every file below a directory with a digest; without Ansible's own and the agent's log."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "directory"
        for path in sorted(directory.rglob("*"))
        if ".ansible" not in path.relative_to(directory).parts and path.name != "agent.log"
    }
