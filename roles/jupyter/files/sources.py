"""Says from where packages may come, and that nothing else of the account's settings counts.

Usage: sources.py pip|uv

Prints lines for the shell after which the installer knows the account's indexes, proxy and
certificates, and no other setting of it: those of its files and of the environment could install
elsewhere, or nothing at all. For uv it writes a file ``uv.toml`` in its directory. Where uv is told
of no index it uses pip's, which most have set only there, and the other way round.

Where settings are is of https://pip.pypa.io/en/stable/topics/configuration/ (tried with pip 20.3 to
26) and of https://docs.astral.sh/uv/concepts/configuration-files/ (uv 0.13). Runs with any Python
3.9 or newer; to read a file of uv's it takes one with tomllib, or tomli.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

# What is taken of pip's settings; in the environment it is PIP_INDEX_URL and so on.
PIP = (
    *("index-url", "extra-index-url", "no-index", "find-links", "trusted-host"),
    *("proxy", "cert", "client-cert", "keyring-provider", "timeout", "default-timeout", "retries"),
)
# The same of uv's files, and of the environment.
UV = (
    *("index", "index-url", "extra-index-url", "no-index", "find-links", "index-strategy"),
    *("allow-insecure-host", "keyring-provider", "native-tls", "system-certs"),
    *("http-proxy", "https-proxy", "no-proxy"),
)
UV_VARIABLE = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX(_\w+)?|EXTRA_INDEX_URL|NO_INDEX|FIND_LINKS|INSECURE_HOST"
    r"|KEYRING_PROVIDER|NATIVE_TLS|SYSTEM_CERTS|HTTP_TIMEOUT|HTTP_RETRIES)"
)
UV_INDEXES = ("index", "index-url", "extra-index-url", "no-index", "find-links")
# What is about where the installer keeps what it has fetched is the script's.
CACHES = ("PIP_CACHE_DIR", "UV_CACHE_DIR")
# Others that change what an installer, or its Python, takes for its place or its packages.
WITHHELD = re.compile(r"(PIP|UV)_|PYTHON|(VIRTUAL_ENV|CONDA_PREFIX)\Z")
YES = ("1", "true", "t", "yes", "y", "on")


class Unreadable(Exception):
    """A file of settings cannot be read; the message is a sentence, what to do included."""


def pip_settings(environment: Mapping[str, str], etc: str = "/etc") -> dict[str, str]:
    """Return what of the account's settings for ``pip install`` is taken, by option.

    Raises:
        Unreadable: a file is none of pip's; without it, packages could come from elsewhere.
    """
    told = environment.get("PIP_CONFIG_FILE", "")
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for file in [] if told == os.devnull else pip_files(environment, told, etc):
        text = read(file)
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(text, file)
        except configparser.Error as exc:
            raise unreadable(file, str(exc).partition("\n")[0]) from exc
        for section, options in found.items():
            if parser.has_section(section):
                for name, value in parser.items(section):
                    options[name.lower().replace("_", "-").lstrip("-")] = value
    settings = {**found["global"], **found["install"]}
    for name in PIP:
        # Of an empty variable pip takes no notice.
        if value := environment.get(f"PIP_{name.upper().replace('-', '_')}", ""):
            settings[name] = value
    return {name: value for name, value in settings.items() if name in PIP and value}


def pip_files(environment: Mapping[str, str], told: str, etc: str) -> list[str]:
    """Return where pip looks for files, of which the last counts most."""
    home = environment.get("HOME") or os.path.expanduser("~")
    shared = environment.get("XDG_CONFIG_DIRS") or f"{etc}/xdg"
    config = environment.get("XDG_CONFIG_HOME") or f"{home}/.config"
    files = [f"{each}/pip/pip.conf" for each in shared.split(os.pathsep) if each]
    files.append(f"{etc}/pip.conf")
    if not (told and os.path.exists(told)):
        files += [f"{home}/.pip/pip.conf", f"{config}/pip/pip.conf"]
    return [*files, told] if told else files


def uv_settings(environment: Mapping[str, str], etc: str = "/etc") -> dict[str, Any]:
    """Return what of the account's files for ``uv pip`` is taken, by option.

    Raises:
        Unreadable: a file is none of uv's.
    """
    settings: dict[str, Any] = {}
    for file in uv_files(environment, etc):
        document = toml(read(file), file)
        of_pip = document.get("pip")
        found = {**document, **(of_pip if isinstance(of_pip, dict) else {})}
        for name in UV:
            if name not in found:
                continue
            value = in_place(name, found[name], os.path.dirname(file))
            known = settings.get(name)
            # Of lists all counts, of the rest what comes first.
            if isinstance(value, list) and isinstance(known, list):
                settings[name] = known + value
            else:
                settings.setdefault(name, value)
    return settings


def in_place(name: str, value: Any, directory: str) -> Any:
    """Return a value whose paths are no longer relative to its file's ``directory``."""
    if isinstance(value, list):
        return [in_place(name, each, directory) for each in value]
    if isinstance(value, dict):
        return {each: in_place(each, value[each], directory) for each in value}
    relative = isinstance(value, str) and (
        value.startswith(".") or (name == "find-links" and "://" not in value)
    )
    return os.path.normpath(os.path.join(directory, value)) if relative else value


