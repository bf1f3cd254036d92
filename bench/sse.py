"""Server-sent events: a parser with no I/O of its own (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

from bench.errors import RequestFailed

# One event of a chat stream is a few hundred bytes. A server that never ends a line must not fill our memory.
MAX_EVENT_BYTES = 4 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class EventParser:
    """Bytes in, in pieces cut anywhere; the ``data`` of complete events out."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of every event that ``chunk`` completes, data lines joined by a newline.

        Raises RequestFailed (``garbage``) for an event larger than MAX_EVENT_BYTES.
        """
        if self._after_cr and chunk:
            # A CR ended the line at once; an LF that follows in the next chunk belongs to it.
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        lines = (self._rest + chunk).splitlines(keepends=True)
        self._rest = b""
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            self._rest = lines.pop()
        elif lines:
            self._after_cr = lines[-1].endswith(b"\r")
        events = [event for event in map(self._line, lines) if event is not None]
        self._check_size()
        return events

    def _line(self, line: bytes) -> bytes | None:
        line = line.rstrip(b"\r\n")
        if self._at_start:
            line = line.removeprefix(_BOM)
            self._at_start = False
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        return None  # comments, event names, ids and retry times carry nothing a chat stream needs

    def _dispatch(self) -> bytes | None:
        if not self._data:
            return None
        event, self._data = b"\n".join(self._data), []
        return event

    def _check_size(self) -> None:
        if len(self._rest) + sum(map(len, self._data)) > MAX_EVENT_BYTES:
            raise RequestFailed("garbage", f"an event is larger than {MAX_EVENT_BYTES} bytes")
