"""What the program that becomes the notebook server looks at before."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import start

# The fields that come before and after a mount point do not matter.
MOUNTS = "\n".join(
    f"36 35 98:0 / {point} rw,noatime shared:1 - ext4 /dev/root rw"
    for point in ("/", "/data", r"/data\040disk", "/data/deeper")
)


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/home/dev", "/"),
        ("/data", "/data"),
        ("/data/notebooks", "/data"),
        ("/database", "/"),
        ("/data disk/notebooks", "/data disk"),
        ("/data/deeper/still", "/data/deeper"),
    ],
)
def test_a_path_is_on_what_is_mounted_nearest_above_it(path: str, mount: str) -> None:
    assert start.mount_of(path, MOUNTS) == mount


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where notebooks are to be; not there yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "deep/notebooks"


def test_notebooks_get_a_directory_and_where_it_is_mounted_is_noted(notebooks: Path) -> None:
    found = start.see_notebooks(str(notebooks), {}, make=True)

    assert notebooks.is_dir()
    assert found["path"] == str(notebooks)
    assert start.within(str(notebooks), found["mount"])
    assert start.see_notebooks(str(notebooks), found, make=True) == found


def test_a_look_makes_nothing(notebooks: Path) -> None:
    start.see_notebooks(str(notebooks), {}, make=False)

    assert not notebooks.parent.exists()


@pytest.mark.parametrize(
    ("above", "make", "words"),
    [
        ("file", True, "a part of that path is a file"),
        ("file", False, "a part of that path is a file"),
        # A disk that nothing can be made on.
        ("/proc", True, "is not there and cannot be made"),
    ],
)
def test_why_notebooks_cannot_have_a_directory(
    above: str, make: bool, words: str, notebooks: Path
) -> None:
    (notebooks.parent.parent / "file").write_text("")

    with pytest.raises(start.Refusal, match=words):
        start.see_notebooks(f"{Path(above).absolute()}/notebooks", {}, make=make)


@pytest.mark.parametrize(
    ("recorded", "refused"),
    [
        pytest.param({}, False, id="nothing-noted"),
        pytest.param({"path": "NOTEBOOKS", "mount": "NOTEBOOKS"}, True, id="not-mounted"),
        pytest.param({"path": "NOTEBOOKS", "mount": "ABOVE"}, True, id="mounted-above"),
        pytest.param({"path": "/other", "mount": "NOTEBOOKS"}, False, id="of-other-notebooks"),
        pytest.param({"path": "NOTEBOOKS", "mount": "/elsewhere"}, False, id="moved-by-a-link"),
        pytest.param({"path": "NOTEBOOKS", "mount": "/"}, False, id="mounted-since"),
        pytest.param({"path": "NOTEBOOKS"}, False, id="half-noted"),
    ],
)
def test_notebooks_are_not_looked_for_where_their_disk_is_not_mounted(
    recorded: dict[str, str], refused: bool, notebooks: Path
) -> None:
    notebooks.mkdir(parents=True)
    names = {"NOTEBOOKS": str(notebooks), "ABOVE": str(notebooks.parent)}
    recorded = {key: names.get(value, value) for key, value in recorded.items()}
    if refused:
        with pytest.raises(start.Refusal, match=r"nothing is mounted there now\. Mount it again"):
            start.see_notebooks(str(notebooks), recorded, make=True)
    else:
        start.see_notebooks(str(notebooks), recorded, make=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os\n# The end.\n", ""),
        ("import os\n", "its end is missing"),
        ("import os os\n# The end.\n", "invalid syntax"),
        ("import os\0\n# The end.\n", "null"),
        ("# The end. But", "its end is missing"),
        ("", "its end is missing"),
    ],
)
def test_a_configuration_is_whole_or_it_is_none(text: str, words: str) -> None:
    if words:
        with pytest.raises(start.Refusal, match=rf"config is not whole: .*{words}"):
            start.see_configuration(text.encode(), "config")
    else:
        start.see_configuration(text.encode(), "config")


def test_the_server_has_an_environment_of_its_own_and_is_told_of_the_accounts() -> None:
    kept = {"PATH": "/bin", "AWS_PROFILE": "me", "LD_LIBRARY_PATH": "/cuda", "IPYTHONDIR": "/i"}
    kept |= {"TMUX_TMPDIR": "/run/mine"}
    own = {"PYTHONPATH": "/mine", "PYTHONHOME": "/old"}
    dropped = {
        "JUPYTER_CONFIG_DIR": "/theirs",
        "JUPYTER_TOKEN": "",
        "JUPYTERLAB_DIR": "/nolab",
        "JPY_PARENT_PID": "1",
        "TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR": "1",
        "TMUX": "/run/notebook,1,0",
        "TMUX_PANE": "%0",
        "TERM_PROGRAM": "tmux",
        "TERM_PROGRAM_VERSION": "3.3a",
        "NOTEBOOK_GUARD": "{",
    }

    found = start.environment_of(kept | own | dropped | {"JUPYTER_PATH": "/more"}, "/base", "/k")

    told = json.loads(found.pop("NOTEBOOK_GUARD"))
    assert told == {"environment": own, "config_dir": "/theirs"}
    assert found == kept | {
        "PYTHONPATH": "/base/guard",
        "JUPYTER_CONFIG_DIR": "/base/guard",
        "JUPYTER_RUNTIME_DIR": "/k",
        "JUPYTER_PATH": "/base:/more",
    }


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"HF_HOME": "/data/hf"}, {"HF_HOME": "/data/hf"}),
        ({"THREADS": 4, "SHARE": 0.5}, {"THREADS": "4", "SHARE": "0.5"}),
        ({"PATH": "/cuda/bin:$PATH"}, {"PATH": "/cuda/bin:/bin"}),
        ({"PATH": "${PATH}:/cuda/bin"}, {"PATH": "/bin:/cuda/bin"}),
        ({"LIBS": "/cuda:$LIBS"}, {"LIBS": "/cuda:"}),
        # What stands for something else only in a shell, as passwords have it.
        ({"KEY": "a$PATH$KEYS$$\\1'\"\n"}, {"KEY": "a$PATH$KEYS$$\\1'\"\n"}),
        ({"LANG": "zh_CN.UTF-8", "NAME": "实验"}, {"LANG": "zh_CN.UTF-8", "NAME": "实验"}),
    ],
)
def test_variables_that_are_asked_for_outrank_the_accounts(
    asked: dict[str, object], found: dict[str, str]
) -> None:
    given = {"PATH": "/bin", "LANG": "C"}

    assert start.asked_for(given, json.dumps(asked)) == given | found


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"A": '])
def test_variables_that_are_half_written_are_not_guessed(text: str) -> None:
    with pytest.raises(start.Refusal, match=r"environment\.json is not whole\. Run setup again"):
        start.asked_for({}, text)


def test_the_notebook_s_programs_come_first_whatever_the_path() -> None:
    assert start.with_programs({"PATH": "/a:/base/bin:/b"}, "/base/bin")["PATH"] == (
        "/base/bin:/a:/b"
    )
    assert start.with_programs({}, "/base/bin")["PATH"].startswith("/base/bin:")


# A value with all that a shell could make something else of.
ODD = 'it\'s "so"\n$HOME'


@pytest.fixture
def log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], dict[str, str]]:
    """Take over what a login shell sets whose profile also does this."""
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KEPT": "1", "HF_HOME": "/old"}
    file = tmp_path / "it's/login.json"
    file.parent.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def log_in(shell: str, does: str) -> dict[str, str]:
        sets = f"export PATH=/mine:$PATH HF_HOME='/data/hf' ODD={shlex.quote(ODD)}"
        (tmp_path / ".profile").write_text(f"{sets}\n{does}\n")
        try:
            return start.login_environment(given, str(shutil.which(shell)), str(file))
        finally:
            assert list(file.parent.iterdir()) == []

    return log_in


LogIn = Callable[[str, str], dict[str, str]]
each_shell = pytest.mark.parametrize("shell", ["bash", "dash"])


@each_shell
@pytest.mark.parametrize(
    "does",
    [
        pytest.param("", id="nothing"),
        pytest.param("echo hello; echo there >&2; printf 'A=1\\0'", id="prints"),
        pytest.param("trap 'exit 3' EXIT", id="fails-when-it-ends"),
        pytest.param('[ -n "$AGAIN" ] || AGAIN=1 exec sh -i', id="becomes-another-shell"),
        pytest.param('[ -n "$TMUX" ] || exec tmux', id="begins-in-tmux"),
        pytest.param("read answer", id="asks"),
        pytest.param("sleep 600 & echo $! > left", id="leaves-a-program-behind"),
    ],
)
def test_what_a_login_sets_is_taken_over(
    does: str, shell: str, log_in: LogIn, tmp_path: Path
) -> None:
    try:
        found = log_in(shell, does)
    finally:
        if (tmp_path / "left").exists():
            os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)

    assert found["PATH"].startswith("/mine:")
    assert (found["HF_HOME"], found["ODD"], found["KEPT"]) == ("/data/hf", ODD, "1")
    assert not found.keys() & {"SHLVL", "TMUX", "PWD", "_"}


@each_shell
@pytest.mark.parametrize(
    ("does", "how"),
    [
        pytest.param("exit 3", "it ended with status 3", id="exits"),
        pytest.param("set -e; false", "it ended with status 1", id="fails"),
        pytest.param("exec cat", "it ended with status 0", id="becomes-another-program"),
        pytest.param("sleep 600", "it has not come to its end within 1 s", id="hangs"),
        pytest.param("trap '' TERM INT HUP; sleep 600", "within 1 s", id="does-not-want-to-end"),
    ],
)
def test_a_login_that_comes_to_nothing_is_told_and_waited_for_no_longer(
    does: str, how: str, shell: str, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "within" in how:
        monkeypatch.setattr(start, "LOGIN_SECONDS", 1)

    with pytest.raises(start.Refusal, match=rf"taken over from \S+{shell}: .*{how}.*~/\.profile"):
        log_in(shell, does)


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false", "/nowhere/zsh", "/etc/hosts"])
def test_an_account_without_a_shell_is_told_that_nothing_is_taken_over(
    shell: str, tmp_path: Path
) -> None:
    with pytest.raises(start.Refusal, match=f"is not taken over from {shell}: .*jupyter_environm"):
        start.login_environment(dict(os.environ), shell, str(tmp_path / "login.json"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The role's directory, with a program in the place of Jupyter that prints its environment."""
    base = tmp_path / "base"
    (base / "guard").mkdir(parents=True)
    (base / "jupyter_server_config.py").write_text("# The end.\n")
    jupyter = base / "venv/bin/jupyter"
    jupyter.parent.mkdir(parents=True)
    jupyter.write_text("#!/bin/sh\nexec env -0\n")
    jupyter.chmod(0o700)
    return base


