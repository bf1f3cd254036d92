"""A session, as a pure state machine: no sockets, no tasks, no clock of its own.

In go the client's messages (``receive``), the engine's audio (``add_audio``, ``segment_spoken``), failures
(``fail``) and the time (``now_s``, seconds of any monotonic clock). Out come, when asked for, what to speak
(``next_segment``) and what to send (``next_output``). The shell around it does the waiting: ``wake_at`` tells
until when.

    new ──opened──▶ open ──end──▶ ended
                      ▲──cancel────┘         any ──close, fail──▶ closed
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate

from segmentation.segmenter import Segmenter

from tts_gateway.credit import Credit
from tts_gateway.engine import SpeechChunk, Units
from tts_gateway.errors import (
    BadMessage,
    BadPosition,
    BadText,
    ClientError,
    FatalError,
    Flood,
    GatewayError,
    IdleTimeout,
    SessionExpired,
    StartTimeout,
    TextGap,
    TextOverflow,
    TooManyErrors,
    Unsupported,
    WrongOrder,
)
from tts_gateway.messages import (
    Ack,
    Alignment,
    AlignmentKind,
    AudioFormat,
    Cancel,
    Cancelled,
    ClientMessage,
    Close,
    Done,
    End,
    Error,
    Flush,
    Flushed,
    Limits,
    ServerMessage,
    Start,
    Started,
    Text,
)

BYTES_PER_SAMPLE = 2
ENCODINGS = ("pcm_s16le",)
# Shorter frames cost more than they carry; longer ones delay a cancel.
MIN_FRAME_MS = 20
FRAME_MS = 100
# Audio held beyond what may be sent. Less, and a slow engine is heard; more, and a cancel wastes more work.
BUFFER_MS = 1000
# After a pause in typing as long as this the listener waits in silence: the next segment is cut early.
TYPING_PAUSE_S = 2.0
# How far back ``cancel.sample`` can be mapped to text without acks.
HISTORY_S = 60
# A client that only makes mistakes is broken; without an end it could keep a host busy with refusals.
MAX_CLIENT_ERRORS = 20
# Answers a client may owe itself: flushes to come and messages it does not read. Nobody honest gets near it.
MAX_PENDING_ANSWERS = 256
NORMAL_CLOSURE = 1000


@dataclass(frozen=True)
class Segment:
    """A piece of text to speak in one go, ``text_offset`` code points into the session's text."""

    number: int
    text: str
    text_offset: int


@dataclass(frozen=True)
class AudioFrame:
    """``first_audio_after_s``: on the first frame after silence, the time since its text was complete."""

    sample: int
    pcm: bytes
    first_audio_after_s: float | None = None


@dataclass(frozen=True)
class Hangup:
    close_code: int


Output = ServerMessage | AudioFrame | Hangup


class _State(Enum):
    NEW = "new"
    OPEN = "open"
    ENDED = "ended"
    CLOSED = "closed"


class _Progress(Enum):
    WAITING = "waiting"
    SPEAKING = "speaking"
    SPOKEN = "spoken"


@dataclass
class _Speech:
    """A segment and what the engine has made of it so far."""

    segment: Segment
    # When its text was complete; None if the listener was still hearing something then.
    awaited_since_s: float | None
    progress: _Progress = _Progress.WAITING
    alignments: deque[Alignment] = field(default_factory=deque)
    pcm: bytearray = field(default_factory=bytearray)
    start_sample: int = 0
    aligned_chars: int = 0
    aligned_samples: int = 0
    frame_sent: bool = False


@dataclass(frozen=True)
class _Marker:
    """``flush`` or ``end``: answered once everything before it was sent."""

    answer: type[Flushed] | type[Done]
    text_offset: int


