"""Popcounts as networks of four-input LUTs, with fewer cells than logic synthesis finds.

A popcount reduces its bits column by column. Three full adders in a row, seven bits of one weight to one bit and three
carries, take five LUT4s where each alone takes two: the parity of a sum so far and the next bit, ``p``, is one LUT and
tells which of two bits is the carry, so it is shared by the carry and by the next sum (the double full adder
of Demenkov, Kojevnikov, Kulikov, Yaroslavtsev, "New upper bounds on the Boolean circuit complexity of symmetric
functions", 2010, here for LUTs instead of gates). LUTs behind each other whose inputs are four together become one.

LUT4s for 2 to 19 bits: 2 2 3 5 7 7 10 10 13 14 17 17 19 19 23 23 25 25; ABC, given full adders, needs 9 for 7 bits and
20 to 22 for 15.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product

__all__ = ["MOST_BITS", "Lut", "PopcountNetwork", "popcount_network", "popcount_verilog"]

MOST_BITS = 64
"""Widest popcount that a network is made for."""


@dataclass(frozen=True, kw_only=True)
class Lut:
    """One LUT.

    Parameters
    ----------
    inputs : tuple of int
        Signals, at most four.
    table : int
        Bit ``k`` is the output where the inputs, the first lowest, read ``k``.
    """

    inputs: tuple[int, ...]
    table: int


@dataclass(frozen=True, kw_only=True)
class PopcountNetwork:
    """LUTs that count the ones of ``bits`` bits.

    Parameters
    ----------
    bits : int
        Signals 0 to ``bits - 1`` are the inputs.
    luts : tuple of Lut
        LUT ``k`` drives signal ``bits + k``; each comes before its use.
    outputs : tuple of int
        Signals of the count, lowest bit first.
    """

    bits: int
    luts: tuple[Lut, ...]
    outputs: tuple[int, ...]

    def evaluate(self, word: int) -> int:
        """The count for ``word``, by way of the LUTs."""
        values = [word >> k & 1 for k in range(self.bits)]
        for lut in self.luts:
            values.append(lut.table >> sum(values[s] << k for k, s in enumerate(lut.inputs)) & 1)
        return sum(values[s] << k for k, s in enumerate(self.outputs))

    def complemented(self, inputs: int) -> "PopcountNetwork":
        """The network that counts the inputs of a mask where they are 0: the same LUTs with other tables.

        Raises
        ------
        ValueError
            If the network is of one bit, which no LUT takes.
        """
        if inputs and not self.luts:
            raise ValueError("A popcount of one bit has no LUT that could complement it")
        luts = []
        for lut in self.luts:
            rows = sum((s < self.bits and inputs >> s & 1) << k for k, s in enumerate(lut.inputs))
            table = sum((lut.table >> (k ^ rows) & 1) << k for k in range(1 << len(lut.inputs)))
            luts.append(Lut(inputs=lut.inputs, table=table))
        return PopcountNetwork(bits=self.bits, luts=tuple(luts), outputs=self.outputs)


@cache
def popcount_network(bits: int) -> PopcountNetwork:
    """The network for a number of bits from 1 to `MOST_BITS`.

    Raises
    ------
    ValueError
        For any other number.
    """
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"A popcount is of 1 to {MOST_BITS} bits, not {bits!r}")
    builder = _Builder(bits)
    column, outputs = list(range(bits)), []
    while column:
        total, column = builder.reduce(column)
        outputs.append(total)
    return builder.finish(outputs)


class _Builder:
    """Collects LUTs, each a function of earlier signals."""

    def __init__(self, bits: int):
        self.bits = bits
        self.luts: list[Lut] = []
        self.depth = [0] * bits

    def lut(self, function: Callable[..., int | bool], *inputs: int) -> int:
        rows = product((0, 1), repeat=len(inputs))
        table = sum(int(function(*row[::-1])) << k for k, row in enumerate(rows))
        self.luts.append(Lut(inputs=inputs, table=table))
        self.depth.append(1 + max(self.depth[s] for s in inputs))
        return self.bits + len(self.luts) - 1

    def reduce(self, column: list[int]) -> tuple[int, list[int]]:
        """The sum bit of a column and its carries; the bits that come first go first."""
        column, carries = list(column), []
        while len(column) > 1:
            column.sort(key=lambda s: self.depth[s])
            # Seven at a time, the cheapest group; the last one takes what is left.
            group, column = column[:7], column[7:]
            total, more = self._group(group)
            column.append(total)
            carries += more
        return column[0], carries

    def _group(self, x: list[int]) -> tuple[int, list[int]]:
        """Sum bit and carries of two to seven bits of one weight."""
        parity = lambda *bits: sum(bits) & 1  # noqa: E731
        majority = lambda *bits: sum(bits) >= 2  # noqa: E731
        if len(x) <= 3:
            return self.lut(parity, *x), [self.lut(majority, *x)]
        if len(x) == 4:
            return self.lut(parity, *x), [self.lut(majority, *x[:3]), self.lut(lambda a, b, c, d: (a ^ b ^ c) & d, *x)]
        if len(x) == 5:
            total = self.lut(parity, *x[:3])
            return self.lut(parity, total, *x[3:]), [self.lut(majority, *x[:3]), self.lut(majority, total, *x[3:])]
        p = self.lut(parity, *x[:4])
        carries = [self.lut(majority, *x[:3]), self.lut(lambda p, a, b: b if p else a, p, x[3], x[4])]
        carries.append(self.lut(lambda p, *bits: ((p ^ bits[0]) + sum(bits[1:])) >= 2, p, *x[4:]))
        return self.lut(parity, p, *x[4:]), carries

    def finish(self, outputs: list[int]) -> PopcountNetwork:
        """Merge LUTs whose inputs are four together, and leave out what nothing uses any more."""
        for target in range(len(self.luts)):
            self._absorb(target)
        used = set(outputs)
        for k in reversed(range(len(self.luts))):
            if self.bits + k in used:
                used.update(self.luts[k].inputs)
        kept = [k for k in range(len(self.luts)) if self.bits + k in used]
        number = {s: s for s in range(self.bits)} | {self.bits + k: self.bits + n for n, k in enumerate(kept)}
        luts = tuple(Lut(inputs=tuple(number[s] for s in self.luts[k].inputs), table=self.luts[k].table) for k in kept)
        return PopcountNetwork(bits=self.bits, luts=luts, outputs=tuple(number[s] for s in outputs))

    def _absorb(self, target: int) -> None:
        """Take the LUTs in front of ``target`` into it, the last first, where four inputs are enough."""
        changed = True
        while changed:
            changed = False
            lut = self.luts[target]
            for source in sorted((s for s in lut.inputs if s >= self.bits), reverse=True):
                inner = self.luts[source - self.bits]
                inputs = tuple(sorted({*lut.inputs, *inner.inputs} - {source}))
                if len(inputs) <= 4:
                    self.luts[target] = _compose(lut, source, inner, inputs)
                    changed = True
                    break


def _compose(outer: Lut, signal: int, inner: Lut, inputs: tuple[int, ...]) -> Lut:
    """``outer`` with ``signal`` computed by ``inner``, as a LUT of ``inputs``."""
    table = 0
    for row in range(1 << len(inputs)):
        values = {s: row >> k & 1 for k, s in enumerate(inputs)}
        values[signal] = inner.table >> sum(values[s] << k for k, s in enumerate(inner.inputs)) & 1
        table |= (outer.table >> sum(values[s] << k for k, s in enumerate(outer.inputs)) & 1) << row
    return Lut(inputs=inputs, table=table)


def popcount_verilog(name: str, width: int, pattern: int, inverted: int = 0) -> str:
    """A module of Yosys' LUT cells that counts ones; to be read with ``read_verilog -icells``.

    Parameters
    ----------
    name : str
        Of the module; its ports are ``window`` and ``o``, just wide enough.
    width : int
        Bits of ``window``.
    pattern : int
        Those that count; at least one, two where any is inverted, at most `MOST_BITS`.
    inverted : int
        Those of them that count where they are 0.
    """
    bits = [k for k in range(width) if pattern >> k & 1]
    complements = sum((inverted >> bit & 1) << k for k, bit in enumerate(bits))
    network = popcount_network(len(bits)).complemented(complements)
    lines = [
        f"module {name}(input [{width - 1}:0] window, output [{len(network.outputs) - 1}:0] o);",
        f"wire [{network.bits + len(network.luts) - 1}:0] s;",
        *(f"assign s[{k}] = window[{bit}];" for k, bit in enumerate(bits)),
        *(_lut_line(k, lut) for k, lut in enumerate(network.luts, network.bits)),
        f"assign o = {{{', '.join(f's[{s}]' for s in reversed(network.outputs))}}};",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def _lut_line(signal: int, lut: Lut) -> str:
    width = len(lut.inputs)
    operands = ", ".join(f"s[{s}]" for s in reversed(lut.inputs))
    table = f"{1 << width}'d{lut.table}"
    return f"\\$lut #(.WIDTH({width}), .LUT({table})) l{signal} (.A({{{operands}}}), .Y(s[{signal}]));"
