"""What runs and hosts are on this machine: processes, links, rules, cgroups. Needs root.

A run is a pid, a mount and a network namespace below one guard process. When the guard dies, the
kernel ends all three and with them every process, mount, bridge and link of the run. What remains
is named in the run's record and removed by :func:`sweep`: firewall rules, cgroups, directories.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.hosts.base import (
    ENVIRONMENT,
    GATEWAY,
    HostsError,
    give_machine_files,
    locked,
    put,
)
from tests.support.waiting import wait_until

# How ids begin. A run's cgroups are called by its id, its rules and its link say it.
MARK = "anywhere-notebook"
UPLINK = "anh"
FIRST_HOST = 10
LAST_HOST = 250
END_SECONDS = 15.0
# systemd waits for a unit to stop by itself for 90 seconds.
SHUTDOWN_SECONDS = 120.0
# A default access list (linux/posix_acl_xattr.h): what is made below is for everybody, too.
FOR_ALL = struct.pack("<I" + 3 * "HHi", 2, 0x01, 7, -1, 0x04, 7, -1, 0x20, 7, -1)
RELAY = Path(__file__).with_name("relay.py")

# The cgroups of a host: of what boots it, and of what runs in it.
PARTS = ("start", "host")

# Debian's package for each command.
NEEDED = {
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}

ADD_HOST = """\
set -eu
name=$1 index=$2 subnet=$3 lower=$4 cache=$5
ip netns add "$name"
ip link add "port$index" type veth peer name eth0 netns "$name"
ip link set "port$index" up
ip -n "$name" link set lo up
ip -n "$name" link set eth0 address "$6"
ip -n "$name" addr add "$subnet.$index/24" dev eth0
ip -n "$name" link set eth0 up
ip -n "$name" route add default via "$subnet.1"
# With an entry that stays, a packet into a dead link is lost without a word.
ip -n "$name" neigh replace "$subnet.1" lladdr "$7" dev eth0 nud permanent
mount -t overlay overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" root
[ -z "$cache" ] || mount -t overlay overlay \
  -o "lowerdir=$cache,upperdir=cache/upper,workdir=cache/work" root/var/cache/uv
"""

# A machine of its own has Landlock, which nspawn's filter of system calls lacks (seen with 252).
# nspawn ends with 133 when the host asked for a reboot.
BOOT = """\
cd "$1" || exit
cgroup=$2 name=$3
echo 0 > "$cgroup/start/cgroup.procs"
while :; do
  status=0
  (
    echo 0 > "$cgroup/host/cgroup.procs"
    exec systemd-nspawn --quiet --boot --directory=root --machine="$name" --hostname="$name" \
      --register=no --keep-unit --network-namespace-path="/run/netns/$name" \
      --resolv-conf=off --link-journal=no --console=read-only \
      --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self"
  ) || status=$?
  [ "$status" = 133 ] || break
done
# What is left of the network would still answer.
for port in "port$4" "slow$4"; do ip link set "$port" nomaster; done
"""

REMOVE_HOST = """\
[ -z "$3" ] || umount root/var/cache/uv
umount root
ip netns delete "$1"
ip link delete "leg$2"
ip link delete "port$2"
:
"""

# Deleting the leg ends a relay that uses it.
WIRE = """\
set -eu
port=port$1 leg=leg$1 cut=$2 delay=$3 loss=$4 python=$5 relay=$6
ip link delete "$leg" 2>/dev/null || :
ip link set "$port" nomaster
if [ "$delay" != 0 ] || [ "$loss" != 0 ]; then
  ip link add "$leg" type veth peer name "slow$1"
  ip link set "$leg" up
  ip link set "slow$1" up
  setsid "$python" -I "$relay" "$port" "$leg" "$delay" "$loss" </dev/null >relay.log 2>&1 &
  port=slow$1
