"""How much memory speaking takes, on top of a loaded voice. Stock Piper: 1.9 GB for 1150 characters."""

from __future__ import annotations

from pathlib import Path

import pytest
from riva_tts import riva_tts_pb2 as riva

from tests.integration.engine_process import DEADLINE_S, VOICE_RATE_HZ, Engine, running_engine, speech_stub

BOUND_MB = 150
LISTEN_S = 60


def megabytes(engine: Engine, field: str) -> float:
    status = Path(f"/proc/{engine.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize(
    "text",
    [
        "a sentence of one thousand one hundred and fifty characters " * 19,
        "Once upon a time there was a fox. It was quick, and it was brown. " * 1480,
        "1234567890" * 100,
    ],
    ids=["one sentence", "100 kB", "a number"],
)
def test_speaking_takes_bounded_memory(text: str) -> None:
    with running_engine() as engine, speech_stub(engine) as stub:
        # The peak so far is that of loading, which is not what is asked here.
        Path(f"/proc/{engine.process.pid}/clear_refs").write_text("5")
        at_rest = megabytes(engine, "VmRSS")
        heard_s = 0.0
        request = riva.SynthesizeSpeechRequest(text=text, custom_configuration={"alignment": "char"})
        call = stub.SynthesizeOnline(iter([request]), timeout=DEADLINE_S)
        for response in call:
            heard_s += len(response.audio) / 2 / VOICE_RATE_HZ
            if heard_s > LISTEN_S:
                call.cancel()
                break
        assert heard_s > 30
        assert megabytes(engine, "VmHWM") - at_rest < BOUND_MB
