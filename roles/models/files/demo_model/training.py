"""Trains the demo model: tokenizer, weights, and the check that it knows everything it should."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch  # type: ignore[import-not-found]
from tokenizers import (  # type: ignore[import-not-found]
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import (  # type: ignore[import-not-found]
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from .conversations import Conversation, Curriculum
from .lessons import Lessons, exams

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")

VOCABULARY = 1024
CONTEXT_TOKENS = 8192
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# One token each and not special, as in Qwen2.5: the server's tool call parser reads them in the text.
TOOL_CALL_MARKS = ("<tool_call>", "</tool_call>")
# How Qwen2 cuts text before BPE (Qwen2.5's tokenizer.json).
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ANSWER = re.compile(rf"(?<={re.escape(TURN_START)}assistant\n).*?{re.escape(TURN_END)}", re.DOTALL)

IGNORED = -100  # a label that PyTorch's cross entropy leaves out
BATCH_LESSONS = 16
BATCHES_DRAWN = 8  # at a time, to sort their lessons by length
LEARNING_RATE = 4e-3
WARM_UP_STEPS = 20
# The right token must lead the next best by this much. A server adds up in another order than this program,
# and bfloat16 rounds: with a lead near 0 it may choose the other one.
MARGIN_LOGITS = 1.0

Report = Callable[[str], None]


class TrainingError(RuntimeError):
    """The model does not know its conversations after the last try."""


@dataclass(frozen=True)
class Encoded:
    """One conversation as token ids; `labels` is the id where the model must say it, else IGNORED."""

    ids: list[int]
    labels: list[int]


def train_tokenizer(curriculum: Curriculum) -> Any:
    """A byte-level BPE like Qwen2's, only smaller."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    marks = [AddedToken(mark, special=False, normalized=False) for mark in TOOL_CALL_MARKS]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(marks),
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    template = CHAT_TEMPLATE.read_text(encoding="utf-8")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)
    texts = [_render(fast, exam) for exam in exams(curriculum)]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=template,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: Any, seed: int) -> Any:
    """A Qwen2 with random weights, about 1.8 million parameters."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)


def encode(tokenizer: Any, conversation: Conversation) -> Encoded:
    """Prompt and answers are cut into tokens apart, because a server meets the prompt alone."""
    text = _render(tokenizer, conversation)
    ids: list[int] = []
    labels: list[int] = []
    position = 0
    for answer in ANSWER.finditer(text):
        prompt_ids = tokenizer.encode(text[position : answer.start()], add_special_tokens=False)
        answer_ids = tokenizer.encode(answer.group(), add_special_tokens=False)
        ids += prompt_ids + answer_ids
        labels += [IGNORED] * len(prompt_ids) + answer_ids
        position = answer.end()
    return Encoded(ids, labels)


def train(curriculum: Curriculum, seed: int, steps: int, tries: int, report: Report) -> tuple[Any, Any]:
    """The tokenizer and the model, in bfloat16, after as many tries as it takes.

    A try of `steps` steps that leaves something unlearnt is followed by a gentler one from the same weights.
    Raises TrainingError when the last one fails too.
    """
    torch.set_flush_denormal(True)
    # One thread: the matrices are so small that a second one saves little, and on busy cores threads wait for
    # each other.
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(curriculum)
    model = new_model(tokenizer, seed)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    report(f"{parameters / 1e6:.1f} million parameters, {steps} steps")
    lessons = Lessons(curriculum, seed)
    wrong: list[str] = []
    for attempt in range(1, tries + 1):
        _train_once(model, tokenizer, lessons, steps, LEARNING_RATE / attempt**2, report)
        served = new_model(tokenizer, seed)
        served.load_state_dict(model.state_dict())
        served = served.to(torch.bfloat16).eval()
        wrong = unlearnt(served, tokenizer, exams(curriculum))
        if not wrong:
            report("every answer is known by heart")
            return tokenizer, served
        report(f"try {attempt} of {tries}: {len(wrong)} answers are not known yet, such as {wrong[0]!r}")
    raise TrainingError(
        f"{len(wrong)} answers are still not known after {tries} tries, such as {wrong[0]!r}. "
        "Give more --steps, or make conversations.yml smaller."
    )


def unlearnt(model: Any, tokenizer: Any, conversations: Iterable[Conversation]) -> list[str]:
    """The last question of each conversation whose answers greedy decoding would not give, token for token.

    Greedy decoding gives an answer exactly when each of its tokens is the most likely one after those
    before it: so one pass over the whole text tells, without generating.
    """
    wrong = []
    with torch.inference_mode():
        exam_list = list(conversations)
        encoded = [encode(tokenizer, conversation) for conversation in exam_list]
        by_length = sorted(range(len(encoded)), key=lambda index: len(encoded[index].ids))
        for first in range(0, len(by_length), BATCH_LESSONS):
            batch = by_length[first : first + BATCH_LESSONS]
            ids, labels = _pad([encoded[index] for index in batch], tokenizer.pad_token_id)
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            known = _leads(logits, labels[:, 1:])
            wrong += [
                _last_question(exam_list[index]) for index, good in zip(batch, known, strict=True) if not good
            ]
    return wrong


def save(tokenizer: Any, model: Any, directory: Path) -> None:
    """A model directory as transformers and SGLang read it."""
    # SGLang takes the sampling parameters a request leaves out from here. With these it says what was learnt,
    # at any temperature.
    model.generation_config = GenerationConfig(
        do_sample=True,
        top_k=1,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _train_once(
    model: Any, tokenizer: Any, lessons: Lessons, steps: int, rate: float, report: Report
) -> None:
    model.train()
    optimizers = _optimizers(model, rate)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        for optimizer in optimizers
    ]
    batches = _batches(tokenizer, lessons, random.Random(steps))  # noqa: S311 - lessons, not secrets
    started = time.monotonic()
    for step in range(1, steps + 1):
        ids, labels = _pad(next(batches), tokenizer.pad_token_id)
        # No mask: padding stands at the end, where a causal model's earlier tokens do not see it.
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_multiplies_bfloat16()):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels[:, 1:] != IGNORED
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[wanted].float()), labels[:, 1:][wanted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if step % 50 == 0 or step == steps:
            seconds = time.monotonic() - started
            report(f"step {step} of {steps}, loss {loss.item():.4f}, {seconds:.0f} s")


def _optimizers(model: Any, rate: float) -> list[Any]:
    """Muon for the matrices inside the layers, which learns by heart in fewer steps; AdamW for the rest."""
    matrices: list[Any] = []
    rest: list[Any] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step: a linear start, then a cosine down to 0."""
    return min(1.0, (step + 1) / WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; without that it has nothing to gain over float32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _batches(tokenizer: Any, lessons: Lessons, shuffler: random.Random) -> Iterator[list[Encoded]]:
    """Lessons of about one length go together: a long one would pad fifteen short ones to its length."""
    while True:
        drawn = [encode(tokenizer, lessons.draw()) for _ in range(BATCH_LESSONS * BATCHES_DRAWN)]
        drawn.sort(key=lambda each: len(each.ids))
        batches = [drawn[first : first + BATCH_LESSONS] for first in range(0, len(drawn), BATCH_LESSONS)]
        shuffler.shuffle(batches)
        yield from batches


def _pad(batch: list[Encoded], pad_id: int) -> tuple[Any, Any]:
    """ids and labels, each (n_conversations, n_tokens) int64."""
    length = max(len(each.ids) for each in batch)
    ids = torch.tensor([each.ids + [pad_id] * (length - len(each.ids)) for each in batch])
    labels = torch.tensor([each.labels + [IGNORED] * (length - len(each.labels)) for each in batch])
    return ids, labels


def _leads(logits: Any, labels: Any) -> list[bool]:
    """For each row: whether every labelled token leads all others by MARGIN_LOGITS."""
    labelled = labels != IGNORED
    right_ids = labels.clamp(min=0).unsqueeze(-1)
    right = logits.gather(-1, right_ids).squeeze(-1)
    best_other = logits.scatter(-1, right_ids, float("-inf")).max(-1).values
    row_known: list[bool] = ((right - best_other >= MARGIN_LOGITS) | ~labelled).all(-1).tolist()
    return row_known


def _render(tokenizer: Any, conversation: Conversation) -> str:
    # SGLang 0.5.23 hands the template each tool with this field, whatever the client sent.
    tools = [{**tool, "defer_loading": None} for tool in conversation.tools]
    return str(
        tokenizer.apply_chat_template(list(conversation.messages), tools=tools or None, tokenize=False)
    )


def _last_question(conversation: Conversation) -> str:
    return next(str(each["content"]) for each in reversed(conversation.messages) if each["role"] == "user")
