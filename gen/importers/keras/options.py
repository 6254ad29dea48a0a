"""Options of a layer: each is known and checked, of no effect on inference, or refused."""

from collections.abc import Collection

import numpy as np

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding import rules
from xnorweave.importers.folding.files import quoted
from xnorweave.importers.folding.rules import Rule
from xnorweave.importers.keras.chain import MODULES, LayerConfig

__all__ = ["SOFTMAX", "Quantizer", "check_options", "floating", "number", "pair", "quantizer", "shown", "whole"]

Quantizer = Rule | None
"""What it does, or None for nothing."""

SOFTMAX = Rule(apply=lambda x: x)
"""Not applied: it keeps the order of the scores, so the class."""

_NEVER_MATTER = {"name", "trainable", "batch_shape", "batch_input_shape", "input_dtype", "sparse", "ragged", "optional"}
_TRAINING = ("_initializer", "_regularizer", "_constraint")
_SIGNS = {"ste_sign", "SteSign", "approx_sign", "ApproxSign", "swish_sign", "SwishSign"}
_STEPS = {"ste_heaviside", "SteHeaviside"}
_TERNARY = {"ste_tern", "SteTern"}
_DOREFA = {"dorefa_quantizer", "DoReFa", "DoReFaQuantizer"}
_KNOWN = "ste_sign, approx_sign, SwishSign, ste_heaviside, and on activations ste_tern or DoReFa of 1 to 4 bits"
_SETTINGS = {"dtype", "clip_value", "beta", "metrics", "precision", *_NEVER_MATTER}
MOST_BITS = 4


def check_options(layer: LayerConfig, known: Collection[str]) -> None:
    """Refuse options that are set and not known, and computing in anything but float32."""
    for name, value in layer.config.items():
        if name in known or name in _NEVER_MATTER or name.endswith(_TRAINING):
            continue
        if name == "dtype":
            settings = value.get("config") if isinstance(value, dict) else None
            dtype = settings.get("name") if isinstance(settings, dict) else value
            if dtype not in ("float32", None):
                raise UnsupportedError(f"computes in {quoted(dtype)}; train it in float32")
        elif value not in (None, False, [], {}):
            raise UnsupportedError(f"option {quoted(name)} = {quoted(value)} is not known here; train it without")


def shown(value: object) -> str:
    """A value of the file as an error may show it, without quotes."""
    return quoted(value)[1:-1]


def whole(layer: LayerConfig, name: str, default: int | None = None) -> int:
    """An option that is a whole number above 0."""
    value = layer.config.get(name, default)
    if type(value) is not int or not 0 < value < 1 << 31:
        raise NetworkError(f"{name}={shown(value)} is no whole number above 0; save the model again")
    return value


def pair(layer: LayerConfig, name: str, default: int | None = None) -> tuple[int, int]:
    """An option that is a whole number above 0 for rows and one for columns."""
    value = layer.config.get(name)
    value = default if value is None else value
    numbers = [value, value] if type(value) is int else value
    if (
        not isinstance(numbers, list)
        or len(numbers) != 2
        or not all(type(n) is int and 0 < n < 1 << 31 for n in numbers)
    ):
        raise NetworkError(f"{name}={shown(value)} is not one or two whole numbers above 0; save the model again")
    return numbers[0], numbers[1]


def number(value: object, name: str) -> np.float32:
    """A finite number, in float32."""
    if type(value) not in (int, float) or not abs(value) < 3e38:  # pyright: ignore[reportArgumentType]
        raise NetworkError(f"{name}={shown(value)} is no number that float32 holds; save the model again")
    return np.float32(value)  # pyright: ignore[reportArgumentType]


def floating(layer: LayerConfig, name: str, default: float) -> np.float32:
    """An option that is a finite number, in float32."""
    return number(layer.config.get(name, default), name)


def quantizer(value: object, what: str) -> Quantizer:
    """What the text or the object says that stands for a quantizer or an activation.

    Raises
    ------
    UnsupportedError
        Where it is not known.
    """
    settings: object = {}
    name = value
    if isinstance(value, dict):
        name, settings = value.get("class_name"), value.get("config")
        if name == "function":
            name, settings = settings, {}
        module = value.get("module")
        if module is not None and str(module).split(".")[0] not in (*MODULES, "builtins"):
            raise UnsupportedError(
                f"{what} is of the module {quoted(module)}; only those of Keras and Larq are supported"
            )
    if name in (None, "linear", "NoOp", "NoOpQuantizer"):
        return None
    if name == "softmax":
        return SOFTMAX
    if not isinstance(name, str) or name not in _SIGNS | _STEPS | _TERNARY | _DOREFA:
        raise UnsupportedError(f"{what}={shown(name)} is not supported; use {_KNOWN}")
    own = {"threshold_value", "ternary_weight_networks"} if name in _TERNARY else set[str]()
    own |= {"k_bit", "mode"} if name in _DOREFA else set()
    if not isinstance(settings, dict) or not settings.keys() <= _SETTINGS | own:
        raise UnsupportedError(f"{what}={shown(name)} has settings that are not known here: {shown(settings)}")
    clip = settings.get("clip_value")
    if clip is not None and number(clip, "clip_value") <= 0:
        raise UnsupportedError(f"clip_value={shown(clip)} of {what} leaves nothing; give one above 0")
    if name in _TERNARY:
        return _ternary(settings, what)
    if name in _DOREFA:
        return _dorefa(settings, what)
    return rules.HEAVISIDE if name in _STEPS else rules.BIPOLAR


def _ternary(settings: dict[str, object], what: str) -> Rule:
    """Larq's ``ste_tern``, whose threshold is given: one computed of all values would be another for each image."""
    if settings.get("ternary_weight_networks") not in (None, False):
        raise UnsupportedError(
            f"{what}=ste_tern computes its threshold for each image; leave ternary_weight_networks out"
        )
    value, clip = settings.get("threshold_value", 0.05), settings.get("clip_value", 1.0)
    threshold, most = (
        number(value, "threshold_value"),
        np.float32(np.inf if clip is None else number(clip, "clip_value")),
    )
    if not 0 <= threshold < most:
        raise UnsupportedError(f"threshold_value={shown(value)} of {what} is not from 0 to below its clip_value")
    return rules.ternary(threshold)


def _dorefa(settings: dict[str, object], what: str) -> Rule:
    """Larq's ``DoReFa`` on activations."""
    bits, mode = settings.get("k_bit", 2), settings.get("mode", "activations")
    if mode != "activations":
        raise UnsupportedError(f"{what}=DoReFa has mode={shown(mode)}; use it on activations, and ste_sign on kernels")
    if type(bits) is not int or not 1 <= bits <= MOST_BITS:
        raise UnsupportedError(f"k_bit={shown(bits)} of {what} is not supported; nearest: 1 to {MOST_BITS}")
    return rules.dorefa(bits)
