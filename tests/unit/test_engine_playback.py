import pytest
from tts_engine.playback import Playback


def test_audio_is_played_without_a_pause() -> None:
    playback = Playback(now_s=10.0)
    assert (playback.deadline_s, playback.in_hand_s(10.0)) == (10.0, 0.0)
    assert playback.add(0.5, now_s=11.0) == 0  # the first audio is never late: nothing played before it
    assert playback.deadline_s == 11.5
    assert playback.in_hand_s(11.2) == pytest.approx(0.3)
    assert playback.add(0.5, now_s=11.2) == 0
    assert playback.deadline_s == 12.0


def test_late_audio_is_told_and_moves_what_follows() -> None:
    playback = Playback(now_s=0.0)
    playback.add(0.5, now_s=0.0)
    assert playback.add(0.5, now_s=0.7) == pytest.approx(0.2)
    assert playback.deadline_s == pytest.approx(1.2)


def test_text_after_a_silence_is_as_urgent_as_the_first() -> None:
    playback = Playback(now_s=0.0)
    playback.add(0.5, now_s=0.0)
    playback.expect(now_s=5.0)
    assert playback.deadline_s == 5.0
    assert playback.add(0.5, now_s=5.2) == 0


def test_text_while_audio_plays_changes_nothing() -> None:
    playback = Playback(now_s=0.0)
    playback.add(2.0, now_s=0.0)
    playback.expect(now_s=1.0)
    assert playback.deadline_s == 2.0
    assert playback.is_playing
