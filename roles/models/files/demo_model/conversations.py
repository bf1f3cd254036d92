"""Reads conversations.yml and turns it into messages of the OpenAI chat API. Needs no PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Message = dict[str, Any]
Tool = dict[str, Any]

TURNS = ("user", "assistant", "call", "tool")
LANGUAGES = ("en", "zh")


class ConversationsError(ValueError):
    """conversations.yml says something that cannot be taught; the text names the place and the cause."""


@dataclass(frozen=True)
class Conversation:
    """One conversation: messages of the OpenAI chat API, and the tools that the client offers in it."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    @property
    def question(self) -> str:
        """The first message, which is the user's."""
        return str(self.messages[0]["content"])

    @property
    def hard(self) -> bool:
        """Whether more than the question decides the answer: tools, or what was said before."""
        return bool(self.tools) or len(self.messages) > 2


@dataclass(frozen=True)
class Curriculum:
    """Everything the demo model is taught.

    `fallback` and `unknown` are by language: the answer to what the model does not know, and examples.
    """

    conversations: tuple[Conversation, ...]
    system_prompts: tuple[str, ...]
    tools: Mapping[str, Tool]
    fallback: Mapping[str, str]
    unknown: Mapping[str, tuple[str, ...]]


def read_curriculum(path: Path) -> Curriculum:
    """Raises ConversationsError for anything but a well-formed file."""
    try:
        source = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConversationsError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConversationsError(f"{path} is not YAML: {error}") from error
    return parse_curriculum(source)


def parse_curriculum(source: object) -> Curriculum:
    """`source` is what YAML gives for conversations.yml."""
    top = _mapping(source, "the file")
    fallback = _mapping(top.get("fallback"), "fallback")
    unknown = _mapping(top.get("unknown"), "unknown")
    tools = {
        str(name): _tool(str(name), definition)
        for name, definition in _mapping(top.get("tools"), "tools").items()
    }
    conversations = tuple(
        _conversation(entry, tools, f"conversations[{index}]")
        for index, entry in enumerate(_list(top.get("conversations"), "conversations"))
    )
    _check_first_questions(conversations)
    return Curriculum(
        conversations=conversations,
        system_prompts=_texts(top.get("system_prompts"), "system_prompts"),
        tools=tools,
        fallback={language: _text(fallback.get(language), f"fallback.{language}") for language in LANGUAGES},
        unknown={language: _texts(unknown.get(language), f"unknown.{language}") for language in LANGUAGES},
    )


def _tool(name: str, definition: object) -> Tool:
    """The tool as a client of the OpenAI API sends it."""
    fields = _mapping(definition, f"tools.{name}")
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": _text(fields.get("description"), f"tools.{name}.description"),
            "parameters": _mapping(fields.get("parameters"), f"tools.{name}.parameters"),
        },
    }


def _conversation(entry: object, tools: Mapping[str, Tool], where: str) -> Conversation:
    fields = _mapping(entry, where)
    offered = tuple(str(name) for name in fields.get("tools", ()))
    for name in offered:
        if name not in tools:
            raise ConversationsError(f"{where} offers the tool {name!r}, which `tools` does not define")
    messages: list[Message] = []
    for index, turn in enumerate(_list(fields.get("messages"), f"{where}.messages")):
        messages.append(_message(turn, offered, tools, f"{where}.messages[{index}]"))
    _check_order(messages, where)
    return Conversation(tuple(messages), tuple(tools[name] for name in offered))


def _message(turn: object, offered: tuple[str, ...], tools: Mapping[str, Tool], where: str) -> Message:
    fields = _mapping(turn, where)
    if len(fields) != 1 or next(iter(fields)) not in TURNS:
        raise ConversationsError(
            f"{where} must have one key, one of {', '.join(TURNS)}; it has {list(fields)}"
        )
    role, content = next(iter(fields.items()))
    if role != "call":
        return {"role": role, "content": _text(content, where)}
    call = _mapping(content, where)
    name, arguments = call.get("name"), _mapping(call.get("arguments"), f"{where}.arguments")
    if name not in offered:
        raise ConversationsError(f"{where} calls {name!r}, which the conversation does not offer in `tools`")
    required = tools[name]["function"]["parameters"].get("required", [])
    known = tools[name]["function"]["parameters"].get("properties", {})
    if not set(required) <= set(arguments) <= set(known):
        raise ConversationsError(f"{where} gives {name} the arguments {list(arguments)}, not {list(known)}")
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}],
    }


def _check_order(messages: list[Message], where: str) -> None:
    """User and assistant take turns; only a tool's response, after a call, stands between two answers."""
    if not messages or messages[-1]["role"] != "assistant":
        raise ConversationsError(f"{where} must end with an answer: `assistant` or `call`")
    previous: Message = {"role": "assistant"}
    for message in messages:
        if previous["role"] in ("user", "tool"):
            expected = "assistant"
        else:
            expected = "tool" if "tool_calls" in previous else "user"
        if message["role"] != expected:
            raise ConversationsError(
                f"{where}: {expected} must follow {previous['role']}, not {message['role']}"
            )
        previous = message


def _check_first_questions(conversations: tuple[Conversation, ...]) -> None:
    seen: set[tuple[str, bool]] = set()
    for conversation in conversations:
        key = (conversation.question, bool(conversation.tools))
        if key in seen:
            raise ConversationsError(
                f"two conversations {'with' if key[1] else 'without'} tools begin with {key[0]!r}: "
                "the model cannot learn two answers to one question"
            )
        seen.add(key)


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConversationsError(f"{where} must be a mapping, not {json.dumps(value, default=str)}")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ConversationsError(f"{where} must be a list with something in it")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConversationsError(f"{where} must be a text, not {json.dumps(value, default=str)}")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    return tuple(_text(item, f"{where}[{index}]") for index, item in enumerate(_list(value, where)))
