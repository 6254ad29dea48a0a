"""Float32 sums that depend on the order of additions are taken only where no order can change a result."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from onnx_chains import bits, compared, norm

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.importers.folding.rounding import Rounding
from xnorweave.network import Threshold


@pytest.fixture
def check(tmp_path, rng):
    return partial(compared, folder=tmp_path, rng=rng)


@pytest.mark.parametrize(("scale", "counted"), [(0.25, False), (0.1, True)])
def test_scales_inside_a_sum(check, rng, scale, counted):
    chain = bits("n", 99).weights("MatMul", rng.normal(size=(99, 12)), scale=scale)
    network = check(chain.add("BatchNormalization", *norm(rng, 12)).add("BipolarQuant", 1.0))
    said = "fc1: float32 sums depend on the order of additions; no sum that can occur is so close to a threshold that it matters"
    assert (said in network.history) == counted


def test_a_scale_for_each_channel_of_weights_and_activations(check, rng):
    weights = rng.choice([-1.0, 1.0], (12, 9)) * 2.0 ** rng.integers(-3, 3, (12, 1))
    chain = (
        bits("n", 9).add("Gemm", weights, rng.normal(size=12), alpha=0.7, beta=0.3, transB=1).add("BipolarQuant", 1.0)
    )
    chain.add("Mul", rng.choice([-0.5, 0.5], (1, 12))).weights("MatMul", rng.normal(size=(12, 4)))
    chain.add("Sub", rng.normal(size=4), first=True).add("BipolarQuant", 0.5)
    check(chain)


SUMMED = (
    r"channel 0 can sum to 0, where float32 falls on either side of the threshold by the order of additions, since "
)


def test_a_sum_that_float32_may_put_on_either_side_is_refused(tmp_path):
    tenth = np.float32(0.1)
    up, down = [1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1], [1, -1] * 6
    one, other = (sum((tenth * np.float32(x) for x in order), np.float32(0)) for order in (up, down))
    assert one != other == 0  # the same terms in another order
    chain = bits("n", 12).weights("MatMul", np.ones((12, 2)), scale=0.1).add("BipolarQuant", 1.0)
    with pytest.raises(UnsupportedError, match=SUMMED + "scales inside it are no powers of two; multiply and add"):
        load_any(chain.save(tmp_path / "net.onnx"))


def test_the_same_factor_behind_the_sum_is_exact(check):
    network = check(bits("n", 12).weights("MatMul", np.ones((12, 2))).add("Mul", 0.1).add("BipolarQuant", 1.0))
    assert not any("order of additions" in line for line in network.history)


def just_below_1() -> np.ndarray:
    """A bias that float32 rounds to 1 beside a sum of 1: then -1 is added to 0 instead of to less."""
    bias, one = np.float32(1 - 2**-24), np.float32(1)
    assert (bias + one) - one - one == 0 > bias - one
    return np.full(2, bias)


@pytest.mark.parametrize("op", ["Gemm", "Conv"])
def test_a_bias_within_the_sum_is_refused_where_it_decides(tmp_path, op):
    if op == "Gemm":
        chain = bits("n", 9).weights("Gemm", np.ones((2, 9)), just_below_1(), transB=1)
    else:
        chain = bits("n", 1, 3, 3).weights("Conv", np.ones((2, 1, 3, 3)), just_below_1())
    message = SUMMED.replace("sum to 0", "sum to -1") + "its bias is added inside the sum; multiply and add behind"
    with pytest.raises(UnsupportedError, match=message):
        load_any(chain.add("BipolarQuant", 1.0).save(tmp_path / "net.onnx"))


def test_a_bias_behind_the_sum_is_exact(check):
    chain = bits("n", 9).weights("MatMul", np.ones((9, 2))).add("Add", just_below_1()).add("BipolarQuant", 1.0)
    layer = check(chain).layers[-1]
    assert isinstance(layer, Threshold)
    assert layer.thresholds.tolist() == [1, 1]


@pytest.mark.parametrize(("bias", "counted"), [(0.0, False), (-2.75, False), (0.3, True)])
def test_a_bias_is_counted_where_it_is_no_multiple_of_a_power_of_two(check, rng, bias, counted):
    chain = bits("n", 40).weights("Gemm", rng.normal(size=(8, 40)), np.full(8, bias), transB=1)
    network = check(chain.add("BatchNormalization", *norm(rng, 8)).add("BipolarQuant", 1.0))
    assert any("order of additions" in line for line in network.history) == counted


@pytest.mark.parametrize("within", [True, False])
def test_scaling_factors_of_xnor_net(check, rng, within):
    """One for each filter: in the weights of small layers, behind layers of any size."""
    channels = 4 if within else 64
    weights = rng.choice([-1.0, 1.0], (24, channels, 3, 3))
    factors = rng.random((24, 1, 1)) + 0.01
    chain = bits("n", channels, 5, 5)
    chain.add("Conv", weights * factors[..., None] if within else weights)
    if not within:
        chain.add("Mul", factors)
    chain.add("BatchNormalization", *norm(rng, 24, rising=True)).add("BipolarQuant", 1.0)
    check(chain, images=20)


def test_classes_of_sums_that_depend_on_the_order_are_refused(tmp_path, rng):
    chain = bits("n", 20).weights("MatMul", rng.normal(size=(20, 4)), scale=0.1)
    with pytest.raises(
        UnsupportedError, match=r"equal sums may come out unequal; multiply by scales .* behind the last"
    ):
        load_any(chain.save(tmp_path / "net.onnx"))


def orders(terms: np.ndarray, rng: np.random.Generator):
    """Float32 sums of the same terms: in order, sorted, reversed, shuffled, in pairs, in blocks."""
    for ordered in (
        terms,
        np.sort(terms),
        np.sort(terms)[::-1],
        terms[::-1],
        *(rng.permutation(terms) for _ in range(4)),
    ):
        yield np.add.accumulate(ordered.astype(np.float32), dtype=np.float32)[-1]
        yield np.add.reduce(ordered.astype(np.float32), dtype=np.float32)
        lanes = np.zeros(8, np.float32)
        for start in range(0, len(ordered) - 7, 8):
            lanes += ordered[start : start + 8]
        yield np.add.accumulate([*lanes, *ordered[len(ordered) // 8 * 8 :]], dtype=np.float32)[-1]


@pytest.mark.parametrize(
    ("magnitude", "bias", "exact"),
    [
        (0.1, None, False),
        (0.7231, 3.3, False),
        (1.0, 0.3, False),
        (1.0, -1e-7, False),
        (1.0, 900.1, True),  # a multiple of 2^-13, and sums stay below 2^11
        (0.5, 0.0, True),
    ],
)
@pytest.mark.parametrize("terms", [3, 40, 1000])
def test_no_order_of_additions_is_further_off_than_the_bound(rng, magnitude, bias, exact, terms):
    size = float(np.float32(magnitude))
    added = [] if bias is None else [float(np.float32(bias))]
    error = Rounding(
        inputs=(Fraction(-1), Fraction(1)),
        magnitudes=(Fraction(size),),
        terms=terms,
        scale=(Fraction(size),),
        offset=(Fraction(sum(added)),),
        bias=tuple(map(Fraction, added)),
    )
    assert error.any() != exact
    for chance in (0.5, 0.5, 0.1, 0.98):
        signs = np.where(rng.random(terms) < chance, 1, -1)
        low, high = (error.ends(np.array([[signs.sum()]]), slice(0, 1), side)[0, 0] for side in (-1, 1))
        sums = list(orders(np.array([*added, *(size * signs)]), rng))
        assert low <= min(sums) <= max(sums) <= high
        assert (low == high) == exact
