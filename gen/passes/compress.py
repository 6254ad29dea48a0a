"""Compression within an accuracy budget: which layers' kernels become similar ones, and how many each layer keeps.

`compress` looks for the network that costs least while it gets at most so many more validation images wrong. How
kernels are replaced is in `xnorweave.passes.similar`; here is the search:

1. Each convolution is compressed alone, down a ladder of sizes. At each rung its cost is measured, and how many images
   the network then gets right; the ladder ends where it loses more than the budget.
2. Losses of layers nearly add up. So the steps of all ladders are put in one order, by what a step saves for each image
   that it loses (the lower convex hull of each layer's cost over loss): every prefix of it is a candidate.
3. Candidates are built whole, all thresholds refitted in the order of the layers, each on what the compressed ones
   before it give; bisection finds a longest prefix within the budget. Steps left out are then tried once more, best
   first.

Only the images given are looked at: some to measure how windows vary and to refit thresholds, the others to count right
answers. The result depends on the network, the images, the options and the seed alone.
"""

import dataclasses
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from xnorweave.cost import CostFamily
from xnorweave.errors import DataError, UnsupportedError
from xnorweave.network import Add, Conv2D, Layer, Network, Threshold
from xnorweave.passes.kernels import count_kernels
from xnorweave.passes.share import share_network
from xnorweave.passes.similar import KernelRanking, Moments, rank_kernels, refit, replace_kernels, window_moments

__all__ = [
    "OBJECTIVES",
    "UNITS",
    "CompressOptions",
    "Compression",
    "Examples",
    "Objective",
    "Point",
    "compress",
    "compressible",
    "with_codebooks",
]

