"""The files of a voices directory: which there are, whether they are whole, whether they changed.

A voice is NAME.onnx (the model) and NAME.onnx.json (its configuration). Where NAME.onnx.sha256 or SHA256SUMS
names a digest for one of the two, the file must have it.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tts_engine.errors import VoiceRefused

MODEL = ".onnx"
CONFIG = ".onnx.json"
DIGEST = ".onnx.sha256"
SUMS = "SHA256SUMS"

_SUM_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]{64})(?:\s+\*?(?P<file>.+))?")


@dataclass(frozen=True)
class FileState:
    """What changes when a file is written or replaced; of a link, its target's."""

    size: int
    mtime_ns: int
    inode: int


Snapshot = Mapping[str, FileState]
"""The files that make voices, by name."""


def snapshot(directory: Path) -> Snapshot:
    """Raises OSError where the directory cannot be read. A link to nothing, or to no file, is not there."""
    found: dict[str, FileState] = {}
    for path in directory.iterdir():
        if path.name == SUMS or path.name.endswith((MODEL, CONFIG, DIGEST)):
            try:
                state = path.stat()
            except OSError:
                continue
            if stat.S_ISREG(state.st_mode):
                found[path.name] = FileState(state.st_size, state.st_mtime_ns, state.st_ino)
    return MappingProxyType(found)


def voice_names(files: Snapshot) -> list[str]:
    return sorted(file.removesuffix(MODEL) for file in files if file.endswith(MODEL))


@dataclass(frozen=True)
class VoiceFiles:
    """One voice's files: equal to what it was before, where nothing changed.

    `states` of the model, the configuration and the file of its digest; `sums`: the expected digests by file
    name, or why they cannot be read.
    """

    directory: Path
    name: str
    states: tuple[FileState | None, ...]
    sums: tuple[tuple[str, str], ...] | str

    @property
    def model_bytes(self) -> int:
        """The size of the model's file."""
        return self.states[0].size if self.states[0] else 0

    @property
    def model_file(self) -> Path:
        return self.directory / f"{self.name}{MODEL}"

    @property
    def config_file(self) -> Path:
        return self.directory / f"{self.name}{CONFIG}"

    def read(self, file: Path) -> bytes:
        """Raises VoiceRefused where `file`, one of the two, cannot be read or is not what it should be."""
        expected = self._expected(file)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise VoiceRefused(self.name, f"cannot read {file}: {error.strerror}") from None
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise self._corrupt(file, expected)
        return content

    def check_model(self) -> None:
        """As `read`, for the model where its digest is known, and a piece at a time."""
        expected = self._expected(self.model_file)
        if expected is None:
            return
        try:
            with self.model_file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise VoiceRefused(self.name, f"cannot read {self.model_file}: {error.strerror}") from None
        if digest != expected:
            raise self._corrupt(self.model_file, expected)

    def _expected(self, file: Path) -> str | None:
        if isinstance(self.sums, str):
            raise VoiceRefused(self.name, self.sums)
        return dict(self.sums).get(file.name)

    def _corrupt(self, file: Path, expected: str) -> VoiceRefused:
        return VoiceRefused(self.name, f"{file} is corrupt: its SHA-256 is not the expected {expected}")


def voice_files(directory: Path, name: str, files: Snapshot) -> VoiceFiles:
    """The files of voice `name`, of all those in `directory`."""
    own = [f"{name}{suffix}" for suffix in (MODEL, CONFIG, DIGEST)]
    return VoiceFiles(directory, name, tuple(files.get(file) for file in own), _sums(directory, own))


def _sums(directory: Path, own: Sequence[str]) -> tuple[tuple[str, str], ...] | str:
    """From SHA256SUMS and from NAME.onnx.sha256; the latter wins, and may have a bare digest, the model's."""
    model, _, digest = own
    sums: dict[str, str] = {}
    for file, unnamed in ((directory / SUMS, None), (directory / digest, model)):
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            return f"cannot read {file}: {error}"
        for line in text.splitlines():
            match = _SUM_LINE.fullmatch(line.strip())
            target = match and (match["file"] or unnamed)
            if match and target:
                sums[Path(target).name] = match["digest"].lower()
    return tuple((file, sums[file]) for file in own if file in sums)
