"""Packed parameter folders of FINN's BNN-PYNQ networks: one ``L-P-weights.bin`` and ``L-P-thres.bin`` for each PE.

A weight file holds one little-endian 64-bit word for each fold of SIMD synapses, bit 0 first, bit 1 meaning +1; word
``nf * SF + sf`` of PE ``P`` belongs to neuron ``nf * PE + P``. A threshold file holds one 64-bit integer for each of
the PE's neurons. The synapses of a convolution are ordered row, column, channel. The files do not say how wide a word
is, nor which layers are convolutions. Both follow from the sizes for two kinds of network, and all else is refused:

* CNV: six 3 x 3 convolutions of 64, 64, 128, 128, 256 and 256 filters on 3 colours, then dense layers of 512 and 512
  neurons and one for the classes;
* dense layers alone on the 784 pixels of MNIST, such as LFC and SFC.

SIMD is then the fan-in over the synapse folds. Where that is open (the padded input of a dense network, and a last
layer without thresholds) it is the width of the bits in use. FINN pads rows and columns with bits 1; rows are
padding from the number of labels in ``classes.txt`` on, or, without that file, where nothing but 1 follows.

References
----------
Umuroglu et al., FINN, FPGA 2017; Xilinx/BNN-PYNQ (BSD-3-Clause).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError, located
from xnorweave.importers.bnn_pynq import from_arrays
from xnorweave.importers.packed_files import ARCHIVE_SUFFIXES, read_files
from xnorweave.layers import MAX_CHANNELS, MAX_LAYERS
from xnorweave.network import Network

__all__ = ["decode", "from_folder"]

MAX_WEIGHTS = 1 << 26
MAX_THRESHOLD = 1 << 29
WORD_BITS = 64
LABELS = "classes.txt"
_FILE = re.compile(r"([0-9]{1,3})-([0-9]{1,5})-(weights|thres)\.bin\Z")
_CNV_OUTPUTS = (64, 64, 128, 128, 256, 256, 512, 512)
_CNV_FAN_INS = (27, 576, 576, 1152, 1152, 2304, 256, 512, 512)
_MNIST_PIXELS = 784


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layer:
    """Files of one layer: ``words`` uint64 [PE, NF * SF], and ``thresholds`` int64 [PE, NF] where there are any."""

    words: NDArray[np.uint64]
    thresholds: NDArray[np.int64] | None

    @property
    def pes(self) -> int:
        return len(self.words)

    @property
    def bits_in_use(self) -> int:
        return int(self.words.max()).bit_length()


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """Where a layer's words go: ``outputs`` rows, ``synapse_folds * simd`` columns of which ``fan_in`` are in use."""

    outputs: int
    fan_in: int
    synapse_folds: int
    simd: int
    kernel: int


def from_folder(path: Path) -> Network:
    """Read a network from a packed parameter folder, or from a tar archive of one.

    Parameters
    ----------
    path : Path
        The folder, or an archive that ends in ``.tar``, ``.tar.xz`` or ``.tar.gz``.

    Raises
    ------
    NetworkError
        Where files are missing, damaged or too large, or do not fit each other.
    UnsupportedError
        Where they are of no network that can be told from its sizes.
    """
    with located(path):
        files = read_files(path, lambda name: name == LABELS or _FILE.match(name) is not None)
        labels = _labels(files.pop(LABELS, None))
        arrays, notes = decode(files, len(labels))
    return from_arrays(arrays, path, name=_name(path), classes=labels, notes=notes)


def _name(path: Path) -> str:
    name = path.resolve().name
    suffix = max((s for s in ARCHIVE_SUFFIXES if name.lower().endswith(s)), key=len, default="")
    return "".join(c for c in name[: len(name) - len(suffix)] if c.isprintable())[:80] or "network"


def _labels(text: bytes | None) -> tuple[str, ...]:
    """Lines of ``classes.txt``; none where the file is absent."""
    try:
        labels = tuple(line.strip() for line in (text or b"").decode().splitlines() if line.strip())
    except UnicodeDecodeError as e:
        raise NetworkError(f"{LABELS} is no UTF-8 text; write one label a line, or remove it") from e
    if len(labels) > MAX_CHANNELS or any(len(label) > 400 or not label.isprintable() for label in labels):
        raise NetworkError(f"{LABELS} is no list of short printable labels; write one a line, or remove it")
    return labels


