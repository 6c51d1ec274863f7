"""Several hosts in one run of reconnect."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.accounts import Account
from tests.support.visitors import Visitor


def test_of_the_hosts_that_were_chosen_one_fails_the_others_go_on_and_all_are_reported(
    notebook: Account, visitor: Visitor, tmp_path: Path
) -> None:
    url, kernels = visitor.url, len(visitor.kernels())
    before = notebook.pids()
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        # Where setup has never been.
        f"[lab]\nbroken jupyter_base_dir={tmp_path}/none\nbox ansible_user=ada\n"
        "[lab:vars]\nansible_connection=local\n"
        "[other]\nelsewhere ansible_host=192.0.2.1\n"
    )
    # Where the person stands is where a file is meant.
    report = notebook.home / "what became of them.json"

    play = notebook.play(
        "anywhere.notebook.reconnect",
        "-i",
        str(inventory),
        notebook_hosts="lab",
        notebook_report=report.name,
    )

    assert play.status != 0
    assert play.url == url
    assert notebook.pids() == before
    broken, box = json.loads(report.read_text())
    assert report.stat().st_mode & 0o777 == 0o600
    error = broken.pop("error")
    assert "Nothing is set up for " in error
    assert broken == {"host": "broken", "url": None, "kernels": None, "repaired": []}
    assert box == {"host": "box", "url": url, "kernels": kernels, "repaired": [], "error": None}
    said = " ".join(play.output.split())
    assert f"The report is in {report}" in said
    assert f"box {url} {kernels} - -" in said
    assert "broken - - - see below" in said
    assert error[:50] in said
    assert "ada@" in play.card("Without tunnel")
    assert "elsewhere" not in play.output
