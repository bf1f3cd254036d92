"""Draws lessons (what one training step reads) from a curriculum. Needs no PyTorch.

The conversations alone would teach the model to know them only letter by letter, at the start of a chat and
without a system prompt. People write "hello" for "Hello!", ask a second question, and send a system prompt;
so lessons vary all that. And whatever is made of random words gets the fallback answer, so that the model
says it rather than a wrong one.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator

from .conversations import LANGUAGES, Conversation, Curriculum, Message, Tool

HARD_TIMES = 3  # as often as the others: conversations with tools, or with more than one answer
UNKNOWN_SHARE = 0.2  # of the lessons; with much less the model takes a strange question for a known one
SYSTEM_PROMPT_SHARE = 0.4
CHAIN_SHARE = 0.3  # of the lessons go on with a second conversation, as a chat does
REWORDED_SHARE = 0.25  # of the first questions come in lower case or without their last mark
EXTRA_TOOLS_SHARE = 0.5  # of the lessons with tools offer more than the conversation needs
TOOLS_FOR_NOTHING_SHARE = 0.05  # of the lessons without tools: a strange question in the presence of tools


def exams(curriculum: Curriculum) -> Iterator[Conversation]:
    """What the model must know exactly: every conversation and unknown question, under each prompt."""
    for prompt in ("", *curriculum.system_prompts):
        for conversation in curriculum.conversations:
            yield _with_system_prompt(conversation, prompt)
        for language in LANGUAGES:
            for question in curriculum.unknown[language]:
                yield _with_system_prompt(_unknown(curriculum, language, question), prompt)


class Lessons:
    """An endless, seeded supply of lessons."""

    def __init__(self, curriculum: Curriculum, seed: int) -> None:
        self.curriculum = curriculum
        self.random = random.Random(seed)  # noqa: S311 - lessons, not secrets
        self.plain = [each for each in curriculum.conversations if not each.tools]
        self.words = {language: _words(curriculum, language) for language in LANGUAGES}
        self.questions = {_reworded(each.question) for each in curriculum.conversations}
        self.deck: list[Conversation] = []

    def draw(self) -> Conversation:
        """The next lesson. Conversations come from a shuffled deck, so that none is forgotten by chance."""
        if self.random.random() < UNKNOWN_SHARE:
            lesson = self._unknown_lesson()
        else:
            lesson = self._vary(self._next_conversation())
        if not lesson.tools and self.random.random() < CHAIN_SHARE:
            follow_up = self._vary(self.random.choice(self.plain))
            lesson = Conversation(lesson.messages + follow_up.messages)
        prompt = ""
        if self.random.random() < SYSTEM_PROMPT_SHARE:
            prompt = self.random.choice(self.curriculum.system_prompts)
        return _with_system_prompt(lesson, prompt)

    def _next_conversation(self) -> Conversation:
        if not self.deck:
            self.deck = [
                each for each in self.curriculum.conversations for _ in range(HARD_TIMES if each.hard else 1)
            ]
            self.random.shuffle(self.deck)
        return self.deck.pop()

    def _vary(self, conversation: Conversation) -> Conversation:
        messages = conversation.messages
        if self.random.random() < REWORDED_SHARE:
            messages = (_user(_reworded(conversation.question)), *messages[1:])
        return Conversation(messages, self._vary_tools(conversation.tools))

    def _vary_tools(self, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        if not tools or self.random.random() >= EXTRA_TOOLS_SHARE:
            return tools
        others = [tool for tool in self.curriculum.tools.values() if tool not in tools]
        mixed = [*tools, *self.random.sample(others, self.random.randint(0, len(others)))]
        self.random.shuffle(mixed)
        return tuple(mixed)

    def _unknown_lesson(self) -> Conversation:
        language = self.random.choice(LANGUAGES)
        if self.random.random() < 0.5:
            question = self.random.choice(self.curriculum.unknown[language])
        else:
            question = self._strange_question(language)
        tools: tuple[Tool, ...] = ()
        if self.random.random() < TOOLS_FOR_NOTHING_SHARE:
            tools = self._vary_tools((self.random.choice(list(self.curriculum.tools.values())),))
        lesson = _unknown(self.curriculum, language, question)
        return Conversation(lesson.messages, tools)

    def _strange_question(self, language: str) -> str:
        while True:
            if language == "zh":
                question = "".join(self.random.choices(self.words["zh"], k=self.random.randint(3, 12)))
                question += self.random.choice(("？", "。", ""))
            else:
                words = [self._strange_word() for _ in range(self.random.randint(2, 10))]
                question = " ".join(words) + self.random.choice(("?", ".", ""))
                question = question[0].upper() + question[1:]
            if _reworded(question) not in self.questions:
                return question

    def _strange_word(self) -> str:
        """A word of the curriculum, or now and then one that does not exist."""
        if self.random.random() < 0.7:
            return self.random.choice(self.words["en"])
        return "".join(self.random.choices(string.ascii_lowercase, k=self.random.randint(2, 9)))


def _unknown(curriculum: Curriculum, language: str, question: str) -> Conversation:
    answer: Message = {"role": "assistant", "content": curriculum.fallback[language]}
    return Conversation((_user(question), answer))


def _with_system_prompt(conversation: Conversation, prompt: str) -> Conversation:
    if not prompt:
        return conversation
    system: Message = {"role": "system", "content": prompt}
    return Conversation((system, *conversation.messages), conversation.tools)


def _user(question: str) -> Message:
    return {"role": "user", "content": question}


def _reworded(question: str) -> str:
    return question.rstrip("?!.？！。").lower()


def _words(curriculum: Curriculum, language: str) -> list[str]:
    """The words (English) or characters (Chinese) of all questions."""
    known = [each.question for each in curriculum.conversations]
    text = " ".join([*known, *curriculum.unknown["en"], *curriculum.unknown["zh"]])
    pattern = r"[A-Za-z']+" if language == "en" else r"[\u4e00-\u9fff]"
    return sorted(set(re.findall(pattern, text)))
