"""espeak-ng, the copy inside Piper: text into IPA, clause by clause.

Piper's extension module exports espeak's C API. It is called here without the module's own functions, which
hold the interpreter's lock, load the voice anew for each text, and lose some 1.5 kB each time: gigabytes in a
server that speaks all day.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from piper import espeakbridge
from piper.phonemize_espeak import ESPEAK_DATA_DIR

# From speak_lib.h and espeak_ng.h.
_CHARS_AUTO = 0
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_PHONEMES_IPA = 0x02
_STATUS_OK = 0
_TERMINATOR_BITS = 0xFFFFF
_SENTENCE_BIT = 0x80000

# What espeak gives its audio to, and asks whether to go on; without one it crashes.
_NO_AUDIO = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(lambda *_: 0)

# Pause in 10 ms, intonation and type of a clause's end, as espeak reads them from the punctuation.
_PUNCTUATION = {
    0x80000 | 0x0000 | 40: ".",
    0x80000 | 0x2000 | 40: "?",
    0x80000 | 0x3000 | 45: "!",
    0x40000 | 0x1000 | 20: ",",
    0x40000 | 0x0000 | 30: ":",
    0x40000 | 0x1000 | 30: ";",
}


class _Voice(ctypes.Structure):
    """espeak_VOICE, as far as it is read here."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
    )


@dataclass(frozen=True)
class Clause:
    """IPA with stress marks and `(language)` switches; the punctuation that ends it, `""` for none."""

    ipa: str
    punctuation: str
    ends_sentence: bool


class Espeak:
    """The process's espeak: its state is global, so there is one, and one thread uses it."""

    def __init__(self) -> None:
        espeakbridge.initialize(str(ESPEAK_DATA_DIR))
        self._library = ctypes.CDLL(espeakbridge.__file__)
        self._library.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
        self._library.espeak_TextToPhonemesWithTerminator.restype = ctypes.c_char_p
        self._library.espeak_SetSynthCallback(_NO_AUDIO)
        self._voice: tuple[str, bytes | None] | None = None

    def clauses(self, voice: str, text: str) -> list[Clause]:
        """`text`, without NUL and lone surrogates. Raises RuntimeError where espeak has no such `voice`."""
        self._select(voice)
        encoded = ctypes.create_string_buffer(text.encode())
        rest = ctypes.c_void_p(ctypes.addressof(encoded))
        terminator = ctypes.c_int()
        clauses = []
        while rest:
            ipa = self._library.espeak_TextToPhonemesWithTerminator(
                ctypes.byref(rest), _CHARS_AUTO, _PHONEMES_IPA, ctypes.byref(terminator)
            )
            end = terminator.value & _TERMINATOR_BITS
            clauses.append(
                Clause(ipa.decode(errors="replace"), _PUNCTUATION.get(end, ""), bool(end & _SENTENCE_BIT))
            )
        return clauses

    def _select(self, voice: str) -> None:
        # Loading a voice takes 0.1-12 ms. Piper may have set another one, or initialized espeak again, since:
        # what espeak itself says tells.
        if self._voice == (voice, self._current()):
            return
        if self._library.espeak_SetVoiceByName(voice.encode()) != _STATUS_OK:
            raise RuntimeError(f"espeak has no voice {voice!r}")
        # Each voice set waits for the next synthesis, 1.3 kB a time: have it speak nothing.
        self._library.espeak_Synth(b"", 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._voice = (voice, self._current())

    def _current(self) -> bytes | None:
        voice = self._library.espeak_GetCurrentVoice()
        identifier: bytes | None = voice.contents.identifier if voice else None
        return identifier
