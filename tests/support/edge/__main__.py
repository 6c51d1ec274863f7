"""Run an edge: ``python -m tests.support.edge --state-dir DIR``.

It writes DIR/edge.json once everything listens, and keeps its certificate authority in DIR, so that
agents that trusted it still do when it is started again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import ssl
from pathlib import Path

import trustme
from aiohttp import web

from tests.support.edge.service import Faults, Service
from tests.support.edge.visitors import HEAD_LIMIT, Visitors

log = logging.getLogger("edge")

LOOPBACK = "127.0.0.1"


class Edge:
    """The three listeners of an edge and what they share."""

    def __init__(self, state_dir: Path, agent_host: str) -> None:
        self.state_dir = state_dir
        self.service = Service()
        self.visitors = Visitors(self.service)
        self._agent_host = agent_host
        self._tls = _tls_context(state_dir, agent_host)
        self._agents: asyncio.Server | None = None
        self._agent_socket = socket.socket()

    async def run(self, agent_port: int, visitor_port: int, control_port: int) -> None:
        """Listen until told to end by a signal."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        earlier = _earlier_ports(self.state_dir)
        self._agent_socket = _bind(agent_port, earlier.get("agent"), self._agent_host)
        visitor_socket = _bind(visitor_port, earlier.get("visitors"))
        control_socket = _bind(control_port, earlier.get("control"))
        self.service.visitor_port = _port(visitor_socket)
        await self.listen_for_agents()
        await asyncio.start_server(self.visitors.connected, sock=visitor_socket, limit=HEAD_LIMIT)
        control = web.AppRunner(_control(self), access_log=None)
        await control.setup()
        await web.SockSite(control, control_socket).start()
        where = {
            "pid": os.getpid(),
            "agent": f"{self._agent_name()}:{_port(self._agent_socket)}",
            "visitors": f"localhost:{_port(visitor_socket)}",
            "control": f"http://{LOOPBACK}:{_port(control_socket)}",
            "ca": str(self.state_dir / "ca.pem"),
        }
        _write(self.state_dir / "edge.json", json.dumps(where, indent=2).encode() + b"\n")
        log.info("agents at %(agent)s, visitors at %(visitors)s, control at %(control)s", where)
        await stop.wait()
        self.service.drop_sessions()
        self.visitors.drop()
        await control.cleanup()

    async def listen_for_agents(self) -> None:
        """Let agents in."""
        if self._agents is None:
            self._agents = await asyncio.start_server(
                self.service.serve, sock=self._agent_socket, ssl=self._tls, ssl_shutdown_timeout=1
            )

    def refuse_agents(self) -> None:
        """Refuse agents, and keep the port for later by binding it without listening."""
        if self._agents:
            port = _port(self._agent_socket)
            self._agents.close()
            self._agents = None
            self._agent_socket = _bind(port, None, self._agent_host)
            self.service.drop_sessions()

    def _agent_name(self) -> str:
        return "localhost" if self._agent_host == LOOPBACK else self._agent_host


def _control(edge: Edge) -> web.Application:
    async def state(_request: web.Request) -> web.Response:
        return web.json_response(
            {
                "sessions": [
                    {"id": agent.id, "agent_version": agent.version, "os": agent.os}
                    for agent in edge.service.agents
                    if agent.client_id
                ],
                "endpoints": [
                    {
                        "url": endpoint.url,
                        "name": endpoint.name,
                        "forwards_to": endpoint.forwards_to,
                        "session": endpoint.agent.id,
                    }
                    for endpoint in edge.service.endpoints.values()
                ],
                "visitors": len(edge.visitors),
                "faults": dataclasses.asdict(edge.service.faults),
            }
        )

    async def change_faults(request: web.Request) -> web.Response:
        try:
            edge.service.faults = _changed(edge.service.faults, await request.json())
        except ValueError as exc:
            return web.Response(status=400, text=f"{exc}\n")
        if not edge.service.faults.linger:
            edge.service.bury()
        if edge.service.faults.unreachable:
            edge.refuse_agents()
        else:
            await edge.listen_for_agents()
        return web.json_response(dataclasses.asdict(edge.service.faults))

    async def drop_sessions(_request: web.Request) -> web.Response:
        return web.json_response({"dropped": edge.service.drop_sessions()})

    async def drop_endpoints(_request: web.Request) -> web.Response:
        return web.json_response({"dropped": edge.service.drop_endpoints()})

    async def drop_visitors(_request: web.Request) -> web.Response:
        return web.json_response({"dropped": edge.visitors.drop()})

    app = web.Application()
    app.add_routes(
        [
            web.get("/state", state),
            web.patch("/faults", change_faults),
            web.post("/drop/sessions", drop_sessions),
            web.post("/drop/endpoints", drop_endpoints),
            web.post("/drop/visitors", drop_visitors),
        ]
    )
    return app


def _changed(faults: Faults, changes: object) -> Faults:
    """``faults`` with the changes, or ValueError with a sentence for the caller."""
    if not isinstance(changes, dict):
        raise ValueError("The body must be a JSON object.")
    for name, value in changes.items():
        if name not in dataclasses.asdict(faults):
            raise ValueError(f"There is no fault {name!r}.")
        if name.endswith(("_error", "_token")):
            if not isinstance(value, str | None):
                raise ValueError(f"{name} must be a text or null.")
        elif not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false.")
    return dataclasses.replace(faults, **changes)


def _tls_context(state_dir: Path, agent_host: str) -> ssl.SSLContext:
    """A context for the agents' address, from the state directory or newly issued into it."""
    server_file = state_dir / "server.pem"
    if not server_file.exists():
        # Not self-signed: rustls, under the official SDKs, refuses a self-signed leaf.
        ca = trustme.CA()
        leaf = ca.issue_cert("localhost", LOOPBACK, agent_host)
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        _write(state_dir / "ca.pem", ca.cert_pem.bytes())
        _write(server_file, leaf.private_key_pem.bytes() + chain, 0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_file)
    return context


def _write(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Write all of a file or nothing."""
    draft = file.with_suffix(".draft")
    draft.touch(mode)
    draft.write_bytes(content)
    draft.replace(file)


def _earlier_ports(state_dir: Path) -> dict[str, int]:
    """The ports of an earlier run, by their names in edge.json."""
    try:
        where = json.loads((state_dir / "edge.json").read_text())
        return {
            name: int(where[name].rpartition(":")[2]) for name in ("agent", "visitors", "control")
        }
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def _bind(port: int, earlier: int | None, host: str = LOOPBACK) -> socket.socket:
    """A socket on a port: the one asked for, else the earlier one, else any free one."""
    # With the protocol spelled out, asyncio turns Nagle's delays off for accepted connections.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if not port and earlier:
        with contextlib.suppress(OSError):
            sock.bind((host, earlier))
            return sock
    sock.bind((host, port))
    return sock


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.edge", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--agent-host", default=LOOPBACK, help="address at which agents are let in")
    for name in ("agent", "visitor", "control"):
        parser.add_argument(f"--{name}-port", type=int, default=0, help="0: as before, or any free")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    args.state_dir.mkdir(parents=True, exist_ok=True)
    edge = Edge(args.state_dir.resolve(), args.agent_host)
    asyncio.run(edge.run(args.agent_port, args.visitor_port, args.control_port))


if __name__ == "__main__":
    main()