def decode(files: dict[str, bytes], classes: int = 0) -> tuple[dict[str, NDArray], tuple[str, ...]]:
    """Arrays of the parameters in natural order, as `from_arrays` takes them, and remarks for the history.

    Parameters
    ----------
    files : dict of str to bytes
        Contents by name.
    classes : int
        Outputs of the last layer that are no padding; 0 where that is not known.

    Returns
    -------
    dict of str to array
        ``{conv,fc}{i}_w`` int8 {-1, +1} [out, in, ky, kx] or [out, in], and where there are thresholds ``_t`` and
        ``_traw`` int32 [out], the signed-sum thresholds and the numbers of the files.
    tuple of str

    Raises
    ------
    NetworkError, UnsupportedError
        Naming the layer or the file.
    """
    layers = _layers(files)
    folds, notes = _folds(layers), list[str]()
    if sum(layer.words.size * fold.simd for layer, fold in zip(layers, folds, strict=True)) > MAX_WEIGHTS:
        raise NetworkError(f"has more than {MAX_WEIGHTS} weights; make the network smaller")
    arrays: dict[str, NDArray] = {}
    dense_from = sum(fold.kernel > 1 for fold in folds)
    for number, (layer, fold) in enumerate(zip(layers, folds, strict=True)):
        name = f"conv{number}" if fold.kernel > 1 else f"fc{number - dense_from}"
        bits, raw = _natural(layer, fold, number)
        if number == len(layers) - 1:
            used = _rows_in_use(bits, classes)
            if used < len(bits):
                notes.append(f"{name}: {len(bits) - used} of {len(bits)} rows are padding")
            bits, raw = bits[:used], None if raw is None else raw[:used]
        arrays[f"{name}_w"] = _weights(bits, fold.kernel)
        if raw is not None:
            arrays |= _thresholds(name, raw, fold.fan_in, pixels=number == 0 and fold.kernel > 1)
        notes.append(f"{name}: PE {layer.pes}, SIMD {fold.simd}")
    return arrays, tuple(notes)


def _layers(files: dict[str, bytes]) -> list[_Layer]:
    pes: dict[int, dict[str, dict[int, str]]] = {}
    for name in files:
        found = _FILE.match(name)
        assert found is not None
        kinds = pes.setdefault(int(found[1]), {"weights": {}, "thres": {}})
        if int(found[2]) in kinds[found[3]]:
            raise NetworkError(f"{name} and {kinds[found[3]][int(found[2])]} are of one PE; remove one of them")
        kinds[found[3]][int(found[2])] = name
    if not pes:
        raise NetworkError("holds no packed parameters; give the folder with 0-0-weights.bin, 0-0-thres.bin, ...")
    if sorted(pes) != list(range(len(pes))) or len(pes) > MAX_LAYERS:
        raise NetworkError(f"has files of layers {_few(sorted(pes))}, not of 0, 1, 2, ...; copy the folder again")
    return [_layer(number, files, **pes[number], last=number == len(pes) - 1) for number in range(len(pes))]


def _layer(
    number: int, files: dict[str, bytes], *, weights: dict[int, str], thres: dict[int, str], last: bool
) -> _Layer:
    if not weights or sorted(weights) != list(range(len(weights))):
        raise NetworkError(
            f"layer {number} has weights of PEs {_few(sorted(weights))}, not of 0, 1, 2, ...; copy the folder again"
        )
    if thres.keys() != weights.keys() and (thres or not last):
        missing = min(weights.keys() ^ thres.keys())
        raise NetworkError(
            f"layer {number} has weights or thresholds of PE {missing}, but not both; copy the folder again "
            "(only the last layer may have no thresholds)"
        )
    thresholds = _words(files, thres).view(np.int64) if thres else None
    return _Layer(words=_words(files, weights), thresholds=thresholds)


def _words(files: dict[str, bytes], names: dict[int, str]) -> NDArray[np.uint64]:
    """Words of all PEs: uint64 [PE, words]."""
    first = files[names[0]]
    for pe in range(len(names)):
        size = len(files[names[pe]])
        if size != len(first) or not size or size % 8:
            raise NetworkError(
                f"{names[pe]} has {size} bytes, {names[0]} has {len(first)}: not the same number of 64-bit words, or "
                "none; copy the folder again"
            )
    data = b"".join(files[names[pe]] for pe in range(len(names)))
    return np.frombuffer(data, "<u8").astype(np.uint64).reshape(len(names), -1)


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")


