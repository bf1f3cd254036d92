"""The weights that are shipped know the conversations that are shipped."""

from __future__ import annotations

from pathlib import Path

FILES = Path(__file__).parents[2] / "roles/models/files"


def test_the_shipped_weights_were_made_from_the_shipped_conversations() -> None:
    learnt = (FILES / "demo/conversations.yml").read_text()
    assert learnt == (FILES / "demo_model/conversations.yml").read_text(), (
        "make it anew: python -m demo_model"
    )


def test_the_shipped_template_is_the_one_they_were_trained_with() -> None:
    shipped = (FILES / "demo/chat_template.jinja").read_text()
    assert shipped == (FILES / "demo_model/chat_template.jinja").read_text()
