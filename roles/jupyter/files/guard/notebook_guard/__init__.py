"""Guards the door of a notebook: who gets in, how often one may try, what a stranger may send.

An extension of Jupyter Server, with nothing but what Jupyter Server itself needs. Our
``jupyter_server_config.py`` calls ``apply`` last, so that nothing overrules it. Tried with
jupyter_server 2.0 to 2.21.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp
    from traitlets.config import Config

NAME = "notebook_guard"


def apply(c: Config, base: Path, *, debugger: bool = False) -> None:
    """Set in ``c``, the configuration of the server, what nobody may overrule.

    ``base`` is the directory with the files ``token`` and ``password_hash``; ``debugger`` is
    whether kernels may be debugged from a page.

    Raises:
        OSError: one of these files cannot be read.
        ValueError: one of them is empty; without it, the server could be open.
    """
    from jupyter_server.auth.logout import LogoutHandler
    from jupyter_server.serverapp import ServerApp
    from traitlets.config import Config

    from .handlers import LoginHandler
    from .identity import OwnerIdentityProvider
    from .machine import add_labextension

    secrets = {name: (base / name).read_text().strip() for name in ("token", "password_hash")}
    for name, secret in secrets.items():
        if not secret:
            raise ValueError(f"{base / name} is empty. Run setup again.")
    c.ServerApp.identity_provider_class = OwnerIdentityProvider
    c.ServerApp.jpserver_extensions.update({NAME: True})
    # What an extension does not say that everybody may have, only the owner may; since 2.13.
    if ServerApp.class_traits().get("allow_unauthenticated_access"):
        c.ServerApp.allow_unauthenticated_access = False
    # Who a visitor is, which ngrok's agent tells, is for the log too.
    c.ServerApp.trust_xheaders = True
    add_labextension(c)
    # What is set for a class by its own name outranks what is set for those that it extends.
    c[OwnerIdentityProvider.__name__] = Config(
        base=str(base),
        debugger=debugger,
        token=secrets["token"],
        hashed_password=secrets["password_hash"],
        allow_password_change=False,
        login_handler_class=LoginHandler,
        logout_handler_class=LogoutHandler,
        cookie_options={},
        get_secure_cookie_kwargs={},
    )


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": NAME}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Begin to let the owner in.

    Raises:
        SystemExit: it does not work. Jupyter goes on where an extension raises anything else.
    """
    try:
        from jupyter_server.utils import url_path_join

        from .debugger import turn_off
        from .handlers import ProofHandler, StateHandler
        from .identity import OwnerIdentityProvider
        from .in_force import require
        from .machine import tell_pages

        require(app)
        owner = app.identity_provider
        if not isinstance(owner, OwnerIdentityProvider):
            raise TypeError(f"{type(owner).__name__} decides who logs in")
        owner.open(app)
        if not owner.debugger:
            turn_off(app.web_app.settings)
        base_url = app.web_app.settings["base_url"]
        routes = [
            (url_path_join(base_url, "notebook-proof"), ProofHandler),
            (url_path_join(base_url, "api", "notebook-guard"), StateHandler),
        ]
        app.web_app.add_handlers(".*$", routes)
        tell_pages(app)
    except Exception as exc:
        raise SystemExit(
            f"The guard of the notebook does not work: {exc!r}. Run setup again."
        ) from exc
