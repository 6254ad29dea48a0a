"""What every test bench shares: the stimulus, the result, and the session that drives and checks one run.

A cycle is one rising edge of the clock after the first reset, counted from 0. All benches draw the same idle and
stall cycles from the same seed, so they agree not only on words but on every cycle count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xnorweave.errors import DataError, MismatchError

__all__ = [
    "DRAIN_CYCLES",
    "RESET_CYCLES",
    "BenchResult",
    "Gate",
    "Progress",
    "Session",
    "Stimulus",
    "StreamCount",
    "deadlock",
    "interval",
    "not_held",
    "surplus",
    "unknown_bits",
]

DRAIN_CYCLES = 32
"""Cycles watched for surplus words after the last expected one."""

RESET_CYCLES = 2
"""Cycles that the first reset is low, then high, before cycle 0."""

Progress = Callable[[int, int], None]
"""Called with frames done and frames in all."""


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """Frames and how they are offered.

    Parameters
    ----------
    frames : words per frame
        All frames of one length; sent back to back.
    idle : float
        Probability, before each input transfer and again after each idle spell, that ``valid`` stays low.
    stall : float
        Probability in each cycle that ``ready`` falls low.
    burst : int
        Length of each idle spell and each stall, in cycles.
    cyclic : bool
        Each spell comes behind a single open cycle, whatever the probability: 0 is never, anything else always.
    seed : int
        Of idle and stall.
    reset_at : tuple of int
        Cycles in which ``rst`` is high; the bench then sends again the first frame that was not done.
    patience_cycles : int
        A run in which no stream moves for so long is ended as deadlocked.
    """

    frames: Sequence[Sequence[int]]
    idle: float = 0.0
    stall: float = 0.0
    burst: int = 1
    cyclic: bool = False
    seed: int = 0
    reset_at: tuple[int, ...] = ()
    patience_cycles: int = 200_000

    def __post_init__(self) -> None:
        if not self.frames or not self.frames[0]:
            raise DataError("stimulus: no frames, or an empty frame; give at least one word")
        for number, frame in enumerate(self.frames):
            if len(frame) != len(self.frames[0]):
                raise DataError(f"stimulus: frame {number} has {len(frame)} words, frame 0 has {len(self.frames[0])}")
        for what, value in (("idle", self.idle), ("stall", self.stall)):
            if not 0 <= value < 1:
                raise DataError(f"stimulus: {what}={value!r} is not a probability below 1; give 0 to 0.99")
        for what, value in (("burst", self.burst), ("patience_cycles", self.patience_cycles)):
            if value < 1:
                raise DataError(f"stimulus: {what}={value!r} is not at least 1")


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """What a core did.

    Parameters
    ----------
    outputs : words per frame
        Of the core's output.
    taps : dict of str to words per frame
        Of the streams asked for, by layer.
    cycles : int
        From cycle 0 to the last transfer of any stream, both counted.
    first_latency_cycles : int
        From the first input transfer of frame 0 to its last output transfer, as a difference of cycle numbers: a
        register stage with one word a frame has 1.
    interval_cycles : int, optional
        Mean of cycles between the last output transfers of successive frames, as `interval`; None for a single frame.
    resets : int
        Resets that took place, the first not counted.
    simulator : str
        Name and, where known, version.
    """

    outputs: list[list[int]]
    taps: dict[str, list[list[int]]] = field(default_factory=dict)
    cycles: int
    first_latency_cycles: int
    interval_cycles: int | None
    resets: int = 0
    simulator: str


@dataclass(frozen=True, kw_only=True)
class StreamCount:
    """How far a stream has come, for messages.

    Parameters
    ----------
    name : str
        ``i``, ``o`` or ``tap LAYER``.
    words : int
        Transfers so far.
    per_frame : int
        Transfers of one frame.
    """

    name: str
    words: int
    per_frame: int

    def __str__(self) -> str:
        frame, word = divmod(self.words, self.per_frame)
        return f"{self.name} at frame {frame}, {word} of {self.per_frame} words"


def deadlock(cycle: int, patience: int, counts: Sequence[StreamCount]) -> MismatchError:
    """No stream has moved for too long."""
    return MismatchError(
        f"cycle {cycle}: no transfer for {patience} cycles, deadlocked: {'; '.join(map(str, counts))}; "
        "raise patience_cycles if the design is only slow"
    )


def not_held(cycle: int, count: StreamCount) -> MismatchError:
    """A stream has changed its payload or dropped ``valid`` before the transfer."""
    return MismatchError(
        f"cycle {cycle}: payload changed or valid fell while valid and not ready: {count} delivered; "
        "hold the word until it is taken"
    )


def unknown_bits(cycle: int, count: StreamCount) -> MismatchError:
    """A stream carries X or Z."""
    return MismatchError(f"cycle {cycle}: unknown bits (x or z): {count} delivered; reset or initialise the register")


def surplus(cycle: int, count: StreamCount) -> MismatchError:
    """A stream has carried more words than its frames have."""
    return MismatchError(f"cycle {cycle}: a word too many: {count} delivered, behind the last frame's end")


class Gate:
    """Seeded on/off pattern: 64-bit LCG (Knuth's MMIX constants), the upper half compared with the probability.

    Parameters
    ----------
    seed : int
        Start of the generator.
    probability : float
        That `closed` begins a spell of true.
    burst : int
        Length of a spell in calls.
    cyclic : bool
        Open once, then a spell, and so on; not where the probability is 0.
    """

    def __init__(self, seed: int, probability: float, burst: int, cyclic: bool = False) -> None:
        self._state = seed & (1 << 64) - 1
        self._limit = int(probability * (1 << 32))
        self._burst = burst
        self._cyclic, self._opened = cyclic, False
        self._left = 0

    def closed(self) -> bool:
        """Whether the gate is closed this time."""
        if self._left:
            self._left -= 1
            return True
        if not self._limit:
            return False
        if self._cyclic:
            self._opened = not self._opened
            if self._opened:
                return False
            self._left = self._burst - 1
            return True
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        if self._state >> 32 >= self._limit:
            return False
        self._left = self._burst - 1
        return True


class Session:
    """One run, whatever the simulator: says what to drive in each cycle and takes what the edge transferred.

    Parameters
    ----------
    stimulus : Stimulus
        What to send.
    output_words : int
        Words per frame of the core's output.
    taps : sequence of (layer, words per frame)
        Streams watched besides.
    progress : Progress, optional
        Called after each frame.

    Attributes
    ----------
    rst, valid, ready : bool
        To drive in this cycle.
    payload : int
        To drive where ``valid``.
    cycle : int
        Number of this cycle.
    """

    def __init__(
        self,
        stimulus: Stimulus,
        output_words: int,
        taps: Sequence[tuple[str, int]] = (),
        progress: Progress | None = None,
    ) -> None:
        self._stimulus = stimulus
        self._progress = progress
        self._names = ["o", *(f"tap {layer}" for layer, _ in taps)]
        self._layers = [layer for layer, _ in taps]
        self._per_frame = [output_words, *(words for _, words in taps)]
        self._streams: list[list[int]] = [[] for _ in self._names]
        self._goals = [words * len(stimulus.frames) for words in self._per_frame]
        self._input_words = len(stimulus.frames[0])
        self._input_goal = self._input_words * len(stimulus.frames)
        self._sent = 0
        self._left = self._words_left()
        self._resets = sorted(set(stimulus.reset_at))
        self._resets_done = 0
        self._starts = [0] * len(stimulus.frames)
        self._ends = [0] * len(stimulus.frames)
        self._idle = Gate(2 * stimulus.seed, stimulus.idle, stimulus.burst, stimulus.cyclic)
        self._stall = Gate(2 * stimulus.seed + 1, stimulus.stall, stimulus.burst, stimulus.cyclic)
        self._moved = 0
        self.cycle = -1
        self.rst = self.valid = self.ready = False
        self.payload = 0
        self._next_cycle()

    def step(self, accepted: bool, transfers: Sequence[tuple[int, int]]) -> bool:
        """Take what this cycle's edge transferred and go on to the next cycle; false when all is done.

        Parameters
        ----------
        accepted : bool
            ``i`` was valid and ready.
        transfers : sequence of (stream, word)
            Streams that were valid and ready: 0 is ``o``, 1 the first tap. Must be empty under reset.
        """
        if accepted:
            if self._sent % self._input_words == 0:
                self._starts[self._sent // self._input_words] = self.cycle
            self._sent += 1
            self._left -= 1
            self.valid = False
            self._moved = self.cycle
        for stream, word in transfers:
            self._take(stream, word)
        if self.rst:
            self._restart()
        quiet = self.cycle - self._moved
        if quiet >= DRAIN_CYCLES and not self._left:
            return False
        if quiet >= self._stimulus.patience_cycles:
            raise deadlock(self.cycle, quiet, [self._input_count(), *map(self.count, range(len(self._names)))])
        self._next_cycle()
        return True

    def count(self, stream: int) -> StreamCount:
        """How far stream 0 (``o``), 1 (the first tap), ... has come."""
        return StreamCount(
            name=self._names[stream], words=len(self._streams[stream]), per_frame=self._per_frame[stream]
        )

    def result(self, simulator: str) -> BenchResult:
        """The run's result, once `step` has returned false."""
        framed = [_framed(words, size) for words, size in zip(self._streams, self._per_frame, strict=True)]
        return BenchResult(
            outputs=framed[0],
            taps=dict(zip(self._layers, framed[1:], strict=True)),
            cycles=self._moved + 1,
            first_latency_cycles=self._ends[0] - self._starts[0],
            interval_cycles=interval(self._ends),
            resets=self._resets_done,
            simulator=simulator,
        )

    def _take(self, stream: int, word: int) -> None:
        words = self._streams[stream]
        if len(words) == self._goals[stream]:
            raise surplus(self.cycle, self.count(stream))
        words.append(word)
        self._left -= 1
        self._moved = self.cycle
        if stream == 0 and len(words) % self._per_frame[0] == 0:
            frame = len(words) // self._per_frame[0]
            self._ends[frame - 1] = self.cycle
            if self._progress:
                self._progress(frame, len(self._stimulus.frames))

    def _restart(self) -> None:
        done = min(len(words) // size for words, size in zip(self._streams, self._per_frame, strict=True))
        done = min(done, self._sent // self._input_words)
        for words, size in zip(self._streams, self._per_frame, strict=True):
            del words[done * size :]
        self._sent = done * self._input_words
        self._left = self._words_left()
        self._resets_done += 1
        self._moved = self.cycle

    def _words_left(self) -> int:
        missing = sum(goal - len(words) for words, goal in zip(self._streams, self._goals, strict=True))
        return missing + self._input_goal - self._sent

    def _next_cycle(self) -> None:
        self.cycle += 1
        if self._resets and self._resets[0] == self.cycle:
            self._resets.pop(0)
            self.rst, self.valid, self.ready = True, False, False
            return
        self.rst = False
        self.ready = not self._stall.closed()
        if not self.valid and self._sent < self._input_goal and not self._idle.closed():
            self.valid = True
            frame, word = divmod(self._sent, self._input_words)
            self.payload = self._stimulus.frames[frame][word]

    def _input_count(self) -> StreamCount:
        return StreamCount(name="i", words=self._sent, per_frame=self._input_words)


def interval(ends: Sequence[int]) -> int | None:
    """Mean of cycles between frames that end in these cycles, rounded up; None for a single frame.

    Of the later half, when all buffers are as full as they get. Frames may take turns in being fast and slow, so no
    single gap is the rate.
    """
    gaps = len(ends) // 2
    return -(-(ends[-1] - ends[-1 - gaps]) // gaps) if gaps else None


def _framed(words: list[int], size: int) -> list[list[int]]:
    return [words[at : at + size] for at in range(0, len(words), size)]
