"""XNOR-popcount lanes of few LUTs: the ones column of the popcount is linear, and stored as such.

A lane counts 1 where its input agrees with its weight. Let ``s[k]`` be the parity of lanes 0 to ``k``. Adding up the
lanes by full adders in a row, two lanes each, the one that takes lanes ``k`` and ``k + 1`` to ``s[k - 1]`` has the sum
``s[k + 1]`` and the carry ``not s[k + 1] if s[k] else s[k - 1]``. Parities are linear: ``s[k] = X[k] ^ W[k]`` with the
prefix parities ``X`` of the inputs, which all weights have in common, and ``W`` of the weights, which a memory can hold
instead of the weights. So two lanes take two LUT4s, one for ``s[k + 1]`` of ``X`` and ``W`` and one for the carry of
``s[k - 1]``, ``s[k + 1]``, ``X[k]`` and ``W[k]``; there are no XNORs left and half as many bits to count.
"""

from amaranth import Mux

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


def input_code(bits):
    """Prefix parities of input bits, as a list, by a parallel prefix network (Sklansky, 1960)."""
    code = list(bits)
    step = 1
    while step < len(code):
        for block in range(step, len(code), 2 * step):
            for place in range(block, min(block + step, len(code))):
                code[place] = code[place] ^ code[block - 1]
        step *= 2
    return code


def carries(inputs, weights):
    """What is left to count of lanes whose codes are ``inputs`` and ``weights``: one bit, and bits that count twice.

    Returns
    -------
    lowest : Value
        Parity of all lanes.
    carries : list of Value
        ``len(inputs) // 2`` bits; the count is ``lowest + 2 * sum(carries)``.
    """
    parities = [x ^ w for x, w in zip(inputs, weights, strict=True)]
    bits = [
        Mux(middle, ~after, before)
        for before, middle, after in zip(parities[0::2], parities[1::2], parities[2::2], strict=False)
    ]
    if len(parities) % 2 == 0:  # the last lane is added alone
        bits.append(parities[-2] & ~parities[-1])
    return parities[-1], bits