def become(base: Path, *words: str, **variables: str) -> dict[str, str]:
    """What becomes the server has this environment."""
    command = [sys.executable, "-I", "-S", start.__file__, *words, "--", f"{base}/venv/bin/jupyter"]
    done = subprocess.run(
        command,
        cwd=base,
        env={"PATH": os.environ["PATH"], "HOME": str(base.parent), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)


def test_the_server_has_what_is_asked_for_before_what_a_login_sets_before_what_was_there(
    base: Path,
) -> None:
    (base / "environment.json").write_text('{"A": "asked", "PATH": "$PATH:/asked"}')
    (base.parent / ".profile").write_text("export A=login B=login PATH=/login:$PATH TMUX=1\n")
    (base.parent / ".bash_profile").symlink_to(base.parent / ".profile")

    found = become(
        base, "--login", str(base.parent), "environment.json", A="before", B="before", C="before"
    )

    assert [found[name] for name in "ABC"] == ["asked", "login", "before"]
    # What is between is of the machine's own profile.
    assert re.fullmatch(rf"{base}/venv/bin:/login:.*:/asked", found["PATH"])
    assert "TMUX" not in found
    assert (base / "read_at_start").read_text().endswith("  environment.json\n")
    assert (base / "earlier").read_text().count("\n") == 2


def test_what_is_asked_for_no_more_is_gone_with_the_next_start(base: Path) -> None:
    (base / "environment.json").write_text('{"A": "s3cr3t"}')

    assert "A" not in become(base, str(base.parent))

    assert not (base / "environment.json").exists()


def test_a_login_that_comes_to_nothing_is_written_down_until_the_next_start(base: Path) -> None:
    (base.parent / ".profile").write_text("exit 3\n")

    found = become(base, "--login", str(base.parent), A="before")

    assert found["A"] == "before"
    assert "it ended with status 3" in (base / "earlier").read_text().splitlines()[2]
    become(base, str(base.parent))
    assert (base / "earlier").read_text().count("\n") == 2


FORWARDED = "/tmp/ssh-XXXXabcd/agent.1234"
OVER_SSH = {"SSH_CONNECTION": "198.51.100.7 50000 192.0.2.1 22"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (OVER_SSH | {"SSH_AUTH_SOCK": FORWARDED}, False),
        (OVER_SSH | {"DISPLAY": "localhost:10.0"}, False),
        # As sudo keeps it.
        ({"DISPLAY": "localhost:10.0"}, False),
        ({"DISPLAY": "127.0.0.1:10"}, False),
        ({"DISPLAY": "[::1]:10"}, False),
        # Of the desktop at which somebody sits.
        ({"SSH_AUTH_SOCK": "/run/user/1000/keyring/ssh"}, True),
        ({"DISPLAY": ":0"}, True),
        ({"DISPLAY": "unix:0.0"}, True),
        ({"DISPLAY": "/tmp/launch-x/org.xquartz:0"}, True),
        (OVER_SSH | {"DISPLAY": ":1"}, True),
    ],
)
def test_what_ends_with_a_login_over_ssh_is_not_left_to_who_takes_its_place(
    given: dict[str, str], kept: bool
) -> None:
    found = start.environment_of(given, "/base", "/k")

    assert (list(given)[-1] in found) is kept


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """How directories of this test begin; the one of pytest has a long name."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as directory:
        yield f"{directory}/"


@pytest.mark.parametrize("account", ["dev", "a-name-that-is-longer-than-others"])
def test_the_path_of_a_kernels_socket_is_short_enough_whatever_the_account_is_called(
    account: str, elsewhere: str
) -> None:
    base = Path(f"{elsewhere}home/{account}/.local/share/nb")
    base.mkdir(parents=True)

    directory = start.runtime_directory(str(base), f"{elsewhere}nb-")

    assert (directory == f"{base}/k") == (account == "dev")
    assert Path(directory).stat().st_mode & 0o777 == 0o700
    uuid = "0" * 36
    with socket.socket(socket.AF_UNIX) as kernel:
        kernel.bind(f"{directory}/kernel-{uuid}-ipc-10")
    assert start.runtime_directory(str(base), f"{elsewhere}nb-") == directory


@pytest.mark.parametrize("spoiled", ["open", "link", "gone"])
def test_a_directory_that_others_could_have_made_is_not_taken(spoiled: str, elsewhere: str) -> None:
    base = Path(f"{elsewhere}home/a-name-that-is-longer-than-others/.local/share/nb")
    base.mkdir(parents=True)
    before = Path(start.runtime_directory(str(base), f"{elsewhere}nb-"))
    if spoiled == "open":
        before.chmod(0o777)
    else:
        before.rmdir()
    if spoiled == "link":
        before.symlink_to(base)

    assert start.runtime_directory(str(base), f"{elsewhere}nb-") != str(before)


def test_only_sockets_of_dead_kernels_are_cleaned_away(elsewhere: str) -> None:
    base = Path(f"{elsewhere}nb")
    directory = base / "k"
    directory.mkdir(parents=True)
    names = [f"kernel-{kind}{end}" for kind in ("dead", "lives") for end in ("-ipc-1", ".json")]
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / names[0]))
    with socket.socket(socket.AF_UNIX) as lives:
        lives.bind(str(directory / names[2]))
        lives.listen()
        for name in (names[1], names[3], "jpserver-1.json"):
            (directory / name).write_text("{}")

        start.runtime_directory(str(base), elsewhere)

        left = sorted(path.name for path in directory.iterdir())
    assert left == ["jpserver-1.json", "kernel-lives-ipc-1", "kernel-lives.json"]


@pytest.mark.parametrize(
    ("last", "kept", "earlier"),
    [
        pytest.param("", False, r"\n0\n", id="never"),
        pytest.param("BOOT 0\n", False, r"\n\d+\n", id="in-this-boot"),
        pytest.param("BOOT \n", False, r"\n0\n", id="counted-nothing"),
        pytest.param("other 0\n", True, r"\d{4}-\d\d-\d\d \d\d:\d\d UTC\n0\n", id="before-it"),
    ],
)
def test_logins_outlive_a_boot_but_no_end_of_the_server(
    last: str, kept: bool, earlier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if last:
        Path("boot").write_text(last.replace("BOOT", boot))
    Path("cookie_secret").write_text("secret")

    start.note_boot()

    assert Path("cookie_secret").exists() == kept
    assert re.fullmatch(earlier, Path("earlier").read_text())
    assert Path("boot").read_text().split()[0] == boot
    assert Path("boot").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def accounts_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a directory of our own, reached by several paths."""
    home = tmp_path.resolve() / "home"
    (home / "own/jupyter/documents").mkdir(parents=True)
    (home / "own/jupyter/start").touch()
    (home / "link").symlink_to(home / "own/jupyter")
    (home / "deep").symlink_to(home / "own/jupyter/documents")
    (home / "$odd").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WORK", "/data/work")
    monkeypatch.setenv("BELOW", "~/below")
    monkeypatch.chdir(tmp_path)
    return home


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("~", "HOME"),
        ("", "HOME"),
        (".", "HOME"),
        ("documents", "HOME/documents"),
        ("./my work/", "HOME/my work"),
        ("a/../b", "HOME/b"),
        ("~/documents", "HOME/documents"),
        ("$HOME/documents", "HOME/documents"),
        ("${HOME}", "HOME"),
        ("$WORK/a", "/data/work/a"),
        ("$BELOW", "HOME/below"),
        ("/data//notebooks/", "/data/notebooks"),
        ("~root/x", "/root/x"),
        ("$odd", "HOME/$odd"),
    ],
)
def test_the_notebooks_are_where_a_person_takes_them_to_be(
    told: str, meant: str, accounts_home: Path
) -> None:
    assert start.full_path(told) == meant.replace("HOME", str(accounts_home))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("$NOWHERE/work", r"no variable of this account \$NOWHERE\."),
        ("${NOWHERE}", r"no variable of this account \$\{NOWHERE\}\."),
        ("~nobody-at-all/work", r"no account ~nobody-at-all\."),
    ],
)
@pytest.mark.usefixtures("accounts_home")
def test_a_variable_or_an_account_that_is_not_there_is_named(told: str, words: str) -> None:
    with pytest.raises(start.Refusal, match=words):
        start.full_path(told)


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("HOME", False),
        ("HOME/own", False),
        ("HOME/own/jupyter2", False),
        ("HOME/own/jupyter", True),
        ("HOME/own/jupyter/documents", True),
        ("HOME/own/jupyter/not/there", True),
        ("HOME/own/x/../jupyter/y", True),
        ("HOME/link", True),
        ("HOME/link/new", True),
        ("HOME/deep", True),
        ("HOME/own/ngrok/new", True),
        ("/", False),
    ],
)
def test_notebooks_are_not_among_our_own_files_by_whatever_path(
    path: str, refused: bool, accounts_home: Path
) -> None:
    own = [f"{accounts_home}/own/jupyter/", f"{accounts_home}/own/ngrok"]
    path = path.replace("HOME", str(accounts_home))
    if refused:
        with pytest.raises(start.Refusal, match="keeps its own files, which the playbook remove"):
            start.require_outside(path, own)
    else:
        start.require_outside(path, own)


