"""Hosts behave like machines, and a run leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.hosts import Host, HostsError, Run, Spec, runs
from tests.support.hosts.base import KEPT, names
from tests.support.hosts.client import AS_ROOT
from tests.support.hosts.listing import belongings, everything, lasting, left
from tests.support.waiting import wait_until

pytestmark = pytest.mark.acceptance

# Starts a run in a process of its own, says its name and token, and waits.
# What is started in the background may ignore Ctrl-C, and so would this.
OWNER = """
import signal, time
from tests.support.hosts import Run
signal.signal(signal.SIGINT, signal.default_int_handler)
with Run() as run:
    run.up("box")
    print(run.name, flush=True)
    time.sleep(300)
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A run that several tests add hosts to."""
    with Run() as running:
        yield running


@pytest.fixture(scope="module")
def hosts(run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Host]:
    """A bookworm host with limits and a cache, and a trixie host without."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "wheels").mkdir()
    (cache / "wheels/known").write_text("a wheel")
    limited = Spec("bookworm", memory="256M", cpus=0.5, cache=cache)
    return run.up_all([limited, Spec("trixie", release="trixie")])


@pytest.fixture(scope="module")
def box(hosts: list[Host]) -> Host:
    """The bookworm host, for tests that leave it working."""
    return hosts[0]


def seconds(box: Host) -> float:
    """How long a login takes, in seconds."""
    began = time.monotonic()
    box.run(["true"], "dev")
    return time.monotonic() - began


def owner() -> tuple[subprocess.Popen[str], Run]:
    """A process that owns a run with one host, and that run."""
    child = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, Run(child.stdout.readline().strip()).attach()


def test_both_releases_run_systemd_and_let_every_account_in(hosts: list[Host]) -> None:
    for host in hosts:
        state = host.run("systemctl is-system-running --wait", check=False).stdout
        assert state == "running\n"
        about = host.run(["cat", "/proc/1/comm", "/etc/os-release"]).stdout
        assert about.startswith("systemd\n")
        assert f"VERSION_CODENAME={host.name}" in about
        assert host.run("id -u; sudo -n id -u", "dev").stdout == "1000\n0\n"
        assert host.run("id -u; sudo -n id -u", "lab", check=False).stdout == "1001\n"


def test_a_bare_host_has_none_of_what_the_collection_installs(box: Host) -> None:
    assert box.run("command -v tmux git make uv pip3", check=False).stdout == ""
    assert box.run(["python3", "-m", "ensurepip", "--version"], check=False).returncode != 0


def test_packages_come_with_a_layer_and_leave_the_base_bare(run: Run, box: Host) -> None:
    other = run.up("tmux", packages=["tmux"])

    assert other.run(["tmux", "-V"]).stdout.startswith("tmux ")

    other.down()
    assert "tmux" not in [host.name for host in run.hosts]
    assert box.run(["which", "tmux"], check=False).returncode != 0


def test_what_a_host_has_is_kept_for_others_and_what_is_its_own_is_not(run: Run) -> None:
    lower = names("bookworm", ["tmux"])[0]
    first = run.up("first", packages=["tmux"])
    first.run("echo kept > /opt/file; rm /etc/motd; mkdir /opt/cut; echo x > /opt/cut/y", "root")
    first.run("tmux new-session -d 'exec sleep 1000'", "dev")
    own = "cat /etc/machine-id /etc/hostname /etc/ssh/ssh_host_ed25519_key.pub"
    before = first.run(own).stdout.split()
    layers = [f"{lower}{KEPT}test1", f"{lower}{KEPT}test2", f"{lower}{KEPT}test3"]

    first.keep(layers[0])
    second = run.up_all([Spec("second", packages=["tmux"], kept=layers[0])])[0]

    seen = second.run("cat /opt/file; test ! -e /etc/motd; ls /tmp/tmux-*; hostname", check=False)
    assert seen.stdout.split() == ["kept", "second"]
    after = second.run(own).stdout.split()
    # "ssh-ed25519" is the same.
    assert [one == other for one, other in zip(before, after, strict=True)].count(True) == 1
    assert second.run("getent hosts gateway").stdout.split() == [run.gateway, "gateway"]

    # One in use stays when another is made, and goes with the next.
    base = run.state / "base"
    second.run("echo new > /opt/file")
    third = run.up("third", packages=["tmux"])
    third.keep(layers[1])
    assert [(base / layer).exists() for layer in layers] == [True, True, False]
    second.down()
    third.down()
    fourth = run.up("fourth", packages=["tmux"])
    fourth.keep(layers[2])
    assert [(base / layer).exists() for layer in layers] == [False, False, True]
    with pytest.raises(HostsError, match="there is no layer"):
        run.up_all([Spec("fifth", packages=["tmux"], kept=layers[0])])
    fourth.down()
    subprocess.run([*AS_ROOT, "rm", "-r", base / layers[2]], check=True)


