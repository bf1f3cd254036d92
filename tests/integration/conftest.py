"""An engine with the real voice, for who needs no more than that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from tests.integration.engine_process import Engine, running_engine, speech_stub


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with running_engine() as running:
        yield running


@pytest.fixture(scope="module")
def stub(engine: Engine) -> Iterator[RivaSpeechSynthesisStub]:
    with speech_stub(engine) as client:
        yield client
