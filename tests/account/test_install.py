"""The script that makes Jupyter's environment, with the real uv and a list of one package."""

from __future__ import annotations

import ensurepip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.support import CHECKOUT
from tests.support.accounts import caches
from tests.support.leaks import watched_processes
from tests.support.sites import Site, serving
from tests.support.waiting import wait_until

FILES = CHECKOUT / "roles/jupyter/files"
PACKAGES = (FILES / "requirements.txt").read_text()

SOURCES = f"""
say_sources() {{
  "$1" -I - "$2" <<'END OF THE PROGRAM'
{(FILES / "sources.py").read_text()}
END OF THE PROGRAM
}}
"""

# In the place of uv: plans as uv does, and stands still in the middle of its work.
STANDS_STILL = """#!/bin/sh
case " $* " in *" --dry-run "*) exec venv/bin/real-uv "$@" ;; esac
touch HALF
exec sleep 600
"""


def pinned(name: str) -> str:
    """The lines that pin a package, with its hashes."""
    found = re.findall(rf"^{name}==(?:.*\\\n)+.*\n", PACKAGES, re.MULTILINE)
    assert found
    return "".join(found)


def start(directory: Path, asked: str = "", **variables: str) -> subprocess.Popen[str]:
    """Start the script as the role sends it; its last process ends with its group."""
    with tempfile.TemporaryFile("w+") as script:
        script.write(asked + SOURCES + (FILES / "install").read_text())
        script.seek(0)
        return subprocess.Popen(
            ["sh", "-s", sys.executable, directory],
            env=os.environ | caches() | variables,
            stdin=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def finish(script: subprocess.Popen[str]) -> list[str]:
    """Wait for the script, which has to succeed; what it printed."""
    out, err = script.communicate(timeout=120)
    assert script.returncode == 0, err
    return out.split()


def has(directory: Path, name: str) -> bool:
    """Whether a package can be imported in the environment."""
    command = [str(directory / "venv/bin/python"), "-c", f"import {name}"]
    return not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """A directory in which the script was started twice at the same time, and what it printed."""
    directory = tmp_path_factory.mktemp("install") / "base"
    directory.mkdir()
    (directory / "requirements.txt").write_text(pinned("uv") + pinned("idna"))
    scripts = [start(directory), start(directory)]
    return directory, [finish(script) for script in scripts]


@pytest.fixture
def base(together: tuple[Path, list[list[str]]]) -> Path:
    """A directory with a complete environment."""
    return together[0]


def test_two_at_the_same_time_work_one_after_the_other(
    together: tuple[Path, list[list[str]]],
) -> None:
    directory, printed = together

    assert sorted(map(set, printed), key=len) == [set(), {"changed"}]
    assert has(directory, "idna")


def test_again_it_changes_nothing_and_prints_nothing(base: Path) -> None:
    before = (base / "venv/bin/uv").stat()

    assert finish(start(base)) == []

    assert (base / "venv/bin/uv").stat() == before


def test_a_list_that_cannot_be_had_leaves_a_complete_environment_as_it_is(base: Path) -> None:
    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna").replace("==", "==9999."))

    script = start(base)
    _, err = script.communicate(timeout=60)

    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna"))
    assert script.returncode != 0
    assert "idna==9999." in err
    assert finish(start(base)) == []


def test_what_a_killed_one_left_half_done_is_begun_anew(base: Path) -> None:
    uv = base / "venv/bin/uv"
    uv.rename(base / "venv/bin/real-uv")
    uv.write_text(STANDS_STILL.replace("HALF", str(base / "half")))
    uv.chmod(0o700)
    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna") + pinned("six"))
    script = start(base)
    wait_until((base / "half").exists)

    os.killpg(script.pid, signal.SIGKILL)

    assert script.wait() == -signal.SIGKILL
    assert not (base / "venv/complete").exists()
    assert set(finish(start(base))) == {"changed"}
    assert not (base / "venv/bin/real-uv").exists()
    assert has(base, "six")
    assert finish(start(base)) == []


def hostile(home: Path) -> dict[str, str]:
    """Fill a home with what an account may have set for other installations."""
    files = {
        ".config/pip/pip.conf": "[global]\nno-binary = :all:\n[install]\nuser = true\n",
        ".pydistutils.cfg": "[install]\nprefix = /nowhere\n",
        ".config/uv/uv.toml": 'required-version = ">=99"\nno-such-key = 1\n',
        "uv.toml": "= no TOML\n",
        "pyproject.toml": '[project]\nname = "x"\nrequires-python = "<3"\n[tool.uv]\nx = 1\n',
        ".python-version": "2.7\n",
        "evil/uv-0.13.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: uv\nVersion: 0.13.9\n",
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return {
        "HOME": str(home),
        "PIP_TARGET": "/nowhere",
        "PIP_CONSTRAINT": "/nowhere",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "UV_CONSTRAINT": "/nowhere",
        "UV_PYTHON": "3.99",
        "UV_SYSTEM_PYTHON": "1",
        "PYTHONPATH": str(home / "evil"),
    }


def test_what_an_account_has_set_for_other_installations_does_not_count(tmp_path: Path) -> None:
    base = tmp_path / "home/base"
    base.mkdir(parents=True)
    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna"))
    variables = hostile(base.parent)

    assert set(finish(start(base, **variables))) == {"changed"}
    assert finish(start(base, **variables)) == []

    assert has(base, "idna")
    assert not (base / "uv.toml").exists()


def test_the_index_of_the_account_is_asked_and_its_password_is_on_no_command_line(
    base: Path, tmp_path: Path
) -> None:
    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna") + pinned("defusedxml"))
    config = tmp_path / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True)
    secret = uuid.uuid4().hex
    with serving(Site()) as site, watched_processes([secret]) as seen:
        index = f"{site.url}/simple".replace("//", f"//me:{secret}@")
        config.write_text(f"[global]\nindex-url = {index}\n")
        script = start(base, HOME=str(tmp_path), UV_CACHE_DIR=str(tmp_path / "cache"))
        _, err = script.communicate(timeout=60)

    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna"))
    assert script.returncode != 0
    (asked, *_) = site.asked("/simple/defusedxml/")
    assert asked["User-Agent"].startswith("uv/")
    assert asked["Authorization"].startswith("Basic ")
    assert seen == set()
    assert secret not in err
    assert not (base / "uv.toml").exists()


KERNEL = f"""
put_kernels() {{
  put_kernel course {shlex.quote(sys.executable)} 'idna<3'
  put_kernel plain {shlex.quote(sys.executable)}
}}
"""


def with_kernels(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with two kernels asked for."""
    script = start(directory, KERNEL)
    out, err = script.communicate(timeout=120)
    return subprocess.CompletedProcess([], script.returncode, out, err)


def packages(base: Path, environment: str) -> set[str]:
    """The packages of an environment, as ``name==version``."""
    command = ["venv/bin/uv", "pip", "list", "--format=json", "--python", environment]
    done = subprocess.run(command, cwd=base, capture_output=True, text=True, check=True)
    return {f"{found['name']}=={found['version']}" for found in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def kernels(together: tuple[Path, list[list[str]]]) -> Path:
    """A directory with a list of what a kernel needs here, and with two kernels."""
    base = together[0]
    lines = "".join(pinned(name) for name in sorted(needed_by_ipykernel()))
    (base / "requirements.txt").write_text(pinned("uv") + pinned("idna") + lines)
    done = with_kernels(base)
    assert (done.returncode, set(done.stdout.split())) == (0, {"changed"}), done.stderr
    return base


def needed_by_ipykernel() -> set[str]:
    """The names of what the pinned ipykernel takes on this Python, itself included."""
    uv, pins = Path(sys.executable).with_name("uv"), FILES / "requirements.txt"
    words = ["pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    done = subprocess.run(
        [str(uv), *words, "--constraint", str(pins), "-"],
        input="ipykernel",
        env=os.environ | caches(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"^[\w.-]+", done.stdout, re.MULTILINE))


def test_a_kernel_is_made_of_what_is_pinned_and_of_what_the_machine_s_python_brings(
    kernels: Path,
) -> None:
    pins = set(re.findall(r"^[\w.-]+==[\w.]+", PACKAGES, re.MULTILINE))

    others = packages(kernels, "kernels/plain") - pins

    assert {line for line in others if not line.startswith("setuptools==")} == {
        f"pip=={ensurepip.version()}"
    }


def test_a_kernel_may_have_packages_of_other_releases_than_jupyter_has(kernels: Path) -> None:
    assert packages(kernels, "kernels/course") & {"idna==2.10"}
    assert packages(kernels, "venv") & {pinned("idna").split()[0]}


def test_kernels_that_are_there_are_left_as_they_are(kernels: Path) -> None:
    assert with_kernels(kernels).stdout == ""


@pytest.mark.parametrize("name", ["course", pytest.param("plain", marks=pytest.mark.acceptance)])
def test_a_kernel_takes_nothing_with_another_hash_than_the_pinned_one(
    kernels: Path, name: str
) -> None:
    """An index that was tampered with; what the notebook has is not fetched again."""
    right = (kernels / "requirements.txt").read_text()
    wrong = pinned("comm").replace("sha256:", "sha256:0000")
    wrong = re.sub(r"(sha256:\w{64})\w+", r"\1", wrong)
    (kernels / "requirements.txt").write_text(right.replace(pinned("comm"), wrong))
    shutil.rmtree(kernels / "kernels" / name)

    done = with_kernels(kernels)

    (kernels / "requirements.txt").write_text(right)
    assert done.returncode != 0
    assert "Hash mismatch for `comm==" in done.stderr
    assert not (kernels / "kernels" / name / "kernel.json").exists()