def test_a_server_on_the_gateway_is_reached(run: Run, box: Host) -> None:
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"hello {self.client_address[0]}".encode())

    with HTTPServer((run.gateway, 0), Hello) as server:
        threading.Thread(target=server.handle_request).start()
        url = f"http://{run.gateway}:{server.server_port}/"
        ask = f"from urllib.request import urlopen; print(urlopen({url!r}).read().decode())"
        assert box.run(["python3", "-c", ask], "lab").stdout == f"hello {box.address}\n"


def test_a_server_on_a_host_is_reached(box: Host) -> None:
    box.run("systemd-run --collect --unit=web python3 -m http.server 8000")
    box.run("until systemctl is-active web && (: </dev/tcp/127.0.0.1/8000); do sleep .05; done")

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{box.address}:8000/etc/hostname", timeout=5) as reply:
        assert reply.read() == b"bookworm\n"
    box.run("systemctl stop web")


def test_this_machines_authorities_are_known_inside(box: Host) -> None:
    trusted = "/etc/ssl/certs/ca-certificates.crt"
    assert box.run(["cat", trusted]).stdout == Path(trusted).read_text()
    known = box.run(["env"], "lab").stdout.splitlines()
    for name in ("SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "NPM_CONFIG_CAFILE"):
        assert f"{name}={trusted}" in known


def test_a_cache_is_written_to_by_everybody_and_not_changed(box: Host) -> None:
    found = box.run("cd $UV_CACHE_DIR/wheels && cat known && mkdir -p a/b && echo > a/b/c", "lab")
    assert found.stdout == "a wheel"
    found = box.run("cd $UV_CACHE_DIR/wheels && echo new | tee a/b/c a/b/d a/e f", "dev")
    assert found.stdout == "new\n"

    with pytest.raises(HostsError, match="Permission denied"):
        box.run("echo changed > /var/cache/uv/wheels/known", "lab")


def test_the_cache_itself_stays_as_it_was(run: Run, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("as it was")
    host = run.up("cache", cache=tmp_path)
    host.run("echo changed > /var/cache/uv/known; touch /var/cache/uv/new")
    host.down()

    assert [path.name for path in tmp_path.iterdir()] == ["known"]
    assert (tmp_path / "known").read_text() == "as it was"


def test_limits_hold(box: Host) -> None:
    small, large = ("bytearray(2**20 * 100)", "bytearray(2**20 * 500)")
    assert box.run(["systemd-run", "--pipe", "--wait", "python3", "-c", small]).returncode == 0
    killed = box.run(["systemd-run", "--pipe", "--wait", "python3", "-c", large], check=False)
    assert killed.returncode != 0

    # It takes as long as it needs, where other tests take their part of the processors.
    burn = "import time; begun = time.monotonic()\nwhile time.process_time() < 0.4: pass\n"
    share = "print(time.process_time() / (time.monotonic() - begun))"
    assert float(box.run(["python3", "-c", f"{burn}{share}"]).stdout) < 0.8


def test_a_slow_link_is_slow_until_it_is_not(box: Host) -> None:
    before = seconds(box)
    box.slow(delay_ms=60)
    # A login takes more than ten round trips.
    assert seconds(box) > before + 0.6
    assert len(box.run("head -c 300000 /dev/zero", "dev").stdout) == 300_000
    box.slow(0, 0)
    assert seconds(box) < before + 0.6


def test_a_lossy_link_loses_everything_at_a_hundred_percent(box: Host) -> None:
    box.slow(loss_percent=100)
    with pytest.raises(subprocess.TimeoutExpired):
        box.run(["true"], timeout=1)
    box.slow()
    box.run(["true"])


def test_a_cut_link_is_silent_and_an_open_connection_survives_it(box: Host) -> None:
    with subprocess.Popen(
        [*box.ssh("dev"), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("before\n")
        session.stdin.flush()
        assert session.stdout.readline() == "before\n"
        box.cut()
        with pytest.raises(subprocess.TimeoutExpired):
            box.run(["true"], timeout=1)
        box.mend()
        session.stdin.write("after\n")
        session.stdin.close()
        assert session.stdout.readline() == "after\n"


def test_a_reboot_keeps_the_disk_and_changes_the_boot_id(box: Host) -> None:
    before = box.boot_id()
    box.write("/etc/kept", "text", mode=0o600)

    box.reboot()

    assert box.boot_id() not in ("", before)
    assert box.run("cat /etc/kept; stat -c %a /etc/kept").stdout == "text600\n"


def test_a_host_without_power_is_silent_and_boots_again(hosts: list[Host]) -> None:
    host = hosts[1]
    before = host.boot_id()
    host.off()
    with pytest.raises(subprocess.TimeoutExpired):
        host.run(["true"], timeout=1)
    host.on()
    assert host.boot_id() not in ("", before)
    assert "0 loaded units" in host.run(["systemctl", "list-units", "--failed"]).stdout


def test_inventory_is_literal(run: Run, box: Host) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tests.support.hosts", "inventory", run.name],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert json.loads(shown) == run.inventory()
    assert run.inventory()["all"]["hosts"]["bookworm"] == {"ansible_host": box.address}


def test_a_run_of_that_name_is_not_started_twice_nor_ended_by_the_attempt(run: Run) -> None:
    with pytest.raises(HostsError, match="exists"), Run(run.name):
        pass
    assert run.name in [row["name"] for row in runs()]


def test_runs_side_by_side_do_not_know_each_other(run: Run, box: Host) -> None:
    before = lasting()
    with Run() as other:
        assert other.gateway != run.gateway
        host = other.up("bookworm")
        assert [found.address for found in other.hosts] == [host.address]
        # A shared connection outlives its command by ControlPersist, but not the run.
        inventory = other.inventory()["all"]["vars"]["ansible_ssh_common_args"]
        words = ["ssh", *inventory.split(), "-i", str(other.key), f"dev@{host.address}", "true"]
        subprocess.run(words, check=True, capture_output=True)
        had = belongings(other)
        kinds = {line.split(" ")[0] for line in had}
        assert kinds == {"cgroup", "directory", "link", "mount", "process", "rule"}
        assert any("[mux]" in line for line in had)
        # Over a dead link, the one that keeps the connection does not hear of its end.
        host.cut()

    assert left(other, had) == []
    assert lasting() == before
    assert box.run(["true"]).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_owner(number: signal.Signals) -> None:
    child, run = owner()
    had = belongings(run)

    child.send_signal(number)
    child.wait(20)

    assert had
    assert left(run, had) == []


def test_what_a_killed_owner_and_guard_left_is_swept_and_nothing_else(run: Run, box: Host) -> None:
    child, killed = owner()
    had = belongings(killed)
    (guard,) = (row["guard"] for row in runs() if row["name"] == killed.name)
    # Stopped, the guard cannot see its owner die.
    subprocess.run([*AS_ROOT, "kill", "-STOP", str(guard)], check=True)
    child.kill()
    child.wait()
    subprocess.run([*AS_ROOT, "kill", "-KILL", str(guard)], check=True)

    # The kernel ends the processes; what has no process of its own waits for the sweep.
    def ended() -> bool:
        return not any(line.startswith("process") for line in had & everything())

    wait_until(ended, what="end of its processes")
    assert killed.directory.exists()

    assert killed.name not in [row["name"] for row in runs()]

    assert left(killed, had, seconds=2) == []
    assert box.run(["true"]).returncode == 0