def _folds(layers: list[_Layer]) -> list[_Fold]:
    """The layout of every layer, in the only network that the sizes allow."""
    outputs = [layer.thresholds.size for layer in layers if layer.thresholds is not None]
    if max(outputs, default=0) > MAX_CHANNELS:
        raise NetworkError(f"a layer has {max(outputs)} thresholds, more than {MAX_CHANNELS}; make it smaller")
    if len(layers) == len(_CNV_FAN_INS) and tuple(outputs[:8]) == _CNV_OUTPUTS:
        fan_ins, kernels = _CNV_FAN_INS, (3, 3, 3, 3, 3, 3, 1, 1, 1)
    else:
        fan_ins, kernels = (_MNIST_PIXELS, *outputs)[: len(layers)], (1,) * len(layers)
    return [
        _fold(number, *sizes, padded=number == 0 and kernels[0] == 1)
        for number, sizes in enumerate(zip(layers, fan_ins, kernels, strict=True))
    ]


def _fold(number: int, layer: _Layer, fan_in: int, kernel: int, *, padded: bool) -> _Fold:
    words, used = layer.words.shape[1], layer.bits_in_use
    if layer.thresholds is None:
        folds = fan_in // used if used and fan_in % used == 0 else 0
    else:
        folds = words // layer.thresholds.shape[1]
    simd = 0
    if folds and words % folds == 0:
        exact = fan_in // folds if fan_in % folds == 0 else 0
        if used <= exact <= WORD_BITS:
            simd = exact
        elif padded and folds * used >= fan_in:
            simd = used
    if not simd:
        found = "no" if layer.thresholds is None else layer.thresholds.size
        raise UnsupportedError(
            f"layer {number} has {layer.pes} x {words} words of {used} bits in use and {found} thresholds, which is no "
            f"layer on {fan_in} inputs; known are CNV on 3x32x32 pixels and dense networks on {_MNIST_PIXELS}, with "
            "1-bit weights and activations: give other networks as ONNX or .npz"
        )
    return _Fold(outputs=words // folds * layer.pes, fan_in=fan_in, synapse_folds=folds, simd=simd, kernel=kernel)


def _natural(layer: _Layer, fold: _Fold, number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Bits [out, fan_in] and thresholds [out] by neuron and synapse."""
    words = layer.words.reshape(layer.pes, -1, fold.synapse_folds).transpose(1, 0, 2)
    octets = np.ascontiguousarray(words.astype("<u8")).view(np.uint8).reshape(fold.outputs, fold.synapse_folds, 8)
    bits = np.unpackbits(octets, axis=-1, count=fold.simd, bitorder="little").reshape(fold.outputs, -1)
    if not bits[:, fold.fan_in :].all():
        raise NetworkError(
            f"layer {number} has {bits.shape[1]} synapses, and those from {fold.fan_in} on are not all 1 as padding "
            f"is; only {fold.fan_in} inputs are known here: give the network as ONNX or .npz"
        )
    raw = None if layer.thresholds is None else layer.thresholds.T.ravel()
    return bits[:, : fold.fan_in], raw


def _rows_in_use(bits: NDArray[np.uint8], classes: int) -> int:
    """Rows of the last layer that are no padding."""
    mixed = int(max(np.flatnonzero(~bits.all(1)), default=-1)) + 1
    if classes and not mixed <= classes <= len(bits):
        raise NetworkError(
            f"{LABELS} has {classes} labels, but the last layer {len(bits)} rows, of which {mixed} are no padding; "
            "mend or remove that file"
        )
    return classes or mixed or len(bits)


def _weights(bits: NDArray[np.uint8], kernel: int) -> NDArray[np.int8]:
    weights = 2 * bits.astype(np.int8) - np.int8(1)
    if kernel == 1:
        return weights
    return np.ascontiguousarray(weights.reshape(len(bits), kernel, kernel, -1).transpose(0, 3, 1, 2))


def _thresholds(name: str, raw: NDArray[np.int64], fan_in: int, *, pixels: bool) -> dict[str, NDArray]:
    """Thresholds of signed sums: of pixels with 7 fraction bits against 8, or of counts of agreeing bits."""
    beyond = (raw > MAX_THRESHOLD) | (raw < -MAX_THRESHOLD)
    if beyond.any():
        raise NetworkError(
            f"{name}: threshold {int(raw[beyond][0])} is beyond {MAX_THRESHOLD}, which no sum reaches; pack the "
            "network again"
        )
    signed = raw // 2 + 1 if pixels else 2 * (raw + 1) - fan_in
    return {f"{name}_t": signed.astype(np.int32), f"{name}_traw": raw.astype(np.int32)}
