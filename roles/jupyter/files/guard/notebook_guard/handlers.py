"""The pages of the guard: the login, the proof of whose server this is, and its state."""

from __future__ import annotations

import html
import math
import re
import time
from collections.abc import Callable
from string import Template
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from jupyter_server.auth.login import LoginFormHandler
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado.web import authenticated

from .limits import visitor
from .machine import machine

if TYPE_CHECKING:
    from .identity import OwnerIdentityProvider

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from jupyter_server.auth.decorator import allow_unauthenticated
except ImportError:
    # Before 2.13 everybody may ask for what does not say otherwise.
    def allow_unauthenticated(method: Method) -> Method:
        """Let everybody ask."""
        return method


NONCE = re.compile(rb"[0-9a-fA-F]{32,128}")

# Seconds between two lines in the log that say that logins were refused.
QUIET = 60.0

# Readable in 320 pixels, with text at twice its size, in the dark, and without scripts; what went
# wrong is read out at once, and again with the field that it is about.
PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>$machine: log in</title>
<style>
:root { color-scheme: light dark; --line: #767676; --button: #0b57d0; --alert: #b3261e }
@media (prefers-color-scheme: dark) { :root { --line: #8e918f; --alert: #f2b8b5 } }
body { background: Canvas; color: CanvasText; font: 1rem/1.5 system-ui, sans-serif; margin: 0;
  display: grid; min-height: 100vh; place-items: center }
main { box-sizing: border-box; width: 100%; max-width: 24rem; padding: 1.5rem }
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0 0 1rem; overflow-wrap: anywhere }
label { display: block; font-weight: 600 }
input, button { box-sizing: border-box; width: 100%; font: inherit; padding: .6rem;
  margin: .3rem 0 .8rem; border: 1px solid var(--line); border-radius: .3rem }
button { border-color: var(--button); background: var(--button); color: #fff; cursor: pointer }
:focus-visible { outline: 3px solid #4c8df6; outline-offset: 2px }
[role=alert] { border-left: .3rem solid var(--alert); padding-left: .7rem }
.hint { font-size: .9rem; margin: 0 }
</style>
</head>
<body>
<main>
<h1>Notebook of $account on $host</h1>
$message
<form action="$action" method="post">
$xsrf
<input type="text" name="username" value="$machine" autocomplete="username" hidden>
<label for="password">Password</label>
<input type="password" id="password" name="password" autocomplete="current-password" required
  autofocus $described>
<button type="submit">Log in</button>
<p class="hint" id="hint">The card at the end of setup and reconnect says where the password is.</p>
</form>
</main>
</body>
</html>
"""
)


def in_words(seconds: int) -> str:
    """A time to wait, as people say it."""
    if seconds <= 90:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    return f"{math.ceil(seconds / 60)} minutes"


class LoginHandler(LoginFormHandler):
    """The page on which the owner types the password."""

    # When the log last said that logins were refused, and of how many it has not said so.
    told = -QUIET
    untold = 0

    @property
    def owner(self) -> OwnerIdentityProvider:
        """Who may log in."""
        return cast("OwnerIdentityProvider", self.identity_provider)

    @property
    def content_security_policy(self) -> str:
        """The page needs nothing but itself."""
        return (
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )

    @allow_unauthenticated
    async def post(self) -> None:
        """Log in."""
        remote = str(self.request.remote_ip)
        address, browser = visitor(remote), self.owner.browser(self)
        wait = math.ceil(self.owner.limits.admit(address, browser))
        if wait:
            self._tell_refusal(remote)
            self.set_status(429)
            self.set_header("Retry-After", str(wait))
            self._render(
                "Too many logins have failed, perhaps because somebody tries passwords here. "
                f"Try again in {in_words(wait)}. A browser that has logged in here before has to "
                "wait for its own mistakes only."
            )
            return
        if not await self.owner.check(self.get_argument("password", "", strip=False)):
            self.owner.limits.failed()
            self.set_status(401)
            self._render("This is not the password.")
            return
        self.owner.limits.succeeded(address, self.owner.remember_browser(self))
        user = self.current_user = self.owner.generate_anonymous_user(self)
        self.log.info("%s logged in from %s.", user.username, remote)
        self.owner.set_login_cookie(self, user)
        self._redirect_safe(self.get_argument("next", self.base_url))

    def _render(self, message: str = "") -> None:
        said = f'<p role="alert" id="alert">{html.escape(message)}</p>' if message else ""
        described = 'aria-invalid="true" aria-describedby="alert hint"'
        target = quote(self.get_argument("next", self.base_url), safe="")
        account, host = machine()
        self.set_header("Cache-Control", "no-store")
        self.finish(
            PAGE.substitute(
                account=html.escape(account),
                host=html.escape(host),
                machine=html.escape(f"{account}@{host}"),
                message=said,
                described=described if message else 'aria-describedby="hint"',
                action=html.escape(f"{self.base_url}login?next={target}"),
                xsrf=self.xsrf_form_html(),
            )
        )

    def _tell_refusal(self, remote: str) -> None:
        """Say in the log that somebody was refused, but not of each one: there may be many."""
        cls, now = type(self), time.monotonic()
        cls.untold += 1
        if now - cls.told >= QUIET:
            self.log.warning(
                "Refused %d logins without a look at the password, the last one from %s; "
                "%d logins have failed within a day.",
                cls.untold,
                remote,
                self.owner.limits.failures(),
            )
            cls.told, cls.untold = now, 0

    def _log(self) -> None:
        if self.get_status() != 429:
            super()._log()


class ProofHandler(JupyterHandler):
    """Shows whose server this is to somebody who knows the token, without a login."""

    @allow_unauthenticated
    def get(self) -> None:
        """Answer a nonce."""
        nonces = self.request.query_arguments.get("nonce", [])
        self.set_header("Cache-Control", "no-store")
        if len(nonces) != 1 or not NONCE.fullmatch(nonces[0]):
            self.set_status(400)
            self.finish({"message": "nonce has to be 32 to 128 hexadecimal digits."})
            return
        owner = cast("OwnerIdentityProvider", self.identity_provider)
        self.finish({"proof": owner.prove(nonces[0].decode())})


class StateHandler(APIHandler):
    """What there is to know of those who want to log in."""

    @authenticated
    def get(self) -> None:
        """Tell the owner."""
        self.finish(cast("OwnerIdentityProvider", self.identity_provider).state())
