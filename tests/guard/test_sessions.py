"""Sessions end when the password changes, or when they have to; kernels go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.guarded import PASSWORD, TOKEN, Guarded, Person
from tests.support.waiting import wait_until

# The product promises two.
SECONDS = 20.0


@pytest.fixture
def server(server: Guarded) -> Iterator[Guarded]:
    """The one that all tests share, with its password again afterwards."""
    yield server
    server.set_password(PASSWORD)


def is_logged_in(person: Person) -> bool:
    return person.page("/api/status")[0] == 200


def change_password(server: Guarded) -> str:
    server.set_password("another password")
    return "another password"


def end_sessions(server: Guarded) -> str:
    (server.base / "sessions_since").write_text("now")
    return PASSWORD


def is_closed(channel: ClientConnection) -> bool:
    """Read until the server has closed it."""
    try:
        while True:
            channel.recv(SECONDS)
    except ConnectionClosed:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("end", [change_password, end_sessions])
def test_sessions_end_and_a_running_cell_goes_on(
    end: Callable[[Guarded], str], server: Guarded
) -> None:
    thief = server.owner()
    kernel = thief.kernel()
    go, out = (server.base / f"{word} {end.__name__}" for word in ("go", "out"))
    code = (
        "import pathlib, time\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        f"pathlib.Path({str(out)!r}).write_text('went on')"
    )
    program = connect(
        f"ws://127.0.0.1:{server.port}/api/events/subscribe",
        additional_headers={"Authorization": f"token {TOKEN}"},
    )
    with program, thief.connection(kernel) as channel:
        next(thief._replies(channel, code))
        password = end(server)
        assert is_closed(channel)
        assert not is_logged_in(thief)
        assert server.visitor().log_in(PASSWORD) is (password == PASSWORD)
        owner = server.visitor()
        assert owner.log_in(password)
        assert owner.api("GET", f"/api/kernels/{kernel}")["execution_state"] == "busy"
        go.touch()
        assert wait_until(lambda: out.exists() and out.read_text()) == "went on"
        # What has the token is not concerned.
        program.ping().wait(SECONDS)
        assert server.state()["sessions_since"]
    assert is_logged_in(owner)


def test_what_a_session_is_being_sent_is_cut_off_and_a_connection_that_waits_is_not(
    server: Guarded,
) -> None:
    # More than the sockets between two programs hold.
    size = 64_000_000
    with (server.base / "notebooks/big").open("wb") as big:
        big.truncate(size)
    owner = server.owner()
    cookie = owner.cookies
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)) as idle:
        idle.request("GET", "/api", headers={"Cookie": cookie})
        idle.getresponse().read()
        used = idle.sock
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)) as thief:
            page = {"Cookie": cookie, "Referer": f"{server.url}/lab"}
            thief.request("GET", "/files/big", headers=page)
            answer = thief.getresponse()
            assert (answer.status, int(answer.headers["Content-Length"])) == (200, size)
            change_password(server)
            wait_until(lambda: not is_logged_in(owner), SECONDS)
            with pytest.raises((IncompleteRead, ConnectionError)):
                answer.read()
        idle.request("GET", "/api")
        assert idle.getresponse().status == 200
        assert idle.sock is used


def test_no_session_comes_back_with_an_old_password(server: Guarded) -> None:
    thief = server.owner()
    change_password(server)
    assert not is_logged_in(thief)
    server.set_password(PASSWORD)
    assert not is_logged_in(thief)
    assert server.owner()


def test_each_change_of_the_file_ends_sessions(server: Guarded) -> None:
    marker = server.base / "sessions_since"
    changes: list[Callable[[], object]] = [
        lambda: marker.write_text("a"),
        lambda: marker.write_text("b"),
        lambda: os.utime(marker, ns=(1, 1)),
        marker.unlink,
    ]
    for change in changes:
        owner = server.owner()
        change()
        assert not is_logged_in(owner)


@pytest.mark.parametrize("end", [change_password, end_sessions])
def test_sessions_that_were_ended_while_there_was_no_server_are_so_for_ever(
    end: Callable[[Guarded], str], server: Guarded
) -> None:
    owner = server.owner()
    server.stop()
    end(server)
    server.start()
    assert not is_logged_in(owner)
    server.stop()
    server.set_password(PASSWORD)
    (server.base / "sessions_since").unlink(missing_ok=True)
    server.start()
    assert not is_logged_in(owner)


def test_sessions_outlive_the_server_and_what_does_not_change(server: Guarded) -> None:
    owner = server.owner()
    server.stop()
    server.start()
    assert is_logged_in(owner)
    (server.base / "password_hash").touch()
    assert is_logged_in(owner)
    server.set_password(PASSWORD)
    assert is_logged_in(owner)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("")])
def test_where_the_password_cannot_be_read_the_one_before_stays(
    spoil: Callable[[Path], object], server: Guarded
) -> None:
    owner = server.owner()
    spoil(server.base / "password_hash")
    assert is_logged_in(owner)
    assert server.visitor().log_in()
    assert not server.visitor("192.0.2.1").log_in("")
