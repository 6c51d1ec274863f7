"""What a play of somebody's own that loops over two accounts is told. One host: two more runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.hosts.verify import Notebook, play
from tests.support.hosts.world import attach

HOSTS = {host.name: host for host in attach()[0].hosts}

pytestmark = pytest.mark.skipif("trixie" not in HOSTS, reason="the host is not among them")


def test_facts_are_each_account_s_own(tmp_path: Path) -> None:
    dev, lab = (Notebook(HOSTS["trixie"], account) for account in ("dev", "lab"))
    before = dev.processes(), lab.processes()
    HOSTS["trixie"].run(["kill", str(before[0]["jupyter"])])
    said = tmp_path / "said.json"

    done = play("../molecule/two_accounts/loop", "-e", f"two_accounts_said={said}")

    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(said.read_text())
    assert {"server", "agent"} >= set(facts["dev"]["repaired"]) >= {"server"}
    assert (facts["lab"]["repaired"], facts["lab"]["url_changed"]) == ([], False)
    for notebook in (dev, lab):
        told = facts[notebook.account]
        assert told["url"] == notebook.url
        assert told["local_url"] == f"http://127.0.0.1:{notebook.read('jupyter/port')}"
        assert told["upstream"] == told["local_url"]
    assert lab.processes() == before[1]
