"""A process of its own that reads an HDF5 file: the library can loop, crash or eat memory on a damaged one.

Run as a script. Standard input is the file; standard output is 8 bytes with the length of a JSON document, the
document, and the arrays behind one another. The document has the texts that were found, and for each array its path
with its shape, or with the reason why it is not read. Names are looked up link by link, so that soft and external
links, data in other files, virtual data sets and filters that would load a plugin are refused before they do anything.
"""

import json
import math
import sys
from typing import Any

__all__ = ["MAX_TEXT_BYTES", "MAX_VALUES", "main"]

TEXTS = ("model_config", "keras_version")
ROOTS = ("model_weights", "layers", "_layer_checkpoint_dependencies")
MAX_VALUES = 1 << 26
MAX_RANK = 8
MAX_TEXT_BYTES = 4 << 20
MAX_MEMBERS = 20_000
MAX_DEPTH = 12
MEMORY_BYTES = 4 << 30
CPU_S = 10
PLAIN_FILTERS = {1, 2, 3}  # deflate, shuffle, fletcher32
FAULTS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError, NotImplementedError)


class _UnsupportedError(Exception):
    """A part that is never read."""


class _UnsoundError(Exception):
    """A part that is larger than any network's."""


def main() -> None:
    """Read standard input, write standard output."""
    import resource

    for kind, most in ((resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        # What the caller may not raise, this process may not either.
        _, hard = resource.getrlimit(kind)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))
    import h5py

    document: dict[str, Any] = {"texts": {}, "arrays": {}}
    bodies: list[bytes] = []
    try:
        with h5py.File(h5py.h5f.open_file_image(sys.stdin.buffer.read()), "r") as file:
            document["texts"] = {name: text for name in TEXTS if (text := _text(file, name)) is not None}
            _walk(h5py, file, document["arrays"], bodies)
    except _UnsoundError as e:
        document = {"fault": str(e)}
    except FAULTS as e:
        document = {"fault": f"not a readable HDF5 file ({_short(e)}); copy or save it again"}
    text = json.dumps(document).encode()
    sys.stdout.buffer.write(len(text).to_bytes(8, "little") + text + b"".join(bodies))


def _short(error: Exception) -> str:
    return "".join(c for c in str(error) if c.isprintable())[:120]


def _text(file: Any, name: str) -> str | None:
    if name not in file.attrs:
        return None
    found = file.attrs.get_id(name)
    if found.shape not in ((), (1,)) or found.get_storage_size() > MAX_TEXT_BYTES:
        raise _UnsoundError(
            f"attribute {name!r} is no text of at most {MAX_TEXT_BYTES >> 20} MiB; save the model again"
        )
    value = file.attrs[name]
    value = value.item() if hasattr(value, "item") else value
    text = value.decode("utf-8") if isinstance(value, bytes) else value
    if not isinstance(text, str) or len(text) > MAX_TEXT_BYTES:
        raise _UnsoundError(
            f"attribute {name!r} is no text of at most {MAX_TEXT_BYTES >> 20} MiB; save the model again"
        )
    return text


def _walk(h5py: Any, file: Any, arrays: dict[str, Any], bodies: list[bytes]) -> None:
    """Every array under the roots, or why it is not read."""
    # Not `in`, nor `get`: both would follow a link to another file.
    pending = [(file, root, root, 0) for root in ROOTS if file.id.links.exists(root.encode())]
    members = values = 0
    while pending:
        group, name, path, depth = pending.pop()
        members += 1
        if members > MAX_MEMBERS or depth > MAX_DEPTH:
            raise _UnsoundError(
                f"has more than {MAX_MEMBERS} arrays and groups, or deeper than {MAX_DEPTH}; save it again"
            )
        try:
            if group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type != h5py.h5l.TYPE_HARD:
                raise _UnsupportedError("is a link to another place, which is not followed; save the model in one file")
            node = group[name]
            if isinstance(node, h5py.Group):
                pending += [(node, inner, f"{path}/{inner}", depth + 1) for inner in node]
                continue
            values += _checked(node, values)
            arrays[path] = {"shape": list(node.shape)}
            bodies.append(node[()].tobytes())
        except _UnsupportedError as e:
            arrays[path] = {"unsupported": str(e)}
        except _UnsoundError as e:
            arrays[path] = {"fault": str(e)}
        except FAULTS as e:
            arrays[path] = {"fault": f"is not readable ({_short(e)}); copy or save the file again"}


def _checked(found: Any, before: int) -> int:
    """Number of values of an array that may be read."""
    if found.external or found.is_virtual:
        raise _UnsupportedError("has its data in another file, which is not followed; save the model in one file")
    if str(found.dtype) != "float32":
        raise _UnsupportedError(f"is of type {str(found.dtype)[:40]}; save the model in float32")
    if found.shape is None or len(found.shape) > MAX_RANK or before + math.prod(found.shape) > MAX_VALUES:
        raise _UnsoundError(f"has the shape {str(found.shape)[:80]}: more than {MAX_VALUES} values; save it again")
    if found.chunks is not None and math.prod(found.chunks) > MAX_VALUES:
        raise _UnsoundError(f"has chunks of more than {MAX_VALUES} values; save the model again")
    properties = found.id.get_create_plist()
    filters = {properties.get_filter(n)[0] for n in range(properties.get_nfilters())}
    if not filters <= PLAIN_FILTERS:
        raise _UnsupportedError(f"is packed by filter {max(filters)}; save the model without it")
    return math.prod(found.shape)


if __name__ == "__main__":
    main()
