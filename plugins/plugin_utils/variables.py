# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables as people give them: of any type, and with whatever was pasted with them.

Ansible converts what a role is given to the type that its ``meta/argument_specs.yml`` declares,
but only to see whether that can be done; the role goes on with what was given. So ``problem``
tells, for every variable, why a value will not do, and ``converted`` makes of a value what is
meant. What ``CONVERTED`` lists is converted, and read through the filter of that name; all else has
to be given as it is declared.
"""

from __future__ import annotations

import datetime
import json
import re
import shlex
import typing as t
import unicodedata
from collections.abc import Mapping, Sequence

import yaml

# Variables of the playbooks, which no role declares; in the format of meta/argument_specs.yml.
PLAYBOOKS: dict[str, dict[str, t.Any]] = {
    "notebook_hosts": {"type": "raw", "description": "Hosts of the inventory, as in a play."},
    "notebook_cell_minutes": {
        "type": "int",
        "default": 0,
        "description": "Minutes from which on a webhook is told of a cell; 0 tells nobody.",
    },
    "notebook_cell_webhook": {"type": "str", "description": "URL that is told of such a cell."},
    "notebook_force": {
        "type": "bool",
        "default": False,
        "description": "Whether to stop the notebook even if a cell runs.",
    },
    "notebook_format": {
        "type": "str",
        "choices": ["text", "json", "html"],
        "default": "text",
        "description": "Format of the status.",
    },
    "notebook_idle_minutes": {
        "type": "int",
        "default": 0,
        "description": "Minutes without use after which the machine goes to sleep; 0 leaves it on.",
    },
    "notebook_password_file": {
        "type": "path",
        "description": "File on this computer that holds the password.",
    },
    "notebook_qr": {"type": "bool", "default": False, "description": "Whether to draw the URL."},
    "notebook_report": {"type": "path", "description": "File on this computer for the report."},
    "notebook_support": {
        "type": "path",
        "description": "File on this computer for what somebody who helps has to see.",
    },
    "notebook_tunnel_only": {
        "type": "bool",
        "default": False,
        "description": "Whether to stop the tunnel only.",
    },
    "notebook_url_webhook": {"type": "str", "description": "URL that is told a new address."},
}

# What these lack is said in sentences of their own, with how to get it.
MAY_BE_EMPTY = ("jupyter_password", "jupyter_password_hash", "ngrok_authtoken")

# Words that are a bool to Ansible's filter "bool", which takes fewer than its validation.
FLAGS = ("true", "false", "yes", "no", "on", "off", "1", "0")

STRAIGHT = "\"'`"
# English, German, French and others, with what ends each.
TYPOGRAPHIC = {
    "\u201c": "\u201d\u201c",
    "\u201d": "\u201d",
    "\u201e": "\u201c\u201d",
    "\u2018": "\u2019\u2018",
    "\u2019": "\u2019",
    "\u201a": "\u2018\u2019",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
    "\u2039": "\u203a",
    "\u203a": "\u2039",
}
QUOTES = TYPOGRAPHIC | {sign: sign for sign in STRAIGHT}

# How ngrok's pages, shells and programs hand out a token; the token is the last word.
TOKEN = re.compile(
    r"""(?:[$#>%]\s+)?
        (?:(?:authorization\s*:\s*)?bearer
        |(?:\S*[/\\])?ngrok(?:\.exe)?\s+(?:config\s+add-authtoken|authtoken)
        |(?:ngrok\b.*\s)?--authtoken
        |(?:export\s+|set\s+|\$env:)?(?:ngrok_)?authtoken\s*[:=])
        [\s=]*(\S+)""",
    re.IGNORECASE | re.VERBOSE,
)


def converted(name: str, value: object) -> object:
    """Return what is meant by a value of the variable ``name``; what cannot be meant, as it is."""
    convert = CONVERTED.get(name)
    return convert(_plain(value)) if convert else value


def problem(name: str, option: Mapping[str, t.Any], value: object) -> str:
    """Return a sentence that says why a value will not do, empty when it will.

    ``option`` is what ``meta/argument_specs.yml`` has for the variable. The sentence never holds
    the value, which may be a secret.
    """
    meant = _plain(converted(name, value))
    said = _problem(option, meant, name in MAY_BE_EMPTY)
    if not said and name == "ngrok_authtoken" and not re.fullmatch(r"[!-~]*", str(meant)):
        said = "holds blanks or signs that no token has", "nothing but the token"
    if not said:
        return ""
    about = option["description"]
    words = re.sub(r"[A-Z]\((.*?)\)", r"\1", about if isinstance(about, str) else about[0])
    first = words.split(". ")[0].rstrip(".")
    return f"{name} {said[0]}, but has to be {said[1]}: {first}."


def _problem(
    option: Mapping[str, t.Any], value: object, may_be_empty: bool = False
) -> tuple[str, str] | None:
    """Return what a value is and what it should be, None when it is that."""
    kind = option.get("type", "str")
    if kind == "raw":
        return ("has no value", "given or left out") if value is None else None
    check = {"bool": _flag, "int": _number, "list": _list, "dict": _dict}.get(kind, _str)
    said = check(option, value)
    if said is None and value == "" and not may_be_empty and option.get("default") != "":
        return "is empty", "a text, or left out"
    return said


def _flag(option: Mapping[str, t.Any], value: object) -> tuple[str, str] | None:
    if isinstance(value, bool) or (_is_int(value) and value in (0, 1)):
        return None
    if isinstance(value, str) and value.lower() in FLAGS:
        return None
    return _kind(value), "true or false"


def _number(option: Mapping[str, t.Any], value: object) -> tuple[str, str] | None:
    wanted = "a whole number, 0 or more"
    if _is_int(value):
        return ("is less than 0", wanted) if t.cast(int, value) < 0 else None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return None
    return _kind(value), wanted


def _list(option: Mapping[str, t.Any], value: object) -> tuple[str, str] | None:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return _kind(value), "a list"
    element = {"type": option.get("elements", "raw"), "options": option.get("options", {})}
    for number, item in enumerate(value, 1):
        said = _problem(element, item)
        if said:
            return (
                f"has an item, number {number}, that {said[0]}",
                f"a list in which it is {said[1]}",
            )
    return None


def _dict(option: Mapping[str, t.Any], value: object) -> tuple[str, str] | None:
    if not isinstance(value, Mapping):
        return _kind(value), "a mapping"
    known = option.get("options") or {}
    for key, inner in known.items():
        if key in value:
            said = _problem(inner, value[key])
            if said:
                return f'has a "{key}" that {said[0]}', f'a mapping in which "{key}" is {said[1]}'
        elif inner.get("required"):
            return f'has no "{key}"', f'a mapping with "{key}"'
    if known and set(value) - set(known):
        return "has a key that nobody knows", f"a mapping with {_either(list(known), 'and')}"
    return None


def _str(option: Mapping[str, t.Any], value: object) -> tuple[str, str] | None:
    choices = option.get("choices")
    if choices:
        said = "is another word" if isinstance(value, str) else _kind(value)
        return None if value in choices else (said, _either(choices, "or"))
    if not isinstance(value, str):
        scalar = value is not None and not isinstance(value, (Mapping, Sequence, bytes))
        return _kind(value), "a text in quotation marks" if scalar else "a text"
    hidden = [sign for sign in value if not (sign.isprintable() or sign == "\xa0")]
    if value != value.strip():
        return "begins or ends with a blank or a line's end", "a text without"
    if hidden or "\xa0" in value:
        sign = hidden[0] if hidden else "\xa0"
        called = (
            "a line's end" if sign in "\r\n" else f"a sign that cannot be seen (U+{ord(sign):04X})"
        )
        return f"holds {called}", "a text without"
    if value and (_unquoted(value) != value or value[0] in TYPOGRAPHIC or value[-1] in TYPOGRAPHIC):
        return "has quotation marks around it", "a text without"
    return None


def _kind(value: object) -> str:
    """Return what a value is; never the value itself."""
    kinds: list[tuple[type, str]] = [
        (bool, "is true or false"),
        (int, "is a number"),
        (float, "is a number with a point"),
        (str, "is a text"),
        (datetime.date, "is a date"),
        (Mapping, "is a mapping"),
        (Sequence, "is a list"),
    ]
    if value is None:
        return "has no value"
    return next((word for kind, word in kinds if isinstance(value, kind)), "is something else")


def _either(words: Sequence[object], last: str) -> str:
    *first, end = map(str, words)
    return f"{', '.join(first)} {last} {end}" if first else end


def _plain(value: object) -> object:
    """Return a value of a vault as text, before ansible-core 2.19."""
    return str(value) if hasattr(value, "__ENCRYPTED__") else value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _invisible(sign: str) -> bool:
    """Whether a character takes no room, as the zero-width space and the byte order mark."""
    return unicodedata.category(sign) in ("Cf", "Cc")


def _stripped(text: str, blanks: bool = True) -> str:
    """Return a text without what cannot be seen at its ends."""
    start, end = 0, len(text)

    def superfluous(sign: str) -> bool:
        return _invisible(sign) or (blanks and sign.isspace())

    while start < end and superfluous(text[start]):
        start += 1
    while start < end and superfluous(text[end - 1]):
        end -= 1
    return text[start:end]


def _unquoted(text: str) -> str:
    """Return a text without the quotation marks around it."""
    if len(text) > 1 and text[-1] in QUOTES.get(text[0], "") and text[0] not in text[1:-1]:
        return text[1:-1]
    return text


def _text(value: object) -> object:
    if _is_int(value):
        return str(value)
    return _stripped(_unquoted(_stripped(value))) if isinstance(value, str) else value


def _password(value: object) -> object:
    """Return a password. Blanks at its ends may be meant, and are for the login to refuse."""
    if _is_int(value):
        return str(value)
    return _stripped(value, blanks=False) if isinstance(value, str) else value


def _token(value: object) -> object:
    text = _text(value)
    found = TOKEN.fullmatch(text) if isinstance(text, str) else None
    return _text(found[1]) if found else text


def _words(value: object) -> object:
    """Return a list of texts; several in one are apart by commas or lines."""
    if isinstance(value, str):
        text = str(_text(value))
        if text.startswith("["):
            value = _document(text)
        else:
            # A comma within brackets, or before another condition, is part of a requirement.
            parts = re.split(r"\n|,(?![^\[\]]*\])(?!\s*[<>=!~])", text)
            value = [part for part in map(_text, parts) if part and not str(part).startswith("#")]
    return [_text(word) for word in value] if _is_list(value) else value


def _kernels(value: object) -> object:
    if isinstance(value, str):
        value = _document(value)
    if not _is_list(value):
        return value
    return [
        {key: _words(inner) if key == "packages" else _text(inner) for key, inner in kernel.items()}
        if isinstance(kernel, Mapping)
        else kernel
        for kernel in value
    ]


def _mapping(value: object) -> object:
    return _document(value) if isinstance(value, str) else value


def _command(value: object) -> object:
    """Return a command as its words; a text is split as a shell does it."""
    if isinstance(value, str):
        try:
            value = shlex.split(_stripped(value))
        except ValueError:
            return value
    return [str(word) if _is_int(word) else word for word in value] if _is_list(value) else value


def _document(text: str) -> object:
    """Return what a text in JSON or YAML holds, or the text."""
    bare = _stripped(text)
    try:
        found = json.loads(bare)
    except ValueError:
        try:
            found = yaml.safe_load(bare)
        except yaml.YAMLError:
            return text
    return found if isinstance(found, (list, dict)) else text


def _is_list(value: object) -> t.TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


CONVERTED: dict[str, t.Callable[[object], object]] = {
    "jupyter_password": _password,
    "jupyter_password_hash": _text,
    "jupyter_port": _text,
    "jupyter_packages": _words,
    "jupyter_kernels": _kernels,
    "jupyter_settings": _mapping,
    "jupyter_environment": _mapping,
    "jupyter_kernel_memory": _text,
    "jupyter_cell_webhook": _text,
    "jupyter_idle_command": _command,
    "ngrok_authtoken": _token,
    "ngrok_url": _text,
    "ngrok_allowed_emails": _words,
    "ngrok_allowed_ips": _words,
    "ngrok_traffic_policy": _mapping,
    "notebook_cell_webhook": _text,
    "notebook_url_webhook": _text,
}
