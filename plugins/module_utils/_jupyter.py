# Copyright: (c) 2026, the anywhere.notebook authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection knows about a Jupyter server's REST API. Private to the collection.

The routes are those of jupyter_server's ``services/api/api.yaml``: ``/api`` needs no login,
``/api/status``, ``/api/kernels``, ``/api/sessions`` and ``/api/terminals`` do. Two are those of our
own guard, which is loaded into the server: ``/notebook-proof``, without a login, and
``/api/notebook-guard``.

Nothing that answers is trusted. On the machine itself the token goes to a program of the same
account only; through a public URL the password goes only to the server that has proven that it
knows the token, which is not told.
"""

from __future__ import annotations

import contextlib
import datetime
import hmac
import html
import ipaddress
import os
import re
import secrets
import time
import typing as t
from urllib.parse import urljoin, urlsplit

from ansible_collections.anywhere.notebook.plugins.module_utils import _http, _listener, _machine
from ansible_collections.anywhere.notebook.plugins.module_utils._ngrok import explained

# Any value makes ngrok's free plan skip its page for browsers (documentation of ERR_NGROK_6024).
SKIP_INTERSTITIAL = {"ngrok-skip-browser-warning": "1"}

POLL = 0.1
REQUEST_TIMEOUT = 10

PROVES = b"anywhere.notebook proof\n"
NONCE_BYTES = 32
VERSION = re.compile(r"[0-9A-Za-z.+_-]{1,40}")
REDIRECTS = (301, 302, 303, 307, 308)
# Whose pages are below which path, and what they have (JupyterLab and Notebook 7, and Notebook 6);
# a page that says what is missing has not.
PAGES = {
    **dict.fromkeys(("lab", "doc"), "JupyterLab"),
    **dict.fromkeys(("tree", "notebooks", "edit", "consoles"), "Notebook"),
}
PAGE = (b"jupyter-config-data", b"data-base-url=")
# The program that makes a page of what it is, and is in a file of its own, of which a byte will do.
PROGRAM = re.compile(r"""<script[^>]*\ssrc=["']([^"']+)""")
PROGRAMS = 4
WORDS = 160

# Lines of the server's log, as our configuration has them written, about logins that failed; of
# those that the guard has refused at once it writes only how many they were, once a minute.
FAILED_LOGIN = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}),.*(?: 401 POST /login|Refused ([0-9]{1,9}) logins)"
)
LOG_TAIL = 1 << 16
ATTACK_SECONDS = 60
ATTACK_LOGINS = 10


class JupyterError(Exception):
    """The server answers, but not as asked; the message says what to do."""


class NotJupyter(Exception):
    """No Jupyter server answers; the message is what was met instead.

    ``answered`` is whether anything answered, ``error_code`` the code of ngrok's if it was ngrok.
    """

    def __init__(self, message: str, *, answered: bool = True, error_code: str = "") -> None:
        super().__init__(message)
        self.answered = answered
        self.error_code = error_code


def look(
    url: str,
    deadline: float,
    *,
    token_file: str | None = None,
    pid: int = 0,
    log_file: str | None = None,
    challenge: dict[str, str] | None = None,
    password: str | None = None,
) -> dict[str, t.Any]:
    """Return what the module jupyter_server_info returns, once a server answers.

    Waits for it until ``deadline`` (time.monotonic). The arguments are those of the module.

    Raises:
        JupyterError: the server refuses the token, stops answering, or answers nonsense.
        OSError: the token file cannot be read.
    """
    result: dict[str, t.Any] = {
        "running": False,
        "msg": "",
        "url": url,
        "answered": False,
        "error_code": "",
        "proven": False,
        "exposed": beyond_loopback({pid} - {0}),
        "login": "",
        "challenge": {},
        "version": "",
        "pid": 0,
        "started": "",
        "last_activity": "",
        "outputs_kept": False,
        "outputs_problem": "",
        "page_problem": "",
        "failed_logins": 0,
        "last_failed_login": "",
        "attacked": False,
        "sessions_since": "",
        "terminals": [],
        "kernels": [],
    }
    check = Ours(pid) if token_file else None
    stranger = ""
    while True:
        # One that answers slowly gets the time that is left.
        timeout = max(REQUEST_TIMEOUT, deadline - time.monotonic())
        try:
            stranger = unproven(url, challenge, timeout) if challenge else ""
            if stranger or not challenge:
                result["version"] = version(url, timeout, check)
            break
        except NotJupyter as exc:
            if time.monotonic() >= deadline:
                attacked = is_attacked(_tail(log_file), time.time())
                found = {"answered": exc.answered, "error_code": exc.error_code}
                return result | found | {"msg": f"{exc}.", "attacked": attacked}
        time.sleep(POLL)
    result |= {"answered": True, "proven": bool(challenge) and not stranger}
    if stranger:
        said = f"{url} leads to another Jupyter server than the one on this machine: {stranger}."
        return result | {"running": True, "msg": said}
    try:
        exposed = everybody_may(url, timeout, check)
        result["exposed"] = result["exposed"] or exposed
        if token_file and check:
            result["pid"] = check.pid
            result["exposed"] = result["exposed"] or beyond_loopback({check.pid})
            with open(token_file, encoding="utf-8") as file:
                token = file.read().strip()
            result |= activity(url, token, timeout, check)
            if result.pop("guarded"):
                result["challenge"] = new_challenge(token)
        if password and result["proven"] and not exposed:
            result["login"] = log_in(url, password, timeout, deadline)
    except NotJupyter as exc:
        return result | {"proven": False, "msg": f"{exc}."}
    said = f"Jupyter server {result['version']} answers at {url}."
    if result["proven"]:
        said = f"{url} leads to this machine's Jupyter server."
    return result | {"running": True, "msg": result["exposed"] or said}


