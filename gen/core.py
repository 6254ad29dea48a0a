"""A whole network as one component: parts in a chain, and shortcuts past some of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.design import Tap

__all__ = ["Core", "Shortcut"]


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """What brings a stream past parts of the chain, to the one that adds it.

    Parameters
    ----------
    name : str
        Instance name.
    part : Component
        Where its words wait, with streams ``i`` and ``o``.
    fork, branch : str, int
        Instance of the fork, and which of its ``shortcuts``.
    target : str
        Instance with a stream ``shortcut``.
    """

    name: str
    part: wiring.Component
    fork: str
    branch: int
    target: str


class Core(wiring.Component):
    """A whole network: pixels in, classes (or the last layer's values) out.

    Parameters
    ----------
    parts : sequence of (str, Component)
        Instance names and components in stream order, each with streams ``i`` and ``o``.
    taps : tuple of Tap
        Where to watch.
    input_words : int
        Transfers per frame at ``i``.
    latencies : dict of str to int
        Cycles from the last pixel of a window, or from a whole vector, to its outputs, by spatial layer.
    shortcuts : sequence of Shortcut
        Beside the stream.

    Attributes
    ----------
    tap_streams : dict of str to stream interface
        Output stream by golden layer, for Amaranth's simulator.

    Members
    -------
    i : In(stream.Signature(...))
        One pixel per transfer, channel 0 lowest.
    o : Out(stream.Signature(...))
        The last stage's words.
    """

    def __init__(
        self,
        *,
        parts: Sequence[tuple[str, wiring.Component]],
        taps: tuple[Tap, ...],
        input_words: int,
        latencies: dict[str, int],
        shortcuts: Sequence[Shortcut] = (),
    ):
        self.parts, self.taps, self.input_words, self.latencies = tuple(parts), taps, input_words, latencies
        self.shortcuts = tuple(shortcuts)
        by_name = dict(self.parts)
        self.tap_streams = {tap.layer: by_name[tap.instance].o for tap in taps}
        first, last = self.parts[0][1], self.parts[-1][1]
        super().__init__(
            {
                "i": In(stream.Signature(len(first.i.payload))),
                "o": Out(stream.Signature(len(last.o.payload))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        upstream = wiring.flipped(self.i)
        for name, part in self.parts:
            m.submodules[name] = part
            wiring.connect(m, upstream, part.i)
            upstream = part.o
        wiring.connect(m, upstream, wiring.flipped(self.o))
        self._connect_shortcuts(m)
        self._name_taps(m)
        return m

    def _connect_shortcuts(self, m):
        by_name = dict(self.parts)
        for shortcut in self.shortcuts:
            m.submodules[shortcut.name] = shortcut.part
            wiring.connect(m, by_name[shortcut.fork].shortcuts[shortcut.branch], shortcut.part.i)
            wiring.connect(m, shortcut.part.o, by_name[shortcut.target].shortcut)

    def _name_taps(self, m):
        """Wires of fixed names in the emitted top module, one set for each tap: inner ports' names are Amaranth's."""
        by_name = dict(self.parts)
        for tap in self.taps:
            for member in ("payload", "valid", "ready"):
                value = Value.cast(getattr(by_name[tap.instance].o, member))
                m.d.comb += Signal(len(value), name=f"{tap.instance}__o__{member}").eq(value)
