"""Looks whether the notebook server can be started, and becomes it; says in a sentence why not.

Usage: start.py NOTEBOOKS FILE... -- COMMAND...
       start.py --look NOTEBOOKS DIRECTORY

Runs in the role's directory, with any Python 3.9 or newer of the host. NOTEBOOKS is the directory
whose notebooks are shown, each FILE something that the server reads when it starts. With --look it
changes nothing, and says whether a server in DIRECTORY could have these notebooks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

CONFIG = "jupyter_server_config.py"
# The configuration is whole when it ends so.
LAST_LINE = b"# The end."
# Exit status of --look where there is trouble.
TROUBLE = 6

# A socket's path has at most 107 characters (unix(7)); the longest that Jupyter gives a kernel is
# "/kernel-UUID-ipc-NN" below its directory.
LONGEST_DIRECTORY = 107 - len("/kernel--ipc-NN") - 36
ELSEWHERE = "/tmp/notebook-"
REASONS = {
    errno.EACCES: "this account may not do that",
    errno.EPERM: "this account may not do that",
    errno.EDQUOT: "the account's share of the disk is used up",
    errno.EIO: "the disk has an error",
    errno.ENOSPC: "the disk is full",
    errno.ENOTDIR: "a part of that path is a file",
    errno.EROFS: "the disk is read-only",
    errno.ESTALE: "the file server has lost it",
}

# What would change what Jupyter or its Python reads. Python's are for the server's kernels and
# terminals, which get them back (notebook_guard.in_force); where a person's kernels are is the
# person's.
WITHHELD = re.compile(r"PYTHON|JUPYTER|TRAITLETS_|JPY_")
KEPT = {"JUPYTER_PATH", "JUPYTER_DATA_DIR"}
# How the server is told; it takes this out of its environment.
TOLD = "NOTEBOOK_GUARD"


class Refusal(Exception):
    """The server cannot be started; the message is a sentence or two, what to do included."""


def explained(exc: OSError) -> str:
    """Return why, in words for people."""
    return REASONS.get(exc.errno or 0) or exc.strerror or type(exc).__name__


def mount_of(path: str, mountinfo: str) -> str:
    """Return the mount point that has the real ``path``.

    ``mountinfo`` is the text of /proc/self/mountinfo, proc_pid_mountinfo(5).
    """
    found = "/"
    for line in mountinfo.splitlines():
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4])
        if within(path, point) and len(point) > len(found):
            found = point
    return found


def within(path: str, directory: str) -> bool:
    """Whether a path is a directory or below it."""
    return directory == "/" or path == directory or path.startswith(f"{directory}/")


def see_notebooks(path: str, recorded: Mapping[str, str], *, make: bool) -> dict[str, str]:
    """Look at the directory with the notebooks; return what is to be recorded of it.

    ``recorded`` is what was recorded when a server started with it the last time.

    Raises:
        Refusal: it is no directory, not permitted, not mounted, or cannot be made.
    """
    way_out = "Correct that, or name another directory with jupyter_root_dir, and run setup again."
    try:
        known = recorded.get("path") == path and recorded.get("mount", "/")
        # Also what is mounted only when somebody looks.
        with contextlib.suppress(OSError):
            os.listdir(path)
        real = os.path.realpath(path)
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            mount = mount_of(real, lines.read())
        if known and within(real, known) and not within(mount, known):
            raise Refusal(
                f"The notebooks' directory {path} was on what is mounted at {known}, and nothing "
                f"is mounted there now. Mount it again, and run reconnect; or, where its notebooks "
                f"are to be elsewhere from now on, remove the file {os.getcwd()}/notebooks first."
            )
        if os.path.lexists(path):
            if not os.path.exists(path) and os.path.islink(path):
                raise Refusal(
                    f"The notebooks' directory {path} is a link to {os.readlink(path)}, which is "
                    f"not there. {way_out}"
                )
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise Refusal(f"The notebooks' directory {path} is not a directory. {way_out}")
            os.listdir(path)
        elif make:
            os.makedirs(path)
        else:
            above = path
            while not os.path.lexists(above):
                above = os.path.dirname(above)
            if not stat.S_ISDIR(os.stat(above).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "")
            if not os.access(above, os.W_OK | os.X_OK):
                raise OSError(_why_not(above), "")
    except OSError as exc:
        there = os.path.lexists(path)
        what = "cannot be read" if there else "is not there and cannot be made"
        raise Refusal(
            f"The notebooks' directory {path} {what}: {explained(exc)}. {way_out}"
        ) from exc
    return {"path": path, "mount": mount}


def _why_not(directory: str) -> int:
    """Return the errno for a directory in which nothing can be made."""
    read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
    return errno.EROFS if read_only else errno.EACCES


def see_configuration(text: bytes, file: str) -> None:
    """Require that a configuration is whole.

    Raises:
        Refusal: its end is missing, or it is no program.
    """
    try:
        if text.rstrip().rpartition(b"\n")[2] != LAST_LINE:
            raise ValueError("its end is missing")
        compile(text, file, "exec")
    except (SyntaxError, ValueError) as exc:
        raise Refusal(f"{file} is not whole: {exc}. Run setup again, which writes it.") from exc


def environment_of(given: Mapping[str, str], base: str, runtime: str) -> dict[str, str]:
    """Return the server's environment, which tells it also of the account's."""
    environment = {
        name: value for name, value in given.items() if not WITHHELD.match(name) or name in KEPT
    }
    told = {
        "environment": {name: given[name] for name in given if name.startswith("PYTHON")},
        "config_dir": given.get("JUPYTER_CONFIG_DIR") or os.path.expanduser("~/.jupyter"),
    }
    # Only until its own configuration is read does the server need this to find our package.
    environment["PYTHONPATH"] = f"{base}/guard"
    # Here are no settings; those in ~/.jupyter are the person's, for other servers.
    environment["JUPYTER_CONFIG_DIR"] = f"{base}/guard"
    # What this server writes for itself is not mixed with what other servers of the account write.
    environment["JUPYTER_RUNTIME_DIR"] = runtime
    # The kernels of jupyter_kernels, besides those in the usual places.
    paths = [base, given.get("JUPYTER_PATH", "")]
    environment["JUPYTER_PATH"] = os.pathsep.join(filter(None, paths))
    environment[TOLD] = json.dumps(told)
    return environment


def write(file: str, text: str) -> None:
    """Have a file of the account alone hold a text, never half of it."""
    with contextlib.suppress(FileNotFoundError), open(file, encoding="utf-8") as lines:
        if lines.read() == text:
            return
    draft = f"{file}.part"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as lines:
        lines.write(text)
        lines.flush()
        os.fsync(lines.fileno())
    os.replace(draft, file)


def note_boot() -> None:
    """Tell what became of the last server, and end the logins that it knew.

    ``earlier`` is for the card: when the machine was started, if that was since, and how many
    processes the machine has ended since because its memory was full. Where a server has ended and
    the machine runs on, another account may have had its port, and with it the cookies of pages
    that were open; a boot gives nobody the time, because the agent starts after the server.
    """
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as lines:
        boot = lines.read().strip()
    with open("/proc/vmstat", encoding="ascii") as lines:
        kills = dict(line.split() for line in lines).get("oom_kill", "0")
    last = read("boot").split()
    last_boot, last_kills = last if len(last) == 2 else (boot, kills)
    if last_boot == boot:
        write("earlier", f"\n{int(kills) - int(last_kills)}\n")
        with contextlib.suppress(FileNotFoundError):
            os.unlink("cookie_secret")
    else:
        with open("/proc/stat", encoding="ascii") as lines:
            since = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        write("earlier", time.strftime("%F %R %Z\n0\n", time.localtime(since)))
    write("boot", f"{boot} {kills}\n")


def read(file: str) -> str:
    """Return what a file holds, nothing where there is none."""
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            return lines.read()
    except FileNotFoundError:
        return ""


def runtime_directory(base: str, elsewhere: str = ELSEWHERE) -> str:
    """Return a directory of this account alone, short enough for the sockets of kernels.

    Where ``base`` has a longer name it is one that begins as ``elsewhere``; the link ``sockets``
    leads to it, so the next server has the same one. What dead kernels have left is gone.
    """
    directory = f"{base}/k"
    if len(os.fsencode(directory)) > LONGEST_DIRECTORY:
        with contextlib.suppress(OSError):
            directory = os.readlink(f"{base}/sockets")
        if not (directory.startswith(elsewhere) and is_ours(directory)):
            above, prefix = os.path.split(elsewhere)
            directory = tempfile.mkdtemp(prefix=prefix, dir=above)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{base}/sockets")
            os.symlink(directory, f"{base}/sockets")
        # What is locked, systemd-tmpfiles leaves alone. The server has it open as long as it runs.
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.set_inheritable(held, True)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.chmod(directory, 0o700)
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as lines:
        alive = {line.split(maxsplit=7)[-1].rstrip("\n") for line in lines}
    kernels = {re.sub(r"-ipc-\d+$", "", path) for path in alive}
    for path in glob.glob(f"{glob.escape(directory)}/kernel-*"):
        if path not in alive and re.sub(r"\.json$", "", path) not in kernels:
            os.unlink(path)
    return directory


def is_ours(directory: str) -> bool:
    """Whether nobody but this account can have to do with what is in a directory."""
    try:
        found = os.lstat(directory)
    except OSError:
        return False
    mode = stat.S_IMODE(found.st_mode)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not mode & 0o077


def note_files(files: Sequence[str]) -> None:
    """Keep what is read now, in the form of sha256sum(1), so that a later setup can compare."""
    lines = []
    for name in files:
        with open(name, "rb") as content:
            lines.append(f"{hashlib.sha256(content.read()).hexdigest()}  {name}\n")
    write("read_at_start", "".join(lines))


def start(notebooks: str, files: Sequence[str], command: Sequence[str]) -> None:
    """Become the server.

    Raises:
        Refusal, OSError: it cannot be started.
    """
    base = os.getcwd()
    with open(CONFIG, "rb") as text:
        see_configuration(text.read(), f"{base}/{CONFIG}")
    try:
        recorded = json.loads(read("notebooks") or "{}")
    except ValueError:
        recorded = {}
    write("notebooks", json.dumps(see_notebooks(notebooks, recorded, make=True)))
    # For our own questions to the server; people use the password.
    if not read("token").strip():
        write("token", secrets.token_hex(24))
    note_boot()
    note_files(files)
    # IPython keeps there what is typed into kernels, and would make it for everybody to read.
    os.makedirs(os.environ.get("IPYTHONDIR") or os.path.expanduser("~/.ipython"), 0o700, True)
    # Without it Jupyter would copy settings of another decade into its configuration.
    write("guard/migrated", "")
    runtime = runtime_directory(base)
    os.execvpe(command[0], list(command), environment_of(os.environ, base, runtime))


def main(words: Sequence[str]) -> None:
    """Start, or look."""
    try:
        if words[0] == "--look":
            notebooks, base = map(os.path.expanduser, words[1:])
            with contextlib.suppress(OSError):
                os.chdir(base)
            try:
                recorded = json.loads(read("notebooks") or "{}")
            except (OSError, ValueError):
                recorded = {}
            see_notebooks(os.path.abspath(notebooks), recorded, make=False)
            return
        number = words.index("--")
        notebooks = os.path.abspath(os.path.expanduser(words[0]))
        start(notebooks, words[1:number], words[number + 1 :])
    except Refusal as refusal:
        said = str(refusal)
    except OSError as exc:
        said = f"{exc.filename or os.getcwd()} cannot be used: {explained(exc)}."
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            said += " Free some room, and run reconnect."
    if words[0] == "--look":
        print(said)
        sys.exit(TROUBLE)
    sys.exit(f"The notebook server was not started. {said}")


if __name__ == "__main__":
    main(sys.argv[1:])
