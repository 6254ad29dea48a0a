"""Mistakes that are none: hardware, or what it is made from, does the same with them, whatever the network.

No test can fail of these. Each was looked at by hand after every test near it had passed. They are of these kinds:

* a bound that no value reaches, or lies between;
* a case that another line decides alike;
* a value that is not used where it differs.

A mistake that costs LUTs, registers or cycles is not among them: results are the same, but the plan's figures, which
tests look at, are not.
"""

__all__ = ["EQUIVALENT"]

_SIGNS = "weights are -1 and 1: no weight lies between the two bounds"
_RELOADED = "eight bits leave before the next byte is loaded, which the bit moved in never reaches the end of"
_NO_PARTNER = "callers look whether the partner is negative, not which number it is"
_LENGTH = "NumPy, up to 2.4 at least, takes any negative length alike"
_PAID = "it is no less than what the source can give: where it is reached, all of that is used up"

# By file and the changed lines as they read with the mistake (`trials.mutations.Mutant.reads`): why it is none.
EQUIVALENT: dict[tuple[str, str], str] = {
    ("gen/lower.py", 'return int.from_bytes(np.packbits(row > (-1), bitorder="little").tobytes(), "little")'): _SIGNS,
    ("gen/passes/cse_kernels.py", "count, partner = 1, -(2)"): _NO_PARTNER,
    ("gen/passes/cse_kernels.py", "count, partner, sign = 1, -(2), 1"): _NO_PARTNER,
    (
        "gen/passes/cse_kernels.py",
        "head, following = np.full(blocks + 1, -1, np.int64), np.full(capacity, -(2), np.int64)",
    ): "an entry is written before it is read",
    ("gen/passes/cse_kernels.py", "touched = np.empty((63), np.int64)"): "the array grows once it is full",
    ("gen/passes/cse_kernels.py", "touched = np.empty((65), np.int64)"): "the array grows once it is full",
    ("gen/passes/kernels.py", "flat = (weights.reshape(*weights.shape[:2], -1) >= 0)"): _SIGNS,
    ("gen/passes/schedule.py", "never = (0) + int(gains[gaining].sum())"): _PAID,
    ("gen/passes/schedule.py", "never = (2) + int(gains[gaining].sum())"): _PAID,
    (
        "gen/passes/schedule.py",
        "paths.data[:] = (2) # how many there are does not matter, and would overflow",
    ): "no more than two paths meet in an adder: two twos are no more zero than two ones, in eight bits",
    ("gen/passes/schedule.py", "segments, ends = self.values.reshape(2, -(2))"): _LENGTH,
    (
        "gen/passes/schedule.py",
        "source, sink = size, (size - 1)",
    ): "the last operand is no source of another: its end is never raised, and may as well be the sink",
    ("gen/passes/sums.py", "flat = weights.reshape(len(weights), -(2))"): _LENGTH,
    ("gen/passes/sums.py", "return -top * ((flat <= 0)).sum(1), top * (flat > 0).sum(1)"): _SIGNS,
    ("gen/passes/sums.py", "return -top * (flat < (1)).sum(1), top * (flat > 0).sum(1)"): _SIGNS,
    ("gen/passes/sums.py", "return -top * (flat < 0).sum(1), top * ((flat >= 0)).sum(1)"): _SIGNS,
    ("gen/passes/sums.py", "return -top * (flat < 0).sum(1), top * (flat > (-1)).sum(1)"): _SIGNS,
    ("hw/maxpool.py", "for tap in range((0), self.kernel**2):"): "the first tap is compared with itself",
    ("hw/maxpool.py", "if self.lane_bits == (0):"): "the larger of two bits is their OR, of which it takes the place",
    ("hw/residual_add.py", "if (factor >= 1)"): "the product by one is the value",
    ("hw/residual_add.py", "if factor > (0)"): "the product by one is the value",
    (
        "hw/scale.py",
        "return offset + factor * (lowest if (factor > 0) else lowest + (1 << self.bits) - 1)",
    ): "zero times either is zero",
    ("hw/sliding_window.py", "if (length >= 1):"): "no counter is below zero",
    (
        "hw/spi.py",
        "bit, come, gone, loaded = Signal((range(BYTE_BITS - 1))), Signal(BYTE_BITS), Signal(BYTE_BITS), Signal()",
    ): "numbers below seven take three bits, as those below eight do",
    (
        "hw/spi.py",
        "m.d.sync += [bit.eq(bit + 1), come.eq(Cat(mosi, come)), gone.eq(Cat((1), gone)), loaded.eq(0)]",
    ): _RELOADED,
    (
        "hw/spi.py",
        "m.d.sync += [bit.eq(bit + 1), come.eq(Cat(mosi, come)), gone.eq(Cat((-1), gone)), loaded.eq(0)]",
    ): _RELOADED,
}
