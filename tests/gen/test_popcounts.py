"""Networks of LUTs that count ones, against counting."""

import random

import pytest

from xnorweave.popcounts import MOST_BITS, popcount_network, popcount_verilog


@pytest.mark.parametrize("bits", range(1, MOST_BITS + 1))
def test_counts_ones(bits):
    network = popcount_network(bits)
    rng = random.Random(bits)
    words = range(1 << bits) if bits <= 12 else [0, (1 << bits) - 1, *(rng.getrandbits(bits) for _ in range(1000))]
    for word in words:
        assert network.evaluate(word) == word.bit_count(), f"{word:#x}"
    assert all(1 <= len(lut.inputs) <= 4 for lut in network.luts)
    assert all(s < bits + k for k, lut in enumerate(network.luts) for s in lut.inputs)


def test_a_wrong_lut_is_seen():
    network = popcount_network(9)
    for k, lut in enumerate(network.luts):
        object.__setattr__(lut, "table", ~lut.table & (1 << (1 << len(lut.inputs))) - 1)
        assert any(network.evaluate(word) != word.bit_count() for word in range(512)), k
        object.__setattr__(lut, "table", ~lut.table & (1 << (1 << len(lut.inputs))) - 1)


def test_sizes_are_as_documented():
    sizes = [len(popcount_network(bits).luts) for bits in range(2, 20)]
    assert sizes == [2, 2, 3, 5, 7, 7, 10, 10, 13, 14, 17, 17, 19, 19, 23, 23, 25, 25]


@pytest.mark.parametrize("bits", [0, -1, MOST_BITS + 1])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(ValueError, match=f"1 to {MOST_BITS} bits, not {bits}"):
        popcount_network(bits)


def test_the_module_takes_the_bits_of_its_pattern():
    text = popcount_verilog("kernel", 5, 0b10110)
    assert text.startswith("module kernel(input [4:0] window, output [1:0] o);\n")
    assert [line for line in text.splitlines() if "window[" in line] == [
        "assign s[0] = window[1];",
        "assign s[1] = window[2];",
        "assign s[2] = window[4];",
    ]
    assert text.count("$lut") == 2
