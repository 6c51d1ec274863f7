"""Looks whether the notebook server can be started, and becomes it; says in a sentence why not.

Usage: start.py [--login] NOTEBOOKS FILE... -- COMMAND...
       start.py --look NOTEBOOKS DIRECTORY...
       start.py --tell FILE

Runs in the role's directory, with any Python 3.9 or newer of the host. NOTEBOOKS is the directory
whose notebooks are shown, each FILE something that the server reads when it starts. With --login
the server also has the environment of a login of the account. With --look nothing is changed, and
it says whether a server in the first DIRECTORY could have these notebooks, which must not be in any
of them: the directory's full path, or why not. With --tell it writes its environment to FILE.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import pwd
import re
import secrets
import shlex
import signal
import stat
import subprocess
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

# What would change what Jupyter or its Python reads, and what is told to those who run in tmux:
# they would take our tmux server for theirs. Python's are for the server's kernels and terminals,
# which get them back (notebook_guard.in_force); where a person's kernels are is the person's.
WITHHELD = re.compile(
    r"PYTHON|JUPYTER|TRAITLETS_|JPY_"
    r"|(NOTEBOOK_GUARD|TMUX|TMUX_PANE|TERM_PROGRAM|TERM_PROGRAM_VERSION)\Z"
)
KEPT = {"JUPYTER_PATH", "JUPYTER_DATA_DIR"}
# sys/prctl.h
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, -1
# Variables that somebody has asked for; the role writes it where there are any.
ASKED = "environment.json"
# A login that takes longer asks somebody something, or waits for what does not answer.
LOGIN_SECONDS = 10
# What each shell has otherwise, and what is no name in a shell.
SHELLS_OWN = re.compile(r"_|SHLVL|(OLD)?PWD|TERM|TMUX|.*[^A-Za-z0-9_].*|[0-9].*", re.DOTALL)
# By what a directory of the role is known; what is there before; and what a disk of its own has.
SETUP_WAS_THERE = {"install.lock", "password_hash", "start"}
BEGUN = {"requirements.txt", "lost+found"}
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


def full_path(told: str) -> str:
    """Return the directory that a person means; ``~`` and variables are as in a shell.

    One that is relative is so to the home.

    Raises:
        Refusal: there is no such account or variable, and no directory of that very name.
    """
    home = os.path.expanduser("~")
    meant = os.path.expanduser(os.path.expandvars(told))
    path = os.path.normpath(os.path.join(home, meant))
    unknown = re.match(r"~[^/]+", meant) or re.search(r"\$(\w+|\{[^}]*\})", meant)
    if not unknown:
        return path
    literal = os.path.normpath(os.path.join(home, told))
    if os.path.lexists(literal):
        return literal
    what = "account" if unknown[0].startswith("~") else "variable of this account"
    raise Refusal(
        f"The notebooks' directory {told} cannot be found: there is no {what} {unknown[0]}. Name "
        "it by its full path, or from the home directory, with jupyter_root_dir, and run setup "
        "again."
    )


def require_outside(path: str, ours: Sequence[str]) -> None:
    """Require that notebooks are not where a notebook has its own files, which are taken away.

    Raises:
        Refusal: ``path`` is one of the directories ``ours``, or in one, by whatever name.
    """
    real = os.path.realpath(path)
    above = [real]
    while above[-1] != os.path.dirname(above[-1]):
        above.append(os.path.dirname(above[-1]))
    for directory in ours:
        inside = within(real, os.path.realpath(directory))
        # Also where it has several paths, as behind a bind mount.
        with contextlib.suppress(OSError):
            own = os.stat(directory)
            inside = inside or any(
                os.path.samestat(own, os.stat(each)) for each in above if os.path.exists(each)
            )
        if inside:
            raise Refusal(
                f"The notebooks' directory {path} is in {directory}, where this collection keeps "
                "its own files, which the playbook remove takes away. Name another directory with "
                "jupyter_root_dir, move there what is yours, and run setup again."
            )


def require_ours(directory: str) -> None:
    """Require that a directory which is to be the role's own has nothing of the person's.

    Raises:
        Refusal: it has, and setup has not been there before.
    """
    try:
        found = set(os.listdir(directory))
    except OSError:  # not there yet; whatever else it is, who makes it says so
        return
    if found & SETUP_WAS_THERE:
        return
    theirs = sorted(name for name in found - BEGUN if not name.startswith(".ansible_tmp"))
    if theirs:
        raise Refusal(
            f"{directory} is to be this collection's own directory, and has something else already "
            f"({', '.join(theirs[:3])}), which setup could overwrite. Name a new or empty one with "
            "jupyter_base_dir."
        )


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


def asked_for(given: Mapping[str, str], text: str) -> dict[str, str]:
    """Return an environment with the variables of a JSON object, numbers among them.

    In the value of NAME, ``$NAME`` and ``${NAME}`` stand for what it is without.

    Raises:
        Refusal: it is no such object.
    """
    try:
        asked = {name: str(value) for name, value in json.loads(text).items()}
    except (ValueError, AttributeError) as exc:
        raise Refusal(f"{os.getcwd()}/{ASKED} is not whole. Run setup again.") from exc

    def text_of(name: str) -> str:
        own = rf"\${name}\b|\$\{{{name}\}}"
        return re.sub(own, lambda _: given.get(name, ""), asked[name])

    return {**given, **{name: text_of(name) for name in asked}}


def login_environment(given: Mapping[str, str], shell: str, file: str) -> dict[str, str]:
    """Return an environment with what a login shell of the account sets otherwise.

    The shell is given its command twice: one that becomes another shell has the other read it.
    What it prints is nobody's, and ``file`` is there only meanwhile.

    Raises:
        Refusal: it has not come to its command in time, or at all.
    """
    tell = [sys.executable, "-I", "-S", os.path.abspath(__file__), "--tell", file]
    line = f"exec {' '.join(map(shlex.quote, tell))}"
    # Who has the login begin in tmux finds that it does. None answers there.
    environment = {**given, "SHLVL": "0", "TMUX": "/dev/null,0,0"}
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)
    try:
        with tempfile.TemporaryFile() as lines:
            lines.write(f"{line}\n".encode())
            lines.seek(0)
            login = subprocess.Popen(
                [f"-{os.path.basename(shell)}", "-i", "-c", line],
                executable=shell,
                env=environment,
                cwd=os.path.expanduser("~"),
                stdin=lines,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            login.wait(LOGIN_SECONDS)
            how = f"it ended with status {login.returncode} before"
        except subprocess.TimeoutExpired:
            os.killpg(login.pid, signal.SIGKILL)
            login.wait()
            how = f"it has not come to its end within {LOGIN_SECONDS} s"
        found = json.loads(read(file) or "{}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)
    except OSError as exc:
        found, how = {}, explained(exc)
    if not found:
        raise Refusal(
            f"What a login sets is not taken over from {shell}: {how}. Look at what it reads, such "
            "as ~/.profile, or name the variables with jupyter_environment."
        )
    theirs = {name: value for name, value in found.items() if not SHELLS_OWN.fullmatch(name)}
    return {**given, **theirs}


def login_shell() -> str:
    """Return the shell of this account's logins."""
    try:
        return pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    except KeyError:
        return os.environ.get("SHELL") or "/bin/sh"


