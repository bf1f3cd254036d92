"""What is spoken: one sentence a text, of about 5, 20, 60 and 200 characters, each in variants.

The 200 are really 170 to 190: the longest that an engine speaks in one piece, so that time to first audio is
that of one sentence for everyone.
"""

from __future__ import annotations

from itertools import chain

VARIANTS = {
    5: (
        "Hello.",
        "Right.",
        "Thanks.",
        "Sure.",
        "Today.",
        "Maybe.",
        "Later.",
        "Great.",
        "Never.",
        "Listen.",
        "Sorry.",
        "Again.",
    ),
    20: (
        "I will be back soon.",
        "Please wait a minute.",
        "The door is locked.",
        "We leave at seven.",
        "Nobody was at home.",
        "That sounds right.",
        "Call me on Tuesday.",
        "It rained all night.",
        "Take the next left.",
        "She likes the blue one.",
        "Here is your coffee.",
        "The train is on time.",
    ),
    60: (
        "The morning train was late, so we walked along the old river.",
        "Please remember to close the window before you leave tonight.",
        "The museum is free on Sundays, but it always closes at five.",
        "I would like a table for two, near the window if possible.",
        "He never told any of us where he had learned to cook so well.",
        "The package should arrive on Tuesday, or Wednesday by noon.",
        "The lecture was long, yet nobody left before the very end.",
        "Turn left at the church, then follow the road to the harbour.",
        "We could hear music from the square until after midnight.",
        "My sister collects old maps of cities she has never visited.",
        "The children built a small bridge of stones over the stream.",
        "They repaired the roof before the first snow of winter came.",
    ),
    200: (
        "The committee met again on Thursday to go through the last items on the list, and after a long "
        "discussion everyone agreed that the new library should stand on the hill above the river.",
        "When the storm had finally passed, the people of the village came out of their houses, looked at "
        "the broken fences and the fallen trees, and began to clear the road to the harbour.",
        "She had planned to stay for a single night, but the view from the small room under the roof was "
        "so beautiful that she wrote to her brother and told him not to expect her soon.",
        "If you follow the path behind the mill for about an hour, you will come to a wooden bridge, and "
        "from there it is only a short walk to the lake where we used to swim in summer.",
        "The engineer explained that the old pump could be repaired, although it would take a week to get "
        "the parts, and that in the meantime the water would have to come from the second well.",
        "Nobody in the office could say who had ordered forty boxes of green paper, but they stood in the "
        "hall for a month, and in the end the children of the school were glad to have them.",
        "My grandfather kept a record of the weather for more than thirty years, and whenever somebody "
        "claimed that the winters had been colder then, he went to the shelf and looked it up.",
        "Before the concert began, the conductor turned to the audience, thanked them for coming out on "
        "such a cold evening, and asked them to listen for the birds in the second movement.",
    ),
}

LENGTHS = tuple(VARIANTS)

# Of each length in the mix: about a half of its audio comes from the long sentence.
_MIX = ((200, 1), (60, 2), (20, 3))
MIXED = "20, 60 and 200 characters, 3 : 2 : 1"


def texts(characters: int, start: int, count: int) -> list[str]:
    """``count`` texts of about ``characters``: the variants in turn, from number ``start`` on."""
    variants = VARIANTS[characters]
    return [variants[number % len(variants)] for number in range(start, start + count)]


def mixed(start: int, units: int) -> list[str]:
    """``units`` times the mix, the long ones first, so that a round does not end in one core's wait."""
    drawn = (texts(characters, start * count, units * count) for characters, count in _MIX)
    return list(chain.from_iterable(drawn))


def mix_audio_s(audio_s: dict[int, float]) -> float:
    """Seconds of audio of one mix, given those of a text of each length."""
    return sum(audio_s[characters] * count for characters, count in _MIX)