def version(url: str, timeout: float, check: _http.Check | None = None) -> str:
    """Return the version of the Jupyter server at ``url``.

    Raises:
        NotJupyter: nothing answers, or something else does.
    """
    answer = _met(url, "/api", timeout, check)
    said = _field(answer.json(), "version")
    if answer.status != 200 or not VERSION.fullmatch(said):
        raise NotJupyter(f"{url} answers with status {answer.status}, but is no Jupyter server")
    return said


def new_challenge(token: str) -> dict[str, str]:
    """Return a ``nonce`` that was never used, and the ``answer`` that only our server can give."""
    nonce = secrets.token_hex(NONCE_BYTES)
    words = PROVES + nonce.encode()
    return {"nonce": nonce, "answer": hmac.new(token.encode(), words, "sha256").hexdigest()}


def unproven(url: str, challenge: dict[str, str], timeout: float) -> str:
    """Return why the server at ``url`` is not the one that was meant, nothing when it is.

    Raises:
        NotJupyter: nothing answers, or ngrok does.
    """
    answer = _met(url, f"/notebook-proof?nonce={challenge['nonce']}", timeout)
    proof = _field(answer.json(), "proof")
    if answer.status != 200:
        return f"it has no proof to give (status {answer.status})"
    right = hmac.compare_digest(proof.encode("utf-8", "replace"), challenge["answer"].encode())
    return "" if right else "its proof is wrong"


def everybody_may(url: str, timeout: float, check: _http.Check | None = None) -> str:
    """Return a sentence when the server serves those who have not logged in, nothing otherwise.

    Raises:
        NotJupyter: whether it does cannot be told.
    """
    answer = _met(url, "/api/status", timeout, check)
    if 200 <= answer.status < 300:
        return (
            f"{url} is open to everybody: it gives /api/status without a login, so whoever asks "
            "can run programs as this account."
        )
    if answer.status in (401, 403, *REDIRECTS):
        return ""
    raise NotJupyter(
        f"{url} answers GET /api/status with status {answer.status}, where it should ask for a "
        "login"
    )


def beyond_loopback(pids: t.Collection[int]) -> str:
    """Return a sentence when a process listens on more than loopback, nothing otherwise."""
    for address in _listener.addresses(pids):
        host = ipaddress.ip_address(address.rpartition(":")[0])
        mapped = getattr(host, "ipv4_mapped", None) or host
        if not mapped.is_loopback:
            return f"The Jupyter server listens on {address}, where other machines can reach it."
    return ""


def log_in(url: str, password: str, timeout: float, deadline: float) -> str:
    """Type a password on the login page; its form is known, so it is not fetched.

    Returns:
        ``accepted`` or ``refused``; ``limited`` where too many logins have failed, of whomever, and
        ``deadline`` (time.monotonic) comes before the next is taken; empty where there is no such
        page.

    Raises:
        NotJupyter: the server stops answering.
    """
    # Tornado wants to see the same words in a cookie, which another site's page cannot set.
    xsrf = secrets.token_hex(16)
    headers = SKIP_INTERSTITIAL | {"Cookie": f"_xsrf={xsrf}"}
    while True:
        try:
            answer = _http.request(
                f"{url}/login", headers, timeout, {"_xsrf": xsrf, "password": password}
            )
        except _http.NoAnswer as exc:
            raise NotJupyter(f"{url} does not answer any more: {exc}", answered=False) from exc
        if answer.status == 302:
            # What is in front of it, such as a login of ngrok's (Traffic Policy), leads elsewhere.
            with contextlib.suppress(ValueError):
                there = urljoin(f"{url}/login", answer.headers.get("location", ""))
                ours = there.startswith(f"{url}/") and urlsplit(there).path != "/login"
                return "accepted" if ours else ""
        if answer.status != 429:
            return "refused" if answer.status == 401 else ""
        pause = answer.headers.get("retry-after", "")
        seconds = int(pause) if re.fullmatch("[0-9]{1,6}", pause) else REQUEST_TIMEOUT
        if time.monotonic() + seconds > deadline:
            return "limited"
        time.sleep(max(seconds, POLL))


