"""What the collection can tell about listeners. Real sockets."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.anywhere.notebook.plugins.module_utils import _listener

# Listens, says where, and stays until its input ends.
LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_listener_on_ipv4_is_found(host: str) -> None:
    with socket.create_server((host, 0)) as server:
        found = _listener.find(f"127.0.0.1:{server.getsockname()[1]}")

    assert found
    assert found.pid == os.getpid()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
def test_a_listener_on_both_families_is_found() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        found = _listener.find(f"127.0.0.1:{server.getsockname()[1]}")

    assert found
    assert found.pid == os.getpid()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
def test_a_listener_on_ipv6_loopback_is_another_one() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert _listener.find(f"127.0.0.1:{server.getsockname()[1]}") is None


def test_a_listener_on_another_port_is_another_one() -> None:
    with socket.create_server(("127.0.0.1", 0)), socket.socket() as silent:
        # Bound, so nobody else can listen there, but not listening.
        silent.bind(("127.0.0.1", 0))

        assert _listener.find(f"127.0.0.1:{silent.getsockname()[1]}") is None


def test_a_listener_on_another_address_is_another_one() -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        assert _listener.find(f"127.0.0.1:{server.getsockname()[1]}") is None


def test_a_name_is_looked_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert _listener.find(f"localhost:{server.getsockname()[1]}")


def test_a_connection_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connection = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()

    with connection, accepted:
        assert _listener.find(f"127.0.0.1:{port}") is None


def test_a_listener_is_described_by_program_process_and_account() -> None:
    program = Path("/proc/self/comm").read_text().strip()
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = _listener.find(f"127.0.0.1:{server.getsockname()[1]}")

    assert str(found) == f"{program} (process {os.getpid()}, account {getpass.getuser()})"


def test_a_listener_that_is_hidden_is_described_by_its_account() -> None:
    assert str(_listener.Listener("zoe")) == "a program of the account zoe"


@pytest.fixture
def family() -> Iterator[tuple[int, _listener.Listener]]:
    """A shell's process id, and its child, which listens."""
    argv = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", LISTEN]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout
        found = _listener.find(f"127.0.0.1:{int(shell.stdout.readline())}")
        assert found
        yield shell.pid, found
        shell.communicate(timeout=10)


def test_a_child_descends_from_its_parent_and_grandparent(
    family: tuple[int, _listener.Listener],
) -> None:
    parent, listener = family

    assert listener.pid != parent
    assert listener.descends_from(parent)
    assert listener.descends_from(os.getpid())


def test_a_process_descends_from_itself(family: tuple[int, _listener.Listener]) -> None:
    assert family[1].descends_from(family[1].pid)


def test_a_parent_does_not_descend_from_its_child(
    family: tuple[int, _listener.Listener],
) -> None:
    parent, listener = family

    assert not _listener.Listener("zoe", parent).descends_from(listener.pid)


def test_a_process_that_is_hidden_descends_from_nobody() -> None:
    assert not _listener.Listener("zoe", 0).descends_from(os.getpid())


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        pytest.param("127.0.0.1:8888", ("127.0.0.1", 8888), id="address"),
        pytest.param("localhost:1", ("localhost", 1), id="first-port"),
        pytest.param("localhost:65535", ("localhost", 65535), id="last-port"),
    ],
)
def test_an_address_has_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert _listener.split_address(address) == parts


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("", id="empty"),
        pytest.param("8888", id="port-only"),
        pytest.param(":8888", id="no-host"),
        pytest.param("localhost", id="host-only"),
        pytest.param("localhost:", id="no-port"),
        pytest.param("localhost:http", id="name-of-a-port"),
        pytest.param("localhost:0", id="port-0"),
        pytest.param("localhost:65536", id="port-too-high"),
        pytest.param("localhost:٨٨٨٨", id="other-digits"),
        pytest.param("localhost:8888\n", id="newline"),
    ],
)
def test_a_malformed_address_is_an_error(address: str) -> None:
    with pytest.raises(ValueError, match="is not an address of the form host:port"):
        _listener.split_address(address)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        pytest.param("127.0.0.1:8888-8987", ("127.0.0.1", 8888, 8987), id="range"),
        pytest.param("localhost:1-65535", ("localhost", 1, 65535), id="every-port"),
        pytest.param("localhost:8888-8888", ("localhost", 8888, 8888), id="range-of-one"),
        pytest.param("localhost:8888", ("localhost", 8888, 8888), id="port"),
    ],
)
def test_a_range_has_a_host_and_two_ports(address: str, parts: tuple[str, int, int]) -> None:
    assert _listener.split_range(address) == _listener.Range(*parts)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("", id="empty"),
        pytest.param("8888-8987", id="ports-only"),
        pytest.param(":8888-8987", id="no-host"),
        pytest.param("localhost", id="host-only"),
        pytest.param("localhost:8888-", id="no-end"),
        pytest.param("localhost:-8987", id="no-beginning"),
        pytest.param("localhost:8987-8888", id="upside-down"),
        pytest.param("localhost:0-10", id="port-0"),
        pytest.param("localhost:65000-65536", id="port-too-high"),
        pytest.param("localhost:8888-8900-8987", id="three-ports"),
        pytest.param("localhost:8888 - 8987", id="spaces"),
        pytest.param("localhost:8888-٨٩٨٧", id="other-digits"),
        pytest.param("localhost:8888-8987\n", id="newline"),
    ],
)
def test_a_malformed_range_is_an_error(address: str) -> None:
    with pytest.raises(ValueError, match="is not an address of the form host:port, or host:lowest"):
        _listener.split_range(address)


@pytest.mark.parametrize(
    ("uid", "order"),
    [
        pytest.param(0, [8888, 8889, 8890, 8891], id="root"),
        pytest.param(1000, [8888, 8889, 8890, 8891], id="first-account"),
        pytest.param(1001, [8889, 8890, 8891, 8888], id="second-account"),
        pytest.param(65535, [8891, 8888, 8889, 8890], id="begins-with-the-last"),
    ],
)
def test_where_the_search_begins_depends_on_the_account(
    monkeypatch: pytest.MonkeyPatch, uid: int, order: list[int]
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: uid)

    assert list(_listener.split_range("localhost:8888-8891").candidates()) == order


@pytest.mark.parametrize("uid", [0, 1000])
def test_the_usual_accounts_begin_with_the_lowest_of_a_hundred(
    monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: uid)

    assert next(_listener.split_range("localhost:8888-8987").candidates()) == 8888
