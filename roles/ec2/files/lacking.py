# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this computer lacks to ask anything of AWS; run with the Python that runs Ansible.

Prints a word a line: ``packages``, ``region``, ``credentials``. What is there may be wrong all the
same, which only AWS can tell; so a word is printed only where there is nothing at all.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec

# Where boto3 looks, in its documentation under "Credentials" and "Configuration".
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
IN_PROFILES = (
    "aws_access_key_id",
    "credential_process",
    "role_arn",
    "sso_session",
    "sso_start_url",
)
OLDER = ("/etc/boto.cfg", "~/.boto")
VENDOR = "/sys/devices/virtual/dmi/id/sys_vendor"


def lacking(environ: Mapping[str, str], region: str = "") -> list[str]:
    """Return the words for what is not there at all; ``region`` is one that was given."""
    options = profile_options(environ)
    known = os.path.exists(VENDOR) and "Amazon" in text_of(VENDOR)
    there = {
        "packages": bool(find_spec("boto3") and find_spec("botocore")),
        "region": bool(region or given(environ, REGIONS) or "region" in options or known),
        "credentials": bool(
            given(environ, CREDENTIALS)
            or options & {*IN_PROFILES}
            or known
            or any(os.path.exists(os.path.expanduser(file)) for file in OLDER)
        ),
    }
    return [word for word, is_there in there.items() if not is_there]


def given(environ: Mapping[str, str], names: tuple[str, ...]) -> bool:
    """Whether one of the variables has a value."""
    return any(environ.get(name) for name in names)


def profile_options(environ: Mapping[str, str]) -> set[str]:
    """Return the names of all options of all profiles; of a file that cannot be read, all."""
    files = (
        environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )
    found = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        found.read([os.path.expanduser(file) for file in files], encoding="utf-8")
    except (configparser.Error, OSError, ValueError):
        return {"region", *IN_PROFILES}
    return {name for section in found.values() for name in section}


def text_of(file: str) -> str:
    """Return what a file says, nothing where it cannot be read."""
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            return lines.read()
    except OSError:
        return ""


if __name__ == "__main__":
    print("\n".join(lacking(os.environ, *sys.argv[1:2])))
