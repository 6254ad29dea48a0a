import pytest
from amaranth.back import rtlil
from amaranth.hdl import C, Cat, Const, Module, Signal

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


def test_hardware_is_that_of_one_cat():
    def text(join):
        m, i, o = Module(), Signal(700), Signal(700)
        m.d.comb += o.eq(join(~bit for bit in i))
        return rtlil.convert(m, ports=[i, o], emit_src=False)

    assert text(wide_cat) == text(Cat)
