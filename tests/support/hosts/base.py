"""Cached roots that hosts are overlaid on: a bare Debian per release, and layers above it.

A layer holds packages, or all that a host had when it was kept. What is made here needs root. A
directory that exists is complete: it was built under another name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 8 << 30
RELEASES = ("bookworm", "trixie", "bullseye")
# Between the name of what a kept layer is above and its own.
KEPT = "-kept-"
# What hosts call this machine's end of their network.
GATEWAY = "gateway"
CA_FILE = "/etc/ssl/certs/ca-certificates.crt"

# What a provider's Debian image has, and nothing that the collection installs.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "dbus-user-session",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)

# Consoles nobody looks at, and timers that would take apt's lock from a test.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty.target",
    "getty@.service",
    "systemd-resolved.service",
)

ENVIRONMENT = f"""\
LANG=C.UTF-8
SSL_CERT_FILE={CA_FILE}
PIP_CERT={CA_FILE}
NODE_EXTRA_CA_CERTS={CA_FILE}
NPM_CONFIG_CAFILE={CA_FILE}
"""

CUSTOMIZE = f"""\
set -eu
cd "$1"
for unit in {" ".join(MASKED)}; do ln -sf /dev/null "etc/systemd/system/$unit"; done
chroot . useradd --create-home --shell /bin/bash --uid 1000 --password '*' dev
chroot . useradd --create-home --shell /bin/bash --uid 1001 --password '*' lab
echo 'dev ALL=(ALL) NOPASSWD:ALL' > etc/sudoers.d/dev
chmod 440 etc/sudoers.d/dev
rm -f etc/ssh/ssh_host_*
cat > etc/ssh/sshd_config.d/10-hosts.conf <<'END'
UseDNS no
PermitRootLogin prohibit-password
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys
END
cat > etc/apt/apt.conf.d/90hosts <<'END'
APT::Install-Recommends "false";
APT::Periodic::Enable "0";
END
cat > etc/environment <<'END'
{ENVIRONMENT}END
echo LANG=C.UTF-8 > etc/default/locale
: > etc/machine-id
"""

# Runs in mount and process namespaces of its own, so that nothing mounted here can stay behind.
INSTALL = """\
set -eu
cd "$1"; lower=$2; shift 2
mount -t overlay overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount -t tmpfs -o mode=755 tmpfs root/run
printf '#!/bin/sh\\nexit 101\\n' > root/usr/sbin/policy-rc.d
chmod 755 root/usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
chroot root apt-get -q update
chroot root apt-get -q --yes install -- "$@"
chroot root apt-get clean
rm root/usr/sbin/policy-rc.d
"""


class HostsError(Exception):
    """What cannot be done and why, in words for the person who runs the tests."""


def names(release: str, packages: Sequence[str]) -> list[str]:
    """What the directories are called that a host is overlaid on, uppermost first."""
    if release not in RELEASES:
        raise HostsError(f"release {release}: known are {', '.join(RELEASES)}")
    for package in packages:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", package):
            raise HostsError(f"{package!r} is not the name of a Debian package")
    root = f"{release}-{_digest(CUSTOMIZE, *PACKAGES)}"
    if not packages:
        return [root]
    return [f"{root}-{_digest(INSTALL, *sorted(set(packages)))}", root]


def layers(base_dir: Path, release: str, packages: Sequence[str], kept: str = "") -> list[Path]:
    """Return the directories a host is overlaid on, uppermost first; build what is missing.

    ``kept`` is the name of a layer that :func:`keep` made above the same packages.
    """
    found = [base_dir / name for name in names(release, packages)]
    *layer, root = found
    if not root.is_dir():
        _build_once(root, lambda new: _bootstrap(release, new))
    if layer and not layer[0].is_dir():
        _build_once(layer[0], lambda new: _install(root, sorted(set(packages)), new))
    if not kept:
        return found
    if not kept.startswith(f"{found[0].name}{KEPT}") or not (base_dir / kept).is_dir():
        raise HostsError(f"there is no layer {kept} above {found[0].name}")
    return [base_dir / kept, *found]


def keep(upper: Path, target: Path, used: Collection[str]) -> None:
    """Make a layer of what a host that was shut down has written.

    Those that were kept before it above the same packages go, unless they are ``used``.
    """

    def copy(new: Path) -> Path:
        _build("cp", "--archive", str(upper), str(new / "upper"))
        # As in a root: each host gets one of its own.
        put(new / "upper/etc/machine-id", "")
        return new / "upper"

    _build_once(target, copy)
    lower = target.name.partition(KEPT)[0]
    for earlier in target.parent.glob(f"{lower}{KEPT}*"):
        if earlier != target and earlier.name not in used:
            shutil.rmtree(earlier)


def give_machine_files(root: Path) -> None:
    """Copy this machine's name servers and certificate authorities below ``root``."""
    resolv = Path("/etc/resolv.conf").read_text()
    full = Path("/run/systemd/resolve/resolv.conf")
    # A host cannot reach a resolver on this machine's loopback; that one's own file has others.
    if re.search(r"^nameserver\s+127\.", resolv, re.MULTILINE) and full.exists():
        resolv = full.read_text()
    put(root / "etc/resolv.conf", resolv)
    if Path(CA_FILE).exists():
        put(root / CA_FILE.lstrip("/"), Path(CA_FILE).read_bytes())
    for own in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        put(root / "usr/local/share/ca-certificates" / own.name, own.read_bytes())


def put(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file, and the directories above it; a symbolic link there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the kernel releases it when its holder dies."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_once(target: Path, build: Callable[[Path], Path]) -> None:
    """Let ``build`` fill a new directory, and give what it returns the name ``target``.

    One build at a time: others wait, so what an unfinished one left behind can go.
    """
    with locked(target.parent / "lock"):
        if target.is_dir():
            return
        for unfinished in target.parent.glob("*.new"):
            shutil.rmtree(unfinished)
        print(f"hosts: building {target.name}, once", file=sys.stderr)
        new = target.with_name(f"{target.name}.new")
        new.mkdir()
        build(new).rename(target)
        shutil.rmtree(new, ignore_errors=True)


def _bootstrap(release: str, target: Path) -> Path:
    _build(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--format=directory",
        "--skip=cleanup/apt/lists",
        f"--include={','.join(PACKAGES)}",
        f"--customize-hook={CUSTOMIZE}",
        release,
        str(target),
    )
    return target


def _install(root: Path, packages: Sequence[str], target: Path) -> Path:
    for name in ("upper", "work", "root"):
        (target / name).mkdir()
    give_machine_files(target / "upper")
    _build("sh", "-c", INSTALL, "sh", str(target), str(root), *packages)
    return target / "upper"


def _build(*command: str) -> None:
    """Run a command in namespaces that end with this process, however it ends."""
    namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    done = subprocess.run(
        ["setpriv", "--pdeathsig=KILL", "unshare", *namespaces, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        check=False,
    )
    if done.returncode != 0:
        raise HostsError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}")


def _digest(*recipe: str) -> str:
    return hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:10]


def runs_dir(state: Path) -> Path:
    """Where the runs of a state directory are, with all that their hosts write.

    In memory where there is plenty of it: installing takes half the time there, and ending a host
    a twentieth.
    """
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).total >= MEMORY_BYTES:
        return MEMORY / f"hosts-{hashlib.sha256(bytes(state)).hexdigest()[:8]}"
    return state / "run"
