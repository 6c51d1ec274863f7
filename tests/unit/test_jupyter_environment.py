"""Which variables the server and the kernels of a notebook can be given."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import start
from ansible_collections.anywhere.notebook.plugins.filter.jupyter_environment import (
    jupyter_environment,
)

# What Ansible gives for a text that it has read from a file.
Tagged = type("Tagged", (str,), {})


@pytest.mark.parametrize(
    ("asked", "variables"),
    [
        ({}, {}),
        ({"HF_HOME": "/data/hf", "_x1": ""}, {"HF_HOME": "/data/hf", "_x1": ""}),
        ({"THREADS": 4, "SHARE": 0.5}, {"THREADS": "4", "SHARE": "0.5"}),
        ({Tagged("NAME"): Tagged("two words")}, {"NAME": "two words"}),
        ({"LINES_OF": "a\nb", "DEBUG": "true"}, {"LINES_OF": "a\nb", "DEBUG": "true"}),
        ({"JUPYTER_PATH": "/k", "JUPYTER_DATA_DIR": "/d"},) * 2,
        ({"PYTHONPATH": "/lib", "LD_LIBRARY_PATH": "/cuda", "TMUX_TMPDIR": "/t"},) * 2,
    ],
)
def test_variables_are_taken_as_texts(asked: dict[str, object], variables: dict[str, str]) -> None:
    assert jupyter_environment(asked) == {"variables": variables, "problem": ""}


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (None, "is no list of names with their values"),
        ("HF_HOME=/data/hf", "is no list of names with their values"),
        (["HF_HOME=/data/hf"], "is no list of names with their values"),
        ({"HF-HOME": "s3cr3t"}, "'HF-HOME' is no name"),
        ({"1ST": "s3cr3t"}, "'1ST' is no name"),
        ({"": "s3cr3t"}, "'' is no name"),
        ({"A=B": "s3cr3t"}, "'A=B' is no name"),
        ({"A ": "s3cr3t"}, "'A ' is no name"),
        ({"A\n": "s3cr3t"}, r"'A\\n' is no name"),
        ({"ÄRGER": "s3cr3t"}, "'ÄRGER' is no name"),
        ({True: "s3cr3t"}, "'True' is no name"),
        ({"JUPYTER_TOKEN": "s3cr3t"}, "JUPYTER_TOKEN would change what the server reads"),
        ({"JUPYTERLAB_DIR": "s3cr3t"}, "JUPYTERLAB_DIR would change what the server reads"),
        ({"JPY_PARENT_PID": "1"}, "JPY_PARENT_PID would change"),
        ({"TMUX": "s3cr3t"}, "TMUX would have programs take"),
        ({"HOME": "s3cr3t"}, "HOME is the account's"),
        ({"DEBUG": True}, "DEBUG has no text or number for a value"),
        ({"DEBUG": None}, "DEBUG has no text or number for a value"),
        ({"PATHS": ["s3cr3t"]}, "PATHS has no text or number for a value"),
        ({"ZERO": "s3cr3t\0"}, "ZERO has a value with a zero byte"),
        ({"A": "s3cr3t", "TMUX": "", "DEBUG": False}, "TMUX would .*; DEBUG has no text"),
    ],
)
def test_what_cannot_be_had_is_named_without_its_value(asked: Any, problem: str) -> None:
    found = jupyter_environment(asked)

    assert found["variables"] == {}
    assert re.search(problem, found["problem"])
    assert "s3cr3t" not in found["problem"]


@pytest.mark.parametrize(
    "name",
    [
        *("JUPYTER_TOKEN", "JUPYTERLAB_DIR", "JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTERHUB_X"),
        *("JPY_X", "TRAITLETS_X", "NOTEBOOK_GUARD", "NOTEBOOK_GUARDS", "TMUX", "TMUX_TMPDIR"),
        *("TERM_PROGRAM", "TERM_PROGRAM_VERSION", "TERM", "PYTHONPATH", "PYTHON", "HF_HOME"),
    ],
)
def test_what_setup_takes_is_what_the_server_s_start_gives(name: str) -> None:
    taken = not jupyter_environment({name: "value"})["problem"]

    environment = start.environment_of({name: "value"}, "/base", "/k")

    own = json.loads(environment.pop("NOTEBOOK_GUARD"))["environment"]
    assert taken == ("value" in (environment | own).get(name, ""))
