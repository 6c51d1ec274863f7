"""Whatever goes wrong while the server starts: it is closed, or it is not there and says why."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support import PASSWORD
from tests.support.processes import debuggers, descendants
from tests.support.servers import Seen, Server, listening, status, without_rights
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

Break = Callable[[Server], AbstractContextManager[None]]

# As tutorials have it.
OPEN = """
c.ServerApp.ip = "0.0.0.0"
c.ServerApp.password = ""
c.ServerApp.jpserver_extensions = {"notebook_guard": False}
c.IdentityProvider.token = ""
c.LabApp.default_url = "/nowhere"
"""
# Where a Jupyter looks for files of the whole machine.
MACHINE = Path("/usr/local/etc")
AS_ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: mounts")


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """What the role has written."""
    home = tmp_path_factory.mktemp("closed") / "home"
    home.mkdir()
    server = Server(home)
    server.configure()
    with notebooks_are_a_file(server):
        server.watch()
    server.notebooks.unlink()
    return server


@pytest.fixture
def server(configured: Server, tmp_path: Path) -> Iterator[Server]:
    """The same for one test, which may break it; it is in the same place, which the files name."""
    kept = tmp_path / "kept"
    shutil.copytree(configured.home, kept, symlinks=True)
    yield configured
    if (configured.base / "sockets").is_symlink():
        shutil.rmtree((configured.base / "sockets").readlink(), ignore_errors=True)
    shutil.rmtree(configured.home)
    shutil.move(kept, configured.home)
    configured.environment.clear()
    configured.prefix.clear()


def written(name: str, change: Callable[[str], str]) -> Break:
    """A file of ours is otherwise than the role has written it."""

    @contextmanager
    def broken(server: Server) -> Iterator[None]:
        file = server.base / name
        file.write_text(change(file.read_text()))
        yield

    return broken


def settings(value: object) -> Break:
    """Somebody has asked for this with jupyter_settings."""
    before, after = (f"json.loads({json.dumps(json.dumps(each))})" for each in ({}, value))
    return written("jupyter_server_config.py", lambda config: config.replace(before, after))


def of_the_machine(**files: str) -> Break:
    """Somebody has put files where Jupyter looks for those of the whole machine."""

    @contextmanager
    def broken(server: Server) -> Iterator[None]:
        directory = server.home / "machine/jupyter"
        directory.mkdir(parents=True)
        for name, text in files.items():
            (directory / name.replace("__", ".")).write_text(text)
        in_place_of_the_machines(server)
        yield

    return broken


def in_place_of_the_machines(server: Server) -> None:
    """Have the server see the directory ``machine`` as the machine's."""
    mount = f'mount --bind "$1" {MACHINE}; shift; exec "$@"'
    machine = str(server.home / "machine")
    server.prefix[:] = ["unshare", "-m", "sh", "-c", mount, "sh", machine]


@contextmanager
def notebooks_are_a_file(server: Server) -> Iterator[None]:
    server.notebooks.write_text("")
    yield


@contextmanager
def notebooks_below_a_file(server: Server) -> Iterator[None]:
    (server.home / "plain").write_text("")
    server.notebooks.symlink_to(server.home / "plain/notebooks")
    yield


@contextmanager
def notebooks_are_elsewhere(server: Server) -> Iterator[None]:
    server.notebooks.symlink_to("/nowhere/notebooks")
    yield


@contextmanager
def notebooks_are_not_permitted(server: Server) -> Iterator[None]:
    server.notebooks.mkdir(mode=0)
    server.prefix[:] = without_rights()
    yield


@contextmanager
def notebooks_cannot_be_made(server: Server) -> Iterator[None]:
    server.prefix[:] = without_rights()
    server.home.chmod(0o500)
    try:
        yield
    finally:
        server.home.chmod(0o700)


@contextmanager
def notebooks_are_not_mounted(server: Server) -> Iterator[None]:
    server.notebooks.mkdir()
    record = {"path": str(server.notebooks), "mount": str(server.notebooks)}
    (server.base / "notebooks").write_text(json.dumps(record))
    yield