def activity(
    url: str, token: str, timeout: float, check: _http.Check | None = None
) -> dict[str, t.Any]:
    """Return what the server does.

    Returns:
        ``started`` and ``last_activity`` of the server (ISO 8601, UTC), ``outputs_kept`` and
        ``outputs_problem``, ``page_problem``, whether it is ``guarded``, what its guard says of
        failed logins, the names of its ``terminals``, and its ``kernels``, each as the module
        jupyter_server_info has it.

    Raises:
        JupyterError: the server refuses the token, or answers with an error, or nonsense.
    """

    def ask(route: str, missing: t.Any = None) -> t.Any:
        return _authorized(f"{url}{route}", token, timeout, check, missing)

    try:
        status = ask("/api/status")
        kernels = _objects(ask("/api/kernels"))
        sessions = _objects(ask("/api/sessions"))
        # These three are extensions of the server, which need not be there.
        terminals = _objects(ask("/api/terminals", missing=[]))
        keeper = ask("/api/notebook-keeper", missing={})
        guard = ask("/api/notebook-guard", missing={})
        problems = list(map(_text, keeper.get("problems", [])))
        # jupyter-collaboration puts the name of its drive before the path.
        paths = {
            _need(session["kernel"], "id"): _need(session, "path").removeprefix("RTC:")
            for session in sessions
            if session["kernel"]
        }
        ids = {_need(kernel, "id") for kernel in kernels}
        processes, deaths = _machine.kernels(ids), keeper.get("deaths", {})
        return {
            "started": _need(status, "started"),
            "last_activity": _need(status, "last_activity"),
            "outputs_kept": bool(keeper) and not problems,
            "outputs_problem": "; ".join(problems),
            "page_problem": page_problem(url, token, timeout, check),
            "guarded": bool(guard),
            **(_guarded(guard) if guard else {}),
            "terminals": [_need(terminal, "name") for terminal in terminals],
            "kernels": [
                {
                    **{
                        name: _need(kernel, name)
                        for name in ("id", "name", "execution_state", "last_activity")
                    },
                    "path": paths.get(kernel["id"], ""),
                    "idle_seconds": _idle_seconds(kernel),
                    **processes.get(kernel["id"], {"pid": 0, "memory_mb": 0}),
                    **{
                        name: _field(deaths.get(kernel["id"], {}), name)
                        for name in ("died", "died_of")
                    },
                }
                for kernel in kernels
            ],
        }
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as exc:
        raise JupyterError(f"{url} answers, but not as a Jupyter server does.") from exc


def page_problem(url: str, token: str, timeout: float, check: _http.Check | None = None) -> str:
    """Return why a person who has logged in gets no page, nothing when one opens."""
    there = f"{url}/"
    for _ in range(4):
        answer = _ask(there, token, timeout, check)
        path = urlsplit(there).path
        if answer.status not in REDIRECTS:
            break
        with contextlib.suppress(ValueError):
            there = urljoin(there, answer.headers.get("location", ""))
        if not there.startswith(f"{url}/"):
            return f"GET {path} leads away from the notebook"
    if answer.status != 200:
        return f"GET {path} answers with status {answer.status}"
    page = answer.body.decode(errors="replace")
    program = PAGES.get(path.split("/")[1])
    if program and not any(each in answer.body for each in PAGE):
        words = _words(page, token)
        return f"GET {path} is not {program}{f', but says: {words}' if words else ''}"
    for source in PROGRAM.findall(page)[: PROGRAMS if program else 0]:
        needed = urljoin(there, html.unescape(source))
        if needed.startswith(f"{url}/"):
            status = _ask(needed, token, timeout, check, {"Range": "bytes=0-0"}).status
            if status not in (200, 206):
                return (
                    f"GET {path} is a page of {program} without its program: "
                    f"{urlsplit(needed).path} answers with status {status}"
                )
    return ""


def _words(page: str, secret: str) -> str:
    """Return the first words that a page shows, a secret not among them."""
    text = html.unescape(re.sub(r"(?s)<(script|style|head).*?</\1>|<[^>]*>", " ", page))
    words = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    words = words.replace(secret, "...") if secret else words
    return words if len(words) <= WORDS else f"{words[:WORDS]}..."


