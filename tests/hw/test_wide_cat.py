import pytest
from amaranth.hdl import C, Const

from xnorweave.hw.wide_cat import wide_cat


@pytest.mark.parametrize("count", [0, 1, 3, 256, 257, 700, 70_000])
def test_parts_are_in_order_the_first_lowest(count, rng):
    values = rng.integers(0, 8, count).tolist()
    joined = wide_cat(C(value, 3) for value in values)
    assert len(joined) == 3 * count
    assert Const.cast(joined).value == sum(value << 3 * k for k, value in enumerate(values))


def test_no_value_has_more_than_some_parts():
    def most(value):
        parts = getattr(value, "parts", ())
        return max([len(parts), *map(most, parts)])

    assert most(wide_cat(C(0, 1) for _ in range(70_000))) == 256