@contextmanager
def disk_is_full(server: Server) -> Iterator[None]:
    with server.disk(1):
        fill = ["dd", "if=/dev/zero", f"of={server.base}/filler", "status=none"]
        subprocess.run(fill, check=False, stderr=subprocess.DEVNULL)
        yield


@contextmanager
def disk_is_full_after_an_upgrade(server: Server) -> Iterator[None]:
    (server.base / "guard/complete").unlink(missing_ok=True)
    with disk_is_full(server):
        yield


@contextmanager
def disk_is_read_only(server: Server) -> Iterator[None]:
    with server.disk(1):
        subprocess.run(["mount", "-o", "remount,ro", server.base], check=True)
        yield


@contextmanager
def configuration_is_missing(server: Server) -> Iterator[None]:
    server.config.unlink()
    yield


# What is broken, and the sentence that names it.
BY_DAY: dict[str, tuple[Break, str]] = {
    "notebooks-a-file": (notebooks_are_a_file, r"notebooks is not a directory\. Correct that"),
    "notebooks-not-permitted": (
        notebooks_are_not_permitted,
        r"notebooks cannot be read: this account may not do that\.",
    ),
    "notebooks-not-mounted": (
        notebooks_are_not_mounted,
        r"nothing is mounted there now\. Mount it again, and run reconnect",
    ),
    "disk-full": (disk_is_full, r"cannot be used: the disk is full\. Free some room"),
    "disk-read-only": (disk_is_read_only, r"cannot be used: the disk is read-only\."),
    "configuration-cut-off": (
        written("jupyter_server_config.py", lambda text: text[: len(text) // 2]),
        r"jupyter_server_config\.py is not whole: its end is missing\. Run setup again",
    ),
    "settings-of-a-wrong-type": (
        settings({"ServerApp": {"port_retries": "many"}}),
        r"'port_retries' trait of a ServerApp instance expected an int",
    ),
    "settings-open-the-network": (
        settings({"ServerApp": {"ip": "0.0.0.0"}}),
        r"ServerApp\.ip is '0\.0\.0\.0' .* It is in jupyter_settings: take it out",
    ),
    "machine-has-kernels-on-tcp": (
        of_the_machine(jupyter_lab_config__py="c.AsyncIOLoopKernelManager.transport = 'tcp'\n"),
        r"transport is 'tcp' .* set in \S+/jupyter_lab_config\.py: take it out",
    ),
}
FURTHER: dict[str, tuple[Break, str]] = {
    "notebooks-below-a-file": (notebooks_below_a_file, r"is a link to \S+, which is not there\."),
    "notebooks-elsewhere": (notebooks_are_elsewhere, r"is a link to /nowhere/notebooks, which is"),
    "notebooks-cannot-be-made": (
        notebooks_cannot_be_made,
        r"is not there and cannot be made: this account may not do that\.",
    ),
    "disk-full-after-an-upgrade": (
        disk_is_full_after_an_upgrade,
        r"guard cannot be written: No space left on device\.",
    ),
    "configuration-missing": (
        configuration_is_missing,
        r"jupyter_server_config\.py cannot be used: No such file or directory\.",
    ),
    "configuration-broken": (
        written("jupyter_server_config.py", lambda text: text.replace("import os", "import os os")),
        r"jupyter_server_config\.py is not whole: invalid syntax",
    ),
    "configuration-fails": (
        written("jupyter_server_config.py", lambda text: text.replace("= port", "= prot")),
        r"Its configuration fails: NameError: name 'prot' is not defined",
    ),
    "password-hash-empty": (written("password_hash", lambda _: ""), r"password_hash is empty"),
    "settings-no-options": (
        settings({"ServerApp": "open"}),
        r"in jupyter_settings ServerApp is no list of options",
    ),
    "settings-of-a-wrong-type-for-lab": (
        settings({"LabApp": {"default_url": 7}}),
        r"'default_url' trait of a LabApp instance expected a unicode string",
    ),
    "settings-of-a-wrong-type-for-kernels": (
        settings({"MappingKernelManager": {"cull_idle_timeout": "soon"}}),
        r"'cull_idle_timeout' trait of an? \w+ instance expected an int",
    ),
    "settings-kernels-on-tcp": (
        settings({"KernelManager": {"transport": "tcp"}}),
        r"KernelManager\.transport is 'tcp' .* It is in jupyter_settings",
    ),
    "settings-without-xsrf": (
        settings({"ServerApp": {"disable_check_xsrf": True}}),
        r"ServerApp\.disable_check_xsrf is True .* It is in jupyter_settings",
    ),
    "settings-without-xsrf-for-tornado": (
        settings({"ServerApp": {"tornado_settings": {"disable_check_xsrf": True}}}),
        r"ServerApp\.disable_check_xsrf is True",
    ),
    "settings-other-origins": (
        settings({"ServerApp": {"allow_origin": "*"}}),
        r"ServerApp\.allow_origin is '\*' .* It is in jupyter_settings",
    ),
    "settings-frames-of-others": (
        settings(
            {
                "ServerApp": {
                    "tornado_settings": {
                        "headers": {"Content-Security-Policy": "frame-ancestors *"}
                    }
                }
            }
        ),
        r"ServerApp\.tornado_settings is \['Content-Security-Policy'\] .* in jupyter_settings",
    ),
    "settings-other-notebooks": (
        settings({"FileContentsManager": {"root_dir": "/"}}),
        r"root_dir is '/' .* It is in jupyter_settings",
    ),
    "settings-other-port": (
        settings({"ServerApp": {"port": 9999, "port_retries": 3}}),
        r"ServerApp\.port is 9999 .* It is in jupyter_settings",
    ),
    "settings-other-socket": (
        settings({"ServerApp": {"sock": "/tmp/another"}}),
        r"Options --port and --sock are mutually exclusive",
    ),
    "machine-has-other-notebooks": (
        of_the_machine(jupyter_config__json='{"AsyncLargeFileManager": {"root_dir": "/"}}'),
        r"root_dir is '/' .* set in \S+/jupyter_config\.json",
    ),
}
TAKES_ROOT = ("disk", "machine")


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        pytest.param(*case, id=name, marks=marks + [AS_ROOT_ONLY] * name.startswith(TAKES_ROOT))
        for cases, marks in ((BY_DAY, []), (FURTHER, [pytest.mark.acceptance]))
        for name, case in cases.items()
    ],
)
def test_a_server_that_would_not_be_ours_opens_nothing_and_says_why(
    broken: Break, sentence: str, server: Server
) -> None:
    with broken(server):
        seen = server.watch()

    assert seen.opened == set(), seen.said
    assert seen.status not in (0, None), seen.said
    assert re.search(sentence, seen.last_line), seen.said
    secrets = [file for file in (server.base / "token",) if file.exists()]
    assert not any(file.read_text() in seen.said for file in secrets)


