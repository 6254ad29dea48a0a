import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnorweave.design import Tap
from xnorweave.errors import DataError, MismatchError
from xnorweave.network import Dense, InputSpec, Network
from xnorweave.sim.vectors import Mismatch, first_mismatch, input_words, tap_masks, tap_values, tap_words


def network(kind, shape):
    weights = np.ones((1, int(np.prod(shape))), np.int8)
    return Network(name="n", input=InputSpec(kind=kind, shape=shape), layers=(Dense(name="d", weights=weights),))


def tap(channels, lanes, pixels=1, lane_bits=4, signed=True, scale=1, offsets=None):
    return Tap(
        layer="l",
        instance="l",
        channels=channels,
        lanes=lanes,
        lane_bits=lane_bits,
        signed=signed,
        words=pixels * -(-channels // lanes),
        scale=scale,
        offsets=offsets or (0,) * channels,
    )


def test_pixels_have_channel_0_in_the_low_byte():
    frames = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    assert input_words(network("pixels", (3, 2, 2)), frames) == [[0x080400, 0x090501, 0x0A0602, 0x0B0703]]


def test_bits_have_channel_0_in_bit_0():
    frames = np.zeros((2, 10, 1, 2), np.uint8)
    frames[0, 0, 0, 0] = frames[0, 9, 0, 0] = frames[1, 3, 0, 1] = 1
    assert input_words(network("bits", (10, 1, 2)), frames) == [[0b1000000001, 0], [0, 0b1000]]


def test_wrong_frames_are_named():
    with pytest.raises(DataError, match=r"frames are uint8 \[1, 3, 2, 1\], not uint8 \[N, 3, 2, 2\]"):
        input_words(network("pixels", (3, 2, 2)), np.zeros((1, 3, 2, 1), np.uint8))
    with pytest.raises(DataError, match="frames hold 2, but the network's input is bits"):
        input_words(network("bits", (1, 1, 1)), np.full((1, 1, 1, 1), 2, np.uint8))


def test_signed_lanes_are_twos_complement():
    assert tap_words(tap(3, 3), np.array([-1, 2, -8]).reshape(1, 3, 1, 1)) == [[0x82F]]


def test_binary_activations():
    binary = tap(4, 4, lane_bits=1, signed=False, scale=2, offsets=(-1,) * 4)
    assert tap_words(binary, np.array([1, -1, -1, 1]).reshape(1, 4, 1, 1)) == [[0b1001]]


def test_last_word_is_filled_and_masked():
    five = tap(5, 2)
    values = np.array([1, 2, 3, 4, 5]).reshape(1, 5, 1, 1)
    assert tap_words(five, values) == [[0x21, 0x43, 0x05]]
    assert tap_masks(five) == [0xFF, 0xFF, 0x0F]
    assert first_mismatch(five, [[0x21, 0x43, 0xA5]], values) is None


def test_class_indices():
    classes = tap(1, 1, signed=False)
    assert tap_words(classes, np.array([3, 9])) == [[3], [9]]
    assert first_mismatch(classes, [[3], [9]], np.array([3, 9])) is None
    assert str(first_mismatch(classes, [[3], [8]], np.array([3, 9]))) == (
        "frame 1: layer l, row 0, column 0, channel 0: golden model gives 9, simulation gives 8"
    )


@given(
    channels=st.integers(1, 20),
    lanes=st.integers(1, 20),
    sides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    lane_bits=st.integers(1, 21),
    signed=st.booleans(),
    scale=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_words_and_values_are_inverse(channels, lanes, sides, lane_bits, signed, scale, seed):
    rng = np.random.default_rng(seed)
    offsets = tuple(int(v) for v in rng.integers(-50, 50, channels))
    some = tap(channels, lanes, sides[0] * sides[1], lane_bits, signed, scale, offsets)
    low, high = (-(1 << lane_bits - 1), 1 << lane_bits - 1) if signed else (0, 1 << lane_bits)
    coded = rng.integers(low, high, (2, channels, *sides))
    values = scale * coded + np.array(offsets).reshape(-1, 1, 1)
    words = tap_words(some, values)
    np.testing.assert_array_equal(tap_values(some, words, (channels, *sides)), values)
    assert all(word & ~mask == 0 for frame in words for word, mask in zip(frame, tap_masks(some), strict=True))
    # Independently: the lane of one value, cut out of its word.
    c, y, x = channels - 1, sides[0] - 1, sides[1] - 1
    group = -(-channels // lanes)
    lane = words[1][(y * sides[1] + x) * group + c // lanes] >> c % lanes * lane_bits & (1 << lane_bits) - 1
    assert lane == coded[1, c, y, x] % (1 << lane_bits)


def test_first_mismatch_is_first_in_stream_order():
    some = tap(3, 2, pixels=4)
    values = np.zeros((2, 3, 2, 2), int)
    found = values.copy()
    found[1, 0, 1, 1] = 5
    found[1, 2, 1, 0] = -3
    assert first_mismatch(some, tap_words(some, found), values, first_frame=10) == Mismatch(
        frame=11, layer="l", row=1, column=0, channel=2, expected=0, found=-3
    )


@pytest.mark.parametrize("value", [8, -9])
def test_value_beyond_a_lane(value):
    with pytest.raises(
        MismatchError,
        match=re.escape(f"tap l: frame 0, pixel 0, channel 0: {value} is not 1 * x + 0 with x from -8 to 7"),
    ):
        tap_words(tap(1, 1), np.full((1, 1, 1, 1), value))


def test_value_between_steps():
    with pytest.raises(MismatchError, match=r"3 is not 2 \* x \+ 0"):
        tap_words(tap(1, 1, scale=2), np.full((1, 1, 1, 1), 3))


def test_a_tap_of_another_shape():
    with pytest.raises(MismatchError, match=r"do not carry values of 2 channels, 1x1; correct the tap"):
        tap_words(tap(3, 3), np.zeros((1, 2, 1, 1)))
    with pytest.raises(MismatchError, match=r"3 offsets for 4 channels"):
        tap_words(dataclasses.replace(tap(4, 4), offsets=(0, 0, 0)), np.zeros((1, 4, 1, 1)))
    with pytest.raises(MismatchError, match=r"frame 0 has 2 words, not 1"):
        tap_values(tap(3, 3), [[1, 2]], (3, 1, 1))
