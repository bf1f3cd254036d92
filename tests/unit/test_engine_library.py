"""Several voices in one engine: bounded in memory, followed on disk, refused one by one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from tts_engine.audio import Samples
from tts_engine.errors import StartError, VoiceNotFound
from tts_engine.library import Library
from tts_engine.model import Model, Scales
from tts_engine.model_cache import ModelCache
from tts_engine.runtime import Runtime
from tts_engine.voices import Voice, memory_bytes

from tests import voices

IDS = voices.ids(9)
SIZE = 100_000
ONE = memory_bytes(len(voices.tiny(0, SIZE))) + 200  # a seed more or less changes a few bytes


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tts_engine")


def events(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """Of the library's own lines: event, voice."""
    for record in caplog.records:
        fields = dict(part.split("=", 1) for part in record.getMessage().split() if "=" in part)
        if fields["event"].startswith("voice"):
            yield " ".join(filter(None, (fields["event"], fields.get("voice"))))


def install(directory: Path, *names: str) -> None:
    for name in names:
        voices.install(directory, name, voices.tiny(ord(name[0]), SIZE))


def library(
    directory: Path, *, default: str | None = None, preload: Sequence[str] = (), places: int | None = None
) -> Library:
    """With a bound of so many voices."""
    bound = None if places is None else places * ONE
    cache = ModelCache(None, Runtime())
    return Library(directory, default=default, preload=preload, memory_bytes=bound, cache=cache)


async def opened(
    directory: Path, *, default: str | None = None, preload: Sequence[str] = (), places: int | None = None
) -> Library:
    made = library(directory, default=default, preload=preload, places=places)
    await made.open()
    return made


async def settle(followed: Library) -> None:
    """As long as files must be the same."""
    await followed.look()
    await followed.look()


def speech(voice: Voice) -> Samples:
    scales = Scales(noise=0.0, length=1.0, noise_w=0.0)
    return np.concatenate(list(voice.model.render(IDS, scales, None, (0,)).windows()))


# At the start


async def test_all_voices_are_loaded_where_nothing_bounds_them(tmp_path: Path) -> None:
    install(tmp_path, "joe", "amy", "zoe")
    shown: list[int] = []
    made = Library(
        tmp_path,
        default=None,
        preload=(),
        memory_bytes=None,
        cache=ModelCache(None, Runtime()),
        on_change=lambda changed: shown.append(len(changed.loaded)),
    )
    await made.open()
    assert sorted(made.known) == sorted(made.loaded) == ["amy", "joe", "zoe"]
    assert made.default == "amy"
    assert made.loaded_bytes == sum(voice.memory_bytes for voice in made.loaded.values())
    assert shown[-1] == 3


async def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"/gone.*--voices \(TTS_ENGINE_VOICES\)"):
        await opened(tmp_path / "gone")


async def test_no_voice(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=rf"{tmp_path}.*NAME\.onnx with NAME\.onnx\.json.*--voices"):
        await opened(tmp_path)