def surround(server: Server) -> None:
    """Have the account's home and environment full of what would open a server, or break it."""
    evil = server.home / "evil"
    for directory in (server.home / ".jupyter", evil, server.home / ".local/etc/jupyter"):
        (directory / "jupyter_server_config.d").mkdir(parents=True)
        for name in ("jupyter_config", "jupyter_server_config", "jupyter_lab_config"):
            (directory / f"{name}.py").write_text(OPEN)
        off = {"ServerApp": {"jpserver_extensions": {"notebook_guard": False, "jupyterlab": False}}}
        (directory / "jupyter_server_config.d/off.json").write_text(json.dumps(off))
        (directory / "jupyter_server_config.json").write_text("{")
        (directory / "labconfig").mkdir()
        page = {"disabledExtensions": {"@jupyterlab/debugger-extension": False}}
        (directory / "labconfig/page_config.json").write_text(json.dumps(page))
    if os.geteuid() == 0:
        shutil.copytree(server.home / ".jupyter", server.home / "machine/jupyter")
        in_place_of_the_machines(server)
    package = evil / "jupyter_server"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('of another Python')\n")
    server.environment |= {
        "JUPYTERLAB_DIR": "/opt/nolab",
        "JUPYTERLAB_SETTINGS_DIR": "/dev/null",
        "JUPYTER_CONFIG_DIR": str(evil),
        "JUPYTER_CONFIG_PATH": str(evil),
        "JUPYTER_NO_CONFIG": "1",
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTER_PORT": "9",
        "JUPYTER_RUNTIME_DIR": "/nowhere",
        "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS": "true",
        "JUPYTER_TOKEN": "known",
        "JUPYTER_GATEWAY_URL": "http://127.0.0.1:9",
        "TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR": "1",
        "PYTHONPATH": str(evil),
        "XDG_CONFIG_HOME": str(evil),
        "TMUX": "/nowhere,1,0",
        "TERM_PROGRAM": "tmux",
        "SHELL": "/bin/sh",
        "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22",
        "SSH_AUTH_SOCK": str(evil / "agent"),
        "DISPLAY": "localhost:10.0",
        "OTHERS": "kept",
    }
    (server.home / ".profile").write_text("echo hello; export BY_LOGIN=set ASKED=before\n")


