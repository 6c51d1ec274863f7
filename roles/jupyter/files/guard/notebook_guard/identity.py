"""Who the owner is: who knows the password, shows a session that began with it, or has the token.

The hash of the password is read again when its file changes. A session is a cookie signed with a
secret that is made anew when sessions have to end: with another password, and with any change of
the file ``sessions_since``.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from inspect import isawaitable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from jupyter_core.paths import secure_write
from jupyter_server.auth.identity import PasswordIdentityProvider, User
from jupyter_server.auth.security import passwd_check
from jupyter_server.utils import url_path_join
from tornado.ioloop import PeriodicCallback
from tornado.web import RequestHandler, decode_signed_value
from traitlets import Bool, Unicode

from .connections import Door
from .limits import Limits

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp
    from tornado.httputil import HTTPServerRequest

# Milliseconds between looks at the files while no request comes.
LOOK = 1000

KEY_BYTES = 32
BROWSER_DAYS = 400


# When a file changed (ns), its size and its number; empty where there is none.
Stamp = tuple[int, ...]


class OwnerIdentityProvider(PasswordIdentityProvider):
    """The one account whose notebook this is. Lets nobody in before ``open``."""

    base = Unicode(config=True, help="Directory with the files token and password_hash.")
    debugger = Bool(config=True, help="Whether kernels may be debugged from a page.")

    app: ServerApp | None = None

    @property
    def auth_enabled(self) -> bool:
        """Whether one has to log in."""
        return True

    def open(self, app: ServerApp) -> None:
        """Begin to let the owner in."""
        self.limits = Limits(time.monotonic)
        # One at a time, beside the event loop: each takes 65 ms of a processor and 10 MB.
        self._thread = ThreadPoolExecutor(1, "password")
        self._door = Door(app.web_app, self)
        self._settings = app.web_app.settings
        self._secret_file = Path(app.cookie_secret_file)
        self._settings["cookie_secret"] = self._read()
        self.app = app
        PeriodicCallback(self.refresh, LOOK).start()

    def refresh(self) -> None:
        """See whether the password has changed, or sessions have to end."""
        if self.app is None or self._look() == self._stamps:
            return
        secret = self._read()
        if secret != self._settings["cookie_secret"]:
            self._settings["cookie_secret"] = secret
            closed = self._door.end_sessions()
            self.log.warning("All sessions have ended, and %d connections were closed.", closed)

    async def get_user(self, handler: RequestHandler) -> User | None:
        """Who asks: the owner, or nobody."""
        if self.app is None:
            return None
        self.refresh()
        found = super().get_user(handler)
        user = await found if isawaitable(found) else found
        if user is None and self.get_token(handler):
            self.limits.failed()
        return user

    async def get_user_token(self, handler: RequestHandler) -> User | None:
        """The owner, where the token is shown."""
        given = self.get_token(handler) or ""
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        return await super().get_user_token(handler)

    def credential(self, request: HTTPServerRequest) -> str:
        """What a request shows of the owner before its body is there.

        Returns:
            ``token``, ``session``, or nothing.
        """
        if self.app is None:
            return ""
        self.refresh()
        given = list(request.query_arguments.get("token", []))
        header = self.auth_header_pat.match(request.headers.get("Authorization", ""))
        if header:
            given.append(header.group(2).encode())
        if any(hmac.compare_digest(text, self.token.encode()) for text in given):
            return "token"
        asked: Any = SimpleNamespace(request=request)
        cookie = request.cookies.get(self.get_cookie_name(asked))
        if cookie is None:
            return ""
        secret = self._settings["cookie_secret"]
        return "session" if decode_signed_value(secret, cookie.key, cookie.value) else ""

    async def check(self, password: str) -> bool:
        """Whether this is the password."""
        if self.app is None:
            return False
        self.refresh()
        hashed = self.hashed_password
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._thread, self._matches, hashed, password)
        # It may have been changed meanwhile.
        self.refresh()
        return right and hashed == self.hashed_password

    def process_login_form(self, handler: RequestHandler) -> User | None:
        """Nobody logs in but by ``check``."""
        return None

    def browser(self, handler: RequestHandler) -> str:
        """The name of a browser with which somebody has logged in before, otherwise nothing."""
        shown = handler.get_cookie(self._browser_cookie(handler)) or ""
        name, _, signature = shown.partition(".")
        wanted = self._sign("browser", name)
        return name if hmac.compare_digest(signature.encode(), wanted.encode()) else ""

    def remember_browser(self, handler: RequestHandler) -> str:
        """Name a browser that has no name yet, and return its name.

        One cannot log in with it. It outlives sessions and passwords.
        """
        name = self.browser(handler) or secrets.token_hex(16)
        handler.set_cookie(
            self._browser_cookie(handler),
            f"{name}.{self._sign('browser', name)}",
            expires_days=BROWSER_DAYS,
            path=url_path_join(self._settings["base_url"], "login"),
            httponly=True,
        )
        return name

    def prove(self, nonce: str) -> str:
        """What only a server with this token answers to a nonce of hexadecimal digits."""
        return self._sign("proof", nonce)

    def state(self) -> dict[str, Any]:
        """What there is to know of those who want to log in."""
        ago = self.limits.since_failure()
        kept = self._look()[2]
        return {
            "failed_logins": self.limits.failures(),
            "last_failed_login": "" if ago is None else _iso(time.time() - ago),
            "attacked": self.limits.attacked(),
            "sessions_since": _iso(kept[0] / 1e9) if kept else "",
        }

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return bool(passwd_check(hashed, password))
        except Exception as exc:  # What argon2 raises depends on its release.
            self.log.error("No password can match what is in password_hash: %s", exc)
            return False

    def _browser_cookie(self, handler: RequestHandler) -> str:
        return f"known-{self.get_cookie_name(handler)}"

    def _sign(self, purpose: str, text: str) -> str:
        message = f"anywhere.notebook {purpose}\n{text}".encode()
        return hmac.new(self.token.encode(), message, hashlib.sha256).hexdigest()

    def _look(self) -> list[Stamp]:
        """Of the files with the password, what ends sessions, and the key: when they changed."""
        return [
            _stamp(Path(self.base) / "password_hash"),
            _stamp(Path(self.base) / "sessions_since"),
            _stamp(self._secret_file),
        ]

    def _read(self) -> bytes:
        """Read the files, and return what sessions are signed with."""
        stamps = self._look()
        self._read_password()
        secret = self._secret(stamps[1])
        # What has changed since then is read the next time.
        self._stamps = [*stamps[:2], self._look()[2]]
        return secret

    def _read_password(self) -> None:
        """Take another one; one that cannot be read stays what it was."""
        try:
            hashed = (Path(self.base) / "password_hash").read_text().strip()
        except (OSError, ValueError) as exc:
            self.log.error("The password stays the one before: %s", exc)
            return
        if hashed and hashed != self.hashed_password:
            self.hashed_password = hashed

    def _secret(self, marked: Stamp) -> bytes:
        """The key of sessions.

        It is kept with a mark of the password and of ``sessions_since``, and made anew when that
        is another one. So no session comes back when an old password does.
        """
        try:
            kept = self._secret_file.read_bytes()
        except OSError:
            kept = b""
        key, mark = kept[:KEY_BYTES], kept[KEY_BYTES:]
        if not hmac.compare_digest(mark, self._mark(key, marked)):
            key = secrets.token_bytes(KEY_BYTES)
            try:
                with secure_write(str(self._secret_file), binary=True) as file:
                    file.write(key + self._mark(key, marked))
            except OSError as exc:
                self.log.error("Sessions will end with this server: %s", exc)
        return key

    def _mark(self, key: bytes, marked: Stamp) -> bytes:
        content = f"{self.hashed_password}\n{marked}".encode()
        return hmac.new(key, content, hashlib.sha256).digest()


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
