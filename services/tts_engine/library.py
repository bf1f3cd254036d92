"""The voices that a directory has now, and those of them that are in memory.

    files ──check──▶ known (or refused) ──load──▶ loaded ──least recently used, over the bound──▶ dropped

Everything here runs on the event loop, except for reading and cutting, which is in threads, one voice at a
time: a load takes seconds, a core, and for its while twice the memory. A voice that is dropped or replaced
lives on in the streams that hold it.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tts_engine import logs
from tts_engine.errors import StartError, VoiceNotFound, VoiceRefused
from tts_engine.model_cache import ModelCache
from tts_engine.voice_files import Snapshot, VoiceFiles, snapshot, voice_files, voice_names
from tts_engine.voices import Voice, VoiceInfo, load_voice, memory_bytes, read_info

MIB = 1024 * 1024

Found = tuple[VoiceFiles, VoiceInfo | VoiceRefused]
"""A voice's files, and what a look at them gave."""


class Library:
    """The voices of `directory`.

    `preload`: the voices to load at the start; where it is empty, as many as fit. `memory_bytes` bounds what
    all loaded voices take (None: no bound), except that one is always loaded, however large. `on_change` is
    called, on the event loop, after each change of `known`, `refused` or `loaded`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        default: str | None,
        preload: Sequence[str],
        memory_bytes: int | None,
        cache: ModelCache,
        on_change: Callable[[Library], None] = lambda _: None,
    ) -> None:
        self._directory = directory
        self._wanted_default = default
        self._preload = preload
        self._memory_bytes = memory_bytes
        self._cache = cache
        self._on_change = on_change
        self._files: dict[str, VoiceFiles] = {}
        self._known: dict[str, VoiceInfo] = {}
        self._refused: dict[str, str] = {}
        self._loaded: dict[str, Voice] = {}  # the least recently used first
        self._default = default or ""
        self._seen: Snapshot | None = None  # what the above was made from
        self._last_look: Snapshot | None = None
        self._loads: dict[str, asyncio.Task[Voice | None]] = {}
        self._one_load = asyncio.Lock()

    @property
    def known(self) -> Mapping[str, VoiceInfo]:
        """The voices that can be asked for, by name."""
        return MappingProxyType(self._known)

    @property
    def refused(self) -> Mapping[str, str]:
        """Why, by name. A name is known or refused, not both."""
        return MappingProxyType(self._refused)

    @property
    def loaded(self) -> Mapping[str, Voice]:
        """Those of the known that are in memory, the least recently used first."""
        return MappingProxyType(self._loaded)

    @property
    def default(self) -> str:
        """The voice that '' stands for: as configured, else the first by name that was there at the start."""
        return self._default

    @property
    def loaded_bytes(self) -> int:
        return sum(voice.memory_bytes for voice in self._loaded.values())

    def describe(self, name: str) -> tuple[VoiceInfo, str | None]:
        """The voice, and the speaker if `name` is VOICE.SPEAKER; '' is the default. Raises VoiceNotFound."""
        name = name or self._default
        if name in self._known:
            return self._known[name], None
        voice, _, speaker = name.rpartition(".")
        if name not in self._refused and voice in self._known and speaker in self._known[voice].speakers:
            return self._known[voice], speaker
        raise self._not_found(name)

    def _not_found(self, name: str) -> VoiceNotFound:
        voice = name if name in self._refused else name.rpartition(".")[0]
        if voice in self._refused:
            return VoiceNotFound(name, self._known, f"voice {voice} was refused: {self._refused[voice]}")
        return VoiceNotFound(name, self._known)

    async def load(self, name: str) -> Voice:
        """The known voice `name`, from memory or loaded now; it is the most recently used then.

        Raises VoiceNotFound where it is not known, or turns out to be corrupt.
        """
        if name in self._loaded:
            voice = self._loaded[name] = self._loaded.pop(name)
            return voice
        if name not in self._known:
            raise self._not_found(name)
        if name not in self._loads:
            task = self._loads[name] = asyncio.create_task(self._load(name))
            task.add_done_callback(lambda _: self._loads.pop(name))
        loaded = await asyncio.shield(self._loads[name])  # a caller that leaves does not end the others' load
        if loaded is None:
            raise self._not_found(name)
        return loaded

    async def _load(self, name: str) -> Voice | None:
        """Load `name` as it is on disk, and again where that changed meanwhile; None where it cannot be."""
        async with self._one_load:
            while (info := self._known.get(name)) is not None:
                try:
                    voice = await self._loaded_in_thread(self._files[name], info)
                except VoiceRefused as refusal:
                    if self._known.get(name) is info:
                        self._refuse(refusal)
                else:
                    if self._known.get(name) is info:
                        self._put(voice)
                        await asyncio.to_thread(_give_memory_back)
                        return voice
        return None

    async def _loaded_in_thread(self, files: VoiceFiles, info: VoiceInfo) -> Voice:
        """Raises VoiceRefused."""
        began = time.monotonic()
        voice = await asyncio.to_thread(load_voice, files, info, self._cache)
        logs.info(
            "voice_loaded",
            voice=info.name,
            language=info.language,
            sample_rate_hz=info.sample_rate_hz,
            memory_mib=voice.memory_bytes / MIB,
            seconds=time.monotonic() - began,
        )
        return voice

    def _put(self, voice: Voice) -> None:
        self._loaded.pop(voice.name, None)
        self._loaded[voice.name] = voice
        while self._is_over(self.loaded_bytes) and len(self._loaded) > 1:
            oldest = next(iter(self._loaded))
            del self._loaded[oldest]
            logs.info("voice_unloaded", voice=oldest, reason="least recently used")
        self._on_change(self)

    def _refuse(self, refusal: VoiceRefused) -> None:
        self._known.pop(refusal.name, None)
        self._loaded.pop(refusal.name, None)
        self._refused[refusal.name] = refusal.reason
        logs.error("voice_refused", voice=refusal.name, reason=refusal.reason)
        self._on_change(self)

    def _is_over(self, total_bytes: int) -> bool:
        return self._memory_bytes is not None and total_bytes > self._memory_bytes

    def _fits(self, name: str) -> bool:
        """Whether `name` can be loaded without dropping another."""
        return not self._is_over(self.loaded_bytes + memory_bytes(self._files[name].model_bytes))

    # At the start

    async def open(self) -> None:
        """Check all voices and load the first ones; one that cannot be used is refused, and the others serve.

        Raises StartError where the settings name voices that are not there, or none can speak.
        """
        try:
            self._seen = await asyncio.to_thread(snapshot, self._directory)
        except OSError as error:
            raise StartError(
                f"cannot read the voices directory {self._directory}: {error.strerror}. "
                "Create it with a Piper voice in it, or name another with --voices (TTS_ENGINE_VOICES)"
            ) from None
        names = voice_names(self._seen)
        self._check_names(names)
        for found in await asyncio.to_thread(_look, self._directory, names, self._seen, {}):
            self._take(found)
        self._check_preload_fits()
        await self._load_first(sorted(names, key=lambda name: (name != self._wanted_default, name)))
        if not self._loaded:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._refused.items())
            raise StartError(
                f"no voice in {self._directory} can be used ({reasons}). Install the voice again"
            )
        self._choose_default()
        self._on_change(self)

    def _check_names(self, names: Sequence[str]) -> None:
        """Raises StartError."""
        if not names:
            raise StartError(
                f"no voice in {self._directory}: looked for NAME.onnx with NAME.onnx.json. "
                "Put a Piper voice there, or name another directory with --voices (TTS_ENGINE_VOICES)"
            )
        there = f"is not in {self._directory}; voices there: {', '.join(names)}"
        if self._wanted_default is not None and self._wanted_default not in names:
            raise StartError(
                f"default voice {self._wanted_default!r} {there}. "
                "Set --default-voice (TTS_ENGINE_DEFAULT_VOICE) to one of them"
            )
        for name in self._preload:
            if name not in names:
                raise StartError(
                    f"voice {name!r}, to be preloaded, {there}. "
                    "Name only these in --preload (TTS_ENGINE_PRELOAD)"
                )

    def _check_preload_fits(self) -> None:
        """Raises StartError."""
        needed = sum(memory_bytes(self._files[name].model_bytes) for name in set(self._preload))
        if self._memory_bytes is not None and len(set(self._preload)) > 1 and needed > self._memory_bytes:
            raise StartError(
                f"the voices to be preloaded take {needed // MIB} MiB, over the bound of "
                f"{self._memory_bytes // MIB} MiB. Name fewer in --preload (TTS_ENGINE_PRELOAD), "
                "or raise --voices-memory (TTS_ENGINE_VOICES_MEMORY)"
            )

    async def _load_first(self, names: Sequence[str]) -> None:
        """What is to be preloaded; if that is nothing, or none of it can speak, the first that can."""
        for name in self._preload:
            await self._try_to_load(name)
        if not self._preload:
            for name in names:
                if self._fits(name):
                    await self._try_to_load(name)
        for name in names:
            if not self._loaded:
                await self._try_to_load(name)

    async def _try_to_load(self, name: str) -> None:
        if name in self._known and name not in self._loaded:
            await self._load(name)

    def _choose_default(self) -> None:
        if self._wanted_default is None and self._default not in self._known:
            self._default = min(self._loaded or self._known, default="")

    # While it runs

    async def watch(self, every_s: float = 2.0) -> None:
        """Follow the directory until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.look()

    async def look(self) -> None:
        """Follow the directory where it changed.

        That counts once it is the same at two looks: before, files are still being written. A directory that
        cannot be read leaves everything as it is.
        """
        try:
            files = await asyncio.to_thread(snapshot, self._directory)
        except OSError as error:
            if self._seen is not None:
                logs.error("voices_unreadable", directory=self._directory, reason=error.strerror)
            self._seen = self._last_look = None
            return
        is_settled, self._last_look = files == self._last_look, files
        if is_settled and files != self._seen:
            await self._follow(files)

    async def _follow(self, files: Snapshot) -> None:
        """Bring all in line with `files`."""
        if self._seen is None:  # it could not be read for a while, and what was refused then may be fine
            for name in self._refused:
                self._files.pop(name, None)
        self._seen = files
        names = voice_names(files)
        for name in set(self._known | self._refused) - set(names):
            self._remove(name)
        for found in await asyncio.to_thread(_look, self._directory, names, files, dict(self._files)):
            await self._replace(found)
        for name in names:
            if not self._preload and self._fits(name):
                await self._try_to_load(name)
        self._choose_default()
        self._on_change(self)

    def _remove(self, name: str) -> None:
        self._files.pop(name, None)
        self._known.pop(name, None)
        self._refused.pop(name, None)
        self._loaded.pop(name, None)
        logs.info("voice_removed", voice=name)

    async def _replace(self, found: Found) -> None:
        """Take a changed voice; where the one before it is in memory, only when the new one is, too."""
        files, info = found
        if isinstance(info, VoiceRefused) or info.name not in self._loaded:
            self._take(found)
            return
        async with self._one_load:
            try:
                voice = await self._loaded_in_thread(files, info)
            except VoiceRefused as refusal:
                self._take((files, refusal))
            else:
                self._take(found)
                self._put(voice)
                del voice
                await asyncio.to_thread(_give_memory_back)

    def _take(self, found: Found) -> None:
        files, info = found
        self._files[files.name] = files
        if isinstance(info, VoiceRefused):
            self._refuse(info)
        else:
            self._known[info.name] = info
            self._refused.pop(info.name, None)


def _look(
    directory: Path, names: Sequence[str], files: Snapshot, before: Mapping[str, VoiceFiles]
) -> list[Found]:
    """Check all voices that are not as `before`. Blocking: 0.1 s for each model with a digest."""
    found: list[Found] = []
    for name in names:
        own = voice_files(directory, name, files)
        if before.get(name) == own:
            continue
        try:
            info = read_info(own)
            own.check_model()
        except VoiceRefused as refusal:
            found.append((own, refusal))
        else:
            found.append((own, info))
    return found


def _give_memory_back() -> None:
    """To the system, what loading needed for its while, or a dropped voice had: malloc keeps it otherwise."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
    if malloc_trim is not None:
        malloc_trim(0)
