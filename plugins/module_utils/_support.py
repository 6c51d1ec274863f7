# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody who helps has to see of a notebook, without its secrets. Private to the collection.

Nothing that may hold a secret is read but logs, and from these the notebook's own secrets are taken
out by their values, wherever they stand; others by what stands before them.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import stat
import sys
import time
import typing as t
from urllib.parse import quote, urlsplit

from ansible_collections.anywhere.notebook.plugins.module_utils._text import hide_secrets

if t.TYPE_CHECKING:
    from collections.abc import Iterable

LOGS = (
    ("jupyter", "server.log"),
    ("jupyter", "idle.log"),
    ("ngrok", "agent.log"),
)
# Bytes of each log, from its end.
TAIL = 200_000
# Files that hold nothing but a secret.
SECRET_FILES = ("token", "password_hash", "cookie_secret")
# What is shorter could be a word of any text.
SHORTEST = 6
AUTHTOKEN = re.compile(r"^\s*authtoken:\s*(.+?)\s*$", re.MULTILINE)
# A name and a password in an address; what a query or a form has, such as "?token=...".
IN_ADDRESS = re.compile(r"(?<=://)[^/@\s\"']+@")
IN_QUERY = re.compile(r"((?:token|password|_xsrf|code|state|key)=)[^&\s\"']+", re.IGNORECASE)
# Where it was before.
NGROK_HOST = re.compile(r"\b[\w-]+(\.[\w-]+)*\.ngrok(-free)?\.(app|dev|io)\b")
HIDDEN = "(hidden)"


def bundle(result: dict[str, t.Any], jupyter: str, ngrok: str) -> dict[str, str]:
    """Return texts by what they are; ``result`` is that of the module ``notebook_info``."""
    values = secrets(jupyter, ngrok, str(result["url"]))
    # Before they are quoted, which makes others of them.
    status = {name: shown(found, values) for name, found in result.items() if name != "challenge"}
    texts = {
        "status": json.dumps(status, indent=1),
        "machine": "\n".join(machine()),
        "files": "\n".join([*listing(jupyter), *listing(ngrok)]),
        "packages": "\n".join(packages(jupyter)),
    }
    for role, name in LOGS:
        text = tail(f"{jupyter if role == 'jupyter' else ngrok}/{name}")
        if text:
            texts[name] = text
    return {
        name: text if name == "status" else without(text, values) for name, text in texts.items()
    }


def secrets(jupyter: str, ngrok: str, url: str) -> set[str]:
    """Return what must not be in any text: the notebook's own secrets, and where it is."""
    found = {read(f"{jupyter}/{name}").strip() for name in SECRET_FILES}
    for value in AUTHTOKEN.findall(read(f"{ngrok}/ngrok.yml")):
        found.add(value.strip("\"'"))
    with contextlib.suppress(ValueError, KeyError, TypeError):
        address = str(json.loads(read(f"{jupyter}/cell_webhook.json"))["url"])
        found |= {address, urlsplit(address).path.strip("/")}
    for known in (url, read(f"{ngrok}/url")):
        with contextlib.suppress(ValueError):
            found.add(urlsplit(known.strip()).netloc)
    # As they stand in addresses and in JSON.
    found |= {quote(value, safe="") for value in found} | {
        json.dumps(value)[1:-1] for value in found
    }
    return {value for value in found if len(value) >= SHORTEST}


def shown(found: t.Any, values: set[str]) -> t.Any:
    """Return a document with all of its texts without these values."""
    if isinstance(found, str):
        return without(found, values)
    if isinstance(found, dict):
        return {shown(key, values): shown(value, values) for key, value in found.items()}
    return [shown(item, values) for item in found] if isinstance(found, list) else found


def without(text: str, values: Iterable[str]) -> str:
    """Return a text without these values, and without what looks like a secret."""
    # The longest first: one may be a part of another.
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    text = NGROK_HOST.sub(HIDDEN, IN_ADDRESS.sub(f"{HIDDEN}@", text))
    return hide_secrets(IN_QUERY.sub(rf"\1{HIDDEN}", text))


def machine() -> list[str]:
    """Return lines on the machine."""
    system = os.uname()
    release = re.search(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release"), re.MULTILINE)
    return [
        f"{release[1] if release else 'unknown'}, {system.sysname} {system.release}",
        f"{system.machine}, {os.cpu_count()} processors, Python {sys.version.split()[0]}",
        time.strftime("It is %Y-%m-%dT%H:%M:%SZ there.", time.gmtime()),
    ]


def listing(directory: str) -> list[str]:
    """Return a line for each file of a directory and of those in it, but of no environment's."""
    lines = []
    for pattern in ("*", "*/*"):
        for path in sorted(glob.glob(f"{glob.escape(directory)}/{pattern}")):
            name = os.path.relpath(path, directory)
            with contextlib.suppress(OSError):
                found = os.lstat(path)
                if name.partition("/")[0] in ("venv", "kernels", "cache") and "/" in name:
                    continue
                changed = time.strftime("%Y-%m-%d %H:%M", time.gmtime(found.st_mtime))
                mode = stat.filemode(found.st_mode)
                lines.append(f"{mode} {found.st_size:>10} {changed} {directory}/{name}")
    return lines


def packages(base: str) -> list[str]:
    """Return the packages of the notebook's environment, with their releases."""
    found = glob.glob(f"{glob.escape(base)}/venv/lib/*/site-packages/*.dist-info")
    return sorted(os.path.basename(path)[: -len(".dist-info")] for path in found)


def tail(file: str) -> str:
    """Return the end of a log, from the beginning of a line on; empty where there is none."""
    try:
        with open(file, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - TAIL))
            text = log.read(TAIL).decode(errors="replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if size > TAIL else text


def read(file: str) -> str:
    """Return what a file holds, nothing where there is none."""
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            return lines.read()
    except OSError:
        return ""
