"""Log lines: one event, one line, `key=value`, to stderr. A user's text is never a value."""

from __future__ import annotations

import json
import logging
import sys

_LOGGER = logging.getLogger("tts_engine")


def set_up() -> None:
    """Send every logger to stderr in one format.

    Piper logs texts at DEBUG and single phonemes at WARNING: both come from what users say, so it is heard
    from ERROR up only.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s level=%(levelname)s %(message)s",
        force=True,
    )
    logging.getLogger("piper").setLevel(logging.ERROR)


def info(event: str, **values: object) -> None:
    _LOGGER.info(_line(event, values))


def warning(event: str, **values: object) -> None:
    _LOGGER.warning(_line(event, values))


def error(event: str, **values: object) -> None:
    _LOGGER.error(_line(event, values))


def _line(event: str, values: dict[str, object]) -> str:
    return " ".join([f"event={event}", *(f"{key}={_value(value)}" for key, value in values.items())])


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    bare = text.isprintable() and not any(c in text for c in ' "=')
    return text if bare and text else json.dumps(text)
