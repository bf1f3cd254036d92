"""Who types what, and when: drawn from a seed before the run, so that it can be drawn again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

# People do not all press the first key in the same instant.
START_SPREAD_S = 1.0

# After an utterance a person looks up for a moment; the server has to notice that nothing is pending.
PAUSE_S = 1.0

_MAX_SENTENCES = 2


@dataclass(frozen=True, slots=True)
class Utterance:
    """``text`` typed from ``start_s`` on (seconds into the run), a character every 1/cps, then flushed."""

    start_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Keystroke:
    """One character, due ``at_s``; ``last`` ends its utterance."""

    at_s: float
    char: str
    last: bool


@dataclass(frozen=True, slots=True)
class TypingPlan:
    """What one connection types, at ``cps`` characters a second."""

    start_s: float
    cps: float
    utterances: list[Utterance]

    @property
    def text(self) -> str:
        """All of the session's text."""
        return "".join(utterance.text for utterance in self.utterances)

    def keystrokes(self) -> Iterator[Keystroke]:
        """Every character in its order, with its time."""
        for utterance in self.utterances:
            for index, char in enumerate(utterance.text):
                yield Keystroke(utterance.start_s + index / self.cps, char, index == len(utterance.text) - 1)


def draw(
    sentences: list[str], connections: int, cps: float, duration_s: float, seed: int
) -> list[TypingPlan]:
    """One plan a connection; the same arguments give the same plans, and more connections only add some."""
    return [_plan(sentences, cps, duration_s, random.Random(f"{seed}/{n}")) for n in range(connections)]  # noqa: S311


def _plan(sentences: list[str], cps: float, duration_s: float, chance: random.Random) -> TypingPlan:
    start_s = chance.uniform(0, min(START_SPREAD_S, duration_s / 2))
    utterances: list[Utterance] = []
    at_s = start_s
    while (room := int((duration_s - at_s) * cps)) > 0:
        text = " ".join(chance.sample(sentences, chance.randint(1, _MAX_SENTENCES)))
        # The blank parts it from the next utterance. What there is no time for is left out, at a word's end.
        text = _shortened(text, room) + " "
        utterances.append(Utterance(at_s, text))
        at_s += len(text) / cps + PAUSE_S
    return TypingPlan(start_s, cps, utterances)


def _shortened(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    return text[:room].rpartition(" ")[0] or text.split()[0]
