"""How far Yosys and nextpnr are, by the lines of their logs: a stage's name, and the share that is done."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "GATES",
    "LINKING",
    "MAPPING",
    "Follower",
    "Milestone",
    "PlaceFollower",
    "Progress",
    "routing_share",
    "silent",
]

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """A line that begins a stage.

    Parameters
    ----------
    line : str
        Regular expression for the line's beginning.
    stage : str
        What to call what begins there.
    share : float
        Of the tool's run, before it.
    """

    line: str
    stage: str
    share: float


def _passes(*rows: tuple[str, str, float]) -> tuple[Milestone, ...]:
    """Passes of Yosys, which number their headings."""
    return tuple(
        Milestone(line=rf"[\d.]+\. Executing {name}\b", stage=stage, share=share) for name, stage, share in rows
    )


# In the order in which they come; each is the only one of its name up to there. The shares are rough: of the shipped
# network on an iCE40 UP5K half of Yosys' time goes into ABC, and of nextpnr's more goes into placing than routing.
MAPPING = _passes(
    (r"SYNTH_\w+ pass", "mapping: reading", 0.0),
    ("PROC pass", "mapping: processes", 0.03),
    ("ALUMACC pass", "mapping: arithmetic", 0.12),
    ("MEMORY_LIBMAP pass", "mapping: memories", 0.2),
    ("DFFLEGALIZE pass", "mapping: registers", 0.35),
    ("ABC9 pass", "mapping: LUTs", 0.5),
    ("OPT_LUT(_INS)? pass", "mapping: cells", 0.9),
    ("AUTONAME pass", "mapping: names", 0.95),
)
LINKING = _passes(
    (r"SYNTH_\w+ pass", "linking", 0.0), ("ABC9 pass", "linking: LUTs", 0.5), ("JSON backend", "linking: writing", 0.95)
)
GATES = _passes(
    ("PROC pass", "processes", 0.02),
    ("ALUMACC pass", "arithmetic", 0.1),
    ("DFFLEGALIZE pass", "registers", 0.3),
    ("ABC pass", "choosing cells", 0.4),
    ("Verilog backend", "writing", 0.95),
)
PLACING = (
    Milestone(line="Info: Packing", stage="packing", share=0.0),
    Milestone(line="Info: (Running .*placer|Creating initial analytic)", stage="placing", share=0.1),
    Milestone(line="Info: Running simulated annealing placer", stage="refining the placement", share=0.4),
    Milestone(line="Info: (Setting up routing|Routing|Running router)", stage="routing", share=0.6),
    Milestone(line="Info: Critical path report", stage="analysing timing", share=0.95),
)
_ROUTING, _ROUTED = 0.6, 0.95
_ARCS = re.compile(r"Info: Routing (\d+) arcs\.")
_ROUTER1 = re.compile(r"Info: +\d+ \|[^|]*\|[^|]*\| +(\d+)\|")
_ROUTER2 = re.compile(r"Info: +iter=\d+ wires=\d+ overused=(\d+)")


class Follower:
    """Takes the lines of a tool's log, and tells each stage once, as it begins.

    Parameters
    ----------
    tell : Progress
        Gets the stage, and the share of the whole.
    milestones : tuple of Milestone
        In the order in which they come; what a log leaves out is passed over.
    begin, end : float
        Shares of the whole before and after the tool's run.
    """

    def __init__(self, tell: Progress, milestones: tuple[Milestone, ...], *, begin: float, end: float):
        self._tell, self._left = tell, [(re.compile(each.line), each) for each in milestones]
        self._begin, self._width = begin, end - begin

    def __call__(self, line: str) -> None:
        """Take one line."""
        for index, (pattern, milestone) in enumerate(self._left):
            if pattern.match(line):
                del self._left[: index + 1]
                self._say(milestone.stage, milestone.share)
                return

    def _say(self, stage: str, share: float) -> None:
        self._tell(stage, self._begin + self._width * share)


class PlaceFollower(Follower):
    """As `Follower`, of nextpnr: while it routes, the share goes on with what is left to route."""

    def __init__(self, tell: Progress, *, begin: float, end: float):
        super().__init__(tell, PLACING, begin=begin, end=end)
        self._arcs = self._overused = 0
        self._told = 0.0

    def __call__(self, line: str) -> None:
        """Take one line."""
        super().__call__(line)
        if match := _ARCS.match(line):
            self._arcs = int(match[1])
        elif match := _ROUTER1.match(line):
            self._routing(routing_share(int(match[1]), self._arcs, straight=True))
        elif match := _ROUTER2.match(line):
            self._overused = max(self._overused, int(match[1]))
            self._routing(routing_share(int(match[1]), self._overused, straight=False))

    def _routing(self, share: float) -> None:
        self._told = max(self._told, share)  # a router rips up, and has more left then
        self._say("routing", _ROUTING + (_ROUTED - _ROUTING) * self._told)


def routing_share(left: int, most: int, *, straight: bool) -> float:
    """Share of the routing that is done where ``left`` of ``most`` is left: arcs, or wires that are used twice.

    Arcs are routed one by one; wires used twice become fewer by a factor with each round.
    """
    if not most or left >= most:
        return 0.0
    return 1 - left / most if straight else 1 - math.log1p(left) / math.log1p(most)


def silent(stage: str, share: float | None) -> None:
    """Nobody is told."""
