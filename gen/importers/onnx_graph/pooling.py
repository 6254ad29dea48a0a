"""Handlers of poolings, averages over a map, ArgMax and TopK."""

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.averages import averaged
from xnorweave.importers.folding.classes import classified
from xnorweave.importers.folding.pooling import pooled
from xnorweave.importers.onnx_graph.registry import Call, Value, handles

__all__: list[str] = []


@handles(
    "MaxPool",
    inputs=(1, 1),
    attributes=("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"),
)
def _max_pool(call: Call) -> Value:
    signal = call.signal(0)
    call.expect("auto_pad", "NOTSET", "VALID")
    call.expect("ceil_mode", 0)
    call.expect("dilations", (1, 1))
    call.expect("pads", (0, 0, 0, 0))
    kernel, strides = call.attribute("kernel_shape", ()), call.attribute("strides", (1, 1))
    if kernel not in ((2, 2), (3, 3)) or strides not in [(n, n) for n in range(1, kernel[0] + 1)]:
        raise UnsupportedError(
            f"kernel_shape={list(kernel)} with strides={list(strides)} is not supported; nearest: [2, 2] with [2, 2]"
        )
    return pooled(signal, size=kernel[0], stride=strides[0])


@handles("GlobalAveragePool", inputs=(1, 1))
def _global_average(call: Call) -> Value:
    signal = call.signal(0)
    return averaged(signal, range(2, len(signal.layout.shape)), keep=True)


@handles(
    "AveragePool",
    inputs=(1, 1),
    attributes=("auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"),
)
def _average_pool(call: Call) -> Value:
    signal, kernel = call.signal(0), call.attribute("kernel_shape", ())
    call.expect("auto_pad", "NOTSET", "VALID")
    call.expect("dilations", (1, 1))
    call.expect("pads", (0, 0, 0, 0))
    if kernel != signal.layout.shape[2:]:
        raise UnsupportedError(
            f"averages windows of {list(kernel)} of {list(signal.layout.shape)}; nearest: all rows and columns, as "
            "GlobalAveragePool"
        )
    return averaged(signal, (2, 3), keep=True)


@handles("ReduceMean", "ReduceSum", inputs=(1, 2), attributes=("axes", "keepdims", "noop_with_empty_axes"))
def _reduce(call: Call) -> Value:
    signal = call.signal(0)
    axes = call.integers(1, "axes") if call.has(1) else call.attribute("axes", ())
    if not axes:
        raise UnsupportedError("reduces all axes, the batch too; nearest: axes=[2, 3], rows and columns")
    return averaged(signal, axes, keep=bool(call.attribute("keepdims", 1)), divided=call.node.op == "ReduceMean")


@handles("ArgMax", inputs=(1, 1), attributes=("axis", "keepdims", "select_last_index"))
def _arg_max(call: Call) -> Value:
    call.expect("select_last_index", 0)
    axis = call.attribute("axis", 0)
    if axis not in (1, -1):
        raise UnsupportedError(f"axis={axis} is not supported; nearest: 1, the classes of each image")
    return classified(call.signal(0))


@handles("TopK", inputs=(1, 2), attributes=("k", "axis", "largest", "sorted"), output=1)
def _top_k(call: Call) -> Value:
    k = call.integers(1, "k") if call.has(1) else (call.attribute("k", 0),)
    call.expect("axis", -1, 1)
    call.expect("largest", 1)
    if k != (1,):
        raise UnsupportedError(f"k={list(k)} is not supported; nearest: 1")
    return classified(call.signal(0))