def with_programs(given: Mapping[str, str], directory: str) -> dict[str, str]:
    """Return an environment that looks for programs in this directory first."""
    path = [each for each in given.get("PATH", os.defpath).split(os.pathsep) if each != directory]
    return {**given, "PATH": os.pathsep.join([directory, *path])}


def ends_with_login(name: str, given: Mapping[str, str]) -> bool:
    """Whether a variable names what is there only as long as somebody is logged in over SSH.

    The server stays, and another account can have the place of a forwarded agent's socket in /tmp,
    or the port of a forwarded display: programs would ask it for keys, and take what it types.
    """
    if name == "SSH_AUTH_SOCK":
        return "SSH_CONNECTION" in given
    host = given[name].rpartition(":")[0]
    return name == "DISPLAY" and not host.startswith("/") and host not in ("", "unix")


def environment_of(given: Mapping[str, str], base: str, runtime: str) -> dict[str, str]:
    """Return the server's environment, which tells it also of the account's."""
    environment = {
        name: value
        for name, value in given.items()
        if name in KEPT or not (WITHHELD.match(name) or ends_with_login(name, given))
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
    processes the machine has ended since because its memory was full; a third line is what went
    wrong with the environment of a login. Where a server has ended and
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
        write("earlier", time.strftime("%F %R UTC\n0\n", time.gmtime(since)))
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


def let_port_be_held() -> None:
    """Let programs of this account take over the server's socket, as the agent's supervisor does.

    While it holds the socket, nobody can have the port of a server that has ended before the tunnel
    is closed. Who may trace a process may do that; with Yama's ptrace_scope 1, as Ubuntu has it,
    those are only its ancestors and whom it allows (pidfd_getfd(2); Linux,
    Documentation/admin-guide/LSM/Yama.rst). Other accounts may not in any case.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(PR_SET_PTRACER_ANY), 0, 0, 0)


def note_files(files: Sequence[str]) -> None:
    """Keep what is read now, in the form of sha256sum(1), so that a later setup can compare."""
    lines = []
    for name in files:
        with open(name, "rb") as content:
            lines.append(f"{hashlib.sha256(content.read()).hexdigest()}  {name}\n")
    write("read_at_start", "".join(lines))


def start(notebooks: str, files: Sequence[str], command: Sequence[str], *, login: bool) -> None:
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
    require_outside(notebooks, [base])
    write("notebooks", json.dumps(see_notebooks(notebooks, recorded, make=True)))
    # For our own questions to the server; people use the password.
    if not read("token").strip():
        write("token", secrets.token_hex(24))
    note_boot()
    note_files(files)
    environment = dict(os.environ)
    if login:
        try:
            environment = login_environment(environment, login_shell(), f"{base}/login.json")
        except Refusal as refusal:
            # A notebook without these variables is better than none.
            write("earlier", f"{read('earlier')}{refusal}\n")
    if ASKED in files:
        environment = asked_for(environment, read(ASKED))
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(ASKED)
    if command[0].startswith(f"{base}/venv/"):
        # What people type in a terminal or after "!" in a cell belongs to the notebook's.
        environment = with_programs(environment, f"{base}/venv/bin")
    # IPython keeps there what is typed into kernels, and would make it for everybody to read.
    os.makedirs(environment.get("IPYTHONDIR") or os.path.expanduser("~/.ipython"), 0o700, True)
    # Without it Jupyter would copy settings of another decade into its configuration.
    write("guard/migrated", "")
    runtime = runtime_directory(base)
    let_port_be_held()
    os.execvpe(command[0], list(command), environment_of(environment, base, runtime))


def main(words: Sequence[str]) -> None:
    """Start, or look."""
    try:
        if words[0] == "--tell":
            write(words[1], json.dumps(dict(os.environ)))
            return
        if words[0] == "--look":
            notebooks = full_path(words[1])
            ours = list(map(full_path, words[2:]))
            require_ours(ours[0])
            require_outside(notebooks, ours)
            with contextlib.suppress(OSError):
                os.chdir(ours[0])
            try:
                recorded = json.loads(read("notebooks") or "{}")
            except (OSError, ValueError):
                recorded = {}
            see_notebooks(notebooks, recorded, make=False)
            print(notebooks)
            return
        login = words[0] == "--login"
        words = words[login:]
        number = words.index("--")
        start(full_path(words[0]), words[1:number], words[number + 1 :], login=login)
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
