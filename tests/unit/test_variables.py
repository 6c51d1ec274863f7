"""Whatever type a variable comes in, and whatever was pasted with it, it is meant or refused."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.anywhere.notebook.plugins.lookup.variable_problems import (
    LookupModule,
    declared,
)
from ansible_collections.anywhere.notebook.plugins.plugin_utils.variables import (
    CONVERTED,
    PLAYBOOKS,
    converted,
    problem,
)

from tests.support import CHECKOUT

ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir())
VARIABLES: dict[str, dict[str, Any]] = {
    name: option for role in [*ROLES, "playbooks"] for name, option in declared(role).items()
}
TOKEN = "2abcDEF0123_4567xyz"

# Values that no variable of a type can take. A text in them would be shown if any were.
SHOWN = "s3cr3t"
NOTHING: list[object] = [None]
LISTS: list[object] = [[SHOWN, 5.5], [[SHOWN]], [SHOWN, None], [{SHOWN: 1}]]
MAPPINGS: list[object] = [{SHOWN: SHOWN}]
SCALARS: list[object] = [5.5, datetime.date(2026, 1, 2), SHOWN.encode()]
REFUSED: dict[str, list[object]] = {
    "str": [*NOTHING, *LISTS, *MAPPINGS, *SCALARS, True, False, f"{SHOWN}\u200bx", f"x\n{SHOWN}"],
    "bool": [*NOTHING, *LISTS, *MAPPINGS, *SCALARS, 2, SHOWN, "y", "true\n", " yes", ""],
    "int": [
        *NOTHING,
        *LISTS,
        *MAPPINGS,
        *SCALARS,
        True,
        -1,
        SHOWN,
        "5 min",
        "5.5",
        "-1",
        "1e3",
        "",
    ],
    "list": [*NOTHING, *LISTS, *MAPPINGS, *SCALARS, True, 5],
    "dict": [*NOTHING, *LISTS, *SCALARS, True, 5, SHOWN, f"{SHOWN}=1"],
}
REFUSED["path"] = REFUSED["str"]
# Of a text that is not among those that are converted, also what was pasted with it.
PASTED = [
    f" {SHOWN}",
    f"{SHOWN}\n",
    f"{SHOWN}\xa0",
    f"\ufeff{SHOWN}",
    f"“{SHOWN}”",
    f"'{SHOWN}'",
    5,
]
ACCEPTED: dict[str, list[object]] = {
    "str": ["word", "two words", "it's", 'half "a" quote', "ünïcode"],
    "bool": [True, False, "true", "no", "On", "0", 1, 0],
    "int": [0, 5, "5", "0"],
    "list": [[]],
    "dict": [{}],
}
ACCEPTED["path"] = ACCEPTED["str"]

each_variable = pytest.mark.parametrize(
    "name", [n for n, o in VARIABLES.items() if o["type"] != "raw"]
)


@each_variable
def test_what_cannot_be_meant_is_refused_by_name_and_not_shown(name: str) -> None:
    option = VARIABLES[name]
    values = list(REFUSED[option["type"]])
    if option["type"] in ("str", "path") and name not in CONVERTED:
        values += PASTED
    if option["type"] == "list" and name not in CONVERTED:
        values.append(SHOWN)
    if option.get("elements") == "dict":
        values += [[SHOWN], [{"name": 5.5}], [{"name": SHOWN, "packages": {SHOWN: 1}}]]

    for value in values:
        said = problem(name, option, value)
        assert said.startswith(f"{name} "), value
        assert said.endswith("."), value
        assert SHOWN not in said, value


@each_variable
def test_what_is_meant_is_taken(name: str) -> None:
    option = VARIABLES[name]
    values = option.get("choices") or ACCEPTED[option["type"]]
    if name == "ngrok_authtoken":
        values = [TOKEN]
    if isinstance(option.get("default"), list | dict | int):
        values = [*values, option["default"]]

    assert [said for value in values if (said := problem(name, option, value))] == []


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("jupyter_password", 7294618305, "7294618305"),
        ("jupyter_password", "two words\r\n", "two words"),
        ("jupyter_password", "\ufeffpass word\u200b", "pass word"),
        # A blank may be meant, and a login would not take it: that is said, see below.
        ("jupyter_password", "pass word \n", "pass word "),
        ("jupyter_password_hash", "  argon2:$argon2id$v=19$m=1\n", "argon2:$argon2id$v=19$m=1"),
        ("jupyter_port", 8889, "8889"),
        ("jupyter_port", " 8888-8987\n", "8888-8987"),
        ("jupyter_packages", "pandas", ["pandas"]),
        ("jupyter_packages", "pandas, scipy", ["pandas", "scipy"]),
        ("jupyter_packages", "pandas>=2,<3,scipy[a,b]", ["pandas>=2,<3", "scipy[a,b]"]),
        ("jupyter_packages", "# mine\npandas\n\nscipy \n", ["pandas", "scipy"]),
        ("jupyter_packages", '["pandas", "scipy"]', ["pandas", "scipy"]),
        ("jupyter_packages", ["pandas\n", " “scipy”"], ["pandas", "scipy"]),
        (
            "jupyter_kernels",
            "[{name: course, python: '3.12'}]",
            [{"name": "course", "python": "3.12"}],
        ),
        (
            "jupyter_kernels",
            [{"name": "course\n", "python": 3, "packages": "a, b"}],
            [{"name": "course", "python": "3", "packages": ["a", "b"]}],
        ),
        ("jupyter_settings", '{"LabApp": {"x": 1}}', {"LabApp": {"x": 1}}),
        ("jupyter_settings", "{LabApp: {x: 1}}", {"LabApp": {"x": 1}}),
        ("jupyter_idle_command", "sudo -n 'a b'", ["sudo", "-n", "a b"]),
        ("jupyter_idle_command", ["shutdown", "-h", 5], ["shutdown", "-h", "5"]),
        ("ngrok_url", "“https://example.ngrok.app”\n", "https://example.ngrok.app"),
        ("ngrok_url", "\u2060example.ngrok.app\xa0", "example.ngrok.app"),
        ("ngrok_allowed_emails", "me@example.com", ["me@example.com"]),
        ("ngrok_allowed_ips", ["203.0.113.7\n"], ["203.0.113.7"]),
        ("ngrok_traffic_policy", "{on_http_request: []}", {"on_http_request": []}),
        ("notebook_url_webhook", "https://example.com/x\n", "https://example.com/x"),
    ],
)
def test_a_value_becomes_what_is_meant(name: str, given: object, meant: object) -> None:
    assert converted(name, given) == meant
    refused = problem(name, VARIABLES[name], given)
    assert refused == "" or str(meant).endswith(" ")


@pytest.mark.parametrize(
    "pasted",
    [
        TOKEN,
        f"  {TOKEN}\r\n",
        f"\ufeff{TOKEN}\u200b",
        f"\xa0{TOKEN}\xa0",
        f'"{TOKEN}"',
        f"“{TOKEN}”",
        f"Bearer {TOKEN}",
        f"Authorization: Bearer {TOKEN}\n",
        f"ngrok config add-authtoken {TOKEN}",
        f"$ ngrok config add-authtoken {TOKEN}\n",
        f"./ngrok authtoken {TOKEN}",
        f"C:\\ngrok.exe config add-authtoken '{TOKEN}'",
        f"ngrok http 80 --authtoken={TOKEN}",
        f"authtoken: {TOKEN}",
        f"export NGROK_AUTHTOKEN={TOKEN}",
        f'NGROK_AUTHTOKEN="{TOKEN}"',
    ],
)
def test_a_token_is_found_in_what_was_copied_around_it(pasted: str) -> None:
    assert converted("ngrok_authtoken", pasted) == TOKEN


@pytest.mark.parametrize("pasted", [f"{TOKEN} x", f"my token is {TOKEN}", f"{TOKEN[:5]}…", "töken"])
def test_what_holds_more_than_a_token_is_refused(pasted: str) -> None:
    said = problem("ngrok_authtoken", VARIABLES["ngrok_authtoken"], pasted)

    assert said.startswith("ngrok_authtoken holds blanks or signs that no token has")
    assert TOKEN[:5] not in said


@pytest.mark.parametrize("given", ["a pass word ", " pass word", "“pass word”", '"pass word"'])
def test_a_password_with_what_may_or_may_not_be_meant_is_refused(given: str) -> None:
    said = problem("jupyter_password", VARIABLES["jupyter_password"], given)

    assert re.match("jupyter_password (begins or ends with a blank|has quotation marks)", said)
    assert "pass word" not in said


def problems(*roles: str, **variables: object) -> str:
    """What the lookup says of variables as a play has them."""
    loader = DataLoader()
    templar = Templar(loader, variables=variables)
    (said,) = LookupModule(loader=loader, templar=templar).run(list(roles), variables)
    return said


def test_expressions_are_worked_out_first_and_named_when_that_fails() -> None:
    template = trust_as_template
    assert problems("jupyter", jupyter_password=template("{{ other }}"), other="a pass word") == ""
    assert "jupyter_password is true or false" in problems(
        "jupyter", jupyter_password=template("{{ other }}"), other=True
    )
    assert problems("jupyter", jupyter_password=template("{{ absent }}")) == (
        "jupyter_password is made of absent, which is not set."
    )
    assert problems("jupyter", jupyter_port=template("{{ 1 / 0 }}")) == (
        "jupyter_port cannot be worked out: look at the expression that it is."
    )


def test_a_default_is_not_worked_out_but_a_token_of_the_environment_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    option = VARIABLES["ec2_ssh_from"]
    assert problems("ec2", ec2_ssh_from=trust_as_template(option["default"])) == ""

    monkeypatch.setenv("NGROK_AUTHTOKEN", f"ngrok config add-authtoken {TOKEN}\n")
    assert problems("ngrok") == ""
    monkeypatch.setenv("NGROK_AUTHTOKEN", "two words")
    assert "ngrok_authtoken holds blanks" in problems("ngrok")


def test_all_that_is_wrong_is_told_at_once() -> None:
    said = problems("playbooks", "jupyter", notebook_qr="maybe", jupyter_port=["x"], jupyter_x=1)

    assert re.findall(r"(\w+_\w+) (?:is|has) ", said) == ["notebook_qr", "jupyter_port"]


def test_what_a_vault_holds_is_decrypted_or_named(tmp_path: Path) -> None:
    """With Ansible itself, where such a value has a type of its own, which differs by release."""
    password, other = tmp_path / "password", tmp_path / "other"
    password.write_text("of the vault")
    other.write_text("not of the vault")
    bin_directory = Path(sys.executable).parent
    environment = os.environ | {
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections"),
    }
    secret = subprocess.run(
        [
            *(bin_directory / "ansible-vault", "encrypt_string", "--vault-password-file", password),
            *("--name", "jupyter_password", "a pass word\n"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    given = tmp_path / "given.yml"
    given.write_text(f"{secret}\njupyter_port: 8889\njupyter_timeout: 5.5\njupyter_base_dir: no\n")
    said = {}
    for file in (password, other):
        lookup = (
            "{{ lookup('anywhere.notebook.variable_problems', 'jupyter') ~ '|' ~ "
            "(jupyter_port | anywhere.notebook.converted('jupyter_port')) }}"
        )
        said[file.name] = subprocess.run(
            [
                *(bin_directory / "ansible", "localhost", "-m", "ansible.builtin.debug"),
                *("-a", f'msg="{lookup}"', "-e", f"@{given}", "--vault-password-file", file),
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    assert "jupyter_password" not in said["password"]
    assert "jupyter_timeout is a number with a point" in said["password"]
    assert "jupyter_base_dir is true or false" in said["password"]
    assert "|8889" in said["password"]
    assert "jupyter_password is encrypted and cannot be decrypted" in said["other"]


def texts(node: object) -> Iterator[str]:
    """All texts of a document, keys left out."""
    if isinstance(node, Mapping):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for item in node:
            yield from texts(item)
    elif isinstance(node, str):
        yield node


def test_what_is_converted_is_read_only_through_the_conversion() -> None:
    read = re.compile(
        rf"(?<![\w'\"/.])({'|'.join(CONVERTED)})\b(?! is (not )?(un)?defined)"
        r"(?!( \| default\(''\))? \| anywhere\.notebook\.converted\('\1'\))"
    )
    files = [
        *(
            file
            for part in ("tasks", "vars")
            for file in (CHECKOUT / "roles").glob(f"*/{part}/*.yml")
        ),
        *(CHECKOUT / "roles").glob("*/templates/*.j2"),
        *(CHECKOUT / "playbooks").rglob("*.j2"),
        *(CHECKOUT / "playbooks").rglob("*.yml"),
    ]
    direct = []
    for file in files:
        text = file.read_text()
        for expression in expressions(text, file.suffix):
            direct += [f"{file.name}: {expression}" for _ in read.finditer(expression)]

    assert direct == []


# The password that is given or kept in a file, which is converted whichever it is.
AS_A_WHOLE = re.compile(
    r"\(jupyter_password if .*?\) \| anywhere\.notebook\.converted\('jupyter_password'\)"
)


def expressions(text: str, suffix: str) -> list[str]:
    """What is between braces, and the conditions of tasks; blanks made one."""
    found = re.findall(r"\{[{%](.*?)[}%]\}", text, re.DOTALL)
    if suffix == ".yml":
        found += conditions(yaml.safe_load(text))
    return [AS_A_WHOLE.sub("", " ".join(each.split())) for each in found]


def conditions(node: object) -> list[str]:
    if isinstance(node, list):
        return [text for item in node for text in conditions(item)]
    if not isinstance(node, dict):
        return []
    found = []
    for key, value in node.items():
        words = key in ("when", "that", "until", "changed_when", "failed_when")
        found += [t for t in texts(value) if "{{" not in t] if words else conditions(value)
    return found


def test_every_variable_of_the_playbooks_is_known() -> None:
    files = [file for file in (CHECKOUT / "playbooks").rglob("*") if file.suffix in (".yml", ".j2")]
    words = re.compile(r"(?<![\w'])notebook_[a-z_]+\b(?!\()")
    read = {
        name
        for file in files
        for expression in expressions(file.read_text(), file.suffix)
        for name in words.findall(expression)
    }

    assert sorted(read - PLAYBOOKS.keys()) == []


def test_an_inventory_says_whether_modules_are_piped(tmp_path: Path) -> None:
    """With Ansible itself, which alone knows which of two values of a variable counts."""
    inventory, playbook = tmp_path / "hosts.ini", tmp_path / "play.yml"
    inventory.write_text(
        "untold\ntold ansible_pipelining=false\n[all:vars]\nansible_connection=local\n"
    )
    told = [{"ansible.builtin.debug": {"msg": "{{ inventory_hostname }}={{ ansible_pipelining }}"}}]
    variables = str(CHECKOUT / "playbooks/vars/main.yml")
    play = {"hosts": "all", "gather_facts": False, "vars_files": [variables], "tasks": told}
    playbook.write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook],
        env=os.environ | {"ANSIBLE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert sorted(re.findall(r"\"(\w+=\w+)\"", done.stdout)) == ["told=false", "untold=True"]
