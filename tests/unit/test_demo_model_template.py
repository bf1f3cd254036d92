"""The chat template renders what Qwen2.5's renders, without its default system prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment

from roles.models.files.demo_model.conversations import Message, Tool

TEMPLATE = Path(__file__).parents[2] / "roles/models/files/demo_model/chat_template.jinja"
TOOL: Tool = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}


def render(messages: list[Message], tools: list[Tool] | None = None, *, ask: bool = True) -> str:
    environment = Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters["tojson"] = to_json
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(messages=messages, tools=tools, add_generation_prompt=ask)


def to_json(value: Any) -> str:
    """As transformers defines the filter: not escaped for HTML."""
    return json.dumps(value, ensure_ascii=False)


def test_no_system_prompt_is_made_up() -> None:
    assert render([{"role": "user", "content": "你好"}]) == (
        "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_tool_is_offered_called_and_answers() -> None:
    call = {"type": "function", "function": {"name": "get_time", "arguments": {"city": "台北"}}}
    messages: list[Message] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": '{"time": "09:30"}'},
        {"role": "assistant", "content": "Half past nine."},
    ]
    assert render(messages, [TOOL], ask=False) == (
        "<|im_start|>system\nBe brief.\n\n# Tools\n\nYou may call one or more functions to assist with the "
        "user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        '{"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}\n'
        "</tools>\n\nFor each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nTime?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "get_time", "arguments": {"city": "台北"}}\n'
        "</tool_call><|im_end|>\n"
        '<|im_start|>user\n<tool_response>\n{"time": "09:30"}\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\nHalf past nine.<|im_end|>\n"
    )
