"""Networks of LUTs that count ones, against counting."""

import random
import re

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


@pytest.mark.parametrize("bits", [2, 3, 4, 7, 9, 20, MOST_BITS])
def test_complemented_inputs_count_where_they_are_0(bits):
    network = popcount_network(bits)
    rng = random.Random(bits)
    for mask in (0, 1, 1 << bits - 1, (1 << bits) - 1, *(rng.getrandbits(bits) for _ in range(5))):
        complemented = network.complemented(mask)
        assert [lut.inputs for lut in complemented.luts] == [lut.inputs for lut in network.luts]
        for word in range(1 << bits) if bits <= 9 else [rng.getrandbits(bits) for _ in range(200)]:
            assert complemented.evaluate(word) == (word ^ mask).bit_count(), f"{word:#x} with {mask:#x}"


def test_a_single_bit_has_no_lut_to_be_complemented_in():
    assert popcount_network(1).complemented(0) == popcount_network(1)
    with pytest.raises(ValueError, match="one bit has no LUT"):
        popcount_network(1).complemented(1)


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


def test_the_module_inverts_in_its_tables():
    def tables(inverted: int) -> list[int]:
        return [int(table) for table in re.findall(r"8'd(\d+)", popcount_verilog("k", 4, 0b1011, inverted))]

    # Majority and parity of a, b, c, then of a, b and not c: the upper and the lower four rows change places.
    plain, inverted = tables(0), tables(0b1000)
    assert len(plain) == 2
    assert inverted == [(table >> 4) | (table & 15) << 4 for table in plain]
