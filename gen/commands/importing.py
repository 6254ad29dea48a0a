"""Import, and the check of what was imported against the framework's own evaluation."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.commands.options import ImportOptions
from xnorweave.commands.source import Report, find_network, head
from xnorweave.console import Stages
from xnorweave.errors import MismatchError, UnsupportedError, located
from xnorweave.images import load_images
from xnorweave.importers.folding.signals import Activations, Classes
from xnorweave.importers.onnx_graph import OnnxImport, read_onnx
from xnorweave.importers.onnx_graph.frameworks import INSTALL, evaluator, package_for
from xnorweave.network import Network, Scale
from xnorweave.network_file import save_network
from xnorweave.sim import golden

__all__ = ["import_"]

MAX_BATCH_VALUES = 1 << 24


def import_(text: str, output: Path, options: ImportOptions, stages: Stages) -> Report:
    """Read a network, check it where it is an ONNX graph, and write it as a file of ours.

    Parameters
    ----------
    text : str
        A file that can be imported, or the word of a shipped network.
    output : Path
        The file to write; nothing is written where the check fails.
    options : ImportOptions
        What a pixel is, and which images to check.
    stages : Stages
        Told how far it is.

    Raises
    ------
    NetworkError, UnsupportedError
        As `find_network`; where images are given for a file that no framework evaluates.
    DataError
        Where the images given do not fit.
    MismatchError
        Where the framework gives another answer for an image.
    ToolchainError
        Where the framework does not evaluate the graph.
    """
    path = Path(text)
    if path.suffix.lower() != ".onnx" or not os.path.exists(text):  # noqa: PTH110 -- as in source.py
        network = find_network(text, pixels=options.pixels).network
        if options.data is not None:
            raise UnsupportedError(
                f"{text}: --check-data compares an ONNX graph with its framework, and this is none; leave it out, and "
                "run images with `xnorweave simulate --data`"
            )
        save_network(network, output)
        return head(network) | {"written": str(output)}
    imported = read_onnx(path, options.pixels)
    images = _images(imported, options)
    with located(path):
        check = _check(imported, images, stages)
    if options.images and "package" in check:
        check["seed"] = options.seed
    save_network(imported.network, output)
    return head(imported.network) | {"check": check, "written": str(output)}


def _images(imported: OnnxImport, options: ImportOptions) -> dict[str, NDArray[np.uint8]]:
    """Frames to check with, by what an error calls one of them."""
    sets: dict[str, NDArray[np.uint8]] = {}
    if options.images:
        shape = (options.images, *imported.network.input.shape)
        sets["random image"] = np.random.default_rng(options.seed).integers(0, 256, shape, dtype=np.uint8)
    if options.data is not None:
        sets[f"image of {options.data.name}"] = load_images(options.data, imported.network).frames
    return sets


def _check(imported: OnnxImport, sets: dict[str, NDArray[np.uint8]], stages: Stages) -> dict[str, Any]:
    """Part ``check`` of the report."""
    if not sets:
        return {"left_out": "no images asked for"}
    batch, features = imported.image.layout.batch, imported.image.layout.order.size
    if batch * features > MAX_BATCH_VALUES:
        return {"left_out": f"a batch of {batch} images is too large to evaluate here; export with a batch of 1"}
    package = package_for(imported.graph)
    indices = isinstance(imported.answer, Classes) and imported.answer.scores is None
    run = evaluator(imported.graph, indices=indices)
    if run is None:
        return {"left_out": f"needs the package {package}: {INSTALL[package]}"}
    compared, done = set[str](), 0
    stages.start(f"comparing with {package}", sum(map(len, sets.values())))
    for kind, frames in sets.items():
        result = golden.run(imported.network, frames)
        for number, image in enumerate(imported.inputs(frames)):
            scores = None if result.scores is None else result.scores[number]
            answers = [array.reshape(len(image), -1)[0] for array in run(image)]
            for what, theirs, ours in _answers(imported, answers, result.outputs[number], scores):
                compared.add(what)
                if not np.array_equal(theirs, ours):
                    raise MismatchError(
                        f"{kind} {number}: {package} gives {what} {_shown(theirs, ours)}, the imported network "
                        f"{_shown(ours, theirs)}; nothing was written: please report this with the file"
                    )
            done += 1
            stages.advance(done)
    return {
        "package": package,
        "images": sum(map(len, sets.values())),
        "mismatches": 0,
        "compared": sorted(compared),
    }


def _answers(
    imported: OnnxImport, answers: list[NDArray], outputs: NDArray, ours: NDArray[np.integer] | None
) -> Iterator[tuple[str, NDArray, NDArray]]:
    """What is compared of one image: its name, the framework's values and ours."""
    answer = answers[0]
    match imported.answer:
        case Activations(values=values):
            levels = values.shape[1] - 1
            distances = np.abs(answer[:, None] - np.repeat(values, outputs[0].size, axis=0))
            # Counts of thresholds reached; of one threshold they are bits.
            what = "bits" if levels == 1 else "levels"
            yield what, distances.argmin(1), (outputs.ravel().astype(np.int64) + levels) // 2
        case Classes(scores=given, ours=rule):
            assert ours is not None
            theirs = answers[1] if given is None else answer
            if len(set(rule[0])) == 1 or _told_apart(theirs, rule):
                yield "class", answer.astype(np.int64) if given is None else np.array([answer.argmax()]), outputs[None]
            yield from _sums(theirs, rule, _without_scale(imported.network, ours))


def _without_scale(network: Network, scores: NDArray[np.integer]) -> NDArray[np.integer] | None:
    """The sums behind scores; None where a factor of 0 leaves nothing of them."""
    scale = next((layer for layer in network.layers if isinstance(layer, Scale)), None)
    if scale is None:
        return scores
    return (scores - scale.offsets) // scale.factors if scale.factors.all() else None


def _told_apart(scores: NDArray, rule: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]) -> bool:
    """Whether float32 can tell the largest score from the others, where the exact ones decide."""
    second, first = np.sort(scores)[-2:]
    return bool(first - second > 8 * _rounding(scores, rule))


def _rounding(scores: NDArray, rule: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]) -> float:
    """How far float32 rounds scores, or the offsets in them, at most."""
    return float(np.spacing(np.float32(max(np.abs(scores).max(), *(abs(float(offset)) for offset in rule[1])))))


def _sums(
    scores: NDArray, rule: tuple[tuple[Fraction, ...], tuple[Fraction, ...]], sums: NDArray[np.integer] | None
) -> Iterator[tuple[str, NDArray, NDArray]]:
    """The integer sums behind the framework's scores, and ours, as far as float32 tells neighbours apart."""
    scales, offsets = (np.array([float(value) for value in values]) for values in rule)
    told = 8 * _rounding(scores, rule) < np.abs(scales) / 4
    if told.all() and sums is not None:
        yield "sums", np.rint((scores.astype(np.float64) - offsets) / scales), sums


def _shown(values: NDArray, other: NDArray) -> str:
    """The first value that differs, and where."""
    if values.shape != other.shape:
        return f"of shape {list(values.shape)}"
    place = int(np.flatnonzero(values != other)[0])
    return f"{values[place]:g}{f' at {place}' if values.size > 1 else ''}"