def uv_files(environment: Mapping[str, str], etc: str) -> list[str]:
    """Return where uv looks for files, of which the first counts most."""
    if told := environment.get("UV_CONFIG_FILE"):
        return [told]
    if environment.get("UV_NO_CONFIG", "").lower() in YES:
        return []
    home = environment.get("HOME") or os.path.expanduser("~")
    config = environment.get("XDG_CONFIG_HOME") or f"{home}/.config"
    shared = environment.get("XDG_CONFIG_DIRS") or f"{etc}/xdg"
    places = [*(f"{each}/uv" for each in shared.split(os.pathsep) if each), f"{etc}/uv"]
    of_the_machine = (f"{each}/uv.toml" for each in places if os.path.exists(f"{each}/uv.toml"))
    return [f"{config}/uv/uv.toml", *list(of_the_machine)[:1]]


def for_pip(environment: Mapping[str, str], etc: str = "/etc") -> dict[str, str]:
    """Return the variables by which pip is told."""
    settings = pip_settings(environment, etc)
    if not settings.keys() & {"index-url", "no-index"}:
        index = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL") or ""
        if url := re.sub(r"\A[A-Za-z0-9_.-]+=", "", index):
            settings["index-url"] = url
    told = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in settings.items()}
    # The latter has distutils read nothing of the account's either.
    return {**told, "PIP_CONFIG_FILE": os.devnull, "PIP_ISOLATED": "1"}


def for_uv(environment: Mapping[str, str], etc: str = "/etc") -> tuple[dict[str, str], str]:
    """Return the variables by which uv is told, and what its file is to hold."""
    settings = uv_settings(environment, etc)
    told = {name: value for name, value in environment.items() if UV_VARIABLE.fullmatch(name)}
    of_pip = pip_settings(environment, etc)
    variables = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
    if not (settings.keys() & set(UV_INDEXES) or any(told.get(name) for name in variables)):
        told.update(pip_indexes(of_pip))
    hosts = of_pip.get("trusted-host")
    if hosts and "allow-insecure-host" not in settings:
        told.setdefault("UV_INSECURE_HOST", " ".join(hosts.split()))
    for name, variable in (("cert", "SSL_CERT_FILE"), ("client-cert", "SSL_CLIENT_CERT")):
        if name in of_pip and not environment.get(variable):
            told[variable] = of_pip[name]
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    known = any(environment.get(name) or environment.get(name.lower()) for name in proxies)
    if "proxy" in of_pip and not known and not settings.keys() & {"http-proxy", "https-proxy"}:
        proxy = of_pip["proxy"]
        told["ALL_PROXY"] = proxy if "://" in proxy else f"http://{proxy}"
    lines = [f"{name} = {as_toml(value)}\n" for name, value in settings.items()]
    return told, "".join(lines)


def pip_indexes(settings: Mapping[str, str]) -> dict[str, str]:
    """Return pip's indexes as uv is told of them; what only pip can do without is left out."""
    found = {}
    if settings.get("no-index", "").lower() in YES:
        found["UV_NO_INDEX"] = "1"
        links = map(os.path.expanduser, settings.get("find-links", "").split())
        found["UV_FIND_LINKS"] = ",".join(
            each for each in links if "://" in each or os.path.exists(each)
        )
        return found
    if url := settings.get("index-url"):
        found["UV_DEFAULT_INDEX"] = url
    more = [url for url in settings.get("extra-index-url", "").split() if url.startswith("http")]
    if more:
        found["UV_INDEX"] = " ".join(more)
        # To pip all of them are one.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def read(file: str) -> str:
    """Return what a file holds, nothing where there is none.

    Raises:
        Unreadable: it cannot be read.
    """
    try:
        with open(file, encoding="utf-8-sig") as lines:
            return lines.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as exc:
        raise unreadable(file, getattr(exc, "strerror", None) or "it is no text") from exc


def toml(text: str, file: str) -> dict[str, Any]:
    """Return what a file of uv's says."""
    if not text.strip():
        return {}
    library = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return dict(library.loads(text))
    except ValueError as exc:
        raise unreadable(file, str(exc)) from exc


def unreadable(file: str, why: str) -> Unreadable:
    """Return the error for a file."""
    return Unreadable(
        f"{file}, which says from where this account takes packages, cannot be read: {why}. "
        "Correct it, and run setup again."
    )


def as_toml(value: Any) -> str:
    """Return a value as TOML has it."""
    if isinstance(value, dict):
        pairs = (f"{as_toml(str(name))} = {as_toml(each)}" for name, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def shell_lines(environment: Iterable[str], told: Mapping[str, str], keeps: str = "-") -> str:
    """Return lines for the shell that take what is withheld out of its environment, and set others.

    What begins with ``keeps`` stays.
    """
    unset = [
        f"unset {name}"
        for name in environment
        if WITHHELD.match(name)
        and re.fullmatch(r"\w+", name, re.ASCII)
        and name not in CACHES
        and not name.startswith(keeps)
    ]
    return "\n".join([*unset, *(f"export {name}={shlex.quote(told[name])}" for name in told)])


def main(installer: str) -> None:
    """Print them, or why not."""
    environment = dict(os.environ)
    try:
        if installer == "pip":
            # uv comes after it, and is told later.
            print(shell_lines(environment, for_pip(environment), keeps="UV_"))
            return
        told, text = for_uv(environment)
    except Unreadable as exc:
        sys.exit(str(exc))
    told["UV_CONFIG_FILE"] = os.path.abspath("uv.toml")
    with open(os.open("uv.toml", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    print(shell_lines(environment, told))


if __name__ == "__main__":
    main(sys.argv[1])