Objective = Literal["luts", "additions", "kernel-evaluations", "block-ram"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
UNITS = ("kernel_evaluations", "additions", "adder_bits", "luts", "weight_bits")
_UNIT_OF: dict[Objective, str] = {
    "luts": "luts",
    "additions": "additions",
    "kernel-evaluations": "kernel_evaluations",
    "block-ram": "weight_bits",
}

RunLayers = Callable[[Network, NDArray, int, int], NDArray]
"""Runs layers ``start`` to ``stop - 1`` of a network on values [N, height, width, channels]: `golden.run_layers`."""

_COUNTED_IN_WEIGHTS = ("kernel_evaluations", "weight_bits")
_STEP = 0.75
_FEWEST_CODES = 2
_INDEX_BITS = (4, 3, 2, 1)
_MOST_LATE_TRIES = 12


@dataclass(frozen=True, kw_only=True)
class CompressOptions:
    """What to look for.

    Parameters
    ----------
    max_loss : float
        Percent of the validation images that may be lost, beyond those that the network has wrong already.
    objective : {"luts", "additions", "kernel-evaluations", "block-ram"}
        What to lower, of the convolutions together: estimated LUT places of the family when they are wired; adders;
        distinct kernels of each input channel up to inversion, the paper's count; or bits of block RAM when they are
        folded with a codebook for the layer.
    layers : tuple of str, optional
        Convolutions to compress; all of them where absent.
    family : {"ice40", "ecp5"}
        Whose LUT places are estimated.
    seed : int
        Of the choice of windows.
    """

    max_loss: float = 1.0
    objective: Objective = "luts"
    layers: tuple[str, ...] | None = None
    family: CostFamily = "ice40"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.max_loss <= 100:
            raise UnsupportedError(f"max_loss={self.max_loss!r} is not a percentage from 0 to 100")
        if self.objective not in OBJECTIVES:
            raise UnsupportedError(f"objective {self.objective!r} is unknown; use one of {', '.join(OBJECTIVES)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Images as the first layer sees them.

    Parameters
    ----------
    values : int array [N, height, width, channels]
        Pixels through the table, or -1 and +1.
    labels : int array [N]
        The right classes.
    """

    values: NDArray
    labels: NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A network of the search.

    Parameters
    ----------
    codes : dict of str to int
        Distinct kernels up to inversion that each compressed layer may keep: of all its input channels, or with the
        objective ``block-ram`` for the layer. Layers left as they are, are absent.
    correct : int
        Validation images that it gets right.
    units : dict of str to int
        ``kernel_evaluations``, ``additions``, ``adder_bits``, ``luts`` and ``weight_bits`` of the layers looked at.
    """

    codes: dict[str, int]
    correct: int
    units: dict[str, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Compression:
    """What the search found.

    Parameters
    ----------
    network : Network
        The cheapest within the budget; the given one, with its history, where nothing could be saved.
    before, after : Point
        The network given, and this one.
    alone : tuple of Point
        Each layer compressed alone, with the objective's unit only.
    trajectory : tuple of Point
        Whole networks measured, the most expensive first.
    validation_images : int
        How many ``correct`` counts.
    """

    network: Network
    before: Point
    after: Point
    alone: tuple[Point, ...]
    trajectory: tuple[Point, ...]
    validation_images: int


@dataclass(frozen=True, kw_only=True)
class _Rung:
    codes: int
    lost: int
    cost: int


@dataclass(kw_only=True, eq=False)
class _Site:
    """A convolution to compress."""

    number: int
    layer: Conv2D
    moments: Moments
    ranking: KernelRanking
    rungs: list[_Rung]
    replaced: dict[int, Conv2D] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Step:
    """From one rung of a layer's hull to the next."""

    layer: str
    codes: int
    saving: int
    lost: int


def compressible(network: Network) -> tuple[str, ...]:
    """Names of the convolutions that have 2-D kernels to share."""
    return tuple(
        layer.name
        for layer in network.layers
        if isinstance(layer, Conv2D) and layer.weights[0, 0].size > 1 and len(layer.weights) > layer.groups
    )


def with_codebooks(
    network: Network, calibration: Examples, codes: int, *, run_layers: RunLayers, seed: int = 0
) -> Network:
    """The network with at most ``codes`` distinct kernels up to inversion in each convolution, whatever that loses.

    Thresholds are refitted on the calibration images, in the order of the layers; nothing is searched.

    Parameters
    ----------
    network : Network
        One that ends in an `ArgMax`; not changed.
    calibration : Examples
        To measure windows and refit thresholds on.
    codes : int
        2 to 16.
    run_layers : callable
        The golden model.
    seed : int
        Of the choice of windows.

    Raises
    ------
    UnsupportedError
        Where the network has no class, residual additions or no kernels to share, or for another number of codes.
    """
    most = 2 ** _INDEX_BITS[0]
    if not _FEWEST_CODES <= codes <= most:
        raise UnsupportedError(f"codes={codes}: a codebook has {_FEWEST_CODES} to {most} kernels; choose one of these")
    options = CompressOptions(objective="block-ram", seed=seed)
    _check(network, calibration, calibration, options)
    if not compressible(network):
        raise UnsupportedError(f"{network.name}: no convolution has 2-D kernels to share; leave codebooks out")
    search = _Search(
        network=network, options=options, calibration=calibration, validation=calibration, run_layers=run_layers
    )
    return search.with_codebooks(codes)


def compress(
    network: Network,
    calibration: Examples,
    validation: Examples,
    options: CompressOptions,
    *,
    run_layers: RunLayers,
    store: MutableMapping[str, Any] | None = None,
    workers: int = 1,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Compression:
    """Find the cheapest network of similar kernels within the budget.

    Parameters
    ----------
    network : Network
        One that ends in an `ArgMax`; not changed.
    calibration, validation : Examples
        To measure windows and refit thresholds on; to count right answers on.
    options : CompressOptions
        What to look for.
    run_layers : callable
        The golden model.
    store : mutable mapping, optional
        What was measured, as JSON can hold it; what it has is not measured again, so that a search goes on where it was
        ended. Only for one network, set of images and options.
    workers : int
        Of `share_network`.
    progress : callable
        Called with what is measured next, how much is done, and of how much.

    Raises
    ------
    UnsupportedError
        Where the network has no class or residual additions, or a layer named is no convolution with kernels to share.
    """
    _check(network, calibration, validation, options)
    search = _Search(
        network=network,
        options=options,
        calibration=calibration,
        validation=validation,
        run_layers=run_layers,
        store={} if store is None else store,
        workers=workers,
        progress=progress,
    )
    return search.run()


@dataclass(kw_only=True, eq=False)
class _Search:
    network: Network
    options: CompressOptions
    calibration: Examples
    validation: Examples
    run_layers: RunLayers
    store: MutableMapping[str, Any] = field(default_factory=dict[str, Any])
    workers: int = 1
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    sites: dict[str, _Site] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Layers to compress."""
        return compressible(self.network) if self.options.layers is None else self.options.layers

    @property
    def shared(self) -> bool:
        """Whether a layer has one codebook for all its channels."""
        return self.options.objective == "block-ram"

    @property
    def allowed(self) -> int:
        """Validation images that may be lost."""
        return int(self.options.max_loss * len(self.validation.labels) / 100)

    def run(self) -> Compression:
        correct = self._remembered("network", lambda: self._correct(self.network, self.validation.values, 0))
        before = Point(codes={}, correct=correct, units=self._units({}))
        alone = self._measure_alone(before)
        steps = _ordered(self.sites.values())
        points: dict[tuple[_Step, ...], Point] = {(): before}

        def measured(taken: tuple[_Step, ...]) -> Point:
            if taken not in points:
                points[taken] = self._measure_whole(_codes(taken))
            return points[taken]

        def within(taken: tuple[_Step, ...]) -> bool:
            return correct - measured(taken).correct <= self.allowed

        kept = tuple(steps[: _longest(len(steps), lambda count: within(tuple(steps[:count])))])
        kept = self._late(kept, steps[len(kept) :], within)
        after = measured(kept)
        trajectory = sorted(points.values(), key=lambda point: (-point.units[self._unit], -point.correct))
        return Compression(
            network=self._finished(after, before),
            before=before,
            after=after,
            alone=tuple(alone),
            trajectory=tuple(trajectory),
            validation_images=len(self.validation.labels),
        )

    def with_codebooks(self, codes: int) -> Network:
        """Every layer with so many kernels."""
        rng, values, at = np.random.default_rng(self.options.seed), self.calibration.values, 0
        for name in self.names:
            number = _number(self.network, name)
            values, at = self.run_layers(self.network, values, at, number), number
            self.sites[name] = self._ranked(number, values, rng)
        line = f"codebooks of {codes} kernels in {', '.join(self.names)}, seed {self.options.seed}"
        built = self._built(dict.fromkeys(self.names, codes))
        return dataclasses.replace(built, history=(*self.network.history, line))

    @property
    def _unit(self) -> str:
        return _UNIT_OF[self.options.objective]

    def _late(
        self, kept: tuple[_Step, ...], rest: list[_Step], within: Callable[[tuple[_Step, ...]], bool]
    ) -> tuple[_Step, ...]:
        """Add what fits of the steps left out; of a layer whose step does not, none further down."""
        failed: set[str] = set()
        tries = 0
        for step in rest:
            if step.layer in failed or tries == _MOST_LATE_TRIES:
                continue
            tries += 1
            if within((*kept, step)):
                kept = (*kept, step)
            else:
                failed.add(step.layer)
        return kept

    def _remembered(self, key: str, measure: Callable[[], Any]) -> Any:
        if key not in self.store:
            self.store[key] = measure()
        return self.store[key]

    # One layer alone -------------------------------------------------------------------------------------------------

    def _measure_alone(self, whole: Point) -> list[Point]:
        points, correct = [], whole.correct
        rng = np.random.default_rng(self.options.seed)
        calibrating, validating, at = self.calibration.values, self.validation.values, 0
        for done, name in enumerate(self.names):
            number = _number(self.network, name)
            calibrating = self.run_layers(self.network, calibrating, at, number)
            validating = self.run_layers(self.network, validating, at, number)
            at = number
            self.progress(f"{name}: measuring its windows", done, len(self.names))
            site = self._site(number, calibrating, rng)
            self.sites[name] = site
            for codes in _ladder(site, self.shared):
                self.progress(f"{name}: {codes} kernels", done, len(self.names))
                cost = self._rung_cost(site, codes)
                measure = partial(self._correct_alone, site, codes, calibrating, validating)
                right = self._remembered(f"{name}:{codes}", measure)
                saved = site.rungs[0].cost - cost
                units = {self._unit: whole.units[self._unit] - saved}
                points.append(Point(codes={name: codes}, correct=right, units=units))
                if correct - right > self.allowed:
                    break
                site.rungs.append(_Rung(codes=codes, lost=max(0, correct - right), cost=cost))
        return points

    def _site(self, number: int, values: NDArray, rng: np.random.Generator) -> _Site:
        site = self._ranked(number, values, rng)
        site.rungs.append(_Rung(codes=0, lost=0, cost=self._layer_units(site.layer, number)[self._unit]))
        return site

    def _ranked(self, number: int, values: NDArray, rng: np.random.Generator) -> _Site:
        layer = self.network.layers[number]
        assert isinstance(layer, Conv2D)
        moments = window_moments(layer, values, rng)
        ranking = rank_kernels(layer, moments, most=2 ** _INDEX_BITS[0] if self.shared else None)
        return _Site(number=number, layer=layer, moments=moments, ranking=ranking, rungs=[])

    def _correct_alone(self, site: _Site, codes: int, calibrating: NDArray, validating: NDArray) -> int:
        layers = list(self.network.layers)
        layers[site.number] = self._replaced(site, codes)
        behind = layers[site.number + 1]
        if isinstance(behind, Threshold):
            old = self.run_layers(self.network, calibrating, site.number, site.number + 2)
            sums = self.run_layers(_with(self.network, layers), calibrating, site.number, site.number + 1)
            layers[site.number + 1] = _refitted(behind, sums, old)
        return self._correct(_with(self.network, layers), validating, site.number)

    def _replaced(self, site: _Site, codes: int) -> Conv2D:
        if codes not in site.replaced:
            weights = replace_kernels(site.layer, site.moments, site.ranking, codes)
            site.replaced[codes] = dataclasses.replace(site.layer, weights=weights)
        return site.replaced[codes]

    # Whole networks --------------------------------------------------------------------------------------------------

    def _measure_whole(self, codes: dict[str, int]) -> Point:
        key = ",".join(f"{name}:{number}" for name, number in codes.items())
        self.progress(f"whole network: {key}", len(self.names), len(self.names))
        correct = self._remembered(f"whole {key}", lambda: self._correct(self._built(codes), self.validation.values, 0))
        return Point(codes=codes, correct=correct, units=self._units(codes))

    def _built(self, codes: dict[str, int]) -> Network:
        """The network with these layers compressed and all thresholds behind the first of them refitted."""
        layers = list(self.network.layers)
        for name, number in codes.items():
            site = self.sites[name]
            layers[site.number] = self._replaced(site, number)
        first = min(self.sites[name].number for name in codes)
        old = new = self.run_layers(self.network, self.calibration.values, 0, first)
        last = max((number for number, layer in enumerate(layers) if isinstance(layer, Threshold)), default=first)
        for number in range(first, last + 1):
            old = self.run_layers(self.network, old, number, number + 1)
            if isinstance(behind := layers[number], Threshold):
                # ``new`` are sums still, ``old`` the original's activations by now.
                layers[number] = _refitted(behind, new, old)
            new = self.run_layers(_with(self.network, layers), new, number, number + 1)
        return _with(self.network, layers)

    def _finished(self, after: Point, before: Point) -> Network:
        if not after.codes:
            return self.network
        unit = self._unit
        text = ", ".join(f"{name} {number}" for name, number in after.codes.items())
        line = (
            f"compressed for {self.options.objective}, {before.units[unit]} to {after.units[unit]} {unit}, "
            f"{before.correct} to {after.correct} of {len(self.validation.labels)} validation images right, "
            f"seed {self.options.seed}; kernels kept: {text}"
        )
        return dataclasses.replace(self._built(after.codes), history=(*self.network.history, line))

    def _correct(self, network: Network, values: NDArray, start: int) -> int:
        classes = self.run_layers(network, values, start, len(network.layers))
        return int((classes == self.validation.labels).sum())

    # Cost ------------------------------------------------------------------------------------------------------------

    def _units(self, codes: dict[str, int]) -> dict[str, int]:
        rows = []
        for name in self.names:
            number = _number(self.network, name)
            if name in codes:
                rows.append(self._rung_units(self.sites[name], codes[name]))
            else:
                layer = self.network.layers[number]
                assert isinstance(layer, Conv2D)
                rows.append(self._layer_units(layer, number))
        return {unit: sum(row[unit] for row in rows) for unit in UNITS}

    def _rung_cost(self, site: _Site, codes: int) -> int:
        if self._unit in _COUNTED_IN_WEIGHTS:
            return self._count_weights(self._replaced(site, codes), codes)[self._unit]
        return self._rung_units(site, codes)[self._unit]

    def _rung_units(self, site: _Site, codes: int) -> dict[str, int]:
        key = f"{site.layer.name}:{codes} units"
        return self._remembered(key, lambda: self._count(self._replaced(site, codes), site.number, codes))

    def _layer_units(self, layer: Conv2D, number: int) -> dict[str, int]:
        return self._remembered(f"{layer.name} units", lambda: self._count(layer, number, None))

    def _count(self, layer: Conv2D, number: int, codes: int | None) -> dict[str, int]:
        """The units of one layer, compressed to so many codes or not at all."""
        layers = list(self.network.layers)
        layers[number] = layer
        (row,) = share_network(
            _with(self.network, layers),
            ("graph", "units"),
            layers={layer.name},
            family=self.options.family,
            workers=self.workers,
        )
        chosen = row.strategy
        return self._count_weights(layer, codes) | {
            "additions": row.additions["graph"],
            "adder_bits": row.adder_bits[chosen],
            "luts": row.luts[chosen],
        }

    def _count_weights(self, layer: Conv2D, codes: int | None) -> dict[str, int]:
        bits = layer.weights.size
        if self.shared and codes is not None:
            # The number of its kernel and an inversion bit for each.
            bits = layer.weights.shape[0] * layer.weights.shape[1] * (1 + (codes - 1).bit_length())
        evaluations = count_kernels(layer.weights, layer.groups).distinct_mod_inverse
        return {"kernel_evaluations": evaluations, "weight_bits": bits}


def _check(network: Network, calibration: Examples, validation: Examples, options: CompressOptions) -> None:
    if network.layers[-1].kind != "arg_max":
        raise UnsupportedError(
            f"{network.layers[-1].name}: the network ends in a {network.layers[-1].kind}, so no answer of it is right "
            "or wrong; add an ArgMax behind the scores"
        )
    if network.sources:
        add = next(layer for layer in network.layers if isinstance(layer, Add))
        raise UnsupportedError(
            f"{add.name}: networks with residual additions cannot be compressed, since layers are refitted one by one "
            "along a chain; build it as it is, or train it with shared kernels"
        )
    for name in options.layers or ():
        if name not in compressible(network):
            known = ", ".join(compressible(network)) or "none here"
            raise UnsupportedError(f"layer {name!r} has no 2-D kernels to share; choose from {known}")
    for what, examples in (("calibration", calibration), ("validation", validation)):
        if not len(examples.labels) or len(examples.labels) != len(examples.values):
            raise DataError(
                f"{what}: {len(examples.values)} images and {len(examples.labels)} labels; give as many, at least one"
            )


def _number(network: Network, name: str) -> int:
    return next(number for number, layer in enumerate(network.layers) if layer.name == name)


def _with(network: Network, layers: list[Layer]) -> Network:
    return dataclasses.replace(network, layers=tuple(layers))


def _refitted(threshold: Threshold, sums: NDArray, activations: NDArray) -> Threshold:
    """Refit to sums [N, y, x, channels] what gave these activations of the original sums."""
    channels = sums.shape[-1]
    fired = (activations.astype(np.int16) + threshold.levels) // 2
    return refit(threshold, sums.reshape(-1, channels), fired.reshape(-1, channels))


def _ladder(site: _Site, shared: bool) -> list[int]:
    """Sizes to try, each smaller than the one before and than the layer's own."""
    if shared:
        return [2**bits for bits in _INDEX_BITS]
    channels = len(site.ranking.kernels)
    sizes, codes = [], float(count_kernels(site.layer.weights, site.layer.groups).distinct_mod_inverse)
    while codes > _FEWEST_CODES * channels:
        codes = max(codes * _STEP, _FEWEST_CODES * channels)
        sizes.append(int(codes))
    return sizes


def _ordered(sites: Iterable[_Site]) -> list[_Step]:
    """Steps down all layers' lower hulls, the one that saves most for each image lost first."""
    steps = [step for site in sites for step in _hull_steps(site)]
    # Steps of one layer stay in order: along a convex hull the savings for each image fall.
    return sorted(steps, key=lambda step: -step.saving / max(step.lost, 0.5))


def _hull_steps(site: _Site) -> list[_Step]:
    hull: list[_Rung] = []
    for rung in _best_rungs(site.rungs):
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-2], rung):
            hull.pop()
        hull.append(rung)
    return [
        _Step(layer=site.layer.name, codes=b.codes, saving=a.cost - b.cost, lost=b.lost - a.lost)
        for a, b in pairwise(hull)
    ]


def _best_rungs(rungs: list[_Rung]) -> list[_Rung]:
    """Rungs that no other one beats in both loss and cost, by rising loss; the untouched layer first."""
    best = [rungs[0]]
    for rung in sorted(rungs[1:], key=lambda rung: (rung.lost, rung.cost)):
        if rung.cost < best[-1].cost:
            if len(best) > 1 and rung.lost == best[-1].lost:
                best.pop()
            best.append(rung)
    return best


def _slope(a: _Rung, b: _Rung) -> float:
    """What is saved for each image lost; half an image for none, so that free steps come first, largest first."""
    return (a.cost - b.cost) / max(b.lost - a.lost, 0.5)


def _codes(steps: Iterable[_Step]) -> dict[str, int]:
    """Sizes after these steps."""
    codes: dict[str, int] = {}
    for step in steps:
        codes[step.layer] = min(step.codes, codes.get(step.layer, step.codes))
    return codes


def _longest(count: int, within: Callable[[int], bool]) -> int:
    """A length up to ``count`` that is within while one more is not, or all; that of 0 is taken to be within."""
    low, high = 0, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if within(middle) else (low, middle)
    return low
