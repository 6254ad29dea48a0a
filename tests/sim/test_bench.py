import pytest

from xnorweave.errors import DataError
from xnorweave.sim.bench import Gate, Stimulus, StreamCount, deadlock, interval


def test_gate_closes_as_often_as_asked():
    gate = Gate(7, 0.3, 1)
    assert 0.28 < sum(gate.closed() for _ in range(20_000)) / 20_000 < 0.32


def test_gate_is_the_generator_of_the_c_bench():
    state, expected = 42, []
    for _ in range(50):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        expected.append(state / 2**64 < 0.5)
    gate = Gate(42, 0.5, 1)
    assert [gate.closed() for _ in range(50)] == expected


def test_gate_stays_closed_for_a_burst():
    gate = Gate(3, 0.2, 5)
    text = "".join("x" if gate.closed() else "." for _ in range(5000))
    assert all(len(run) % 5 == 0 for run in text.strip("x").split(".") if run)


def test_cyclic_gate_opens_once_between_spells():
    gate = Gate(3, 0.01, 3, True)
    assert "".join("x" if gate.closed() else "." for _ in range(9)) == ".xxx.xxx."
    assert not any(Gate(3, 0.0, 3, True).closed() for _ in range(9))


def test_gate_of_probability_0_never_closes():
    gate = Gate(0, 0.0, 3)
    assert not any(gate.closed() for _ in range(1000))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": []}, "no frames, or an empty frame"),
        ({"frames": [[]]}, "no frames, or an empty frame"),
        ({"frames": [[1, 2], [3]]}, "frame 1 has 1 words, frame 0 has 2"),
        ({"frames": [[1]], "idle": 1.0}, r"idle=1.0 is not a probability below 1"),
        ({"frames": [[1]], "stall": -0.1}, r"stall=-0.1 is not a probability"),
        ({"frames": [[1]], "burst": 0}, r"burst=0 is not at least 1"),
        ({"frames": [[1]], "patience_cycles": 0}, r"patience_cycles=0 is not at least 1"),
    ],
)
def test_wrong_stimulus_is_named(fields, message):
    with pytest.raises(DataError, match=message):
        Stimulus(**fields)


def test_deadlock_names_cycle_frame_and_words():
    counts = [StreamCount(name="i", words=9, per_frame=4), StreamCount(name="o", words=2, per_frame=1)]
    assert str(deadlock(812, 800, counts)) == (
        "cycle 812: no transfer for 800 cycles, deadlocked: i at frame 2, 1 of 4 words; o at frame 2, 0 of 1 words; "
        "raise patience_cycles if the design is only slow"
    )


@pytest.mark.parametrize(
    ("ends", "cycles"),
    [
        ([9], None),
        ([9, 13], 4),
        ([9, 13, 20], 7),
        ([100, 104, 108, 112, 116], 4),
        ([100, 101, 102, 112, 122], 10),  # buffers fill first
        ([10, 13, 19, 22, 28, 31, 37, 40, 46], 5),  # by turns 3 and 6: 4.5, no 3
    ],
)
def test_interval_is_the_rate_that_lasts(ends, cycles):
    assert interval(ends) == cycles