def is_attacked(log: str, now: float) -> bool:
    """Whether strangers try to log in at a server that has no answer, by the end of its ``log``.

    ``now`` is in seconds since 1970; the log has the machine's local time.
    """
    failed = 0
    for stamp, refused in FAILED_LOGIN.findall(log):
        try:
            then = time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S"))
        except (OverflowError, ValueError):
            continue
        if now - ATTACK_SECONDS <= then <= now + 1:
            failed += int(refused or 1)
    return failed >= ATTACK_LOGINS


def _tail(file: str | None) -> str:
    """Return the end of a file, nothing when there is none."""
    if not file:
        return ""
    try:
        with open(file, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL))
            return log.read(LOG_TAIL).decode(errors="replace")
    except OSError:
        return ""


class Ours:
    """A check that lets only a program of this account be asked, see ``_http.request``.

    The first time, with a ``pid``, only one that is this process or was started below it. It is
    looked up once there is a connection, so that nobody gets the port in between.
    """

    def __init__(self, pid: int) -> None:
        self._above = pid
        self.pid = 0

    def __call__(self, address: str) -> None:
        """Raise NotJupyter unless it is."""
        if self.pid and _listener.owner(address) == os.geteuid():
            return
        listener = _listener.find(address)
        mine = listener is not None and listener.uid == os.geteuid()
        if not listener or not mine or (self._above and not listener.descends_from(self._above)):
            raise NotJupyter(
                f"{address} is taken by {listener or 'a program that cannot be told'}, which is "
                "not asked"
            )
        self.pid = listener.pid


def _met(url: str, path: str, timeout: float, check: _http.Check | None = None) -> _http.Answer:
    """Return what answers without a login, unless nobody does, or ngrok."""
    try:
        answer = _http.request(f"{url}{path}", SKIP_INTERSTITIAL, timeout, check=check)
    except _http.NoAnswer as exc:
        raise NotJupyter(f"{url} does not answer: {exc}", answered=False) from exc
    # ngrok's edge sets this header on its own pages and on nothing that passes through it.
    code = answer.headers.get("ngrok-error-code", "")
    if re.fullmatch(r"ERR_NGROK_[0-9]{1,6}", code):
        words = explained(code).rstrip(".")
        raise NotJupyter(f"{url} is answered by ngrok itself with {words}", error_code=code)
    return answer


def _guarded(guard: dict[str, t.Any]) -> dict[str, t.Any]:
    kinds = {
        "failed_logins": int,
        "last_failed_login": str,
        "attacked": bool,
        "sessions_since": str,
    }
    found = {name: _need(guard, name, kind) for name, kind in kinds.items()}
    return found | {"failed_logins": max(0, found["failed_logins"])}


def _objects(document: t.Any) -> list[dict[str, t.Any]]:
    """Return a list of JSON objects.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(document, list) or not all(isinstance(one, dict) for one in document):
        raise TypeError(type(document))
    return document


def _need(document: t.Any, name: str, kind: type = str) -> t.Any:
    """Return a field of a JSON object.

    Raises:
        TypeError: there is none, or not of this type.
    """
    if not isinstance(document, dict) or type(document.get(name)) is not kind:
        raise TypeError(name)
    return _text(document[name]) if kind is str else document[name]


def _field(document: t.Any, name: str) -> str:
    """Return a text of a JSON object, an empty one when there is none."""
    try:
        return str(_need(document, name))
    except TypeError:
        return ""


def _text(value: str) -> str:
    """Return a text that can be encoded; JSON can hold halves of characters."""
    return value.encode("utf-8", "replace").decode()


def _idle_seconds(kernel: dict[str, t.Any]) -> int:
    # Up to Python 3.10 fromisoformat does not know the Z.
    last = datetime.datetime.fromisoformat(kernel["last_activity"].replace("Z", "+00:00"))
    if kernel["execution_state"] == "busy":
        return 0
    return max(0, int((datetime.datetime.now(last.tzinfo) - last).total_seconds()))


def _authorized(
    url: str, token: str, timeout: float, check: _http.Check | None, missing: t.Any
) -> t.Any:
    """Return what is at ``url``; where there is nothing, ``missing`` if given."""
    answer = _ask(url, token, timeout, check)
    if answer.status in (401, 403):
        raise JupyterError(
            f"GET {url}: the server does not accept the token. It was started with another one; "
            "restart it, or point token_file at the right file."
        )
    if answer.status == 404 and missing is not None:
        return missing
    document = answer.json()
    if answer.status != 200 or document is None:
        raise JupyterError(f"GET {url}: status {answer.status}")
    return document


def _ask(
    url: str,
    token: str,
    timeout: float,
    check: _http.Check | None,
    headers: dict[str, str] | None = None,
) -> _http.Answer:
    """Return what answers to the token."""
    headers = {"Authorization": f"token {token}", **(headers or {})}
    try:
        return _http.request(url, headers, timeout, check=check)
    except (NotJupyter, _http.NoAnswer) as exc:
        raise JupyterError(f"GET {url}: {exc}") from exc
