"""The pure parts of ``bench engine``: ratios, spreads, SNR, the time's division, the texts, the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench import cli, engine_texts
from bench.engine_measure import (
    IDENTICAL_DB,
    Rate,
    RatePair,
    cpu_per_audio,
    median_ratio,
    ratio,
    snr_db,
    spread,
)
from bench.engine_plan import (
    FULL,
    HEADLINE_CHARACTERS,
    HEADLINE_CONCURRENCY,
    IDLE_LEAST,
    QUICK,
    Plan,
    block_s,
    requests_in,
)
from bench.engine_plot import check_plot, write_plot
from bench.engine_run import (
    OURS,
    STOCK,
    Cell,
    EngineRun,
    Exactness,
    details,
    document,
    errors,
    headline,
    results,
)
from bench.engine_summary import comparison, facts, rows
from bench.engine_voice import find_voice
from bench.errors import RequestFailed, UsageError
from bench.health import judge
from bench.report import Report


def test_a_spread_has_the_samples_own_quantiles() -> None:
    found = spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert found is not None
    assert (found.n, found.p50, found.p95, found.min, found.max) == (5, 3.0, 4.8, 1.0, 5.0)
    assert spread([]) is None


def test_a_ratio_needs_both_sides() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(0.0, 2.0) == 0.0
    assert ratio(None, 2.0) is None
    assert ratio(3.0, None) is None
    assert ratio(3.0, 0.0) is None


def test_the_throughput_is_the_median_of_the_rounds_ratios_not_the_ratio_of_sums() -> None:
    pairs = [
        RatePair(Rate(10.0, 1.0), Rate(10.0, 1.0)),
        RatePair(Rate(9.0, 1.0), Rate(10.0, 1.0)),
        RatePair(Rate(1.0, 1.0), Rate(100.0, 1.0)),
    ]
    assert median_ratio(pairs) == 0.9
    assert median_ratio([]) is None


def test_cpu_is_per_second_of_all_the_audio() -> None:
    assert cpu_per_audio([Rate(10.0, 1.0, 2.0), Rate(30.0, 1.0, 2.0)]) == 0.1
    assert cpu_per_audio([Rate(10.0, 1.0, 2.0), Rate(30.0, 1.0)]) is None
    assert cpu_per_audio([]) is None


def sine(samples: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.sin(np.arange(samples) / 7).astype(np.float32)


def test_snr_of_a_known_error() -> None:
    assert snr_db(sine(7000), sine(7000) * np.float32(1.01)) == pytest.approx(40, abs=0.01)
    assert snr_db(sine(7000), -sine(7000)) == pytest.approx(-6.02, abs=0.01)
    assert snr_db(sine(7000), sine(7000)) == IDENTICAL_DB


def test_snr_counts_missing_and_surplus_samples_as_noise() -> None:
    assert snr_db(sine(7000), sine(3500)) == pytest.approx(3.01, abs=0.05)
    assert snr_db(sine(3500), sine(7000)) == pytest.approx(0, abs=0.05)
    assert snr_db(sine(7000), sine(0)) == 0
    assert snr_db(sine(0), sine(7000)) == -IDENTICAL_DB


def test_what_one_part_takes_too_long_comes_off_all_later_ones() -> None:
    # Two parts that weigh 1 and 3, of two blocks each, in 80 s; the first takes 40 s instead of 20.
    assert block_s(80, 1, 4, 2) == 10
    assert block_s(40, 3, 3, 2) == 20
    assert block_s(-5, 3, 3, 2) == 0


def test_a_block_holds_what_fits_but_a_text_for_every_caller() -> None:
    assert requests_in(10, rate_per_s=20, audio_s=4, concurrency=8) == 50
    assert requests_in(0, rate_per_s=20, audio_s=4, concurrency=8) == 8


@pytest.mark.parametrize("plan", [QUICK, FULL])
def test_each_plan_measures_the_headline(plan: Plan) -> None:
    characters, repeats = next(iter(plan.idle.items()))
    assert characters == HEADLINE_CHARACTERS
    assert repeats >= IDLE_LEAST
    first = plan.loads[0]
    assert (first.characters, first.concurrency) == (HEADLINE_CHARACTERS, HEADLINE_CONCURRENCY)
    assert plan.throughput_rounds >= 3


@pytest.mark.parametrize("characters", engine_texts.LENGTHS)
def test_texts_are_about_as_long_as_they_say_and_one_sentence(characters: int) -> None:
    variants = engine_texts.VARIANTS[characters]
    assert len(set(variants)) == len(variants) >= 8
    for text in variants:
        assert 0.85 * characters <= len(text) <= characters + 3
        assert text.isascii()
        assert text.count(".") == 1
        assert text.endswith(".")


def test_texts_come_in_turn_and_the_mix_ends_with_the_short_ones() -> None:
    twenty = engine_texts.texts(20, 10, 4)
    assert twenty == [*engine_texts.VARIANTS[20][10:], *engine_texts.VARIANTS[20][:2]]
    lengths = [len(text) for text in engine_texts.mixed(0, 2)]
    assert len(lengths) == 12
    assert min(lengths[:2]) > max(lengths[2:6]) > min(lengths[2:6]) > max(lengths[6:])
    assert engine_texts.mix_audio_s({200: 10.0, 60: 4.0, 20: 1.0}) == 21


def measured() -> EngineRun:
    """Ours twice as soon with one caller, ten times with eight, at 0.9 of the limit."""
    result = EngineRun()
    for server, callers, times in (
        (OURS, 1, [50.0, 60.0, 70.0]),
        (STOCK, 1, [110.0, 120.0, 130.0]),
        (OURS, 8, [100.0] * 20),
        (STOCK, 8, [1000.0] * 20),
    ):
        key = (server, HEADLINE_CHARACTERS, callers)
        result.cells[key] = Cell(
            times, len(times), turned_away=callers - 1, audio_s=40.0, wall_s=2.0, cpu_s=4.0
        )
    result.pair_ratios = [2.2, 2.0, 1.8]
    result.throughput = [RatePair(Rate(18.0, 1.0), Rate(20.0, 1.0))] * 3
    result.exactness = [Exactness("a", 120.0, 10, 10), Exactness("b", 110.5, 10, 10)]
    result.attempts = [[], [RequestFailed("resource_exhausted", "come later")]]
    result.peak_rss_mib = {OURS: 300.0, STOCK: 900.0, "alone": 500.0}
    return result


def report_of(result: EngineRun) -> Report:
    return Report(
        kind="engine",
        fingerprint={},
        definitions={},
        client_health=judge([], 0.0, 0.0),
        interrupted_by=None,
        errors=errors(result),
        results=results(result),
        details=details(result),
    )


def test_the_report_has_the_headline_at_its_top() -> None:
    result = measured()
    written = orjson.loads(document(report_of(result), result))
    assert list(written)[:6] == ["schema_version", "kind", *headline(result)]
    assert written["ttfa_ratio_60"] == 2
    assert written["ttfa_p95_ratio_c8"] == 10
    assert written["throughput_ratio"] == 0.9
    assert written["snr_db"] == 110.5
    assert written["errors"]["rate"] == 0.5
    assert written["results"]["cpu_s_per_audio_s"] == {OURS: 0.1, STOCK: 0.1}
    assert written["results"]["peak_rss_mib"] == {OURS: 300, STOCK: 900}
    assert [row["ttfa_ms"]["n"] for row in written["details"]] == [3, 3, 20, 20]


def test_a_run_that_measured_nothing_has_nulls_not_numbers() -> None:
    result = EngineRun()
    written = orjson.loads(document(report_of(result), result))
    assert [written[name] for name in headline(result)] == [None] * 4
    assert written["details"] == []


@pytest.mark.parametrize("result", [measured(), EngineRun()], ids=["whole", "empty"])
def test_whatever_was_measured_can_be_shown_and_drawn(result: EngineRun, tmp_path: Path) -> None:
    told = dict(facts(result))
    assert (told["SNR"] == "n/a") is (not result.exactness)
    assert comparison(result).row_count == len(rows(result)) / 2
    for name, start in (("plot.svg", b"<?xml"), ("plot.png", b"\x89PNG")):
        write_plot(tmp_path / name, result, "a machine")
        assert (tmp_path / name).read_bytes().startswith(start)


def test_other_lengths_than_the_graphs_are_told() -> None:
    result = measured()
    result.exactness.append(Exactness("c", 3.0, 900, 1000))
    assert dict(facts(result))["SNR"].endswith("(900 samples instead of 1,000)")


def test_callers_that_were_turned_away_are_told() -> None:
    assert dict(facts(measured()))["turned away"].startswith("14 times")
    assert dict(facts(EngineRun()))["turned away"] == "never"


def test_a_plot_is_svg_or_png(tmp_path: Path) -> None:
    check_plot(tmp_path / "plot.SVG")
    with pytest.raises(UsageError, match=r"must end in .svg or .png"):
        check_plot(tmp_path / "plot.gif")
    with pytest.raises(UsageError, match="does not exist"):
        check_plot(tmp_path / "gone" / "plot.svg")


def put_voice(directory: Path, name: str, config: str = '{"audio": {"sample_rate": 16000}}') -> None:
    (directory / f"{name}.onnx").write_bytes(b"model")
    (directory / f"{name}.onnx.json").write_text(config)


def test_a_voice_is_a_model_with_its_configuration(tmp_path: Path) -> None:
    put_voice(tmp_path, "b")
    put_voice(tmp_path, "c")
    (tmp_path / "a.onnx").write_bytes(b"without a configuration")
    first = find_voice(tmp_path, None)
    assert (first.name, first.sample_rate_hz, first.model) == ("b", 16000, tmp_path / "b.onnx")
    assert find_voice(tmp_path, "c").name == "c"
    with pytest.raises(UsageError, match="the voices there: b, c"):
        find_voice(tmp_path, "a")


def test_voices_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no voice"):
        find_voice(tmp_path, None)
    with pytest.raises(UsageError, match="No such file"):
        find_voice(tmp_path / "gone", None)
    put_voice(tmp_path, "a", "[]")
    with pytest.raises(UsageError, match=r"a\.onnx\.json is no Piper voice's configuration"):
        find_voice(tmp_path, "a")


@pytest.mark.parametrize("module", ["grpc", "google.protobuf", "onnxruntime", "piper"])
def test_without_the_engines_packages_it_says_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as Python marks what is not there
    assert cli.run(["engine"]) == 2
    assert "not installed: install sglang-piper[engine,bench]" in capsys.readouterr().err


def test_other_commands_do_not_import_what_only_this_one_needs() -> None:
    heavy = ("grpc", "google.protobuf", "onnxruntime", "piper", "matplotlib", "tts_engine", "riva_tts")
    code = f"import sys, bench.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
