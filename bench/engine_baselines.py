"""What the engine is compared with: stock piper-tts, and onnxruntime alone, each a process of its own.

``python -m bench.engine_baselines stock|alone MODEL SOCKET`` serves on a unix socket, one connection a
request: a line of JSON comes, frames go (length, 4 bytes little-endian, then so many bytes), an empty one
last.

* ``stock`` is what a person has who writes the least code around piper-tts: ``PiperVoice.load(MODEL)`` with
  its default session options, a thread a request, ``voice.synthesize(text)``. A frame is a sentence, sent as
  soon as piper gives it (piper's own HTTP server has the same threads and work, and sends nothing before the
  last sentence).
* ``alone`` runs the model's whole graph, and nothing else, on every core at once.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]  # ships no types
from piper.config import PiperConfig
from piper.voice import PiperVoice

from bench.engine_process import READY

FRAME_HEADER_BYTES = 4


class Baseline(Protocol):
    """Answers one request with frames."""

    def frames(self, request: dict[str, Any]) -> Iterator[bytes]: ...


class Stock:
    """``{"text": …}`` → 16-bit PCM, a frame a sentence."""

    def __init__(self, model: Path) -> None:
        self._voice = PiperVoice.load(model)

    def frames(self, request: dict[str, Any]) -> Iterator[bytes]:
        return (chunk.audio_int16_bytes for chunk in self._voice.synthesize(request["text"]))


class Alone:
    """The whole graph on as many threads as there are cores, one run a thread.

    ``{"texts": […]}`` → JSON ``{"audio_s", "wall_s"}`` of speaking them all, without the time to phonemize.
    ``{"reference": […]}`` → the texts' audio without noise, joined, ``(n_samples,) float32`` little-endian.
    """

    def __init__(self, model: Path) -> None:
        config = PiperConfig.from_dict(json.loads(Path(f"{model}.json").read_bytes()))
        self._scales = (config.noise_scale, config.length_scale, config.noise_w_scale)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, ["CPUExecutionProvider"])
        self._voice = PiperVoice(self._session, config)
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def frames(self, request: dict[str, Any]) -> Iterator[bytes]:
        if "reference" in request:
            utterances = self._phoneme_ids(request["reference"])
            noiseless = (0.0, self._scales[1], 0.0)
            yield from (self._run(ids, noiseless).astype("<f4").tobytes() for ids in utterances)
        else:
            utterances = self._phoneme_ids(request["texts"])
            started_s = time.perf_counter()
            samples = sum(self._threads.map(lambda ids: len(self._run(ids, self._scales)), utterances))
            wall_s = time.perf_counter() - started_s
            audio_s = samples / self._voice.config.sample_rate
            yield json.dumps({"audio_s": audio_s, "wall_s": wall_s}).encode()

    def _phoneme_ids(self, texts: Sequence[str]) -> list[list[int]]:
        sentences = (phonemes for text in texts for phonemes in self._voice.phonemize(text) if phonemes)
        return [self._voice.phonemes_to_ids(phonemes) for phonemes in sentences]

    def _run(self, ids: list[int], scales: tuple[float, float, float]) -> npt.NDArray[np.float32]:
        inputs: dict[str, npt.NDArray[Any]] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if self._voice.config.num_speakers > 1:
            inputs["sid"] = np.array([self._voice.config.default_speaker_id], np.int64)
        audio: npt.NDArray[np.float32] = self._session.run(None, inputs)[0].reshape(-1)
        return audio


class _Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 128  # the default of 5 would keep the sixth of 32 callers waiting for a second
    daemon_threads = True

    def __init__(self, path: str, baseline: Baseline) -> None:
        super().__init__(path, _Handler)
        self.baseline = baseline


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        try:
            for frame in self.server.baseline.frames(request):
                self.wfile.write(len(frame).to_bytes(FRAME_HEADER_BYTES, "little") + frame)
            self.wfile.write(bytes(FRAME_HEADER_BYTES))
        except BrokenPipeError:
            pass  # the bench was ended early


def main(role: str, model: str, path: str) -> None:
    """Serve until SIGTERM."""
    baseline: Baseline = Stock(Path(model)) if role == "stock" else Alone(Path(model))
    with _Server(path, baseline) as server:
        sys.stderr.write(f"{READY}\n")
        sys.stderr.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
