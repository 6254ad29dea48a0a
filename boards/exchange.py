"""Which frame goes to a board next, and which of its answers are to be believed: no port, no clock.

Every transmission has a sequence number of its own, also when a frame is sent again. The line keeps order and the
board answers in the order in which it took frames, so a result says of every earlier transmission that its own result
has come already or never will: the frame is sent again if it has none, and only then may the number be used again.
"""

from collections import deque
from dataclasses import dataclass

from xnorweave.boards.packets import MAX_SEQUENCE, Result
from xnorweave.errors import DeviceError

__all__ = ["MAX_WINDOW", "Exchange", "SequenceNumbers"]

MAX_WINDOW = 64
"""Frames on their way at once: few enough that numbers do not come round while a board is silent for once."""


class SequenceNumbers:
    """The next sequence number; counts through a session."""

    def __init__(self, first: int = 0) -> None:
        self.next = first % (MAX_SEQUENCE + 1)

    def take(self) -> int:
        """The number, which is then used."""
        taken, self.next = self.next, (self.next + 1) % (MAX_SEQUENCE + 1)
        return taken


@dataclass(frozen=True, kw_only=True)
class _Sent:
    frame: int
    order: int


class Exchange:
    """Frames on their way to a board and back.

    Parameters
    ----------
    frames : int
        How many there are.
    window : int
        How many may be on their way at once.
    tries : int
        How often one is sent at most.
    sequence : SequenceNumbers
        Of the session.

    Attributes
    ----------
    results : list of (Result or None)
        By frame.
    sent_again : int
        Transmissions besides the first of each frame.
    ignored : int
        Results of no frame that still waits for one.
    """

    def __init__(self, frames: int, *, window: int, tries: int, sequence: SequenceNumbers) -> None:
        self.results: list[Result | None] = [None] * frames
        self.sent_again = 0
        self.ignored = 0
        self._left = frames
        self._waiting = deque(range(frames))
        self._window = min(window, MAX_WINDOW)
        self._most_tries = tries
        self._tries = [0] * frames
        self._sequence = sequence
        self._order = 0
        self._sent: dict[int, _Sent] = {}  # whatever may still be answered, oldest first
        self._under_way: dict[int, int] = {}  # of these what was not answered, refused or given up: frame by number

    @property
    def done(self) -> int:
        """Frames that have a result."""
        return len(self.results) - self._left

    @property
    def is_done(self) -> bool:
        """Whether every frame has a result."""
        return not self._left

    @property
    def under_way(self) -> int:
        """Transmissions whose answer is waited for."""
        return len(self._under_way)

    @property
    def exhausted(self) -> bool:
        """Whether the next number may still be answered for an older frame: only a reset of the board helps."""
        return self._sequence.next in self._sent

    def next(self) -> tuple[int, int] | None:
        """Sequence number and frame to send now; None where nothing is to be sent.

        Raises
        ------
        DeviceError
            Where a frame was sent as often as it may be.
        """
        while self._waiting and self.results[self._waiting[0]] is not None:
            self._waiting.popleft()
        if not self._waiting or len(self._under_way) >= self._window or self.exhausted:
            return None
        frame = self._waiting.popleft()
        if self._tries[frame] >= self._most_tries:
            raise DeviceError(
                f"frame {frame}: no answer that is whole in {self._most_tries} tries; check cable and baud rate, or "
                "give a lower one to board and host"
            )
        self._tries[frame] += 1
        self.sent_again += self._tries[frame] > 1
        number = self._sequence.take()
        self._sent[number] = _Sent(frame=frame, order=self._order)
        self._order += 1
        self._under_way[number] = frame
        return number, frame

    def take_result(self, number: int, result: Result) -> bool:
        """A result came; false where it is late, foreign or a copy, and is ignored."""
        sent = self._sent.get(number)
        if sent is None:
            self.ignored += 1
            return False
        self._under_way.pop(number, None)
        self._retire_before(sent.order)
        if self.results[sent.frame] is not None:
            self.ignored += 1
            return False
        self.results[sent.frame] = result
        self._left -= 1
        return True

    def take_refusal(self, number: int) -> bool:
        """The board has no room for a frame, which is to be sent again; false where none of this number is waited for.

        Refusals do not count as tries: the frame came over whole.
        """
        frame = self._under_way.pop(number, None)
        if frame is None:
            return False
        self._tries[frame] -= 1
        self._again([frame])
        return True

    def give_up_waiting(self) -> None:
        """Send again whatever is under way; late answers are still taken."""
        self._again(list(self._under_way.values()))
        self._under_way.clear()

    def forget(self) -> None:
        """The board was reset: nothing sent before is answered any more."""
        self.give_up_waiting()
        self._sent.clear()

    def is_ours(self, number: int) -> bool:
        """Whether an answer with this number may be to one of these frames."""
        return number in self._sent

    def _retire_before(self, order: int) -> None:
        lost = []
        for number, sent in list(self._sent.items()):
            if sent.order >= order:
                break
            del self._sent[number]
            if self._under_way.pop(number, None) is not None:
                lost.append(sent.frame)
        self._again(lost)

    def _again(self, frames: list[int]) -> None:
        """Put frames in front; one that is under way never waits as well, so none comes in twice."""
        self._waiting.extendleft(reversed(frames))
