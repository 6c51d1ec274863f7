"""What ngrok's service says to agents: authentication, endpoints, heartbeats. And the faults.

Wire facts come from github.com/ngrok/ngrok-go, folder internal/tunnel ("ngrok-go"),
github.com/ngrok/muxado-go ("muxado-go") and from watching the agent 2.3.41 ("seen").
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import re
import secrets
import struct
from collections.abc import Callable
from typing import Any

from tests.support.edge import muxado

log = logging.getLogger("edge")

# Stream types (ngrok-go: proto/msg.go; heartbeat: muxado-go: heartbeat.go).
AUTH, BIND, UNBIND, PROXY, SERVER_INFO = 0, 1, 2, 3, 8
HEARTBEAT = 0xFFFFFFFF

REQUEST_LIMIT = 1 << 20

# What the service says with an error code, in our own words. Its texts have CRLFs, and the code
# stands on a line of its own, where agents look for it (ngrok-go: proto/msg.go; the codes:
# ngrok.com/docs/errors).
ERRORS = {
    "105": "The authtoken you gave is not one: it does not have the form of an ngrok authtoken.\r\n"
    "Your authtoken: {token}\r\nCopy yours from https://dashboard.ngrok.com/get-started/your-authtoken",
    "107": "The authtoken you gave has the right form, but it is not valid.\r\n"
    "Your authtoken: {token}\r\nIt may have been reset or revoked, or you may have left its team.",
    "108": "Your account is limited to 1 simultaneous ngrok agent session.\r\n"
    "Stop the other agents first: https://dashboard.ngrok.com/agents",
    "121": "Your ngrok agent is too old: version {version}. Your account needs 3.20.0 or newer.\r\n"
    "Upgrade with `ngrok update` or from https://ngrok.com/download",
    "334": "The endpoint '{url}' is already online.\r\n"
    "Stop the one that runs, or turn pooling on for both.",
    "4018": "Usage of ngrok requires a verified account and an authtoken.\r\n"
    "Sign up: https://dashboard.ngrok.com/signup",
}


@dataclasses.dataclass
class Faults:
    """What goes wrong at the moment."""

    auth_error: str | None = None
    # The only token that auth_error is for; None: it is for all.
    auth_token: str | None = None
    bind_error: str | None = None
    heartbeats: bool = True
    interstitial: bool = False
    # Endpoints stay after their agent's session has ended, as they do until heartbeats are missed.
    linger: bool = False
    unreachable: bool = False
    keep_host: bool = True


@dataclasses.dataclass(eq=False)
class Agent:
    """One agent's session."""

    mux: muxado.Session
    id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(4))
    client_id: str = ""
    version: str = ""
    os: str = ""
    token: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(eq=False)
class Endpoint:
    """One public address and the session that serves it."""

    id: str
    label: str
    url: str
    proto: str
    name: str
    forwards_to: str
    agent: Agent