def working_directories(pid: int, program: str) -> list[str]:
    """Where the processes of this name below another one are."""
    below = [Path(f"/proc/{each}") for each in descendants(pid)]
    return [
        os.readlink(found / "cwd")
        for found in below
        if (found / "comm").read_text() == f"{program}\n"
    ]


def test_settings_of_the_account_open_nothing_and_its_kernels_have_its_environment(
    server: Server,
) -> None:
    surround(server)
    seen = Seen()
    with server.started() as process:

        def ready() -> bool:
            server.look(process, seen)
            return process.poll() is not None or bool(seen.answered - {0})

        wait_until(ready, 120)
        assert process.poll() is None, (server.home / "said").read_text()
        assert seen.opened == {f"127.0.0.1:{server.port}"}
        assert seen.answered <= {0, 403}
        assert status(server.port, "/lab?token=known") != 200
        owner = Visitor(f"http://127.0.0.1:{server.port}")
        assert owner.log_in(PASSWORD)
        assert "<title>JupyterLab</title>" in owner.page("/lab")[2]
        assert "@jupyterlab/debugger-extension" in owner.disabled_extensions("/lab")
        code = "import os; print({n: os.environ.get(n) for n in NAMES}, os.getcwd())"
        withheld = ["JUPYTER_CONFIG_DIR", "JUPYTER_TOKEN", "NOTEBOOK_GUARD", "TMUX", "TERM_PROGRAM"]
        names = ["PYTHONPATH", "OTHERS", "ASKED", "BY_LOGIN", *withheld]
        names += ["SSH_AUTH_SOCK", "DISPLAY"]
        # One of no notebook.
        kernel = str(owner.api("POST", "/api/kernels")["id"])
        said = owner.run(kernel, code.replace("NAMES", repr(names)))
        assert not owner.debug(kernel)
        assert debuggers(server.base) == []
        # Names that our own directory has too.
        for name in ("guard", "documents"):
            (server.notebooks / name).mkdir()
        for cwd in ({}, {"cwd": ""}, {"cwd": "guard"}, {"cwd": "documents"}):
            owner.api("POST", "/api/terminals", cwd)
        wait_until(lambda: len(working_directories(process.pid, "sh")) == 4)
        terminals = sorted(working_directories(process.pid, "sh"))
        # Somebody puts another directory in its place, as git clone does.
        shutil.rmtree(server.notebooks)
        server.notebooks.mkdir()
        wait_until(lambda: os.path.samefile(f"/proc/{process.pid}/cwd", server.notebooks))
        # Besides, ipykernel has a port that takes what its forks print, and gives nothing.
        opened = {where for where in listening(process.pid) if where.startswith("/")}
    expected = dict.fromkeys(names) | {
        "PYTHONPATH": str(server.home / "evil"),
        "OTHERS": "kept by s3cr3t",
        "ASKED": "s3cr3t $HOME",
        "BY_LOGIN": "set",
    }
    assert said == f"{expected} {server.notebooks}\n"
    assert terminals == sorted(
        [str(server.notebooks)] * 2
        + [f"{server.notebooks}/{name}" for name in ("guard", "documents")]
    )
    link = server.base / "sockets"
    sockets = link.readlink() if link.is_symlink() else server.base / "k"
    assert opened
    assert all(path.startswith(f"{sockets}/kernel-") for path in opened), opened
    assert sockets.stat().st_mode & 0o777 == 0o700
