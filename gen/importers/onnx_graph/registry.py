"""Operations by name: each handler turns its node's inputs into its output, or refuses.

To add an operation, write a function of one `Call` and put `handles` over it.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding.files import quoted
from xnorweave.importers.folding.signals import Signal, kind_of
from xnorweave.importers.onnx_graph.model import Node

__all__ = ["BRANCHES", "Call", "Value", "call", "handles"]

Value = NDArray | Signal
"""A constant, or a function of the input."""

Handler = Callable[["Call"], Value]

BRANCHES = (
    "joins two branches of the graph; only chains are supported, in which each node takes the one before it and "
    "constants, and an Add of an earlier layer's values: train without the branch"
)
_QONNX = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general")


@dataclass(frozen=True, kw_only=True)
class _Entry:
    handler: Handler
    inputs: range
    attributes: Collection[str]
    least_opset: int
    output: int


_HANDLERS: dict[tuple[str, str], _Entry] = {}


def handles(
    *ops: str,
    inputs: tuple[int, int],
    attributes: Collection[str] = (),
    qonnx: bool = False,
    least_opset: int = 7,
    output: int = 0,
) -> Callable[[Handler], Handler]:
    """Register a handler.

    Parameters
    ----------
    *ops : str
        Names of operations.
    inputs : tuple of int
        Fewest and most inputs.
    attributes : collection of str
        Those that it knows; a node with any other is refused.
    qonnx : bool
        Whether the domains are those of QONNX instead of plain ONNX.
    least_opset : int
        First version of plain ONNX with the meaning that the handler gives it.
    output : int
        Which output the handler gives; others may not be used.
    """

    def register(handler: Handler) -> Handler:
        entry = _Entry(
            handler=handler,
            inputs=range(inputs[0], inputs[1] + 1),
            attributes=frozenset(attributes),
            least_opset=least_opset,
            output=output,
        )
        for domain in _QONNX if qonnx else ("",):
            _HANDLERS.update({(domain, op): entry for op in ops})
        return handler

    return register


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """A node with the values of its inputs; an input left out is None."""

    node: Node
    values: tuple[Value | None, ...]

    def has(self, index: int) -> bool:
        """Whether the input is given."""
        return index < len(self.values) and self.values[index] is not None

    def constant(self, index: int, what: str) -> NDArray:
        """An input that has to be a constant; ``what`` names it in errors."""
        value = self.values[index] if index < len(self.values) else None
        if isinstance(value, np.ndarray):
            return value
        found = "left out" if value is None else "computed from the image"
        raise UnsupportedError(f"its {what} is {found}; only a constant is supported")

    def floats(self, index: int, what: str) -> NDArray[np.float32]:
        """A constant input of type float32."""
        value = self.constant(index, what)
        if value.dtype != np.float32:
            raise UnsupportedError(f"its {what} is {value.dtype}; export the network in float32")
        return value

    def integers(self, index: int, what: str) -> tuple[int, ...]:
        """A constant input of few integers, such as a shape."""
        value = self.constant(index, what)
        if value.dtype.kind != "i" or value.size > 16:
            raise NetworkError(f"its {what} is {value.dtype} {list(value.shape)}, not a few integers")
        return tuple(int(n) for n in value.ravel())

    def signal(self, index: int) -> Signal:
        """An input that has to depend on the image."""
        value = self.values[index]
        if isinstance(value, Signal):
            return value
        raise UnsupportedError(
            f"its input {index} is a constant; only constants that weight an activation are supported"
        )

    def kind(self, index: int) -> str:
        """What an input is, for errors."""
        return kind_of(self.signal(index))

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the type that ``default`` has (a tuple for a list), or ``default``."""
        if name not in self.node.attributes:
            return default
        value = self.node.attributes[name]
        if isinstance(default, tuple):
            if not hasattr(value, "__len__") or isinstance(value, str) or len(value) > 16:
                raise NetworkError(f"attribute {name} is no short list")
            return tuple(value)
        if not isinstance(value, type(default)) or (isinstance(value, float) and not math.isfinite(value)):
            raise NetworkError(f"attribute {name}={quoted(value)} is no {type(default).__name__}")
        return value

    def expect(self, name: str, default: Any, *allowed: Any) -> None:
        """Refuse an attribute that is not one of ``allowed``, nor ``default``."""
        value = self.attribute(name, default)
        if value not in (default, *allowed):
            shown = quoted(value if not isinstance(value, tuple) else list(value)).strip("'")
            raise UnsupportedError(f"{name}={shown} is not supported; nearest: {allowed[0] if allowed else default}")


def call(node: Node, values: tuple[Value | None, ...], opset: int) -> tuple[str, Value]:
    """The name and the value of a node's output.

    Raises
    ------
    UnsupportedError
        Where the operation or the way it is used is not supported.
    NetworkError
        Where it is not sound.
    """
    entry = _HANDLERS.get((node.domain, node.op))
    if entry is None:
        known = ", ".join(sorted({op for _, op in _HANDLERS}))
        domain = f" of domain {quoted(node.domain)}" if node.domain else ""
        raise UnsupportedError(f"operation {quoted(node.op)}{domain} is not supported; replace it by some of: {known}")
    if len(values) not in entry.inputs or not all(v is not None for v in values[: entry.inputs.start]):
        raise NetworkError(f"has {len(values)} inputs, not {entry.inputs.start} to {entry.inputs.stop - 1}")
    if unknown := sorted(node.attributes.keys() - entry.attributes):
        raise UnsupportedError(f"attribute {quoted(unknown[0])} is not known here; export without it")
    if opset < entry.least_opset:
        raise UnsupportedError(
            f"means something else before opset {entry.least_opset}; export with that or a later one"
        )
    if len(node.outputs) <= entry.output:
        raise NetworkError(f"has {len(node.outputs)} outputs, not {entry.output + 1}")
    return node.outputs[entry.output], entry.handler(Call(node=node, values=values))