async def test_an_unknown_default(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    with pytest.raises(StartError, match=r"default voice 'amy' is not in .*voices there: joe"):
        await opened(tmp_path, default="amy")


async def test_an_unknown_voice_to_preload(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    with pytest.raises(StartError, match=r"voice 'amy', to be preloaded, is not in .*voices there: joe"):
        await opened(tmp_path, preload=["joe", "amy"])


async def test_more_to_preload_than_the_bound(tmp_path: Path) -> None:
    install(tmp_path, "joe", "amy", "zoe")
    assert len((await opened(tmp_path, preload=["joe", "amy"], places=2)).loaded) == 2
    with pytest.raises(StartError, match=r"take 0 MiB, over the bound of 0 MiB.*--preload"):
        await opened(tmp_path, preload=["joe", "amy", "zoe"], places=2)


async def test_none_usable(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", b"junk")
    (tmp_path / "amy.onnx").write_bytes(voices.tiny())
    with pytest.raises(StartError, match=r"no voice in .* can be used .*amy: cannot read.*joe: .*corrupt"):
        await opened(tmp_path)


async def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    install(tmp_path, "joe", "flipped")
    voices.install(tmp_path, "broken", voices.tiny()[:2000])
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  flipped.onnx\n")
    made = await opened(tmp_path)
    assert list(made.known) == list(made.loaded) == ["joe"]
    assert sorted(made.refused) == ["broken", "flipped"]
    with pytest.raises(VoiceNotFound, match=r"'flipped'; .*SHA-256.*\. Voices: joe"):
        made.describe("flipped")
    with pytest.raises(VoiceNotFound, match=r"'broken'; voice broken was refused: .*corrupt"):
        await made.load("broken")


async def test_the_preloaded_are_loaded_and_the_others_at_first_use(tmp_path: Path) -> None:
    install(tmp_path, "joe", "amy", "zoe")
    made = await opened(tmp_path, preload=["zoe", "joe", "zoe"])
    assert list(made.loaded) == ["zoe", "joe"]
    assert made.default == "joe"
    assert (await made.load("amy")).name == "amy"
    assert sorted(made.loaded) == ["amy", "joe", "zoe"]


async def test_one_voice_speaks_even_if_none_of_the_preloaded_does(tmp_path: Path) -> None:
    install(tmp_path, "joe", "zoe")
    voices.install(tmp_path, "broken", b"junk")
    made = await opened(tmp_path, preload=["broken"])
    assert list(made.loaded) == ["joe"]
    assert made.default == "joe"


async def test_a_refused_default_is_no_other_voice(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    voices.install(tmp_path, "broken", b"junk")
    made = await opened(tmp_path, default="broken")
    with pytest.raises(VoiceNotFound, match="voice broken was refused"):
        made.describe("")


# Names


async def test_names(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    voices.install(
        tmp_path, "a.b", voices.tiny(n_speakers=2), num_speakers=2, speaker_id_map={"c": 0, "d": 1}
    )
    made = await opened(tmp_path, default="joe", preload=["joe"])
    assert made.describe("") == (made.known["joe"], None)
    assert made.describe("joe.default") == (made.known["joe"], "default")
    assert made.describe("a.b") == (made.known["a.b"], None)
    assert made.describe("a.b.d") == (made.known["a.b"], "d")
    assert list(made.loaded) == ["joe"]
    for name in ("zoe", "a.b.e", "a", "joe.", "."):
        with pytest.raises(VoiceNotFound, match=r"there is no such voice here. Voices: a\.b, joe"):
            made.describe(name)


async def test_a_refused_voices_speaker_is_refused(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    voices.install(tmp_path, "broken", b"junk")
    made = await opened(tmp_path)
    with pytest.raises(VoiceNotFound, match=r"'broken\.default'; voice broken was refused"):
        made.describe("broken.default")


async def test_a_refused_voice_is_no_others_speaker(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    voices.install(tmp_path, "joe.default", b"junk")
    made = await opened(tmp_path)
    with pytest.raises(VoiceNotFound, match=r"voice joe\.default was refused"):
        made.describe("joe.default")


# Memory


async def test_as_many_as_fit_are_loaded_and_the_default_first(tmp_path: Path) -> None:
    install(tmp_path, "amy", "bob", "joe", "zoe")
    made = await opened(tmp_path, default="zoe", places=2)
    assert list(made.loaded) == ["zoe", "amy"]
    assert sorted(made.known) == ["amy", "bob", "joe", "zoe"]


async def test_the_least_recently_used_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    install(tmp_path, "amy", "bob", "joe")
    made = await opened(tmp_path, places=2)
    assert list(made.loaded) == ["amy", "bob"]
    await made.load("amy")
    await made.load("joe")
    assert list(made.loaded) == ["amy", "joe"]
    assert made.loaded_bytes <= 2 * ONE
    await made.load("bob")
    assert list(made.loaded) == ["joe", "bob"]
    assert [event for event in events(caplog) if "unloaded" in event] == [
        "voice_unloaded bob",
        "voice_unloaded amy",
    ]


async def test_a_voice_larger_than_the_bound_is_the_only_one(tmp_path: Path) -> None:
    install(tmp_path, "amy", "joe")
    voices.install(tmp_path, "large", voices.tiny(1, 5 * SIZE))
    made = await opened(tmp_path, places=2)
    assert list(made.loaded) == ["amy", "joe"]
    await made.load("large")
    assert list(made.loaded) == ["large"]
    await made.load("joe")
    assert list(made.loaded) == ["joe"]


async def test_what_was_dropped_speaks_on_where_it_is_held(tmp_path: Path) -> None:
    install(tmp_path, "amy", "joe")
    made = await opened(tmp_path, places=1)
    amy = await made.load("amy")
    windows = amy.model.render(IDS, Scales(noise=0.0, length=9.0, noise_w=0.0), None, (0,)).windows()
    first = next(windows)
    await made.load("joe")
    assert list(made.loaded) == ["joe"]
    assert all(len(window) for window in (first, *windows))


# Loading at first use


async def test_those_who_ask_at_once_share_a_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    install(tmp_path, "amy", "joe")
    made = await opened(tmp_path, preload=["amy"])
    first, *others = await asyncio.gather(*(made.load("joe") for _ in range(5)))
    assert all(other is first for other in others)
    assert list(events(caplog)).count("voice_loaded joe") == 1


async def test_one_that_leaves_does_not_end_the_others_load(tmp_path: Path) -> None:
    install(tmp_path, "amy", "joe")
    made = await opened(tmp_path, preload=["amy"])
    leaver, stayer = (asyncio.create_task(made.load("joe")) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    assert (await stayer).name == "joe"
    assert leaver.cancelled()


async def test_a_model_that_turns_out_corrupt_is_refused_to_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "amy")
    voices.install(tmp_path, "broken", b"junk")
    made = await opened(tmp_path, preload=["amy"])
    assert made.describe("broken")[0].name == "broken"
    asked = await asyncio.gather(*(made.load("broken") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(error, VoiceNotFound) and "broken.onnx is corrupt" in str(error) for error in asked)
    assert list(made.known) == ["amy"]
    with pytest.raises(VoiceNotFound, match="was refused"):
        made.describe("broken")
    assert list(events(caplog)).count("voice_refused broken") == 1


class HeldCache(ModelCache):
    """Holds the load of a model while `go` is not set."""

    def __init__(self) -> None:
        super().__init__(None, Runtime())
        self.go = threading.Event()
        self.go.set()

    def load(self, content: bytes, trial_ids: Sequence[int]) -> Model:
        assert self.go.wait(60)
        return super().load(content, trial_ids)


async def opened_with_held_load(directory: Path, name: str) -> tuple[Library, HeldCache, asyncio.Task[Voice]]:
    cache = HeldCache()
    made = Library(directory, default=None, preload=["amy"], memory_bytes=None, cache=cache)
    await made.open()
    cache.go.clear()
    load = asyncio.create_task(made.load(name))
    await asyncio.sleep(0.05)  # its model is read by then, or will be read anew
    return made, cache, load


async def test_a_voice_that_changes_while_it_loads_is_loaded_as_it_is_then(tmp_path: Path) -> None:
    install(tmp_path, "amy", "joe")
    made, cache, load = await opened_with_held_load(tmp_path, "joe")
    replace(tmp_path, "joe", seed=99)
    await settle(made)
    cache.go.set()
    assert np.array_equal(speech(await load), speech(await fresh(tmp_path, "joe")))


async def test_a_voice_that_is_removed_while_it_loads_stays_away(tmp_path: Path) -> None:
    install(tmp_path, "amy", "joe")
    made, cache, load = await opened_with_held_load(tmp_path, "joe")
    (tmp_path / "joe.onnx").unlink()
    await settle(made)
    cache.go.set()
    with pytest.raises(VoiceNotFound, match="no such voice"):
        await load
    assert list(made.loaded) == ["amy"]


# On disk


def replace(directory: Path, name: str, *, seed: int) -> None:
    """As a careful installer does: written next to it, then renamed."""
    (directory / "new").write_bytes(voices.tiny(seed, SIZE))
    (directory / "new").rename(directory / f"{name}.onnx")


async def fresh(directory: Path, name: str) -> Voice:
    """The voice as another engine loads it now."""
    return await (await opened(directory, preload=[name])).load(name)


async def test_nothing_changed_nothing_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    install(tmp_path, "joe")
    made = await opened(tmp_path)
    joe, before = await made.load("joe"), list(events(caplog))
    (tmp_path / "README").touch()
    for _ in range(3):
        await made.look()
    assert await made.load("joe") is joe
    assert list(events(caplog)) == before


async def test_a_new_voice_is_loaded_where_it_fits(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    made = await opened(tmp_path, places=2)
    install(tmp_path, "amy", "zoe")
    await settle(made)
    assert sorted(made.known) == ["amy", "joe", "zoe"]
    assert sorted(made.loaded) == ["amy", "joe"]
    assert made.default == "joe"
    assert (await made.load("zoe")).name == "zoe"


async def test_with_a_preload_list_a_new_voice_waits_for_its_first_use(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    made = await opened(tmp_path, preload=["joe"])
    install(tmp_path, "amy")
    await settle(made)
    assert (sorted(made.known), list(made.loaded)) == (["amy", "joe"], ["joe"])


async def test_a_file_that_still_grows_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "joe")
    made = await opened(tmp_path)
    content = voices.tiny(5, SIZE)
    (tmp_path / "amy.onnx.json").symlink_to(voices.CONFIG)
    with (tmp_path / "amy.onnx").open("wb") as growing:
        for start in range(0, len(content), 20_000):
            growing.write(content[start : start + 20_000])
            growing.flush()
            await made.look()
            assert list(made.known) == ["joe"]
            assert not made.refused
    await made.look()
    assert sorted(made.loaded) == ["amy", "joe"]
    assert "voice_refused" not in caplog.text


async def test_a_changed_voice_replaces_the_old_one_for_who_comes_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "amy", "joe")
    made = await opened(tmp_path)
    amy, old = await made.load("amy"), await made.load("joe")
    old_speech = speech(old)
    replace(tmp_path, "joe", seed=99)
    (tmp_path / "joe.onnx.json").write_text(
        (tmp_path / "joe.onnx.json").read_text().replace("22050", "16000")
    )
    await settle(made)
    new = await made.load("joe")
    assert new is not old
    assert new.sample_rate_hz == made.known["joe"].sample_rate_hz == 16000
    assert not np.array_equal(speech(new), old_speech)
    assert np.array_equal(speech(new), speech(await fresh(tmp_path, "joe")))
    assert np.array_equal(speech(old), old_speech)
    assert await made.load("amy") is amy


async def test_the_old_voice_serves_while_the_new_one_loads(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    made = await opened(tmp_path)
    old = await made.load("joe")
    replace(tmp_path, "joe", seed=99)
    await made.look()
    following = asyncio.create_task(made.look())
    served = set()
    while not following.done():
        served.add((await made.load("joe")) is old)
        await asyncio.sleep(0)
    assert True in served
    assert await made.load("joe") is not old


async def test_a_changed_voice_that_is_not_loaded_is_loaded_as_it_is_now(tmp_path: Path) -> None:
    install(tmp_path, "amy", "joe")
    made = await opened(tmp_path, preload=["amy"])
    replace(tmp_path, "joe", seed=99)
    await settle(made)
    assert list(made.loaded) == ["amy"]
    assert np.array_equal(speech(await made.load("joe")), speech(await fresh(tmp_path, "joe")))


async def test_a_removed_voice_is_gone_and_speaks_on_where_it_is_held(tmp_path: Path) -> None:
    install(tmp_path, "amy", "joe")
    made = await opened(tmp_path)
    amy = await made.load("amy")
    (tmp_path / "amy.onnx").unlink()
    await settle(made)
    assert list(made.known) == list(made.loaded) == ["joe"]
    assert made.default == "joe"
    with pytest.raises(VoiceNotFound, match="no such voice"):
        made.describe("amy")
    assert len(speech(amy))


async def test_a_configured_default_is_never_another_voice(tmp_path: Path) -> None:
    install(tmp_path, "amy", "joe")
    made = await opened(tmp_path, default="amy")
    (tmp_path / "amy.onnx").unlink()
    await settle(made)
    with pytest.raises(VoiceNotFound, match="'amy'"):
        made.describe("")


async def test_a_voice_that_becomes_corrupt_is_refused_and_the_others_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "amy", "bob", "joe")
    made = await opened(tmp_path, preload=["amy", "joe"])
    joe = await made.load("joe")
    for name in ("amy", "bob"):
        os.truncate(tmp_path / f"{name}.onnx", 2000)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  bob.onnx\n")
    await settle(made)
    assert list(made.known) == list(made.loaded) == ["joe"]
    assert "amy.onnx is corrupt or not a Piper model" in made.refused["amy"]
    assert "bob.onnx is corrupt: its SHA-256" in made.refused["bob"]
    assert await made.load("joe") is joe

    (tmp_path / "zoe.onnx").write_bytes(b"junk")  # another change does not try these again
    await settle(made)
    assert sorted(event for event in events(caplog) if "refused" in event) == [
        "voice_refused amy",
        "voice_refused bob",
        "voice_refused zoe",
    ]

    replace(tmp_path, "amy", seed=1)
    replace(tmp_path, "bob", seed=2)
    digest = hashlib.sha256((tmp_path / "bob.onnx").read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  bob.onnx\n")
    await settle(made)
    assert (sorted(made.known), list(made.refused)) == (["amy", "bob", "joe"], ["zoe"])
    assert (await made.load("amy")).name == "amy"
    assert (await made.load("bob")).name == "bob"


async def test_a_directory_that_vanishes_leaves_its_voices(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "voices"
    directory.mkdir()
    install(directory, "amy", "joe")
    made = await opened(directory, preload=["amy"])
    amy = await made.load("amy")
    directory.rename(tmp_path / "away")
    for _ in range(3):
        await made.look()
    assert sorted(made.known) == ["amy", "joe"]
    assert await made.load("amy") is amy
    assert list(events(caplog)).count("voices_unreadable") == 1
    with pytest.raises(VoiceNotFound, match=r"cannot read .*joe\.onnx"):
        await made.load("joe")

    (tmp_path / "away").rename(directory)
    await settle(made)
    assert await made.load("amy") is amy
    assert (await made.load("joe")).name == "joe"


async def test_a_directory_that_is_emptied_has_no_voices(tmp_path: Path) -> None:
    directory = tmp_path / "voices"
    directory.mkdir()
    install(directory, "joe")
    made = await opened(directory)
    shutil.rmtree(directory)
    directory.mkdir()
    await settle(made)
    assert not made.known
    with pytest.raises(VoiceNotFound):
        made.describe("")
    install(directory, "amy")
    await settle(made)
    assert made.describe("")[0].name == "amy"


async def test_watching_goes_on_until_it_is_cancelled(tmp_path: Path) -> None:
    install(tmp_path, "joe")
    changed = asyncio.Event()
    made = Library(
        tmp_path,
        default=None,
        preload=(),
        memory_bytes=None,
        cache=ModelCache(None, Runtime()),
        on_change=lambda now: changed.set() if "amy" in now.loaded else None,
    )
    await made.open()
    watching = asyncio.create_task(made.watch(0.01))
    install(tmp_path, "amy")
    await asyncio.wait_for(changed.wait(), 60)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
