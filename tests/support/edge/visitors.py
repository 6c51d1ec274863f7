"""Visitors of the public addresses: HTTP in, a proxy stream to the endpoint's upstream out."""

from __future__ import annotations

import asyncio
import logging
import re

from tests.support.edge import muxado
from tests.support.edge.service import Endpoint, Service

log = logging.getLogger("edge")

HEAD_LIMIT = 1 << 16
HEAD_SECONDS = 15.0
# How long a visitor may go on sending after its upstream has finished.
LINGER_SECONDS = 5.0

# When its upstream refuses, agent 2.3.41 writes a page of its own, with status 502 and "Connection:
# close", that has this in it (seen). Agents may also close the stream (ngrok-rust).
BAD_GATEWAY = b"HTTP/1.1 502 "
AGENT_PAGE = b"<h2>Failed to complete tunnel connection</h2>"
AGENT_PAGE_LIMIT = 1 << 13

FORWARDED = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")


class Visitors:
    """The visitors' side of an edge."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._visits: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._visits)

    def drop(self) -> int:
        """Cut every visitor's connection; how many there were."""
        for visit in self._visits:
            visit.cancel()
        return len(self._visits)

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take in one visitor's connection."""
        visit = asyncio.create_task(self._visit(reader, writer))
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
            writer.close()
        except (OSError, muxado.MuxadoError) as exc:
            log.info("a visitor was lost: %s", exc)
        finally:
            # Cut, unless closed in peace above.
            if not writer.is_closing():
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return
        except TimeoutError:
            await _answer(
                writer, "408 Request Timeout", "", "The head of the request took too long."
            )
            return
        except asyncio.LimitOverrunError:
            await _answer(
                writer, "431 Request Header Fields Too Large", "", "The head is over 64 kB."
            )
            return
        headers = _headers(head)
        endpoint = self._service.endpoint_at(headers.get("host", ""))
        if endpoint is None:
            text = f"The endpoint {headers.get('host', '')} is offline."
            await _answer(writer, "404 Not Found", "ERR_NGROK_3200", text)
        elif self._service.faults.interstitial and _is_warned(headers):
            text = f"<h1>You are about to visit {headers['host']}</h1>This page is ngrok's warning."
            await _answer(writer, "200 OK", "ERR_NGROK_6024", text, "text/html")
        else:
            await self._proxy(endpoint, _forwarded(head, headers["host"], writer), reader, writer)

    async def _proxy(
        self,
        endpoint: Endpoint,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        stream = await self._service.open_proxy(endpoint, f"{host}:{port}")
        upload = asyncio.create_task(_upload(head, reader, stream))
        try:
            chunk = await _first_of_answer(stream)
            if not chunk or (chunk.startswith(BAD_GATEWAY) and AGENT_PAGE in chunk):
                text = f"The agent could not reach the upstream of {endpoint.url}."
                await _answer(writer, "502 Bad Gateway", "ERR_NGROK_8012", text)
                return
            while chunk:
                writer.write(chunk)
                await writer.drain()
                chunk = await stream.read()
            writer.write_eof()
            await asyncio.wait([upload], timeout=LINGER_SECONDS)
        finally:
            upload.cancel()
            stream.reset()


async def _upload(head: bytes, reader: asyncio.StreamReader, stream: muxado.Stream) -> None:
    try:
        await stream.write(head)
        while chunk := await reader.read(muxado.CHUNK):
            await stream.write(chunk)
        stream.finish()
    except OSError:
        # The visitor is gone; nobody waits for the rest of the answer.
        stream.reset()
    except muxado.MuxadoError:
        # The upstream takes no more. What it still has to say arrives in the other direction.
        pass


async def _first_of_answer(stream: muxado.Stream) -> bytes:
    """The beginning of an answer: enough to know the agent's own page from the upstream's.

    The agent writes its page in pieces, line by line at first (seen).
    """
    start = chunk = await stream.read()
    while chunk and len(start) < AGENT_PAGE_LIMIT and BAD_GATEWAY.startswith(start[:13]):
        head, end, _ = start.partition(b"\r\n\r\n")
        if end and b"\r\nConnection: close" not in head:
            break
        chunk = await stream.read()
        start += chunk
    return start


async def _answer(
    writer: asyncio.StreamWriter, status: str, code: str, text: str, kind: str = "text/plain"
) -> None:
    """Answer in the upstream's place, with the header that tells (ngrok.com/docs/errors)."""
    body = f"{text}\n\n{code}\n".encode()
    error = f"ngrok-error-code: {code}\r\n" if code else ""
    writer.write(
        f"HTTP/1.1 {status}\r\n{error}Content-Type: {kind}; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()


def _headers(head: str) -> dict[str, str]:
    lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
    return {name.lower(): value.strip() for name, _, value in lines}


def _is_warned(headers: dict[str, str]) -> bool:
    """Whether the service shows its warning first (ngrok.com/docs/errors/err_ngrok_6024)."""
    browser = re.match(r"Mozilla/", headers.get("user-agent", ""))
    return browser is not None and "ngrok-skip-browser-warning" not in headers


def _forwarded(head: str, host: str, writer: asyncio.StreamWriter) -> bytes:
    """The head with the headers that the service adds (ngrok.com/docs/endpoints/http)."""
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    kept = [line for line in lines if line.partition(":")[0].lower() not in FORWARDED]
    added = [
        f"X-Forwarded-For: {writer.get_extra_info('peername')[0]}",
        "X-Forwarded-Proto: http",
        f"X-Forwarded-Host: {host}",
    ]
    return "\r\n".join([first, *kept, *added, "", ""]).encode("latin-1")