fi
[ "$cut" = yes ] || ip link set "$port" master bridge
"""


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with its pid."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process that has this pid now; ProcessLookupError when none runs."""
        start = _start_time(pid)
        if start is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, start)

    def alive(self) -> bool:
        """Whether it still runs; one that only waits to be reaped does not."""
        return _start_time(self.pid) == self.start

    def watch(self) -> int | None:
        """A descriptor that becomes readable when it ends; none when it has."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.alive():
            return descriptor
        os.close(descriptor)
        return None

    def kill(self) -> None:
        """End it and wait until it has ended, at most END_SECONDS."""
        descriptor = self.watch()
        if descriptor is None:
            return
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not select.select([descriptor], [], [], END_SECONDS)[0]:
                raise HostsError(f"process {self.pid} did not end within {END_SECONDS:.0f} s")
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


@dataclass
class Host:
    """One host as the run's directory remembers it."""

    name: str
    index: int
    address: str
    release: str
    mac: str
    cache: str = ""
    kept: str = ""
    on: bool = False
    cut: bool = False
    delay_ms: float = 0.0
    loss_percent: float = 0.0


@dataclass
class Record:
    """A run as its directory remembers it. ``id`` marks its things and is never used again."""

    id: str
    name: str
    directory: Path
    sockets: Path
    account: tuple[int, int]
    guard: Process
    owner: Process | None
    init: Process | None = None
    subnet: str = ""
    uplink: str = ""
    hosts: list[Host] = field(default_factory=list)

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """The record in a run's directory; none when there is none (yet)."""
        try:
            known: dict[str, Any] = json.loads((directory / "run.json").read_text())
        except FileNotFoundError:
            return None
        for key in ("guard", "owner", "init"):
            known[key] = known[key] and Process(**known[key])
        for key in ("directory", "sockets"):
            known[key] = Path(known[key])
        known["account"] = tuple(known["account"])
        known["hosts"] = [Host(**host) for host in known["hosts"]]
        return cls(**known)

    def write(self) -> None:
        """Replace the record in the run's directory, all at once."""
        new = self.directory / "run.json.new"
        new.write_text(json.dumps(asdict(self), default=str, indent=1))
        new.replace(self.directory / "run.json")

    def lives(self) -> bool:
        """Whether the run is to be left alone: guarded, and its owner, if it has one, runs."""
        return self.guard.alive() and (self.owner is None or self.owner.alive())

    def host(self, name: str) -> Host:
        """The host of that name; HostsError when there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise HostsError(f"run {self.name} has no host {name}")

    def home(self, host: Host) -> Path:
        """The directory of one host."""
        return self.directory / "hosts" / host.name


def require_tools() -> None:
    """HostsError that names the packages to install, unless everything needed is here."""
    missing = {tool: deb for tool, deb in NEEDED.items() if not shutil.which(tool)}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise HostsError(f"{', '.join(missing)} not found. apt install {packages}")
    _cgroup2()


def add(record: Record, spec: dict[str, Any], lower: list[Path]) -> Host:
    """Make a host on the layers given and boot it. Does not wait for it."""
    if any(host.name == spec["name"] for host in record.hosts):
        raise HostsError(f"run {record.name} already has a host {spec['name']}")
    taken = {host.index for host in record.hosts}
    free = [index for index in range(FIRST_HOST, LAST_HOST) if index not in taken]
    if not free:
        raise HostsError(f"run {record.name} has no free address")
    host = Host(
        name=spec["name"],
        index=free[0],
        address=f"{record.subnet}.{free[0]}",
        release=spec["release"],
        mac=_mac(record, free[0]),
        cache=spec["cache"] or "",
        kept=spec["kept"],
    )
    record.hosts.append(host)
    record.write()
    _furnish(record, host)
    cache = f"{_open_cache(record, host.cache)}:{host.cache}" if host.cache else ""
    lowers = ":".join(map(str, lower))
    words = (host.name, host.index, record.subnet, lowers, cache, host.mac, _mac(record, 1))
    _inside(record, host, ADD_HOST, *words)
    neighbour = (host.address, "lladdr", host.mac, "dev", record.uplink)
    _do("ip", "neigh", "replace", *neighbour, "nud", "permanent")
    _limit(record, host, spec["memory"], spec["cpus"])
    power(record, host, on=True)
    return host


def power(record: Record, host: Host, *, on: bool) -> None:
    """Boot a host, or end it as if its plug had been pulled. Its link goes with it."""
    cgroup = _cgroup2() / record.id / host.name
    if on and not _populated(cgroup):
        join = [_v1(kind) / record.id / host.name / "cgroup.procs" for kind in _v1_kinds()]
        # Where the run's own mount namespace has it.
        boot = Path("/sys/fs/cgroup", record.id, host.name)
        home = record.home(host)
        with (home / "console.log").open("ab") as log:
            subprocess.Popen(
                [
                    "sh",
                    "-c",
                    'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"',
                    "sh",
                    *map(str, join),
                    "--",
                    *_enter(record),
                    *("setsid", "sh", "-c", BOOT, "sh"),
                    *map(str, (home, boot, host.name, host.index)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    if not on:
        _kill_cgroup(cgroup)
        # What systemd 257 starts below a cgroup that was killed once, the kernel kills (kill_seq).
        for name in PARTS:
            _remove_cgroup(cgroup / name)
            (cgroup / name).mkdir()
    host.on = on
    wire(record, host)


def ended(record: Record, host: Host) -> None:
    """Return once a host that is shutting down has done so."""
    cgroup = _cgroup2() / record.id / host.name
    wait_until(lambda: not _populated(cgroup), SHUTDOWN_SECONDS, what=f"end of {host.name}")
    power(record, host, on=False)


def wire(record: Record, host: Host) -> None:
    """Make a host's link what its record says: connected, slow, lossy or dead."""
    cut = "yes" if host.cut or not host.on else "no"
    words = (host.index, cut, f"{host.delay_ms:g}", f"{host.loss_percent:g}")
    _inside(record, host, WIRE, *words, sys.executable, str(RELAY))
    record.write()


