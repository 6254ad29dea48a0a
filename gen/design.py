"""What the rooms hand to each other about one generated core: its streams and where to watch them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["TOP_MODULE", "Design", "Tap"]

TOP_MODULE = "xnorweave_core"


@dataclass(frozen=True, kw_only=True)
class Tap:
    """The output stream of one unit inside the core.

    Lane ``k`` of a word holds ``x``, with ``value = scale * x + offsets[k]`` in the units of the golden model.
    Words come in raster order, channels innermost; a dense layer's outputs come ``lanes`` at a time, in order,
    the last word filled up with lanes that mean nothing.

    Parameters
    ----------
    layer : str
        Golden layer whose values the stream carries.
    instance : str
        Instance name within the core. The top module has wires ``INSTANCE__o__payload``, ``INSTANCE__o__valid`` and
        ``INSTANCE__o__ready``.
    channels : int
        Values per pixel.
    lanes, lane_bits : int
        Values per word and their width in bits; lane 0 is the least significant.
    signed : bool
        Whether lanes are two's complement.
    words : int
        Transfers per frame.
    scale : int
        See above.
    offsets : tuple of int
        One per channel.
    """

    layer: str
    instance: str
    channels: int
    lanes: int
    lane_bits: int
    signed: bool
    words: int
    scale: int
    offsets: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Design:
    """One emitted core.

    Parameters
    ----------
    verilog : str
        Content of ``design.v``; the top module is `TOP_MODULE`.
    input_bits, output_bits : int
        Widths of ``i__payload`` and ``o__payload``.
    input_words, output_words : int
        Transfers per frame.
    taps : tuple of Tap
        Every unit's output, in order; the last one is the core's output.
    popcounts : dict of str to (int, int, int)
        Modules that count bits: the width of the input ``window``, the pattern of its bits that count, and of those
        that count where they are 0, so that synthesis may put cells of its own in their place.
    network_sha256 : str
        Of the network's file content, in hexadecimal; zeros where the core is no network.
    """

    verilog: str
    input_bits: int
    output_bits: int
    input_words: int
    output_words: int
    taps: tuple[Tap, ...]
    popcounts: Mapping[str, tuple[int, int, int]] = field(default_factory=dict[str, tuple[int, int, int]])
    network_sha256: str = "0" * 64

    @property
    def build_sha256(self) -> str:
        """SHA-256 of ``design.v``, in hexadecimal."""
        return hashlib.sha256(self.verilog.encode()).hexdigest()
