"""The README's first command, on machines that have git, make and Python and nothing of ours."""

from __future__ import annotations

import subprocess

import pytest

from tests.support import CHECKOUT
from tests.support.attacker import FILES, PORTS, attack
from tests.support.hosts import Host, Run

# The visitor is on the host too, where its edge listens; curl is not there.
VISIT = """
import json, sys, urllib.request
from urllib.parse import urlsplit
where = urlsplit(sys.argv[1])
request = urllib.request.Request(f"http://127.0.0.1:{where.port}/api", None, {"Host": where.netloc})
print(json.load(urllib.request.urlopen(request))["version"])
"""

TOKEN = "notebook/.demo/home/.local/share/anywhere-notebook/jupyter/token"


def put_checkout(host: Host, user: str) -> None:
    """Put what is to be committed into the account's home, without anything built from it."""
    listed = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, check=True)
    packed = subprocess.run(
        ["tar", "-cz", "-T", "-"],
        cwd=CHECKOUT,
        input=listed.stdout,
        capture_output=True,
        check=True,
    )
    unpack = "mkdir -p notebook && tar -xz -C notebook"
    subprocess.run([*host.ssh(user), unpack], input=packed.stdout, check=True)


@pytest.mark.acceptance
@pytest.mark.parametrize("user", ["root", "dev"])
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_make_demo_on_a_bare_machine(release: str, user: str) -> None:
    with Run() as run:
        host = run.up("bare", release, packages=("git", "make"))
        put_checkout(host, user)

        done = host.run("make -C notebook demo", user, check=False, timeout=300)

        assert done.returncode == 0, done.stdout + done.stderr
        card = done.stdout.partition("\nNotebook:")[2]
        assert host.run(["python3", "-c", VISIT, card.split()[0]], user).stdout
        uid = int(host.run(["id", "-u", user]).stdout)
        found = attack(host, "nobody", PORTS, uid=uid, home="/etc", seconds=0.1)
        assert found["answered"] == {}
        shown = attack(host, "nobody", FILES, secrets=[host.run(f"cat {TOKEN}", user).stdout])
        assert shown == []