def remove(record: Record, host: Host) -> None:
    """End a host and remove what it had."""
    _kill_cgroup(_cgroup2() / record.id / host.name)
    _inside(record, host, REMOVE_HOST, host.name, host.index, host.cache)
    _do("ip", "neigh", "delete", host.address, "dev", record.uplink, fails=True)
    for root in _cgroup_roots():
        _remove_cgroup(root / record.id / host.name)
    shutil.rmtree(record.home(host))
    record.hosts.remove(host)
    record.write()


def connect(record: Record) -> None:
    """Give a run the first free subnet 10.77.N.0/24, its link to this machine, and NAT.

    The link's name holds N, and the kernel lets only one process make it: no two runs can get the
    same subnet.
    """
    assert record.init is not None
    known = _do("ip", "-o", "addr") + _do("ip", "route", "show", "table", "all")
    for number in range(1, 255):
        subnet, uplink = f"10.77.{number}", f"{UPLINK}{number}"
        if f"{subnet}." in known:
            continue
        record.subnet, record.uplink = subnet, uplink
        peer = ("peer", "name", "uplink", "netns", str(record.init.pid))
        made = subprocess.run(
            ["ip", "link", "add", uplink, "address", _mac(record, 1), "type", "veth", *peer],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode == 0:
            break
        if "exists" not in made.stderr:
            raise HostsError(f"ip link add {uplink}: {made.stderr.strip()}")
    else:
        raise HostsError("no subnet 10.77.N.0/24 is free")
    record.write()
    _do("ip", "link", "set", uplink, "alias", record.id)
    _do("ip", "addr", "add", f"{subnet}.1/24", "dev", uplink)
    _do("ip", "link", "set", uplink, "up")
    _do(*_enter(record), "ip", "link", "set", "uplink", "master", "bridge", "up")
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    if forward.read_text().strip() != "1":
        forward.write_text("1\n")
    tag = ("-m", "comment", "--comment", record.id, "-j")
    net = f"{subnet}.0/24"
    # In front, because a firewall's own rules may end with one that refuses everything.
    nat = ("iptables", "-w", "-t", "nat", "-I", "POSTROUTING")
    _do(*nat, "-s", net, "!", "-d", net, *tag, "MASQUERADE")
    _do("iptables", "-w", "-I", "INPUT", "-i", uplink, *tag, "ACCEPT")
    _do("iptables", "-w", "-I", "FORWARD", "-i", uplink, *tag, "ACCEPT")
    _do("iptables", "-w", "-I", "FORWARD", "-o", uplink, *tag, "ACCEPT")


def sweep(runs_dir: Path) -> list[Record]:
    """End what killed runs left behind; return the runs that live. Hold the runs' lock."""
    living = []
    for directory in sorted(runs_dir.glob("*/")):
        record = Record.read(directory)
        if record is None:
            shutil.rmtree(directory)
        elif record.lives():
            living.append(record)
        else:
            end(record)
    return living


def end(record: Record) -> None:
    """End a run and remove everything it had. Hold the runs' lock."""
    if record.guard.pid != os.getpid():
        record.guard.kill()
        # The guard may have gone further than the record read before it died.
        record = Record.read(record.directory) or record
    if record.init is not None:
        record.init.kill()
    with locked(record.directory / "lock"):
        _remove_rest(record)


def _remove_rest(record: Record) -> None:
    """Remove what the kernel does not end together with a run's processes."""
    _end_masters(record.sockets)
    for table in ("filter", "nat"):
        for rule in _do("iptables", "-w", "-t", table, "-S").splitlines():
            words = shlex.split(rule)
            if words[0] == "-A" and record.id in words:
                _do("iptables", "-w", "-t", table, "-D", *words[1:])
    links = json.loads(_do("ip", "-j", "link"))
    if any(link.get("ifalias") == record.id for link in links):
        # The kernel may be about to do it by itself.
        _do("ip", "link", "delete", record.uplink, fails=True)
    for root in _cgroup_roots():
        _remove_cgroup(root / record.id)
    shutil.rmtree(record.sockets, ignore_errors=True)
    shutil.rmtree(record.directory)


def _furnish(record: Record, host: Host) -> None:
    """Write what makes this host different from its base."""
    home = record.home(host)
    upper = home / "upper"
    for name in ("upper", "work", "root", "cache/upper", "cache/work"):
        (home / name).mkdir(parents=True)
    (home / "cache/upper").chmod(0o777)
    environment = ENVIRONMENT
    if host.cache:
        (upper / "var/cache/uv").mkdir(parents=True)
        environment += "UV_CACHE_DIR=/var/cache/uv\n"
    put(upper / "etc/environment", environment)
    put(upper / "etc/hostname", f"{host.name}\n")
    known = ("127.0.0.1 localhost", f"127.0.1.1 {host.name}", "::1 localhost")
    put(upper / "etc/hosts", "\n".join((*known, f"{record.subnet}.1 {GATEWAY}", "")))
    put(upper / "etc/ssh/authorized_keys", (record.directory / "key.pub").read_bytes())
    give_machine_files(upper)
    key = upper / "etc/ssh/ssh_host_ed25519_key"
    _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", str(key))


def _open_cache(record: Record, cache: str) -> Path:
    """The directories of a cache, empty and writable for everybody, to be laid over it.

    Overlayed directories show the uppermost one's mode, so every account can add files without
    the cache's own directories being changed.
    """
    top = record.directory / "caches" / cache.strip("/").replace("/", "%")
    if not top.exists():
        for directory, _, files in os.walk(cache):
            open_one = top / Path(directory).relative_to(cache)
            open_one.mkdir(parents=True)
            open_one.chmod(0o777)
            # The locks and marks of the cache itself, which uv opens for writing.
            for file in {".git", ".lock"}.intersection(files):
                (open_one / file).touch()
                (open_one / file).chmod(0o666)
            os.setxattr(open_one, "system.posix_acl_default", FOR_ALL)
    return top


def _limit(record: Record, host: Host, memory: str | None, cpus: float | None) -> None:
    """Make a host's cgroups, with a limit of memory (bytes, or with K, M, G) and of processors."""
    quota = None if cpus is None else int(cpus * 100_000)
    top = _cgroup2()
    own = top / record.id / host.name
    for name in PARTS:
        (own / name).mkdir(parents=True)
    has = (top / "cgroup.controllers").read_text().split()
    for kind in {"cpu", "memory"}.intersection(has):
        for parent in (top, top / record.id):
            (parent / "cgroup.subtree_control").write_text(f"+{kind}")
    if memory and "memory" in has:
        (own / "memory.max").write_text(memory)
        if (own / "memory.swap.max").exists():
            (own / "memory.swap.max").write_text("0")
    if quota and "cpu" in has:
        (own / "cpu.max").write_text(f"{quota} 100000")
    kinds = _v1_kinds()
    for kind in kinds:
        (_v1(kind) / record.id / host.name).mkdir(parents=True, exist_ok=True)
    for kind, wanted in (("memory", memory), ("cpu", quota)):
        if wanted and kind not in kinds and kind not in has:
            raise HostsError(f"this machine has no {kind} cgroup to limit a host with")
    if memory and "memory" in kinds:
        (_v1("memory") / record.id / host.name / "memory.limit_in_bytes").write_text(memory)
    if quota and "cpu" in kinds:
        (_v1("cpu") / record.id / host.name / "cpu.cfs_quota_us").write_text(str(quota))


def _inside(record: Record, host: Host, script: str, *words: object) -> None:
    """Run a shell script in the run's namespaces, in the host's directory."""
    # Entering a mount namespace leads to its root directory.
    script = f'cd "$1" || exit; shift\n{script}'
    _do(*_enter(record), "sh", "-c", script, "sh", *map(str, (record.home(host), *words)))


def _enter(record: Record) -> list[str]:
    if record.init is None or not record.init.alive():
        raise HostsError(f"run {record.name} is not alive")
    return ["nsenter", f"--target={record.init.pid}", "--mount", "--net", "--pid"]


def _mac(record: Record, index: int) -> str:
    number = int(record.subnet.rpartition(".")[2])
    return f"02:41:4e:48:{number:02x}:{index:02x}"


def _mounted(kind: str) -> Iterator[tuple[Path, list[str]]]:
    """Mount points of a kind of file system, with their options."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, found, options, *_ = line.split(" ")
        if found == kind:
            yield Path(where), options.split(",")


def _cgroup2() -> Path:
    for where, _ in _mounted("cgroup2"):
        return where
    raise HostsError("no cgroup2 file system is mounted (mount -t cgroup2 cgroup2 /sys/fs/cgroup)")


def _v1_kinds() -> list[str]:
    """Which of the two limits cgroup version 1 has here."""
    options = {option for _, options in _mounted("cgroup") for option in options}
    return [kind for kind in ("memory", "cpu") if kind in options]


def _v1(kind: str) -> Path:
    return next(where for where, options in _mounted("cgroup") if kind in options)


def _cgroup_roots() -> list[Path]:
    return [_cgroup2(), *(_v1(kind) for kind in _v1_kinds())]


def _kill_cgroup(cgroup: Path) -> None:
    """End every process in a cgroup and below; wait until none is left."""
    if not cgroup.exists():
        return
    (cgroup / "cgroup.kill").write_text("1")
    wait_until(lambda: not _populated(cgroup), END_SECONDS, what=f"end of {cgroup}", pause=0.01)


def _populated(cgroup: Path) -> bool:
    return "populated 1" in (cgroup / "cgroup.events").read_text()


def _remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup and those below, once their last process has ended."""

    def gone() -> bool:
        for directory, _, _ in os.walk(cgroup, topdown=False):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass
            except OSError:
                return False
        return True

    wait_until(gone, END_SECONDS, what=f"removal of {cgroup}", pause=0.01)


def _end_masters(sockets: Path) -> None:
    """Tell the ssh processes that keep connections of a run open to exit."""
    for socket in sockets.glob("*"):
        command = ["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={socket}", "run"]
        try:
            subprocess.run(command, capture_output=True, timeout=2, check=False)
        except subprocess.TimeoutExpired:
            continue


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat: clock ticks from boot to the process's start."""
    try:
        # The name in parentheses may itself hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _do(*command: str, fails: bool = False) -> str:
    """Run a command and return what it printed; HostsError with its own words when it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 and not fails:
        raise HostsError(f"{shlex.join(command[:8])}: {done.stderr.strip()}")
    return done.stdout
