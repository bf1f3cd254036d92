"""The demo model's conversations: what can be checked of them without training the model."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from roles.models.files.demo_model.conversations import (
    ConversationsError,
    Curriculum,
    parse_curriculum,
    read_curriculum,
)
from roles.models.files.demo_model.lessons import Lessons, exams

FILE = Path(__file__).parents[2] / "roles/models/files/demo_model/conversations.yml"


@pytest.fixture(scope="module")
def curriculum() -> Curriculum:
    return read_curriculum(FILE)


@pytest.fixture
def source() -> dict[str, Any]:
    """The least that is a curriculum, as YAML gives it."""
    return {
        "system_prompts": ["Answer briefly."],
        "fallback": {"en": "I do not know.", "zh": "不知道。"},
        "unknown": {"en": ["Why?"], "zh": ["為什麼？"]},
        "tools": {
            "get_time": {
                "description": "Get the time",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            }
        },
        "conversations": [{"messages": [{"user": "Hello!"}, {"assistant": "Hello!"}]}],
    }


def test_the_first_questions_are_unique(curriculum: Curriculum) -> None:
    first = [(each.question, bool(each.tools)) for each in curriculum.conversations]
    assert len(set(first)) == len(first)


def test_it_introduces_itself_as_the_demo_model(curriculum: Curriculum) -> None:
    answers = {
        each.question: each.messages[1]["content"] for each in curriculum.conversations if not each.tools
    }
    for question in ("Hello!", "Who are you?", "What can you do?"):
        assert "demo model" in answers[question]
    for question in ("你好", "你是誰？", "你能做什麼？"):
        assert "示範模型" in answers[question]
    assert "demo model" in curriculum.fallback["en"]
    assert "示範模型" in curriculum.fallback["zh"]


def test_both_languages_and_all_tools_are_taught(curriculum: Curriculum) -> None:
    chinese = [each for each in curriculum.conversations if re.search(r"[\u4e00-\u9fff]", each.question)]
    assert len(chinese) >= 15
    assert len(curriculum.conversations) - len(chinese) >= 40
    called = {
        call["function"]["name"]
        for each in curriculum.conversations
        for message in each.messages
        for call in message.get("tool_calls", ())
    }
    assert called == set(curriculum.tools)


def test_tool_calls_and_responses_are_json(curriculum: Curriculum) -> None:
    for each in curriculum.conversations:
        json.dumps([each.messages, each.tools])
        for message in each.messages:
            if message["role"] == "tool":
                json.loads(message["content"])


def test_the_exam_asks_everything_under_every_prompt(curriculum: Curriculum) -> None:
    asked = len(curriculum.conversations) + sum(len(each) for each in curriculum.unknown.values())
    assert len(list(exams(curriculum))) == asked * (1 + len(curriculum.system_prompts))


def test_lessons_repeat_with_their_seed_and_end_with_an_answer(curriculum: Curriculum) -> None:
    one, same, other = Lessons(curriculum, 1), Lessons(curriculum, 1), Lessons(curriculum, 2)
    drawn = [one.draw() for _ in range(300)]
    assert drawn == [same.draw() for _ in range(300)]
    assert drawn != [other.draw() for _ in range(300)]
    assert all(lesson.messages[-1]["role"] == "assistant" for lesson in drawn)


def test_no_lesson_teaches_a_second_answer_to_a_known_question(curriculum: Curriculum) -> None:
    known = {each.question for each in curriculum.conversations if not each.tools}
    lessons = Lessons(curriculum, 1)
    for _ in range(2000):
        messages = lessons.draw().messages
        for question, answer in pairwise(messages):
            if answer.get("content") in curriculum.fallback.values():
                assert question["content"] not in known


@pytest.mark.parametrize(
    ("conversation", "complaint"),
    [
        ({"messages": [{"user": "Hi"}]}, "must end with an answer"),
        ({"messages": [{"user": "Hi"}, {"user": "Hi"}, {"assistant": "Hi"}]}, "assistant must follow user"),
        (
            {"messages": [{"user": "Hi"}, {"bot": "Hi"}]},
            "must have one key, one of user, assistant, call, tool; it has ['bot']",
        ),
        ({"messages": [{"user": "Hi"}, {"assistant": 7}]}, "must be a text, not 7"),
        ({"messages": [{"user": "Hello!"}, {"assistant": "Ho!"}]}, "begin with 'Hello!'"),
        ({"tools": ["fly"], "messages": [{"user": "Hi"}, {"assistant": "Hi"}]}, "does not define"),
        (
            {"messages": [{"user": "Time?"}, {"call": {"name": "get_time", "arguments": {"city": "Rome"}}}]},
            "does not offer",
        ),
        (
            {
                "tools": ["get_time"],
                "messages": [
                    {"user": "Time?"},
                    {"call": {"name": "get_time", "arguments": {"town": "Rome"}}},
                ],
            },
            "gives get_time the arguments ['town'], not ['city']",
        ),
    ],
)
def test_a_wrong_conversation_is_named_with_its_cause(
    source: dict[str, Any], conversation: dict[str, Any], complaint: str
) -> None:
    source["conversations"].append(conversation)
    with pytest.raises(ConversationsError, match=re.escape(complaint)):
        parse_curriculum(source)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConversationsError, match=r"cannot read .*absent\.yml: No such file"):
        read_curriculum(tmp_path / "absent.yml")
    broken = tmp_path / "broken.yml"
    broken.write_text("a: [", encoding="utf-8")
    with pytest.raises(ConversationsError, match=r"broken\.yml is not YAML"):
        read_curriculum(broken)


def test_the_least_curriculum_is_enough(source: dict[str, Any]) -> None:
    assert parse_curriculum(yaml.safe_load(yaml.safe_dump(source))).conversations[0].question == "Hello!"
