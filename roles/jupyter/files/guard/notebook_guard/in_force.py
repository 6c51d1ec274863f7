"""Whether what is in force is ours; otherwise there is no server.

Other files may set what ours leaves open, and ``jupyter_settings`` anything. So what a server that
is open to the internet stands on is looked at once everything is read, and before a port is bound.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado.ioloop import PeriodicCallback
from traitlets.config import Config

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

# How the program that starts the server tells what it has taken out of the environment.
TOLD = "NOTEBOOK_GUARD"
# How soon a directory that was put in the place of the notebooks' is noticed.
FOLLOW_SECONDS = 1.0
# With which Jupyter keeps other sites from showing its pages as theirs, or talking to it.
HEADERS = ("content-security-policy", "x-content-type-options", "access-control-allow-origin")


@dataclass(frozen=True)
class Expected:
    """What our configuration has set, once it was read to its end."""

    base: Path
    port: int
    root_dir: str
    settings: dict[str, Any]


expected: Expected | None = None


def told() -> dict[str, Any]:
    """Return what the program that has started the server has told it."""
    return dict(json.loads(os.environ.get(TOLD, "{}")))


def expect(base: Path, port: int, root_dir: str, settings: dict[str, Any]) -> None:
    """Say that our configuration was read to its end, and what it wants.

    ``settings`` are those of ``jupyter_settings``, which only names what is wrong.
    """
    global expected
    expected = Expected(base, port, root_dir, settings)


def require(app: ServerApp) -> None:
    """Return when what is in force is ours.

    From then on kernels and terminals are started with what Python reads of the account's own
    environment, without the server's, and among the notebooks: what a page says of a directory is
    looked for first in that of the process (``TerminalRootHandler`` of jupyter_server_terminals).
    Earlier it would not do, because jupyter_core reads settings there (before 4.11.2).

    Raises:
        SystemExit: with a sentence that names what is not, and who may have set it.
    """
    if expected is None:
        raise SystemExit(
            "The notebook server was not started. Its configuration was not read to its end. "
            "Run setup again, which writes it."
        )
    for name, found, wanted in _compared(app, expected):
        if found != wanted:
            raise SystemExit(
                f"The notebook server was not started. {name} is {found!r} and has to be "
                f"{wanted!r}, or it would not be closed to everyone but its owner. "
                f"{_blamed(app, expected, name)}"
            )
    for name in ("jupyterlab", "notebook_guard"):
        _require_extension(app, expected, name)
    _give_back_environment()
    os.chdir(expected.root_dir)
    PeriodicCallback(lambda: follow(app.root_dir), FOLLOW_SECONDS * 1000).start()


def follow(directory: str) -> None:
    """Stay in the directory of this name, also when somebody has put another one there."""
    with contextlib.suppress(OSError):
        if not os.path.samefile(os.curdir, directory):
            os.chdir(directory)


def _compared(app: ServerApp, ours: Expected) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name of each setting, what it is, and what it has to be; secrets only compared."""
    # A class of ours, unless something is wrong.
    provider: Any = app.identity_provider
    kernels = app.kernel_manager
    module = __name__.rpartition(".")[0]
    provider_class = type(provider)
    name = f"{provider_class.__module__}.{provider_class.__name__}"
    yield "ServerApp.identity_provider_class", name, f"{module}.identity.OwnerIdentityProvider"
    for file, trait in (("token", "token"), ("password_hash", "hashed_password")):
        secret = (ours.base / file).read_text().strip()
        same = bool(secret) and getattr(provider, trait) == secret
        yield f"whether {trait} is that of {ours.base / file}", same, True
    yield "IdentityProvider.auth_enabled", provider.auth_enabled, True
    yield "PasswordIdentityProvider.allow_password_change", provider.allow_password_change, False
    yield "ServerApp.ip", app.ip, "127.0.0.1"
    yield "ServerApp.port", app.port, ours.port
    yield "ServerApp.port_retries", app.port_retries, 0
    yield "ServerApp.sock", app.sock, ""
    # Our own questions, and the tunnel, speak http.
    yield "ServerApp.certfile", app.certfile, ""
    # What counts is what the web application has, which ServerApp.tornado_settings may overrule.
    settings = app.web_app.settings
    for name in ("allow_origin", "allow_origin_pat"):
        yield f"ServerApp.{name}", settings.get(name) or "", ""
    for name in ("allow_credentials", "disable_check_xsrf"):
        yield f"ServerApp.{name}", bool(settings.get(name)), False
    headers = [name for name in settings.get("headers") or {} if name.lower() in HEADERS]
    yield "headers of ServerApp.tornado_settings", headers, []
    same = settings.get("identity_provider") is provider
    yield "whether identity_provider is the one of ServerApp.tornado_settings", same, True
    yield "ServerApp.root_dir", app.root_dir, ours.root_dir
    contents = app.contents_manager
    if contents.has_trait("root_dir"):
        yield f"{type(contents).__name__}.root_dir", contents.root_dir, ours.root_dir
    # Over TCP every account of the machine can hear what kernels print.
    kernel = kernels.kernel_manager_factory(parent=kernels)
    yield "KernelManager.transport", kernel.transport, "ipc"
    yield "MappingKernelManager.connection_dir", kernels.connection_dir, app.runtime_dir


def _blamed(app: ServerApp, ours: Expected, name: str) -> str:
    """Return a sentence on who may have set a setting."""
    trait = name.rpartition(".")[2]
    if any(trait in section for section in ours.settings.values() if isinstance(section, dict)):
        return "It is in jupyter_settings: take it out, and run setup again."
    apps = [
        app,
        *(each for found in app.extension_manager.extension_apps.values() for each in found),
    ]
    files = {file: None for each in apps for file in each.loaded_config_files}
    named = [
        file
        for file in files
        if not Path(file).is_relative_to(ours.base)
        and re.search(rf"\b{re.escape(trait)}\b", Path(file).read_text(errors="replace"))
    ]
    if named:
        return f"It is set in {' or '.join(named)}: take it out, and run reconnect."
    return "Look for what has set it, and run reconnect."


def _require_extension(app: ServerApp, ours: Expected, name: str) -> None:
    """Require that an extension takes part.

    Raises:
        SystemExit: it does not; with the reason.
    """
    manager = app.extension_manager
    if manager.linked_extensions.get(name):
        return
    reason = "the log says why."
    try:
        # Jupyter has logged it and gone on; what somebody has asked for goes wrong again.
        for each in manager.extension_apps.get(name, ()):
            type(each)(config=Config(ours.settings))
    except Exception as exc:
        reason = f"{type(exc).__name__}: {exc}"
    raise SystemExit(
        f"The notebook server was not started. Its part {name} does not work: {reason}"
    )


def _give_back_environment() -> None:
    if TOLD not in os.environ:
        return
    theirs = told()["environment"]
    for name in (TOLD, "JUPYTER_CONFIG_DIR", "PYTHONPATH"):
        os.environ.pop(name, None)
    os.environ.update(theirs)
