"""Voices' graphs cut and optimised once, and kept on disk by the model's digest.

A folder of the cache is complete or not there: it is made under another name and renamed. It can be deleted
at any time, by anybody; what is damaged is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # ships no types
from google.protobuf.message import DecodeError
from onnx import ModelProto

from tts_engine import carry, cut, logs
from tts_engine.model import Model, Scales, Stage, WholeModel, WindowedModel
from tts_engine.runtime import ORT_ERRORS, Precision, Runtime

# Raise it when the same model would be cut differently than before.
FORMAT = 1

# The cut graph must sound like the whole one. Rounding alone leaves 105 dB and more; bf16 has 8 bits.
MIN_SNR_DB = {Precision.FP32: 80.0, Precision.BF16: 35.0}

LAYOUT = "layout.json"
ENCODER = "encoder.onnx"
FLOW = "flow.onnx"
DECODER = "decoder.onnx"
GRAPHS = (ENCODER, FLOW, DECODER)

# What a file that is no model, or one that does not fit, raises.
MODEL_ERRORS: tuple[type[Exception], ...] = (*ORT_ERRORS, DecodeError, KeyError, RuntimeError)


CACHE_ERRORS: tuple[type[Exception], ...] = (OSError, TypeError, ValueError, *MODEL_ERRORS)


class ModelCache:
    """Loads models by way of `directory`; None keeps nothing."""

    def __init__(self, directory: Path | None, runtime: Runtime) -> None:
        self._directory = directory
        self._runtime = runtime

    def load(self, content: bytes, trial_ids: Sequence[int]) -> Model:
        """The model in an ONNX file's bytes; `trial_ids` are some of its phonemes. Raises MODEL_ERRORS."""
        try:
            return self._windowed(content, trial_ids)
        except (cut.CannotCut, carry.CannotCarry) as reason:
            logs.warning("model_served_whole", reason=reason)
            return WholeModel(self._runtime.session(content))

    def _windowed(self, content: bytes, trial_ids: Sequence[int]) -> Model:
        if self._directory is None:
            return self._make_elsewhere(content, trial_ids)
        folder = self._directory / self._key(content)
        return self._kept(folder) or self._make_and_keep(content, trial_ids, folder)

    def _kept(self, folder: Path) -> Model | None:
        if not folder.is_dir():
            return None
        try:
            return self._load(folder)
        except CACHE_ERRORS as error:
            logs.warning("cache_dropped", folder=folder, reason=error)
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def _key(self, content: bytes) -> str:
        """All that decides what the files are."""
        digest = hashlib.sha256(content).hexdigest()
        runtime = f"{self._runtime.precision.value}-{self._runtime.provider.value}"
        return f"{digest}-{FORMAT}-onnxruntime-{onnxruntime.__version__}-{runtime}"

    def _make_and_keep(self, content: bytes, trial_ids: Sequence[int], folder: Path) -> Model:
        with ExitStack() as stack:
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_locked(folder.parent))
                for left in folder.parent.glob(".making-*"):  # by a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
            except OSError as error:
                logs.warning("cache_unusable", folder=folder.parent, reason=error.strerror)
                return self._make_elsewhere(content, trial_ids)
            stack.callback(shutil.rmtree, making, ignore_errors=True)
            kept = self._kept(folder)  # another process was first
            if kept is not None:
                return kept
            model = self._make(content, trial_ids, making)
            making.rename(folder)
            return model

    def _make_elsewhere(self, content: bytes, trial_ids: Sequence[int]) -> Model:
        with tempfile.TemporaryDirectory(prefix="tts-engine-") as folder:
            return self._make(content, trial_ids, Path(folder))

    def _make(self, content: bytes, trial_ids: Sequence[int], folder: Path) -> Model:
        """Cut and optimise into `folder`, load from there, and compare with the whole graph."""
        started = time.monotonic()
        parts = cut.cut(onnx.load_model_from_string(content))
        self._runtime.optimise(parts.encoder, folder / ENCODER)
        layout = {
            FLOW: self._write_stage(parts.flow, cut.LATENT, folder / FLOW),
            DECODER: self._write_stage(parts.decoder, cut.FRAMES, folder / DECODER),
            "sha256": {name: _digest(folder / name) for name in GRAPHS},
        }
        (folder / LAYOUT).write_text(json.dumps(layout))
        model = self._load(folder)
        snr_db = _snr_db(WholeModel(self._runtime.session(content)), model, trial_ids)
        if not snr_db >= MIN_SNR_DB[self._runtime.precision]:
            raise cut.CannotCut(f"windowed, it differs from the whole graph: {snr_db:.0f} dB")
        logs.info("model_cut", snr_db=snr_db, seconds=time.monotonic() - started)
        return model

    def _write_stage(self, graph: ModelProto, window: str, file: Path) -> dict[str, Any]:
        windowed = carry.carry(graph, window)
        self._runtime.optimise(windowed.model, file)
        states = {name: value.shape[1:] for name, value in windowed.states.items()}
        return {"window": window, "states": states, "rate": windowed.rate, "lag": windowed.lag}

    def _load(self, folder: Path) -> WindowedModel:
        layout = json.loads((folder / LAYOUT).read_text())
        for name in GRAPHS:
            if _digest(folder / name) != layout["sha256"][name]:
                raise ValueError(f"{name} is damaged")
        return WindowedModel(
            encoder=self._runtime.session(folder / ENCODER),
            flow=Stage(self._runtime.session(folder / FLOW), **layout[FLOW]),
            decoder=Stage(self._runtime.decoder(folder / DECODER), **layout[DECODER]),
        )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One holder at a time, of all processes; it ends with its holder. Raises OSError."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _snr_db(whole: Model, windowed: Model, ids: Sequence[int]) -> float:
    """Without noise, how far the second is from the first; -inf where not even the lengths agree."""
    silent = Scales(noise=0.0, length=1.0, noise_w=0.0)
    expected, got = (
        np.concatenate(list(model.render(ids, silent, 0, (0,)).windows())) for model in (whole, windowed)
    )
    if len(expected) != len(got) or not len(expected):
        return -np.inf
    difference = float(np.square(expected - got).sum())
    return float(10 * np.log10(np.square(expected).sum() / difference)) if difference else np.inf
