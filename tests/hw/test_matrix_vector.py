import numpy as np
import pytest

from xnorweave.hw.matrix_vector import MatrixVector


def make(rng, outputs, inputs, bits, fires, pe, simd, steps=()):
    weights = rng.choice([-1, 1], (outputs, inputs))
    top = 2**bits - 1
    spread = inputs * top // 2
    biases = rng.integers(-spread - 5, -spread + 6, outputs) if fires else rng.integers(-9, 10, outputs)
    unit = MatrixVector(
        weights=tuple(sum(1 << i for i, w in enumerate(row) if w > 0) for row in weights),
        inputs=inputs,
        input_bits=bits,
        biases=tuple(int(b) for b in biases),
        fires=fires,
        pe=pe,
        simd=simd,
        steps=steps,
    )
    return unit, weights, biases


def frames_of(vectors, unit):
    padded = np.pad(vectors, ((0, 0), (0, unit.simd * unit.synapse_fold - unit.inputs)))
    groups = padded.reshape(len(vectors), unit.synapse_fold, unit.simd)
    return [[sum(int(x) << k * unit.input_bits for k, x in enumerate(word)) for word in frame] for frame in groups]


def lanes_of(words, unit):
    width = 1 if unit.fires else unit.sum_shape.width
    lanes = [word >> k * width & (1 << width) - 1 for word in words for k in range(unit.pe)]
    if not unit.fires and unit.sum_shape.signed:
        lanes = [lane - (1 << width) if lane >> width - 1 else lane for lane in lanes]
    return lanes


FOLDS = [
    # outputs, inputs, pe, simd
    (6, 8, 6, 8),
    (6, 8, 1, 1),
    (6, 8, 2, 4),
    (6, 8, 3, 8),
    (6, 8, 6, 2),
    (5, 7, 2, 3),  # uneven both ways
    (20, 9, 1, 9),
    (40, 12, 2, 5),
    (1, 5, 1, 2),
]


@pytest.mark.parametrize(("outputs", "inputs", "pe", "simd"), FOLDS)
@pytest.mark.parametrize(("bits", "fires"), [(1, True), (1, False), (4, True), (4, False)])
def test_products(outputs, inputs, pe, simd, bits, fires, stream, rng):
    unit, weights, biases = make(rng, outputs, inputs, bits, fires, pe, simd)
    vectors = rng.integers(0, 2**bits, (6, inputs))
    vectors[0], vectors[1] = 0, 2**bits - 1
    top = 2**bits - 1
    sums = np.where(weights > 0, vectors[:, None], top - vectors[:, None]).sum(2) + biases
    for pace in [(0.0, 0.0), (0.3, 0.5)]:
        result = stream(unit, frames_of(vectors, unit), unit.neuron_fold, pace)
        for words, row in zip(result.outputs, sums, strict=True):
            lanes = lanes_of(words, unit)
            assert lanes[:outputs] == [int(s >= 0) if fires else int(s) for s in row]
            if fires:
                assert not any(lanes[outputs:])
        if pace == (0.0, 0.0):
            assert result.interval_cycles == unit.neuron_fold * unit.synapse_fold


@pytest.mark.parametrize(("outputs", "inputs", "pe", "simd"), FOLDS)
@pytest.mark.parametrize("levels", [2, 3])
def test_numbers_of_levels_reached(outputs, inputs, pe, simd, levels, stream, rng):
    steps = np.sort(rng.integers(0, 12, (outputs, levels - 1)), 1)
    rows = tuple(tuple(int(s) for s in row) for row in steps)
    unit, weights, biases = make(rng, outputs, inputs, 2, True, pe, simd, rows)
    vectors = rng.integers(0, 4, (8, inputs))
    sums = np.where(weights > 0, vectors[:, None], 3 - vectors[:, None]).sum(2) + biases
    counts = (sums >= 0) + (sums[:, :, None] >= steps).sum(2)
    for pace in [(0.0, 0.0), (0.3, 0.5)]:
        result = stream(unit, frames_of(vectors, unit), unit.neuron_fold, pace)
        for words, row in zip(result.outputs, counts.tolist(), strict=True):
            lanes = [word >> 2 * k & 3 for word in words for k in range(pe)]
            assert lanes == row + [0] * (len(lanes) - outputs)
        if pace == (0.0, 0.0):
            assert result.interval_cycles == unit.neuron_fold * unit.synapse_fold


@pytest.mark.parametrize(
    ("steps", "fires", "message"),
    [
        (((1,), (2, 3)), True, "as many for each output as for the others"),
        (((1,),), True, "as many for each output as for the others"),
        (((1,), (2,)), False, "Steps are for outputs that fire"),
        (((3, 2), (1, 1)), True, "Steps ascend from 0"),
        (((-1,), (2,)), True, "Steps ascend from 0"),
    ],
)
def test_steps_that_are_none_are_refused(steps, fires, message):
    options = {"weights": (1, 2), "inputs": 4, "input_bits": 1, "biases": (0, 0), "pe": 1, "simd": 1}
    with pytest.raises(ValueError, match=message):
        MatrixVector(**options, fires=fires, steps=steps)


@pytest.mark.parametrize(("pe", "latency"), [(6, 4), (2, 2 + 5)])
def test_latency(pe, latency, stream, rng):
    unit, _, _ = make(rng, 6, 8, 1, True, pe, 4)
    result = stream(unit, frames_of(rng.integers(0, 2, (1, 8)), unit), unit.neuron_fold)
    # The other words of the input, then the latency, then the groups of outputs that follow the first.
    assert result.first_latency_cycles == (2 - 1) + latency + (unit.neuron_fold - 1) * 2


@pytest.mark.parametrize("cycle", [3, 4, 5, 6, 7, 8])
def test_reset_in_the_middle_of_a_vector(cycle, stream, rng):
    unit, weights, biases = make(rng, 4, 12, 1, False, 4, 2)
    vectors = rng.integers(0, 2, (3, 12))
    result = stream(unit, frames_of(vectors, unit), 1, reset_at=(cycle,))
    sums = np.where(weights > 0, vectors[:, None], 1 - vectors[:, None]).sum(2) + biases
    assert [lanes_of(words, unit) for words in result.outputs] == sums.tolist()


@pytest.mark.parametrize(("pe", "simd"), [(0, 1), (3, 1), (1, 0), (1, 5)])
def test_folds_beyond_the_matrix_are_refused(pe, simd):
    with pytest.raises(ValueError, match=r"are not within 1\.\.2 and 1\.\.4"):
        MatrixVector(weights=(1, 2), inputs=4, input_bits=1, biases=(0, 0), fires=True, pe=pe, simd=simd)


def test_every_output_needs_a_bias():
    with pytest.raises(ValueError, match="2 outputs need as many biases, not 1"):
        MatrixVector(weights=(1, 2), inputs=4, input_bits=1, biases=(0,), fires=True, pe=1, simd=1)