@pytest.mark.parametrize(
    ("there", "refused"),
    [
        ((), False),
        (("requirements.txt", ".ansible_tmp1requirements.txt"), False),
        (("lost+found",), False),
        (("start", "thesis.ipynb"), False),
        (("password_hash",), False),
        (("install.lock", "requirements.txt", "venv"), False),
        (("venv", "requirements.txt"), True),
        (("thesis.ipynb",), True),
        (("notebooks",), True),
    ],
)
def test_a_directory_with_files_of_the_persons_is_not_taken_for_our_own(
    there: tuple[str, ...], refused: bool, tmp_path: Path
) -> None:
    for name in there:
        (tmp_path / name).touch()
    if refused:
        with pytest.raises(start.Refusal, match=r"Name a new or empty one with jupyter_base_dir\."):
            start.require_ours(str(tmp_path))
    else:
        start.require_ours(str(tmp_path))
    start.require_ours(f"{tmp_path}/new")


def test_the_look_says_where_the_notebooks_are_or_why_they_cannot_be(
    accounts_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start.main(["--look", "my work", "~/own/jupyter", "~/own"])
    assert capsys.readouterr().out == f"{accounts_home}/my work\n"

    with pytest.raises(SystemExit) as left:
        start.main(["--look", "own/notebooks", "~/own/jupyter", "$HOME/own"])
    assert left.value.code == start.TROUBLE
    assert f"{accounts_home}/own/notebooks is in {accounts_home}/own, " in capsys.readouterr().out
