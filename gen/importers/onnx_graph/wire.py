"""A look at the bytes of a model before protobuf takes memory for them.

A field of two bytes can become a message of a hundred, so a small file could ask for gigabytes. This scan walks the
wire format, keeps nothing, and gives up where there are more fields than any network has, or a part that this importer
never reads: subgraphs, functions and training.
"""

from xnorweave.errors import NetworkError, UnsupportedError

__all__ = ["MAX_FIELDS", "check_wire"]

MAX_FIELDS = 200_000
MAX_DEPTH = 16

# Fields that hold messages, as numbered in onnx.proto; anything else is skipped as a whole.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "leaf", 14: "leaf"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 14: "annotation", 16: "leaf"},
    "node": {5: "attribute", 9: "leaf"},
    "attribute": {5: "tensor", 10: "tensor"},
    "annotation": {2: "leaf"},
    "tensor": {3: "leaf", 13: "leaf", 16: "leaf"},
    "value": {2: "type", 4: "leaf"},
    "type": {1: "tensor_type"},
    "tensor_type": {2: "shape"},
    "shape": {1: "leaf"},
    "leaf": {},
}
_REFUSED: dict[str, dict[int, str]] = {
    "model": {20: "training information", 25: "functions", 26: "device configurations"},
    "graph": {15: "sparse initializers"},
    "attribute": {
        6: "a subgraph",
        11: "subgraphs",
        14: "a type",
        15: "types",
        22: "a sparse tensor",
        23: "sparse tensors",
    },
    "tensor": {},
    "type": {4: "a sequence", 5: "a map", 8: "a sparse tensor", 9: "an optional"},
}
_REMEDY = "export the network for inference as one plain graph"


def check_wire(data: bytes) -> None:
    """Refuse what is no model, or would take far more memory than its size.

    Raises
    ------
    NetworkError
        Where the bytes are not in the wire format, or have too many fields.
    UnsupportedError
        Where the model holds a part that is never read.
    """
    fields = 0
    pending = [("model", 0, len(data), 0)]
    while pending:
        kind, at, end, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise NetworkError(f"messages are nested deeper than {MAX_DEPTH}; {_REMEDY}")
        while at < end:
            fields += 1
            if fields > MAX_FIELDS:
                raise NetworkError(f"has more than {MAX_FIELDS} fields, more than any network needs; {_REMEDY}")
            key, at = _varint(data, at, end)
            number, start, at = key >> 3, *_skip(data, at, end, key & 7)
            if number in _REFUSED.get(kind, {}):
                raise UnsupportedError(f"holds {_REFUSED[kind][number]}, which is not read here; {_REMEDY}")
            if key & 7 == 2 and number in _MESSAGES[kind]:
                pending.append((_MESSAGES[kind][number], start, at, depth + 1))


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise NetworkError("not a readable ONNX model (cut short or damaged); copy or export it again")


def _skip(data: bytes, at: int, end: int, wire_type: int) -> tuple[int, int]:
    """Start and end of a field's value."""
    if wire_type == 0:
        return at, _varint(data, at, end)[1]
    if wire_type == 2:
        size, at = _varint(data, at, end)
    elif wire_type in (1, 5):
        size = 8 if wire_type == 1 else 4
    else:
        raise NetworkError(f"not a readable ONNX model (wire type {wire_type}); copy or export it again")
    if at + size > end:
        raise NetworkError("not a readable ONNX model (cut short or damaged); copy or export it again")
    return at, at + size
