"""XNOR-popcount lanes of few LUTs: the ones column of the popcount is linear, and stored as such.

A lane counts 1 where its input agrees with its weight. Let ``s[k]`` be the parity of lanes 0 to ``k``. Adding up the
lanes by full adders in a row, two lanes each, the one that takes lanes ``k`` and ``k + 1`` to ``s[k - 1]`` has the sum
``s[k + 1]`` and the carry ``not s[k + 1] if s[k] else s[k - 1]``. Parities are linear: ``s[k] = X[k] ^ W[k]`` with the
prefix parities ``X`` of the inputs, which all weights have in common, and ``W`` of the weights, which a memory can hold
instead of the weights. So two lanes take two LUT4s, one for ``s[k + 1]`` of ``X`` and ``W`` and one for the carry of
``s[k - 1]``, ``s[k + 1]``, ``X[k]`` and ``W[k]``; there are no XNORs left and half as many bits to count.
"""

from amaranth import Mux, Signal

from xnorweave.hw.wide_cat import wide_cat

__all__ = ["carries", "input_code", "weight_code"]


def weight_code(mask: int, lanes: int) -> int:
    """Prefix parities of weights: bit ``k`` is set where an odd number of lanes 0 to ``k`` have weight -1.

    Parameters
    ----------
    mask : int
        Bit ``k`` is set where the weight of lane ``k`` is +1.
    lanes : int
        How many.
    """
    code = ~mask & (1 << lanes) - 1
    step = 1
    while step < lanes:
        code ^= code << step
        step *= 2
    return code & (1 << lanes) - 1


def input_code(m, bits):
    """Prefix parities of input bits by a parallel prefix network (Sklansky, 1960), as a signal of as many bits.

    Every level of the network is a signal of its own: the parities of later lanes are made of those of earlier ones,
    so that as expressions they would be spelled out again and again, in the square of the lanes.

    Parameters
    ----------
    m : Module
        Gets the levels.
    bits : sequence of Value
        One for each lane, from lane 0 on.
    """
    code, step = Signal(len(bits), name="parities_of_1"), 1
    m.d.comb += code.eq(wide_cat(bits))
    while step < len(bits):
        level = Signal(len(bits), name=f"parities_of_{2 * step}")
        lanes = range(len(bits))
        # The upper half of each block of ``2 * step`` lanes adds the parity of the whole lower half.
        m.d.comb += level.eq(wide_cat(code[k] ^ code[k // step * step - 1] if k & step else code[k] for k in lanes))
        code, step = level, 2 * step
    return code


def carries(parities):
    """What is left to count of lanes: one bit, and bits that count twice.

    Parameters
    ----------
    parities : Value
        Codes of inputs and weights, XORed; best a signal, since its bits are used up to three times.

    Returns
    -------
    lowest : Value
        Parity of all lanes.
    carries : list of Value
        ``lanes // 2`` bits; the count is ``lowest + 2 * sum(carries)``.
    """
    lanes = len(parities)
    bits = [Mux(parities[k + 1], ~parities[k + 2], parities[k]) for k in range(0, lanes - 2, 2)]
    if lanes % 2 == 0:  # the last lane is added alone
        bits.append(parities[-2] & ~parities[-1])
    return parities[-1], bits
