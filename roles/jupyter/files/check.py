# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a Python can make Jupyter's environment; usage: python check.py DIRECTORY MEGABYTES.

Ends with 0 when it can, 3 when it is too old, 4 when it lacks what Debian keeps apart, 5 when there
is less room than that, 7 when the index of packages is out of reach. Prints the room that is left,
in MB, and for 7 why, in a second line. Nobody is asked where Jupyter is installed already.
"""

from __future__ import annotations

import configparser
import os
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

OLDEST = (3, 9)
INDEX = "https://pypi.org/simple"
# One address may be silent where the next one answers, and an index has several.
SECONDS_PER_ADDRESS = 5
SECONDS = 60
# "Use a proxy's login", said by the proxy.
PROXY_LOGIN = 407


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the account has set for pip, of its files and then its variables.

    The places are those of pip's documentation, "Configuration Files".
    """
    home = environ.get("XDG_CONFIG_HOME") or "~/.config"
    files = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", f"{home}/pip/pip.conf"]
    own = environ.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        files = []
    found = configparser.ConfigParser(interpolation=None, strict=False)
    told: dict[str, str] = {}
    try:
        found.read([os.path.expanduser(file) for file in [*files, own] if file], encoding="utf-8")
        for section in filter(found.has_section, ("global", "install")):
            told.update({name.replace("_", "-"): text for name, text in found.items(section)})
    except (configparser.Error, OSError, ValueError):
        pass
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            told[name[len("PIP_") :].lower().replace("_", "-")] = value
    return told


def index_problem(environ: Mapping[str, str]) -> str:
    """Return the host of the index and why it cannot be reached; empty when it can, or need not.

    Its certificate does not matter here: pip has its own authorities, and looks later.
    """
    told = settings(environ)
    # Where there is another place too, pip does without the index.
    elsewhere = told.get("find-links", "") + told.get("extra-index-url", "")
    if elsewhere.strip() or told.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return ""
    index = urlsplit(told.get("index-url", INDEX).strip())
    if index.scheme not in ("http", "https") or not index.hostname:
        return ""
    place = index.netloc.rpartition("@")[2]
    proxies = dict.fromkeys(("http", "https"), told["proxy"]) if told.get("proxy") else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),
    )
    said = [f"no answer within {SECONDS} s"]

    def ask() -> None:
        said[0] = why_not(opener, f"{index.scheme}://{place}{index.path}")

    # The resolver has times of its own.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS)
    return f"{place}: {said[0]}" if said[0] else ""


def why_not(opener: urllib.request.OpenerDirector, url: str) -> str:
    """Return why a URL has no answer; any is one, but for a proxy's."""
    try:
        opener.open(urllib.request.Request(url, method="HEAD"), timeout=SECONDS_PER_ADDRESS).close()
    except urllib.error.HTTPError as exc:
        return f"the proxy says {exc.reason}" if exc.code == PROXY_LOGIN else ""
    except urllib.error.URLError as exc:
        reason = exc.reason
        return (isinstance(reason, OSError) and reason.strerror) or str(reason)
    except OSError as exc:
        return exc.strerror or str(exc) or type(exc).__name__
    except Exception:
        # Whatever else was met, somebody was there.
        return ""
    return ""


def main(base: str, wanted: int) -> int:
    """Look at everything; return the status to end with."""
    installed = os.path.exists(f"{base}/venv/complete")
    while not os.path.exists(base):
        base = os.path.dirname(base)
    disk = os.statvfs(base)
    free = disk.f_bavail * disk.f_frsize // 2**20
    print(free)
    if tuple(sys.version_info) < OLDEST:
        return 3
    if not installed and free < wanted:
        return 5
    problem = "" if installed else index_problem(os.environ)
    if problem:
        print(problem)
        return 7
    return 0 if find_spec("venv") and find_spec("ensurepip") else 4


if __name__ == "__main__":
    sys.exit(main(os.path.expanduser(sys.argv[1]), int(sys.argv[2])))