class Service:
    """The sessions and endpoints of one edge."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.agents: list[Agent] = []
        self.endpoints: dict[str, Endpoint] = {}
        # Labels by the token of their Bind, so that an agent that comes back finds its host name.
        self._labels: dict[str, str] = {}
        # By the authtoken of the account.
        self._domains: dict[str, str] = {}
        # Where visitors come in; known once that listener is up.
        self.visitor_port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One agent's connection, from its first frame to its end."""
        agent = Agent(muxado.Session(reader, writer, lambda kind, s: self._accept(agent, kind, s)))
        self.agents.append(agent)
        try:
            await agent.mux.run()
        finally:
            self._forget(agent)

    def drop_sessions(self) -> int:
        """End every session, as the service does when it drains; how many there were."""
        agents = list(self.agents)
        for agent in agents:
            self._forget(agent)
        return len(agents)

    def drop_endpoints(self) -> int:
        """Forget every endpoint and tell no agent; how many there were."""
        count = len(self.endpoints)
        self.endpoints.clear()
        return count

    def bury(self) -> None:
        """Forget the endpoints whose agents are gone."""
        for endpoint in [e for e in self.endpoints.values() if e.agent not in self.agents]:
            del self.endpoints[endpoint.id]

    def endpoint_at(self, host: str) -> Endpoint | None:
        """The endpoint that a visitor's Host header means."""
        label, _, domain = host.lower().partition(".")
        if domain not in ("localhost", f"localhost:{self.visitor_port}"):
            return None
        return next((e for e in self.endpoints.values() if e.label == label), None)

    async def open_proxy(self, endpoint: Endpoint, visitor: str) -> muxado.Stream:
        """A stream to the upstream of an endpoint, for one visitor's connection."""
        stream = await endpoint.agent.mux.open(PROXY)
        header = json.dumps(
            {
                "Id": endpoint.id,
                "ClientAddr": visitor,
                "Proto": endpoint.proto,
                # A string, "3" for the HTTPS edge (ngrok-go: proto/msg.go EdgeType).
                "EdgeType": "3" if endpoint.proto == "https" else "0",
                "PassthroughTLS": False,
            }
        ).encode()
        # The one little-endian number on the wire (ngrok-go: client/session.go ReadProxyHeader).
        await stream.write(struct.pack("<q", len(header)) + header)
        return stream

    def _forget(self, agent: Agent) -> None:
        agent.mux.close()
        if agent in self.agents:
            self.agents.remove(agent)
            log.info("session %s ended", agent.id)
        if not self.faults.linger:
            self.bury()

    async def _accept(self, agent: Agent, kind: int, stream: muxado.Stream) -> None:
        if kind == HEARTBEAT:
            await self._echo_heartbeats(stream)
            return
        calls: dict[int, Callable[[Agent, dict[str, Any]], dict[str, Any]]] = {
            AUTH: self._auth,
            BIND: self._bind,
            UNBIND: self._unbind,
            SERVER_INFO: lambda _agent, _request: {"Region": "edge"},
        }
        request = await _read_json(stream)
        call = calls.get(kind)
        reply = (
            call(agent, request) if call else {"Error": f"the edge does not know request {kind}"}
        )
        await stream.write(json.dumps(reply).encode())

    async def _echo_heartbeats(self, stream: muxado.Stream) -> None:
        # The agent sends four random bytes again and again and wants them back
        # (muxado-go: heartbeat.go).
        while beat := await stream.read():
            if self.faults.heartbeats:
                await stream.write(beat)

    def _auth(self, agent: Agent, request: dict[str, Any]) -> dict[str, Any]:
        extra = request.get("extra") or {}
        agent.version, agent.os = str(extra.get("version", "")), str(extra.get("os", ""))
        agent.token = str(extra.get("authtoken") or "")
        if self.faults.auth_error and self.faults.auth_token in (None, agent.token):
            log.info("session %s: authentication refused", agent.id)
            return {"Error": self._error(self.faults.auth_error, agent)}
        agent.client_id = request.get("clientid") or secrets.token_hex(16)
        # An agent that comes back may be faster than the end of its old connection.
        for other in [a for a in self.agents if a.client_id == agent.client_id and a is not agent]:
            self._forget(other)
        log.info("session %s: agent %s on %s", agent.id, agent.version, agent.os)
        return {
            # The versions the agent speaks, best first: "3", "2"; from agent 2.3.41 "2" alone.
            "Version": (request.get("version") or ["2"])[0],
            "ClientId": agent.client_id,
            "Error": "",
            "Extra": {
                "Version": "edge",
                "Region": "edge",
                "Cookie": secrets.token_hex(8),
                "AccountName": "edge",
                "SessionDuration": 0,
                "PlanName": "edge",
                "Banner": "",
                "DeprecationWarning": None,
                "ConnectAddresses": None,
                "AgentSessionID": f"ts_{agent.id}",
            },
        }

    def _bind(self, agent: Agent, request: dict[str, Any]) -> dict[str, Any]:
        if not agent.client_id:
            return {"Error": self._error("ERR_NGROK_4018", agent)}
        opts, extra = request.get("opts") or {}, request.get("extra") or {}
        token = str(extra.get("token") or "")
        label = self._label(opts, token, agent)
        url = f"http://{label}.localhost:{self.visitor_port}"
        if self.faults.bind_error:
            log.info("session %s: %s refused", agent.id, url)
            return {"Error": self._error(self.faults.bind_error, agent, url)}
        if any(e.label == label and e.agent is not agent for e in self.endpoints.values()):
            return {"Error": self._error("ERR_NGROK_334", agent, url)}
        token = token or f"{label}-{secrets.token_hex(4)}"
        self._labels[token] = label
        endpoint = Endpoint(
            # However often it binds again, an agent knows its endpoint by the first id (seen).
            id=request.get("id") or secrets.token_hex(16),
            label=label,
            url=url,
            proto=str(request.get("proto", "")),
            name=str(extra.get("name", "")),
            forwards_to=str(request.get("forwardsto") or extra.get("forwardsto") or ""),
            agent=agent,
        )
        self.endpoints[endpoint.id] = endpoint
        log.info("session %s: %s to %s", agent.id, url, endpoint.forwards_to)
        return {
            "Id": endpoint.id,
            "URL": url,
            "Proto": endpoint.proto,
            # muxado-rs based agents want their options back (ngrok-rust: internals/proto.rs).
            "Opts": opts,
            "Error": "",
            # Opaque to agents. When they bind again they send the first one they got (seen).
            "Extra": {"Token": token, "TunnelID": f"tn_{endpoint.id}"},
        }

    def _label(self, opts: dict[str, Any], token: str, agent: Agent) -> str:
        """The first label of an endpoint's host name: asked for, kept, the account's, or new."""
        for key in ("Hostname", "Domain", "Subdomain", "URL"):
            wanted = str(opts.get(key) or "").rpartition("://")[2].partition(".")[0].lower()
            if re.fullmatch(r"[a-z0-9-]+", wanted):
                return wanted
        # The token starts with the label it was given out for, so an edge that was started again
        # keeps host names too.
        kept = self._labels.get(token) or token.rpartition("-")[0]
        if not kept:
            # An account without a plan has one domain (ngrok's "Free Plan Limits").
            kept = self._domains.get(agent.token, "")
            if any(e.label == kept for e in self.endpoints.values()):
                kept = ""
        label = kept if kept and self.faults.keep_host else secrets.token_hex(4)
        if agent.token not in self._domains or not self.faults.keep_host:
            self._domains[agent.token] = label
        return label

    def _unbind(self, agent: Agent, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self.endpoints.get(str(request.get("id")))
        if endpoint and endpoint.agent is agent:
            del self.endpoints[endpoint.id]
        return {"Error": "", "Extra": None}

    def _error(self, text: str, agent: Agent, url: str = "") -> str:
        number = re.fullmatch(r"ERR_NGROK_(\d+)", text)
        if not number:
            return text
        words = ERRORS.get(number[1], "The request was refused.")
        words = words.format(token=agent.token, version=agent.version, url=url)
        return f"{words}\r\n\r\n{text}\r\n"


async def _read_json(stream: muxado.Stream) -> dict[str, Any]:
    """One JSON object. Nothing marks its end: no FIN, and a newline only from ngrok-go."""
    text = b""
    while len(text) < REQUEST_LIMIT:
        chunk = await stream.read()
        text += chunk
        try:
            request = json.loads(text)
        except ValueError:
            if chunk:
                continue
            break
        if not isinstance(request, dict):
            break
        # Names differ in case between agents: Authtoken, AuthToken (ngrok-go, ngrok-rust).
        extra = request.get("Extra")
        if isinstance(extra, dict):
            request["Extra"] = {name.lower(): value for name, value in extra.items()}
        return {name.lower(): value for name, value in request.items()}
    raise muxado.MuxadoError(f"stream {stream.number} brought no request")
