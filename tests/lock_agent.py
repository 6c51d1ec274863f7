"""Pins the newest release of the ngrok agent, for each processor, from ngrok's own list.

Usage: PYTHONPATH=.venv/collections python -m tests.lock_agent [URL]

The list is the one from which ngrok builds its container image: version, archives that never
change, and their SHA-256. Where it cannot be reached, all stays as it is, and that is said.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.anywhere.notebook.plugins.module_utils._ngrok import supported_until

from tests.support import CHECKOUT

LIST = "https://raw.githubusercontent.com/ngrok/docker-ngrok/main/releases.json"
SECONDS = 30
ROLE = CHECKOUT / "roles/ngrok"

# As the role names processors, and as the list does.
ARCHS = {"amd64": "amd64", "arm64": "arm64", "arm": "arm", "386": "i386"}
# How many releases are pinned, so that the newest can be left again.
KEPT = 2

Release = dict[str, dict[str, str]]


class Odd(ValueError):
    """The list is not as it was when this was written; the message says what is not."""


def read(text: str) -> tuple[str, Release]:
    """Return the version that the list has, and ``{id, sha256}`` of its archive by processor.

    Raises:
        Odd: anything is missing, or of another form. It is pasted into the role.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        version = found["version"]
        if not re.fullmatch(r"3\.\d{1,4}\.\d{1,4}", version):
            raise Odd(f"{version!r} is no version of an agent 3")
        release = {}
        for arch, name in ARCHS.items():
            url, digest = found[name]["url"], found[name]["sha256"]
            archive = re.fullmatch(
                rf"https://bin\.ngrok\.com/a/(\w+)/ngrok-v3-{re.escape(version)}-linux-{arch}\.zip",
                url,
                re.ASCII,
            )
            if archive is None:
                raise Odd(f"{url!r} is not where an archive {version} for {arch} would be")
            if not re.fullmatch("[0-9a-f]{64}", digest):
                raise Odd(f"{digest!r} is no SHA-256")
            release[arch] = {"id": archive[1], "sha256": digest}
    except (KeyError, TypeError, json.JSONDecodeError) as exc:
        raise Odd(f"it is no list of releases: {exc!r}") from exc
    return version, release


def numbers(version: str) -> list[int]:
    """A version as numbers, to compare it."""
    return [int(number) for number in version.split(".")]


def pinned(role: Path) -> dict[str, Release]:
    """The releases that the role has, newest first."""
    table: dict[str, Release] = yaml.safe_load((role / "vars/main.yml").read_text())[
        "__ngrok_releases"
    ]
    return table


def write(role: Path, releases: dict[str, Release]) -> None:
    """Have the role install the first of these releases."""
    lines = ["__ngrok_releases:"]
    for version, release in releases.items():
        lines.append(f'  "{version}":')
        for arch, archive in release.items():
            key = f'"{arch}"' if arch.isdigit() else arch
            # In quotes, because digits alone, or with an "e" in them, would be a number.
            values = (f'{name}: "{archive[name]}"' for name in ("id", "sha256"))
            lines.append(f"    {key}: {{{', '.join(values)}}}")
    version = f'"{next(iter(releases))}"'
    for file, pattern, text in (
        ("vars/main.yml", r"^__ngrok_releases:\n(?:  .*\n)+", "\n".join(lines) + "\n"),
        ("defaults/main.yml", r"(?<=^ngrok_version: ).*$", version),
        (
            "meta/argument_specs.yml",
            r"(?<=^        default: )\"\d+\.\d+\.\d+\"$",
            version,
        ),
    ):
        path = role / file
        # Nothing that is written has a backslash, which would mean something here.
        changed, count = re.subn(pattern, text, path.read_text(), flags=re.MULTILINE)
        if count != 1:
            raise RuntimeError(f"{path} has {count} places for the pinned agent instead of one")
        path.write_text(changed)


def renew(role: Path, text: str) -> str:
    """Pin what the list has, if it is newer; return a sentence that says what was done."""
    version, release = read(text)
    table = pinned(role)
    newest = next(iter(table))
    if numbers(version) < numbers(newest):
        return f"The agent {newest} stays pinned: ngrok's list has {version}, which is older."
    if version == newest and release != table[newest]:
        raise Odd(f"it has other archives of {version} than the ones that are pinned")
    if version == newest:
        return f"The agent {newest} stays pinned: ngrok's list has none newer."
    kept = list(table.items())[: KEPT - 1]
    write(role, dict([(version, release), *kept]))
    until = supported_until(version)
    return f"The agent {version} is pinned, in the place of {newest}. " + (
        f"ngrok supports it until {until}."
        if until
        else "Add the day on which its minor version came out to RELEASED of "
        "plugins/module_utils/_ngrok.py; ngrok's Agent Changelog has it."
    )


def main(url: str = LIST, role: Path = ROLE) -> None:
    """Fetch the list."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            text = answer.read(100_000).decode()
    except (OSError, UnicodeDecodeError) as exc:
        newest = next(iter(pinned(role)))
        print(
            f"The agent {newest} stays pinned, which ngrok supports until "
            f"{supported_until(newest)}: the list of releases at {url} cannot be had: {exc}."
        )
        return
    try:
        print(renew(role, text))
    except Odd as exc:
        sys.exit(f"Nothing was pinned. The list of releases at {url} is odd: {exc}.")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else LIST)
