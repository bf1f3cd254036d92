"""What ``bench`` says of servers that lie, break off, or cannot be trusted."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.bench_chat_server import ChatServer, served, serving
from tests.integration.bench_command import bench, read_report

FRAME_SAMPLES = 2205
CHAR_SAMPLES = 1100


class SpeechServer:
    """Speaks all text at ``end``, with one ``fault``."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.text = ""
        self.acks: list[int] = []

    async def tts(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            fields = orjson.loads(message.data)
            if fields["type"] == "start":
                await _say(socket, "started", session="s", resume_key="r", voice="v", audio=fields["audio"])
            if fields["type"] == "text":
                assert fields["offset"] == len(self.text)
                self.text += fields["text"]
            if fields["type"] == "end" and not await self._speak(socket):
                break
        return socket

    async def _speak(self, socket: web.WebSocketResponse) -> bool:
        total = 10 if self.fault == "too_short" else len(self.text) * CHAR_SAMPLES
        position = 0
        while position < total:
            if self.fault == "lost_frame" and position == 2 * FRAME_SAMPLES:
                position += FRAME_SAMPLES
            size = min(FRAME_SAMPLES, total - position)
            await socket.send_bytes(struct.pack("<Q", position) + bytes(2 * size))
            position += size
            if self.fault == "closes":
                await socket.close(code=1011)
                return False
            if self.fault == "odd_frame":
                await socket.send_bytes(b"12345")
        if self.fault == "text_lost":
            await _say(socket, "done", samples=total, text_offset=len(self.text) - 1)
        else:
            await _say(socket, "done", samples=total, text_offset=len(self.text))
        return True


async def _say(socket: web.WebSocketResponse, kind: str, **fields: object) -> None:
    await socket.send_str(orjson.dumps({"type": kind, **fields}).decode())


@asynccontextmanager
async def speaking(server: SpeechServer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/tts", server.tts)
    async with served(app) as port:
        yield f"ws://localhost:{port}/tts"


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("none", set()),
        ("lost_frame", {"positions", "samples_lost"}),
        ("too_short", {"implausible_length"}),
        ("text_lost", {"text_lost"}),
        ("closes", {"closed_1011"}),
        ("odd_frame", {"garbage"}),
    ],
)
async def test_a_broken_session_is_an_error_of_its_own_kind(
    fault: str, kinds: set[str], tmp_path: Path
) -> None:
    report_file = tmp_path / "tts.json"
    async with speaking(SpeechServer(fault)) as url:
        arguments = ("--concurrency", "1", "--cps", "60", "--duration", "1", "--output-json", report_file)
        outcome = await bench("tts", "--url", url, *arguments)
    assert set(read_report(report_file)["errors"]["by_kind"]) == kinds
    assert outcome.code == (1 if kinds else 0)


async def test_silence_has_a_first_frame_but_nothing_audible(tmp_path: Path) -> None:
    report_file = tmp_path / "tts.json"
    async with speaking(SpeechServer("none")) as url:
        arguments = ("--concurrency", "1", "--cps", "60", "--duration", "1", "--output-json", report_file)
        await bench("tts", "--url", url, *arguments)
    results = read_report(report_file)["results"]
    assert results["ttfa_commit_ms"]["n"] == 1
    assert results["ttfa_audible_ms"]["n"] == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for localhost: its PEM, and a server context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a private server")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("::1"))]
    )
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    certificate_file, key_file = directory / "server.pem", directory / "server.key"
    certificate_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(*encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return certificate_file, context


async def test_a_private_certificate_needs_its_authority(certificate: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, context = certificate
    async with serving(ChatServer(), context) as server:
        refused = await bench("llm", "--url", server.url, "--total", "2")
        served_well = await bench("llm", "--url", server.url, "--total", "2", "--ca-file", ca_file)
    assert refused.code == 3
    assert "--ca-file FILE" in refused.stderr
    assert served_well.code == 0, served_well.stderr
