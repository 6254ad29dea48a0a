"""Handlers of elementwise operations and quantizers: on constants, pixels, bits and sums alike."""

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding import rules
from xnorweave.importers.folding.files import quoted
from xnorweave.importers.folding.residual import added
from xnorweave.importers.folding.rules import Rule
from xnorweave.importers.folding.signals import Signal, Step
from xnorweave.importers.folding.steps import along, applied, apply_step, normalized
from xnorweave.importers.onnx_graph.constants import bounded, finite
from xnorweave.importers.onnx_graph.registry import BRANCHES, Call, Value, handles

__all__: list[str] = []

_BINARY = {"Add": rules.ADD, "Sub": rules.SUBTRACT, "Mul": rules.MULTIPLY, "Div": rules.DIVIDE}


@handles("Add", "Sub", "Mul", "Div", inputs=(2, 2))
def _binary(call: Call) -> Value:
    rule, left, right = _BINARY[call.node.op], *call.values
    if isinstance(left, Signal) and isinstance(right, Signal):
        if rule is not rules.ADD:
            raise UnsupportedError(BRANCHES)
        return added(left, right)
    if isinstance(left, Signal):
        if rule is rules.DIVIDE and not call.floats(1, "divisor").all():
            raise NetworkError("divides by 0; check its constants")
        return applied(left, rule, call.floats(1, "constant"))
    if isinstance(right, np.ndarray):
        return _constants(call, rule, call.constant(0, "input"), right)
    if rule is rules.DIVIDE:
        raise UnsupportedError("divides by an activation; only division by a constant is supported")
    signal = call.signal(1)
    if rule is rules.SUBTRACT:
        # A negation is exact in float32, so c - x is (-x) + c to the last bit.
        signal, rule = applied(signal, rules.NEGATE), rules.ADD
    return applied(signal, rule, call.floats(0, "constant"))


@handles("Neg", inputs=(1, 1))
def _negate(call: Call) -> Value:
    return _unary(call, rules.NEGATE)


@handles("Sign", inputs=(1, 1))
def _sign(call: Call) -> Value:
    return _unary(call, rules.SIGN)


@handles("BipolarQuant", inputs=(2, 2), qonnx=True)
def _bipolar_quant(call: Call) -> Value:
    return _unary(call, rules.BIPOLAR, call.floats(1, "scale"))


@handles("Quant", "IntQuant", inputs=(4, 4), attributes=("signed", "narrow", "rounding_mode"), qonnx=True)
def _quant(call: Call) -> Value:
    scale, zero, bits = (call.floats(n, what) for n, what in ((1, "scale"), (2, "zero point"), (3, "bit width")))
    if bits.size != 1 or not (scale > 0).all() or np.any(zero != np.round(zero)):
        raise UnsupportedError("needs one bit width, positive scales and whole zero points")
    rule = rules.quant(
        float(bits.ravel()[0]),
        signed=bool(call.attribute("signed", 1)),
        narrow=bool(call.attribute("narrow", 1)),
        rounding=call.attribute("rounding_mode", "ROUND"),
    )
    return _unary(call, rule, scale, zero)


@handles("MultiThreshold", inputs=(2, 2), attributes=("out_scale", "out_bias", "out_dtype", "data_layout"), qonnx=True)
def _multi_threshold(call: Call) -> Value:
    signal, thresholds = call.signal(0), call.floats(1, "thresholds")
    layout, rank = call.attribute("data_layout", ""), len(signal.layout.shape)
    # Versions of QONNX differ where the layout does not fit the rank, but for the one that they had as the default.
    axis = {("NCHW", 4): 1, ("NHWC", 4): -1, ("NC", 2): 1, ("NCHW", 2): 1, ("NHWC", 2): 1, ("", 4): 1, ("", 2): 1}.get(
        (layout, rank)
    )
    if axis is None or thresholds.ndim != 2 or not 1 <= thresholds.shape[1] <= 255:
        raise UnsupportedError(
            f"takes thresholds {list(thresholds.shape)} in data_layout {quoted(layout)} on rank {rank}; one row of 1 "
            "to 255 for each channel of a tensor of rank 2 or 4 is supported, in data_layout NC, NCHW or NHWC"
        )
    rule = rules.levels(call.attribute("out_scale", 1.0), call.attribute("out_bias", 0.0), thresholds.shape[1])
    columns = [signal.layout.per_channel(along(column, rank, axis)) for column in thresholds.T]
    return apply_step(signal, Step(rule=rule, constants=(np.stack(columns, 1),)))


@handles(
    "BatchNormalization",
    inputs=(5, 5),
    attributes=("epsilon", "momentum", "spatial", "training_mode"),
    least_opset=9,
)
def _batch_norm(call: Call) -> Value:
    call.expect("training_mode", 0)
    call.expect("spatial", 1)
    if any(call.node.outputs[1:]):
        raise UnsupportedError("has more than one output, as in training; export for inference")
    epsilon, signal = call.attribute("epsilon", 1e-5), call.signal(0)
    names = ("scale", "bias", "mean", "variance")
    constants = [call.floats(n, name) for n, name in enumerate(names, 1)]
    return normalized(signal, rules.batch_norm(epsilon), constants, epsilon=epsilon, axis=1)


def _unary(call: Call, rule: Rule, *constants: NDArray[np.float32]) -> Value:
    value = call.values[0]
    if isinstance(value, np.ndarray):
        return _constants(call, rule, call.floats(0, "input"), *constants)
    return applied(call.signal(0), rule, *constants)


def _constants(call: Call, rule: Rule, *values: NDArray) -> NDArray:
    bounded(*(v.shape for v in values))
    if any(v.dtype != values[0].dtype for v in values):
        raise NetworkError(f"its inputs are {' and '.join(str(v.dtype) for v in values)}, not of one type")
    if values[0].dtype != np.float32:
        if call.node.op == "Div":
            raise UnsupportedError("divides integer constants; fold the constants before export")
        return np.asarray(rule.apply(*values))
    with np.errstate(all="ignore"):
        return finite(np.asarray(rule.apply(*values)))
