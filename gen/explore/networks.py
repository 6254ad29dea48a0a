"""The networks that an exploration builds: the one given or trained, and those with codebooks in its place."""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xnorweave.commands import TrainOptions, find_network, train
from xnorweave.commands.compressing import split_images
from xnorweave.commands.source import Source
from xnorweave.console import Stages
from xnorweave.errors import ExploreError
from xnorweave.explore.candidate import content_digest
from xnorweave.explore.store import ResultStore
from xnorweave.explore.work import Subject, estimate_versions
from xnorweave.images import load_images
from xnorweave.network import Network
from xnorweave.network_file import load_network, network_digest, save_network
from xnorweave.passes.compress import Examples, with_codebooks
from xnorweave.sim import golden
from xnorweave.training.presets import PRESETS

__all__ = ["Variant", "check_codes", "find_source", "is_recipe", "variants"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A network to build.

    Parameters
    ----------
    subject : Subject
        The network.
    codes : int, optional
        Kernels of its codebooks; None of the network as it was given.
    file : str
        What to call it on a command line.
    images, correct : int, optional
        Images that it was tried on, and of how many it gives the class.
    """

    subject: Subject
    codes: int | None
    file: str
    images: int | None = None
    correct: int | None = None

    @property
    def accuracy_percent(self) -> float | None:
        """Share of the images that it gets right; None where there are none."""
        if self.images is None or self.correct is None:
            return None
        return round(100 * self.correct / self.images, 4)


def find_source(text: str, folder: Path, stages: Stages) -> tuple[Source, str]:
    """The network that ``text`` names, trained into ``folder`` where it names a recipe; and how to call it.

    Raises
    ------
    NetworkError, UnsupportedError
        Where there is no such network, or none of ours equals it.
    TrainingError, DataError
        Where the recipe cannot be trained.
    """
    if not is_recipe(text):
        return find_network(text), text
    recipe = text.encode() if text in PRESETS else Path(text).read_bytes()
    path = folder / f"trained_{hashlib.sha256(recipe).hexdigest()[:12]}.npz"
    if not path.is_file():
        folder.mkdir(exist_ok=True)
        options = TrainOptions(checkpoint=path.with_suffix(".checkpoint"))
        train(text, path, options, stages)
    return Source(network=load_network(path)), f"{folder.name}/{path.name}"


def is_recipe(text: str) -> bool:
    """Whether it names a preset, or a TOML file of a recipe: other TOML files describe the layers of a network."""
    if text in PRESETS:
        return True
    path = Path(text)
    if path.suffix.lower() != ".toml" or not path.is_file():
        return False
    try:
        return "fit" in tomllib.loads(path.read_text("utf-8"))
    except ValueError:
        return False


def check_codes(codes: Sequence[int], data: Path | None) -> None:
    """Raise ExploreError where there are codebooks to try, and no images to try them on."""
    if codes and data is None:
        raise ExploreError(f"--codes {codes[0]}: no images to refit and try it on; give some with --data D.npz")


def variants(
    source: Source,
    name: str,
    *,
    data: Path | None,
    codes: Sequence[int],
    folder: Path,
    store: ResultStore,
    stages: Stages,
) -> list[Variant]:
    """The network, and one for each size of codebooks, all tried on the same images.

    Parameters
    ----------
    source : Source
        The network.
    name : str
        What to call it on a command line.
    data : Path, optional
        Images with labels, none of them a test image.
    codes : sequence of int
        Sizes of codebooks.
    folder : Path
        For the networks with codebooks.
    store : ResultStore
        What has been tried is not tried again.
    stages : Stages
        Told how far it is.

    Raises
    ------
    ExploreError
        Where there are codebooks without images.
    DataError, UnsupportedError
        Where the images do not fit, or the network has no kernels to replace.
    """
    network = source.network
    check_codes(codes, data)
    if data is None:
        return [Variant(subject=_subject(network), codes=None, file=name)]
    images = load_images(data, network)
    calibration, validation = split_images(network, images, str(data), 0)
    digest = hashlib.sha256(images.frames.tobytes() + np.asarray(images.labels).tobytes()).hexdigest()
    found = []
    stages.start("networks to try", 1 + len(codes))
    for done, size in enumerate((None, *codes)):
        stages.note("as it is" if size is None else f"codebooks of {size} kernels")
        made, file = (network, name) if size is None else _with_codes(network, calibration, size, digest, folder)
        subject = _subject(made)
        correct = _tried(subject, validation, digest, store)
        found.append(Variant(subject=subject, codes=size, file=file, images=len(validation.labels), correct=correct))
        stages.advance(done + 1)
    return found


def _subject(network: Network) -> Subject:
    return Subject(digest=network_digest(network).hex(), network=network)


def _with_codes(network: Network, calibration: Examples, codes: int, images: str, folder: Path) -> tuple[Network, str]:
    """The network with codebooks, from its file where that is there: its name tells what it is made of."""
    key = content_digest(network_digest(network).hex(), images, codes, estimate_versions())
    path = folder / f"codebook{codes}_{key[:12]}.npz"
    if not path.is_file():
        folder.mkdir(exist_ok=True)
        save_network(with_codebooks(network, calibration, codes, run_layers=golden.run_layers), path)
    return load_network(path), f"{folder.name}/{path.name}"


def _tried(subject: Subject, validation: Examples, images: str, store: ResultStore) -> int:
    key = content_digest("accuracy", subject.digest, images, estimate_versions())
    result = store.get(key)
    if result is None:
        count = len(subject.network.layers)
        classes = golden.run_layers(subject.network, validation.values, 0, count)
        result = {"correct": int((classes == validation.labels).sum())}
        store.put(key, result)
    return int(result["correct"])
