"""From a model's description to its layers, one behind the other."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding.files import quoted

__all__ = ["LayerConfig", "chain_of"]

MAX_LAYERS = 512
MODULES = ("keras", "keras_core", "larq", "tensorflow", "tf_keras")


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerConfig:
    """One layer as the file describes it.

    Parameters
    ----------
    kind, name : str
        Its class and its name.
    config : dict
        Its options.
    numbered_name : str
        Its class in snake case, with a number behind it from the second one on.
    """

    kind: str
    name: str
    config: dict[str, Any]
    numbered_name: str

    @property
    def label(self) -> str:
        """Class and name, for errors."""
        return f"{quoted(self.kind)[1:-1]} {quoted(self.name)}"


def chain_of(model: dict[str, Any]) -> tuple[LayerConfig, ...]:
    """The layers in the order in which the image goes through them.

    The shape of an image is the option ``batch_shape`` of the first, as Keras 3 has it.

    Raises
    ------
    NetworkError
        Where the description is not sound.
    UnsupportedError
        Where the model is neither Sequential nor one chain.
    """
    kind, config = model.get("class_name"), model.get("config")
    if kind not in ("Sequential", "Functional", "Model"):
        raise UnsupportedError(
            f"is a model of the class {quoted(kind)}; only Sequential, or Functional that is one chain, is supported"
        )
    if isinstance(config, list):  # of a Sequential before Keras 2.2.3
        config = {"layers": config}
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list) or not config["layers"]:
        raise NetworkError("its description has no list of layers; save the whole model again")
    entries = config["layers"]
    if len(entries) > MAX_LAYERS or not all(isinstance(entry, dict) for entry in entries):
        raise NetworkError(f"its {len(entries)} layers are more than {MAX_LAYERS}, or no objects; save the model again")
    layers = _layers(entries)
    if kind != "Sequential":
        return _followed(layers, entries, config)
    first = layers[0].config
    shape = first.get("batch_shape", first.get("batch_input_shape", config.get("build_input_shape")))
    first["batch_shape"] = shape
    return tuple(layers)


def _layers(entries: list[dict[str, Any]]) -> list[LayerConfig]:
    used, names, layers = Counter[str](), set[str](), []
    for entry in entries:
        kind, config = entry.get("class_name"), entry.get("config")
        if not isinstance(kind, str) or not isinstance(config, dict):
            raise NetworkError("a layer has no class or no options; save the model again")
        name = config.get("name", entry.get("name"))
        module = entry.get("module")
        if not isinstance(name, str) or name in names:
            raise NetworkError(f"layer name {quoted(name)} is there twice, or no text; name each layer once")
        if module is not None and str(module).split(".")[0] not in MODULES:
            raise UnsupportedError(
                f"layer {quoted(kind)[1:-1]} {quoted(name)}: is of the module {quoted(module)}; only layers of Keras "
                "and Larq are supported"
            )
        snake = _snake_case(kind)
        numbered = f"{snake}_{used[snake]}" if used[snake] else snake
        used[snake] += 1
        names.add(name)
        layers.append(LayerConfig(kind=kind, name=name, config=dict(config), numbered_name=numbered))
    return layers


def _snake_case(name: str) -> str:
    """As Keras makes it of a class name."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _followed(
    layers: list[LayerConfig], entries: list[dict[str, Any]], config: dict[str, Any]
) -> tuple[LayerConfig, ...]:
    """The layers of a Functional model from its one input to its one output."""
    by_name = {layer.name: layer for layer in layers}
    before = {layer.name: _source(layer, entry) for layer, entry in zip(layers, entries, strict=True)}
    first, last = (_end(config.get(what), what) for what in ("input_layers", "output_layers"))
    chain: list[LayerConfig] = []
    name: str | None = last
    while name is not None:
        if name not in by_name or len(chain) > len(layers):
            raise NetworkError(f"layer {quoted(name)} is missing, or behind itself; save the model again")
        chain.append(by_name[name])
        name = before[name]
    chain.reverse()
    if chain[0].name != first or len(chain) != len(layers):
        left = next((layer for layer in layers if layer not in chain), chain[0])
        raise UnsupportedError(
            f"layer {left.label}: is not on the one chain from input to output; only chains are supported: train "
            "without the branch"
        )
    return tuple(chain)


def _end(value: Any, what: str) -> str:
    """The one layer in ``input_layers`` or ``output_layers``."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        count = len(value) if isinstance(value, list) else 0
        raise UnsupportedError(f"its {what} are {count}, not one; only one input and one output are supported")
    return value[0]


def _source(layer: LayerConfig, entry: dict[str, Any]) -> str | None:
    """Name of the layer whose output a layer takes; None of the input."""
    nodes = entry.get("inbound_nodes")
    if nodes == [] or nodes is None:
        return None
    tensors, options = list[Any](), dict[str, Any]()
    if isinstance(nodes, list) and len(nodes) == 1:
        node = nodes[0]
        if isinstance(node, list):  # Keras 2: [[name, node, tensor, options]]
            node = [node] if node and isinstance(node[0], str) else node
            tensors = [tensor[0] for tensor in node if isinstance(tensor, list) and len(tensor) > 2]
            options = next((t[3] for t in node if isinstance(t, list) and len(t) > 3 and t[3]), {})
            tensors = tensors if len(tensors) == len(node) else []
        elif isinstance(node, dict) and isinstance(node.get("args"), list):
            tensors = [_history(argument) for argument in node["args"]]
            options = node.get("kwargs") or {}
    if len(tensors) > 1:
        raise UnsupportedError(
            f"layer {layer.label}: joins {len(tensors)} branches, as a residual connection does; only chains are "
            "supported, in which each layer takes the one before it: train without the branch"
        )
    if len(tensors) != 1 or not isinstance(tensors[0], str):
        raise UnsupportedError(
            f"layer {layer.label}: has not exactly one input, or is used twice; only chains are supported: train "
            "without the branch"
        )
    if not isinstance(options, dict) or any(value not in (None, False) for value in options.values()):
        raise UnsupportedError(f"layer {layer.label}: is called with options; call it with its input alone")
    return tensors[0]


def _history(argument: Any) -> Any:
    """Name of the layer that gives a tensor, as Keras 3 writes it."""
    config = argument.get("config") if isinstance(argument, dict) else None
    history = config.get("keras_history") if isinstance(config, dict) else None
    return history[0] if isinstance(history, list) and history else None
