"""What the program that becomes the notebook server looks at before."""

from __future__ import annotations

import json
import re
import socket
import tempfile
from collections.abc import Iterator
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
    own = {"PYTHONPATH": "/mine", "PYTHONHOME": "/old"}
    dropped = {
        "JUPYTER_CONFIG_DIR": "/theirs",
        "JUPYTER_TOKEN": "",
        "JUPYTERLAB_DIR": "/nolab",
        "JPY_PARENT_PID": "1",
        "TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR": "1",
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
        pytest.param("other 0\n", True, r"\d{4}-\d\d-\d\d \d\d:\d\d \S+\n0\n", id="before-it"),
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
