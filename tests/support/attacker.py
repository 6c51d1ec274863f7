"""What an account tries that shares a machine with a notebook's owner.

Programs for the host's own Python, without packages. Each gets one JSON document on its command
line and prints one.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from contextlib import AbstractContextManager
from typing import Any

from tests.support.hosts import Host

END_SECONDS = 30

# Asks every port on which an account of the number ``uid`` listens whatever helps, over HTTP; and
# listens to it as to a kernel, with a ZMTP 3.0 handshake of a SUB socket (rfc.zeromq.org, 23).
# Prints what was answered with success, and what was heard; both by address.
PORTS = r"""
import http.client, json, os, re, socket, sys, time

told = json.loads(sys.argv[1])
asked = [
    ("GET", "/api/tunnels", None),
    ("POST", "/api/tunnels", {"name": "x", "proto": "http", "addr": "file://" + told["home"]}),
    ("POST", "/api/tunnels", {"name": "y", "proto": "http", "addr": "22"}),
    ("POST", "/api/tunnels", {"name": "z", "proto": "tcp", "addr": "22"}),
    ("DELETE", "/api/tunnels/jupyter", None),
    ("GET", "/api/status", None),
    ("GET", "/api/endpoints", None),
    ("GET", "/api/contents", None),
    ("GET", "/api/kernels", None),
    ("GET", "/api/sessions", None),
    ("POST", "/api/kernels", {}),
    ("POST", "/api/terminals", {}),
    ("GET", "/api/events", None),
    ("GET", "/metrics", None),
    ("GET", "/files/.ssh/authorized_keys", None),
    ("GET", "/api/notebook-keeper", None),
    ("POST", "/api/notebook-keeper", {"keep_on": True}),
    ("GET", "/api/notebook-guard", None),
]


def listening():
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in open(table).read().splitlines()[1:]:
            words = row.split()
            if words[3] == "0A" and int(words[7]) == told["uid"]:
                host, port = words[1].split(":")
                yield ("127.0.0.1" if len(host) == 8 else "::1"), int(port, 16)


def ask(host, port, method, path, body):
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def hear(host, port):
    heard = b""
    try:
        with socket.create_connection((host, port), 5) as kernel:
            kernel.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 1 + 31))
            kernel.sendall(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB")
            kernel.sendall(b"\x00\x01\x01")
            limit = time.monotonic() + told["seconds"]
            kernel.settimeout(0.2)
            while time.monotonic() < limit:
                try:
                    got = kernel.recv(65536)
                except socket.timeout:
                    continue
                if not got:
                    break
                heard += got
    except OSError:
        pass
    return heard.decode(errors="replace")


def speaks(address):
    return ask(*address, *asked[0])[0] > 0


found = sorted(set(listening()))
print(json.dumps({
    "addresses": [f"{host}:{port}" for host, port in found],
    "answered": {
        f"{method} {host}:{port}{path}": body
        for host, port in filter(speaks, found)
        for method, path, data in asked
        for status, body in [ask(host, port, method, path, data)]
        if 200 <= status < 300
    },
    "heard": {f"{host}:{port}": hear(host, port) for host, port in found},
}))
"""

# Connects to every Unix socket of the machine; prints those behind which is an account of the
# number ``uid``.
SOCKETS = r"""
import json, socket, struct, sys

told = json.loads(sys.argv[1])
reached = []
for row in open("/proc/net/unix").read().splitlines()[1:]:
    words = row.split(None, 7)
    if len(words) < 8:
        continue
    path = words[7]
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as link:
            link.settimeout(2)
            try:
                link.connect("\0" + path[1:] if path.startswith("@") else path)
                given = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            except OSError:
                continue
            if struct.unpack("3i", given)[1] == told["uid"]:
                reached.append(path)
print(json.dumps(sorted(set(reached))))
"""

# Reads every file that can be read, the processes' among them; prints those that hold a secret.
FILES = r"""
import json, os, stat, sys

told = json.loads(sys.argv[1])
secrets = [secret.encode() for secret in told["secrets"]]
skipped = {"/sys", "/usr", "/var/cache/uv", "/proc/" + str(os.getpid())}
holding = []
for top, directories, files in os.walk("/"):
    directories[:] = [
        name for name in directories
        if os.path.join(top, name) not in skipped and not (top.startswith("/proc/") and name != "fd"
        and not name.isdigit())
    ]
    wanted = ("cmdline", "environ") if top.startswith("/proc") else files
    for name in set(files) & set(wanted):
        path = os.path.join(top, name)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            with open(path, "rb") as file:
                text = file.read(20000000)
        except OSError:
            continue
        # Of this program itself, and of the shell that started it.
        if any(secret in text for secret in secrets) and b"skipped = " not in text:
            holding.append(path)
print(json.dumps(holding))
"""

# Tries to have a port, again and again, and answers whoever comes to it with a login page. Prints
# "bound" when it has it, then what it is sent; ends with its input.
RACER = r"""
import json, os, socket, sys, threading

told = json.loads(sys.argv[1])
page = b"<form method=post action=/login><input name=password></form>"
answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(page), page)


def serve(link):
    link.settimeout(2)
    text = b""
    try:
        while b"\r\n\r\n" not in text:
            got = link.recv(65536)
            if not got:
                break
            text += got
        link.sendall(answer)
        text += link.recv(65536)
    except OSError:
        pass
    if text:
        print(json.dumps(text.decode(errors="replace")), flush=True)
    link.close()


def race():
    while True:
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(("127.0.0.1", told["port"]))
            door.listen(50)
        except OSError:
            door.close()
            continue
        print(json.dumps("bound"), flush=True)
        while True:
            threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()


threading.Thread(target=race, daemon=True).start()
sys.stdin.read()
os._exit(0)
"""


def _command(account: str, program: str, told: object) -> list[str]:
    """Run a program as an account of the host; also as one that may not log in."""
    return ["runuser", "-u", account, "--", "python3", "-c", program, json.dumps(told)]


def attack(host: Host, account: str, program: str, **told: object) -> Any:
    """Run one of the programs as an account of the host, and return what it found."""
    return json.loads(host.run(_command(account, program, told), timeout=300).stdout)


class Racer(AbstractContextManager["Racer"]):
    """An account that wants a port, as long as the ``with`` block."""

    def __init__(self, host: Host, account: str, port: int) -> None:
        line = shlex.join(_command(account, RACER, {"port": port}))
        self._child = subprocess.Popen(
            [*host.ssh("root"), line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: list[str] = []

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait(self) -> None:
        """Return once it has the port."""
        assert self._child.stdout
        assert json.loads(self._child.stdout.readline()) == "bound"

    def end(self) -> list[str]:
        """Let the port go; what was sent to it."""
        if self._child.stdin and not self._child.stdin.closed:
            self._child.stdin.close()
            assert self._child.stdout
            self._lines = [json.loads(line) for line in self._child.stdout]
            self._child.wait(END_SECONDS)
        return [line for line in self._lines if line != "bound"]
