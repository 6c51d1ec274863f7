"""A machine that nobody uses goes to sleep. The timer is the real one; the hours are not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.edge.client import Edge
from tests.support.hosts import Host, Run, ready
from tests.support.hosts.controller import SETUP, Controller
from tests.support.hosts.moto import AMAZON
from tests.support.hosts.verify import Notebook
from tests.support.hosts.world import CACHE, equip, inventory
from tests.support.plays import errors
from tests.support.waiting import wait_until

BASE = "/home/dev/.local/share/anywhere-notebook/jupyter"
UNIT = "anywhere-notebook-idle"
MINUTES = ready.IDLE_MINUTES

# argv: a key of the state, and how many seconds longer ago it is to be.
AGE = f"""
import json, pathlib, sys
file = pathlib.Path("{BASE}/idle.json")
state = json.loads(file.read_text())
state[sys.argv[1]] -= float(sys.argv[2])
file.write_text(json.dumps(state))
"""

# Why an account that may not become root cannot let the machine sleep.
REFUSED: dict[tuple[str, ...], str] = {
    (): 'Have root run "loginctl enable-linger lab"',
    ("--check",): 'lab may not run "sudo -n systemctl poweroff" on box without a password.',
}


def log(host: Host) -> list[str]:
    """The decisions so far, without their times."""
    lines = host.run(["cat", f"{BASE}/idle.log"]).stdout.splitlines()
    return [line.split(" ", 1)[1] for line in lines]


def look(host: Host) -> str:
    """The decision of a look right now."""
    # However often the tests look.
    host.run(["systemctl", "--user", "reset-failed", f"{UNIT}.service"], "dev")
    host.run(["systemctl", "--user", "start", f"{UNIT}.service"], "dev")
    return log(host)[-1]


def age(host: Host, key: str, seconds: int) -> None:
    """Have something be longer ago."""
    host.run(["python3", "-c", AGE, key, str(seconds)], "dev")


@contextmanager
def logged_in(host: Host) -> Iterator[None]:
    """Somebody has a shell there."""
    with subprocess.Popen(
        host.ssh("dev", "-tt"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdin
        assert shell.stdout
        shell.stdin.write("echo here; echo $((6 * 7))\n")
        shell.stdin.flush()
        while shell.stdout.readline().strip() != "42":
            pass
        yield
        shell.kill()


def test_a_machine_that_nobody_uses_goes_to_sleep(
    network: tuple[Run, Edge], tmp_path: Path
) -> None:
    run, edge = network
    (host,) = run.up_all([ready.spec("box")])
    ready.wait(edge)
    given = inventory(run, edge, [{"name": host.name}], tmp_path)
    controller = Controller(tmp_path / "controller", given, **ready.VARIABLES)
    host.run(AMAZON)
    play = controller.play(SETUP, "--check")
    says = "box is an EC2 instance, which a power-off may terminate, with its disk."
    assert [says in sentence for sentence in errors(play)] == [True], play.output
    host.run(["umount", "/sys/devices/virtual"])

    # The timer has looked, and does so again by itself after the boot below.
    wait_until(lambda: "idle: for 0 of 90 minutes" in log(host))
    assert host.run(f"stat -c %a {BASE}/idle.log {BASE}/idle.json").stdout == "600\n600\n"
    host.run(["systemctl", "--user", "stop", f"{UNIT}.timer"], "dev")

    with logged_in(host):
        assert look(host).startswith("busy: bash (process ")
    wait_until(lambda: "terminal" not in look(host))
    assert log(host)[-1] == "idle: for 0 of 90 minutes"

    age(host, "since", MINUTES * 60)
    assert look(host).startswith("warn: nobody has used it for 90 minutes, it goes to sleep at ")
    report = tmp_path / "status.json"
    told = ("-e", "notebook_format=json", "-e", f"notebook_report={report}")
    assert controller.play("anywhere.notebook.status", *told).status == 0
    (status,) = json.loads(report.read_text())["hosts"]
    assert status["idle"]["on"]
    assert status["idle"]["seconds"] >= MINUTES * 60
    at = status["idle"]["sleeps_at"]
    assert f"Nobody uses it: the machine goes to sleep at {at}, " in status["notices"][-1]

    notebook = Notebook(host, "dev")
    kernel = notebook.ask("kernels", "POST")["id"]
    assert look(host) == f"awake: there was use of kernel {kernel}"
    notebook.ask(f"kernels/{kernel}", "DELETE")
    wait_until(lambda: look(host) == "idle: for 0 of 90 minutes")
    age(host, "since", MINUTES * 60)
    look(host)
    age(host, "warned", 4 * 60)
    assert look(host).startswith("warn: ")
    before = len(log(host))

    age(host, "warned", 60)
    host.run(["systemctl", "--user", "start", "--no-block", f"{UNIT}.service"], "dev")
    console = run.directory / "hosts" / host.name / "console.log"
    wait_until(lambda: "Powering off." in console.read_text(errors="replace"))
    host.off()
    host.on()

    slept, *since = log(host)[before:]
    assert slept == "sleep: nobody has used it for 90 minutes"
    wait_until(lambda: log(host)[before + 1 :])
    assert "failed: " not in " ".join(since)

    off = controller.play(SETUP, "-e", "notebook_idle_minutes=0")
    assert off.status == 0, off.output
    assert UNIT not in host.run(["systemctl", "--user", "list-timers", "--all"], "dev").stdout
    assert UNIT not in host.run("find /home/dev/.config").stdout


@pytest.mark.parametrize("flags", REFUSED)
def test_an_account_that_could_not_let_it_sleep_is_told_before_anything_is_done(
    network: tuple[Run, Edge], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    run, edge = network
    host = run.up("box", packages=ready.PACKAGES, cache=CACHE)
    equip(host, run, edge)
    given = inventory(run, edge, [{"name": host.name, "account": "lab"}], tmp_path)
    controller = Controller(tmp_path / "controller", given, notebook_idle_minutes=MINUTES)

    play = controller.play(SETUP, *flags)

    assert [REFUSED[flags] in sentence for sentence in errors(play)] == [True], play.output
    assert host.run("ls -A /home/lab/.local/share/*/jupyter", check=False).returncode != 0


@pytest.mark.acceptance
def test_a_dry_run_before_the_first_setup_predicts_it(
    network: tuple[Run, Edge], tmp_path: Path
) -> None:
    run, edge = network
    host = run.up("box", packages=ready.PACKAGES, cache=CACHE)
    equip(host, run, edge)
    given = inventory(run, edge, [{"name": host.name}], tmp_path)
    controller = Controller(tmp_path / "controller", given, notebook_idle_minutes=MINUTES)

    dry = controller.play(SETUP, "--check", "--diff")

    assert dry.status == 0, dry.output
    assert host.run("ls -A /home/dev/.local", check=False).returncode != 0
