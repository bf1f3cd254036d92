"""A client on the network: it has an address, a certificate and a key, as the README's reader does."""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import websockets.asyncio.client

MODEL = "demo"


@dataclass(frozen=True)
class Client:
    address: str
    certificate: Path
    key: str

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def http(self, key: str | None = None) -> httpx2.Client:
        """An HTTP client with the right key, or another one; "" sends none."""
        key = self.key if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx2.Client(
            base_url=f"https://{self.address}", verify=self._trust(), headers=headers, timeout=60.0
        )

    def openai(self) -> openai.OpenAI:
        """The unmodified OpenAI SDK."""
        return openai.OpenAI(
            base_url=f"https://{self.address}/v1",
            api_key=self.key,
            http_client=httpx2.Client(verify=self._trust()),
            max_retries=0,
        )

    def ask(self, question: str) -> str:
        """One question, one answer."""
        with self.openai() as sdk:
            answer = sdk.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": question}]
            )
        return answer.choices[0].message.content or ""

    def speak(self, text: str) -> tuple[dict[str, Any], bytes, int]:
        """Type `text` character by character; return `started`, the PCM and `done`'s sample count."""
        return asyncio.run(self._speak(text))

    async def _speak(self, text: str) -> tuple[dict[str, Any], bytes, int]:
        pcm = b""
        async with websockets.asyncio.client.connect(
            f"wss://{self.address}/tts",
            ssl=self._trust(),
            additional_headers={"Authorization": f"Bearer {self.key}"},
        ) as socket:
            await socket.send(json.dumps({"type": "start"}))
            started = json.loads(await socket.recv())
            for character in text:
                await socket.send(json.dumps({"type": "text", "text": character}))
            await socket.send(json.dumps({"type": "end"}))
            async for message in socket:
                if isinstance(message, bytes):
                    (position,) = struct.unpack_from("<q", message)
                    assert position == len(pcm) // 2, "a gap or an overlap in the audio"
                    pcm += message[8:]
                    continue
                event = json.loads(message)
                if event["type"] == "done":
                    return started, pcm, event["samples"]
                assert event["type"] != "error", event
        raise AssertionError("the socket closed before `done`")