class Session:
    def __init__(self, limits: Limits, default_ahead_ms: int, now_s: float) -> None:
        self._limits = limits
        self._default_ahead_ms = default_ahead_ms
        self._state = _State.NEW
        self._opened_s = now_s
        self._active_s = now_s
        self._typed_s = now_s
        self._client_errors = 0
        self._urgent: deque[ServerMessage | Hangup] = deque()
        self._queue: deque[_Speech | _Marker] = deque()
        self._segmenter = Segmenter()
        self._segments = 0
        # Text held, text cut into segments; code points from the start of the session's text.
        self._text_held = 0
        self._text_cut = 0
        # All text before the second number was spoken by the sample that is the first.
        self._heard: deque[tuple[int, int]] = deque([(0, 0)])
        self._sample_rate = 0
        self._alignment: AlignmentKind = "none"
        self._credit = Credit(1, 0)
        self._queued_samples = 0

    # ── from the client ───────────────────────────────────────────────────────────────────────────

    def check_start(self, start: Start) -> None:
        """Everything about ``start`` that needs no engine. Raises ClientError."""
        if self._state is not _State.NEW:
            raise WrongOrder("The session is already started; open another socket for another one.")
        if start.audio.encoding not in ENCODINGS:
            supported = ", ".join(ENCODINGS)
            raise Unsupported(f"'start', field 'audio.encoding': this server supports {supported}.")
        if start.ahead_ms is not None and start.ahead_ms > self._limits.ahead_ms:
            raise BadMessage(f"'start', field 'ahead_ms': at most {self._limits.ahead_ms}.")

    def opened(
        self,
        start: Start,
        *,
        session: str,
        resume_key: str,
        voice: str,
        alignment: AlignmentKind,
        now_s: float,
    ) -> None:
        """The engine has the voice: answer ``started``."""
        if self._state is not _State.NEW:
            return
        self._state = _State.OPEN
        self._active_s = now_s
        self._sample_rate = start.audio.sample_rate
        self._alignment = alignment
        ahead_ms = start.ahead_ms or self._default_ahead_ms
        self._credit = Credit(self._sample_rate, ahead_ms)
        self._urgent.append(
            Started(
                session=session,
                resume_key=resume_key,
                voice=voice,
                audio=AudioFormat(encoding=start.audio.encoding, sample_rate=self._sample_rate),
                alignment=alignment,
                ahead_ms=ahead_ms,
                limits=self._limits,
            )
        )

    def receive(self, message: ClientMessage, now_s: float) -> None:
        """Any message but ``start``. Raises ClientError; then nothing was changed."""
        self._active_s = now_s
        if isinstance(message, Close):
            self._hang_up(NORMAL_CLOSURE)
            return
        if self._state is _State.NEW:
            raise WrongOrder(f"'{message.type}' before 'start': send 'start' first.")
        self._refuse_flood()
        match message:
            case Text():
                self._append(message, now_s)
            case Flush():
                self._refuse_after_end(message)
                self._commit(Flushed, now_s)
            case End():
                self._refuse_after_end(message)
                self._commit(Done, now_s)
                self._state = _State.ENDED
            case Cancel():
                self._cancel(message.sample)
            case Ack():
                self._acknowledge(message.sample)
            case Start():
                self.check_start(message)

    def fail(self, error: GatewayError) -> None:
        """Tell the client; after a fatal error, or too many of its own, hang up."""
        if self._state is _State.CLOSED:
            return
        fatal = isinstance(error, FatalError)
        self._urgent.append(
            Error(code=error.code, message=error.message, fatal=fatal, retry_after_ms=error.retry_after_ms)
        )
        if isinstance(error, FatalError):
            self._hang_up(error.close_code)
        elif isinstance(error, ClientError):
            self._client_errors += 1
            if self._client_errors >= MAX_CLIENT_ERRORS:
                self.fail(TooManyErrors(f"{MAX_CLIENT_ERRORS} messages were refused; correct the client."))

    def _append(self, message: Text, now_s: float) -> None:
        self._refuse_after_end(message)
        text = self._unseen(message)
        if "\0" in text:
            raise BadText("The text has a NUL character, which cannot be spoken; send the text without it.")
        unspoken = self._text_held - self.spoken_text_offset()
        if unspoken + len(text) > self._limits.unspoken_chars:
            raise TextOverflow(
                f"{unspoken} characters are not spoken yet; at most {self._limits.unspoken_chars} are held: "
                "send this text again when some have been heard.",
                retry_after_ms=1000,
            )
        if now_s - self._typed_s >= TYPING_PAUSE_S:
            self._segmenter.hurry()
        self._typed_s = now_s
        self._text_held += len(text)
        self._speak(self._segmenter.feed(text), now_s)

    def _unseen(self, message: Text) -> str:
        """The part of the text that is new: with ``offset``, what is already held is skipped."""
        if message.offset is None:
            return message.text
        if message.offset > self._text_held:
            raise TextGap(
                f"'offset' is {message.offset}, but the text held ends at {self._text_held}: send from there."
            )
        return message.text[self._text_held - message.offset :]

    def _refuse_after_end(self, message: ClientMessage) -> None:
        if self._state is _State.ENDED:
            raise WrongOrder(f"'{message.type}' after 'end': send 'cancel' first, or open another session.")

    def _refuse_flood(self) -> None:
        markers = sum(isinstance(item, _Marker) for item in self._queue)
        if len(self._urgent) + markers >= MAX_PENDING_ANSWERS:
            raise Flood(
                f"{MAX_PENDING_ANSWERS} answers are due to this client; wait for them before sending more."
            )

    def _commit(self, answer: type[Flushed] | type[Done], now_s: float) -> None:
        self._speak(self._segmenter.flush(), now_s)
        self._queue.append(_Marker(answer, self._text_cut))

    def _speak(self, texts: list[str], now_s: float) -> None:
        for text in texts:
            awaited_since_s = None if self._queue else now_s
            segment = Segment(self._segments, text, self._text_cut)
            self._segments += 1
            self._text_cut += len(text)
            self._queue.append(_Speech(segment, awaited_since_s))

    def _cancel(self, sample: int | None) -> None:
        sent = self._credit.sent
        if sample is not None and sample > sent:
            raise BadPosition(f"'cancel', field 'sample': {sample} was never sent; the last sent is {sent}.")
        self._queue.clear()
        self._segmenter.drop()
        self._text_cut = self._text_held
        self._queued_samples = sent
        while self._heard[-1][0] > sent:
            self._heard.pop()
        self._credit.skip_to_sent()
        self._state = _State.OPEN
        heard = sent if sample is None else sample
        self._urgent.append(Cancelled(sample=heard, text_offset=self._text_offset_at(heard)))

    def _acknowledge(self, sample: int) -> None:
        if sample > self._credit.sent:
            raise BadPosition(
                f"'ack', field 'sample': {sample} was never sent; the last sent is {self._credit.sent}."
            )
        self._credit.acknowledge(sample)
        self._forget_before(sample)

    # ── from and to the engine ────────────────────────────────────────────────────────────────────

    @property
    def wants_audio(self) -> bool:
        """Whether the engine should go on: what it made is nearly sent."""
        held = self._queued_samples - self._credit.sent
        return held < BUFFER_MS * self._sample_rate // 1000

    @property
    def is_quiet(self) -> bool:
        """Whether nothing would be lost if the session ended now."""
        return not self._queue and not self._urgent and self._segmenter.buffered_chars == 0

    def next_segment(self) -> Segment | None:
        """What to speak now; None while a segment is being spoken or enough audio is held."""
        speech = self._first_unspoken()
        if speech is None or speech.progress is _Progress.SPEAKING or not self.wants_audio:
            return None
        speech.progress = _Progress.SPEAKING
        speech.start_sample = self._queued_samples
        return speech.segment

    def add_audio(self, segment: Segment, chunk: SpeechChunk) -> None:
        """Audio of the segment being spoken. Of any other, cancelled meanwhile, it is dropped."""
        speech = self._speaking(segment)
        if speech is None:
            return
        if chunk.units is not None and chunk.units.texts:
            self._align(speech, chunk.units)
        speech.pcm += chunk.pcm
        self._queued_samples += len(chunk.pcm) // BYTES_PER_SAMPLE

    def segment_spoken(self, segment: Segment) -> None:
        speech = self._speaking(segment)
        if speech is None:
            return
        speech.progress = _Progress.SPOKEN
        self._note_heard(self._queued_samples, segment.text_offset + len(segment.text))

    def _first_unspoken(self) -> _Speech | None:
        for item in self._queue:
            if isinstance(item, _Speech) and item.progress is not _Progress.SPOKEN:
                return item
        return None

    def _speaking(self, segment: Segment) -> _Speech | None:
        speech = self._first_unspoken()
        return speech if speech is not None and speech.segment == segment else None

    def _align(self, speech: _Speech, units: Units) -> None:
        offset = speech.segment.text_offset + speech.aligned_chars
        lengths = [len(text) for text in units.texts]
        ends = [speech.start_sample + end for end in units.ends]
        starts = [speech.start_sample + speech.aligned_samples, *ends[:-1]]
        if self._alignment != "none":
            speech.alignments.append(
                Alignment(text_offset=offset, units=units.texts, start_samples=starts, end_samples=ends)
            )
        for end, length in zip(ends, accumulate(lengths), strict=True):
            self._note_heard(end, offset + length)
        speech.aligned_chars += sum(lengths)
        speech.aligned_samples = units.ends[-1]

    # ── to the client ─────────────────────────────────────────────────────────────────────────────

    def next_output(self, now_s: float) -> Output | None:
        """What to send now, taken as sent; None if there is nothing, or no credit for it."""
        self._check_time(now_s)
        if self._urgent:
            return self._urgent.popleft()
        while self._queue:
            item = self._queue[0]
            if isinstance(item, _Marker):
                self._queue.popleft()
                return item.answer(samples=self._credit.sent, text_offset=item.text_offset)
            if item.alignments:
                return item.alignments.popleft()
            if item.pcm or item.progress is not _Progress.SPOKEN:
                return self._next_frame(item, now_s)
            self._queue.popleft()
        return None

    def wake_at(self, now_s: float) -> float:
        """When ``next_output`` may have something though nothing happened: credit, or a time limit."""
        times = [self._deadline()]
        if self._queue and isinstance(self._queue[0], _Speech):
            samples = self._frame_samples(self._queue[0])
            opens_s = self._credit.opens_at(samples, now_s) if samples else None
            times += [] if opens_s is None else [opens_s]
        return min(times)

    def spoken_text_offset(self) -> int:
        """All text before it was spoken whole by what was sent."""
        return max(self._text_offset_at(self._credit.sent), self._dropped_before())

    def _dropped_before(self) -> int:
        """Where the text begins that is still to be spoken: what a cancel dropped is not."""
        for item in self._queue:
            if isinstance(item, _Speech):
                return item.segment.text_offset
        return self._text_cut

    def _next_frame(self, speech: _Speech, now_s: float) -> AudioFrame | None:
        samples = self._frame_samples(speech)
        if samples == 0 or samples > self._credit.room(now_s):
            return None
        size = samples * BYTES_PER_SAMPLE
        pcm = bytes(speech.pcm[:size])
        del speech.pcm[:size]
        first_audio_after_s = None
        if not speech.frame_sent and speech.awaited_since_s is not None:
            first_audio_after_s = now_s - speech.awaited_since_s
        speech.frame_sent = True
        frame = AudioFrame(self._credit.sent, pcm, first_audio_after_s)
        self._credit.spend(samples, now_s)
        self._active_s = now_s
        self._forget_before(self._credit.sent - HISTORY_S * self._sample_rate)
        return frame

    def _frame_samples(self, speech: _Speech) -> int:
        """Samples the next frame gets: a segment's last must not be a splinter, so something is held back."""
        available = len(speech.pcm) // BYTES_PER_SAMPLE
        whole = FRAME_MS * self._sample_rate // 1000
        least = -(-MIN_FRAME_MS * self._sample_rate // 1000)
        if speech.progress is _Progress.SPOKEN and available <= whole + least:
            return available
        size = min(whole, available - least)
        return size if size >= least else 0

    def _check_time(self, now_s: float) -> None:
        if self._state is _State.CLOSED or now_s < self._deadline():
            return
        if self._state is _State.NEW:
            self.fail(StartTimeout(f"No 'start' within {self._limits.start_timeout_s:g} s; connect again."))
        elif now_s >= self._opened_s + self._limits.session_life_s:
            self.fail(SessionExpired(f"A session lives {self._limits.session_life_s:g} s; start a new one."))
        else:
            self.fail(
                IdleTimeout(f"Nothing happened for {self._limits.idle_timeout_s:g} s; start a new session.")
            )

    def _deadline(self) -> float:
        if self._state is _State.NEW:
            return self._opened_s + self._limits.start_timeout_s
        return min(self._opened_s + self._limits.session_life_s, self._active_s + self._limits.idle_timeout_s)

    def _hang_up(self, close_code: int) -> None:
        self._state = _State.CLOSED
        self._queue.clear()
        self._segmenter.drop()
        self._urgent.append(Hangup(close_code))

    # ── which text was heard when ─────────────────────────────────────────────────────────────────

    def _note_heard(self, sample: int, text_offset: int) -> None:
        if text_offset > self._heard[-1][1]:
            self._heard.append((sample, text_offset))

    def _text_offset_at(self, sample: int) -> int:
        earlier = (text_offset for end, text_offset in reversed(self._heard) if end <= sample)
        return next(earlier, self._heard[0][1])

    def _forget_before(self, sample: int) -> None:
        while len(self._heard) > 1 and self._heard[1][0] <= sample:
            self._heard.popleft()
