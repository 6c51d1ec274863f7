"""What the role jupyter makes of the variables that it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.anywhere.notebook.plugins.modules.notebook_info import started_by

from tests.support import CHECKOUT

HOOK = "https://hooks.example.org/s3cret"


ROLE = CHECKOUT / "roles/jupyter"


def variables() -> dict[str, Any]:
    """Those of the role."""
    found: dict[str, Any] = {}
    for file in ("defaults/main.yml", "vars/main.yml"):
        found |= DataLoader().load_from_file(str(ROLE / file), trusted_as_template=True)
    return found


def made(name: str, /, **given: object) -> Any:
    """A variable of the role, with these given."""
    known = variables()
    return Templar(DataLoader(), variables=known | given).template(known[name])


def rendered(template: str, **given: object) -> str:
    """A file that the role writes, with these given."""
    told = {
        "ansible_managed": "made",
        "ansible_search_path": [str(ROLE)],
        "__tmux_preflight": {"listens_on": "127.0.0.1:8888"},
        "__jupyter_base_dir": {"path": "/home/me/base"},
    }
    text = (ROLE / "templates" / template).read_text()
    templar = Templar(DataLoader(), variables=variables() | told | given)
    return str(templar.template(trust_as_template(text)))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"notebook_cell_minutes": 10, "notebook_cell_webhook": HOOK}, ""),
        ({"notebook_cell_minutes": "5", "notebook_url_webhook": HOOK}, ""),
        ({"jupyter_cell_minutes": 10, "jupyter_cell_webhook": "http://10.0.0.1:8080/x"}, ""),
        ({"notebook_cell_minutes": 10}, "a webhook has to be named"),
        ({"notebook_cell_minutes": 10, "notebook_cell_webhook": ""}, "a webhook has to be named"),
        ({"notebook_cell_minutes": 10, "notebook_cell_webhook": "s3cret"}, "has to be named"),
        ({"notebook_cell_minutes": 10, "notebook_cell_webhook": "ftp://s3cret"}, "to be named"),
        ({"notebook_cell_minutes": 10, "notebook_cell_webhook": "https:// s3cret"}, "to be named"),
        (
            {
                "notebook_cell_minutes": 10,
                "notebook_cell_webhook": HOOK,
                "jupyter_executable": "/opt/conda/bin/jupyter",
            },
            "The output keeper, which tells of cells",
        ),
        (
            {
                "notebook_cell_minutes": 10,
                "notebook_cell_webhook": HOOK,
                "jupyter_outputs_kept": "false",
            },
            "The output keeper, which tells of cells",
        ),
    ],
)
def test_long_cells_can_be_told_by_the_keeper_to_a_webhook_only(
    given: dict[str, object], problem: str
) -> None:
    assert made("__jupyter_tells_of_cells", **given) is True
    said = made("__jupyter_cell_problem", **given)
    assert problem in said
    assert bool(said) == bool(problem)
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "given", [{}, {"notebook_cell_minutes": 0}, {"notebook_url_webhook": HOOK}]
)
def test_nobody_is_told_of_cells_unless_that_is_wanted(given: dict[str, object]) -> None:
    assert made("__jupyter_tells_of_cells", **given) is False


@pytest.mark.parametrize(
    ("size", "megabytes"),
    [("6G", 6144), ("1.5G", 1536), ("800M", 800), ("256MB", 256), ("64 GB", 65536), ("", 0)],
)
def test_what_kernels_may_take_is_a_size(size: str, megabytes: int) -> None:
    given = {"jupyter_kernel_memory": size}

    assert int(made("__jupyter_kernel_memory_mb", **given)) == megabytes
    assert bool(made("__jupyter_kernel_memory_problem", **given)) is not bool(size)
    assert f"c.KernelMemory.limit_mb = {megabytes}\n" in rendered(
        "jupyter_server_config.py.j2", **given
    )


@pytest.mark.parametrize(
    "size", ["6", 6, 6.5, "80M", "255M", "0G", "-1G", "6T", "6Gi", "80%", "lots", "1e3G", "6G\n8G"]
)
def test_what_is_no_size_is_refused(size: object) -> None:
    said = made("__jupyter_kernel_memory_problem", jupyter_kernel_memory=size)
    assert said == "jupyter_kernel_memory is not a size from 256M on, such as 6G."


@pytest.mark.parametrize(
    "other", [{"jupyter_executable": "/opt/jupyter"}, {"jupyter_outputs_kept": "no"}]
)
def test_without_the_keeper_nothing_would_hold_kernels_to_their_size(
    other: dict[str, object],
) -> None:
    said = made("__jupyter_kernel_memory_problem", jupyter_kernel_memory="6G", **other)
    assert said.startswith("The output keeper, which ends kernels")


def test_the_script_that_starts_the_server_brings_the_whole_guard() -> None:
    guard = ROLE / "files/guard"
    files = [path for path in guard.rglob("*") if path.is_file() and path.suffix != ".pyc"]

    script = rendered("start.j2")

    for path in files:
        put = f"  put guard/{path.relative_to(guard)} <<'END OF THE FILE' &&\n"
        assert script.partition(put)[2].startswith(path.read_text()), path


@pytest.mark.parametrize("odd", ["it's\n"])
@pytest.mark.parametrize(
    ("given", "program"),
    [
        ({}, "/home/me/base/venv/bin/jupyter"),
        ({"jupyter_executable": "/opt/conda/bin/jupyter"}, "/opt/conda/bin/jupyter"),
    ],
)
def test_which_jupyter_a_script_starts_is_told_whatever_the_files_that_it_brings_hold(
    odd: str, given: dict[str, object], program: str, tmp_path: Path
) -> None:
    files, end, rest = rendered("start.j2", **given).rpartition("END OF THE FILE\n")
    (tmp_path / "start").write_text(f"{files}{odd}{end}{rest}")

    assert started_by(str(tmp_path)) == program
