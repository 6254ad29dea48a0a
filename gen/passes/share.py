"""Which 2-D kernels and sums of a layer are computed once and shared.

Strategies
----------
none
    One adder tree for each filter over XNORed inputs: the baseline, and the reference for the others.
kernel
    One unit for each distinct kernel of an input channel, up to inversion (Chang et al., DATE 2020), in the ones
    form: a unit sums the inputs under its +1 taps, an inverse kernel is the channel's whole window minus that, and a
    filter's signed sum is ``2 * P - S``, with P the sum of its units and S the sum of all inputs. Where a filter is
    shorter by its -1 taps, whose sum is N, it is ``S - 2 * N``. The minus signs are bitwise complements, and the
    constants these bring go into the thresholds.
graph
    Partial sums shared across channels and filters, without regard to kernels, for the fewest additions; see
    `xnorweave.passes.cse`.
units
    The same for the fewest LUTs: inputs that several filters need together are one popcount unit, and the units'
    sums are shared. For pixels it is ``graph``, which is then built once.

A dense layer has no 2-D kernels: with ``kernel``, each output is one tree of the inputs under its rarer sign, and only
the sum of all inputs is shared.

The groups of a convolution have no inputs in common: each is shared by itself, and the graphs are put side by side.

``auto`` takes for each layer the one of these with the fewest estimated places in the target's family; see
`xnorweave.cost`. What sharing gives is counted in one more form, ``repeated``: the strategy ``kernel`` without
inversion, which nothing is built with.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from xnorweave.adder_graph import AdderGraph, certify, graph_adder_bits, graph_additions, join_graphs
from xnorweave.cost import CostFamily, graph_cells, tree_parts
from xnorweave.errors import UnsupportedError
from xnorweave.network import Network
from xnorweave.passes.cse import UNIT_LEVELS, share_sums
from xnorweave.passes.kernels import KernelCounts, count_kernels, share_kernels, unshared
from xnorweave.passes.streamline import ConvStage, DenseStage, streamline
from xnorweave.passes.workers import in_processes

__all__ = [
    "FORMS",
    "STRATEGIES",
    "Form",
    "LayerSharing",
    "Strategy",
    "StrategyChoice",
    "least_places",
    "share_layer",
    "share_network",
]

Strategy = Literal["none", "kernel", "graph", "units"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
StrategyChoice = Literal["none", "kernel", "graph", "units", "auto"]
Form = Literal["none", "repeated", "kernel", "graph", "units"]
FORMS: tuple[Form, ...] = get_args(Form)

_Wired = ConvStage | DenseStage
# Starting processes takes longer than sharing fewer weights than this.
_WEIGHTS_WORTH_PROCESSES = 1 << 18


@dataclass(frozen=True, kw_only=True, eq=False)
class FormCounts:
    """One layer in one form.

    Parameters
    ----------
    additions : int
        Two-input additions and subtractions, up to the sums that thresholds compare.
    adder_bits : int
        Result bits of those adders.
    luts : int
        Estimated places for LUTs, comparisons with constant thresholds included; see `xnorweave.cost.Cells`.
    seconds : float
        Time to build and certify the graph; 0 where another form has the same one.
    units : int, optional
        Popcount units, of the form ``units``.
    graph : AdderGraph, optional
        Where asked for; of the form ``none`` never.
    """

    additions: int
    adder_bits: int
    luts: int
    seconds: float
    units: int | None = None
    graph: AdderGraph | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSharing:
    """What sharing does to one layer, and to random weights of its shape.

    Parameters
    ----------
    name : str
    inputs, outputs : int
        Taps of a window and filters.
    pixels : int
        Output pixels of a frame.
    counts : KernelCounts
    forms : dict of str to FormCounts
        For each form counted.
    strategy : {"none", "kernel", "graph", "units"}
        The one asked for; of ``auto``, the one with the fewest estimated places.
    graph : AdderGraph, optional
        Of ``strategy``, where asked for.
    control : LayerSharing, optional
        The same for weights drawn by ``default_rng(0)``.
    """

    name: str
    inputs: int
    outputs: int
    pixels: int
    counts: KernelCounts
    forms: dict[Form, FormCounts] = field(repr=False)
    strategy: Strategy
    graph: AdderGraph | None = None
    control: "LayerSharing | None" = None

    @property
    def additions(self) -> dict[Form, int]:
        """Two-input additions and subtractions in each form."""
        return {form: counts.additions for form, counts in self.forms.items()}

    @property
    def adder_bits(self) -> dict[Form, int]:
        """Result bits of the adders in each form."""
        return {form: counts.adder_bits for form, counts in self.forms.items()}

    @property
    def luts(self) -> dict[Form, int]:
        """Estimated places in each form."""
        return {form: counts.luts for form, counts in self.forms.items()}

    @property
    def seconds(self) -> float:
        """Time to build and certify all graphs."""
        return sum(counts.seconds for counts in self.forms.values())

    @property
    def kernel_evaluations(self) -> dict[Form, int]:
        """2-D kernels computed for each output pixel, in each form that computes any.

        A kernel evaluation is the sum over one 2-D kernel's window of one input channel. ``none``: every kernel of
        every filter. ``repeated``: the distinct kernels of each channel. ``kernel``: of a kernel and its inverse only
        one; the other is the window's sum minus it. ``units``: its popcount units, whose inputs are of any channel. The
        form ``graph`` has none, since no adder in it stands for a kernel; so over pixels ``units`` has none either. A
        dense layer has no 2-D kernels: no form has any there.
        """
        counts = self.counts
        if not counts.kernels:
            return {}
        evaluations: dict[Form, int | None] = {
            "none": counts.kernels,
            "repeated": counts.distinct,
            "kernel": counts.distinct_mod_inverse,
            "units": self.forms["units"].units if "units" in self.forms else None,
        }
        return {form: number for form, number in evaluations.items() if form in self.forms and number is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """One graph to build and count."""

    stage: _Wired
    form: Form
    family: CostFamily
    unit_levels: int
    keep: bool

    def __str__(self) -> str:
        return f"{self.stage.name} ({self.form})"


def share_layer(
    stage: _Wired, strategy: StrategyChoice, family: CostFamily = "ice40", unit_levels: int = UNIT_LEVELS
) -> AdderGraph:
    """Build and certify the layer's adder graph.

    Parameters
    ----------
    stage : ConvStage or DenseStage
        Whose sums.
    strategy : {"none", "kernel", "graph", "units", "auto"}
        See the module.
    family : {"ice40", "ecp5"}
        Target of ``auto``.
    unit_levels : int
        Of ``units``, see `share_sums`.

    Raises
    ------
    UnsupportedError
        For an unknown strategy, or ``unit_levels`` below 1.
    CertificateError
        Where the graph is not the layer: a defect of this program, and nothing is emitted.
    """
    _check_unit_levels(stage.name, unit_levels)
    if strategy == "auto":
        counting = _Counting(forms=STRATEGIES, strategy=strategy, family=family, unit_levels=unit_levels, keep=True)
        graph = counting.row(stage, {task.form: _count(task) for task in counting.tasks(stage)}).graph
        assert graph is not None, "a kept graph is there"
        return graph
    if strategy not in STRATEGIES:
        raise UnsupportedError(f"strategy {strategy!r} is unknown; use one of {', '.join(STRATEGIES)}")
    return _build(stage, strategy, unit_levels)


def _check_unit_levels(place: str, unit_levels: int) -> None:
    if unit_levels < 1:
        raise UnsupportedError(
            f"{place}: unit_levels={unit_levels!r} leaves a popcount unit no LUT; give at least 1, "
            f"or leave it out for {UNIT_LEVELS}"
        )


def _built_as(stage: _Wired, form: Form) -> Form:
    """The form whose graph this one has: over pixels, ``units`` has that of ``graph``."""
    return "graph" if form == "units" and stage.encoding.bits > 1 else form


def _groups(stage: _Wired) -> list[tuple[_Wired, Sequence[int]]]:
    """Parts of a layer that have no inputs in common, and where these are in the layer."""
    if isinstance(stage, DenseStage):
        return [(stage, range(stage.weights.shape[1]))]
    return [(part, places.tolist()) for part, places in stage.by_group()]


def _build(stage: _Wired, form: Form, unit_levels: int) -> AdderGraph:
    groups = _groups(stage)
    if len(groups) > 1:
        graph = join_graphs([(_build(part, form, unit_levels), places) for part, places in groups])
        certify(graph, stage.matrix, stage.name)
        return graph
    match form:
        case "none":
            graph = unshared(stage)
        case "repeated":
            graph = share_kernels(stage, inverse=False)
        case "kernel":
            graph = share_kernels(stage)
        case "units":
            bits = stage.encoding.bits
            return share_sums(stage.matrix, bits, objective="luts", unit_levels=unit_levels, layer=stage.name)
        case "graph":
            return share_sums(stage.matrix, stage.encoding.bits, layer=stage.name)  # certified there
    certify(graph, stage.matrix, stage.name)
    return graph


def least_places(luts: Mapping[Form, int]) -> Strategy:
    """The strategy with the fewest estimated places; of equal ones, the one that shares more."""
    return min(reversed(STRATEGIES), key=lambda strategy: luts.get(strategy, float("inf")))


def _first_filter(stage: _Wired) -> _Wired:
    if isinstance(stage, DenseStage):
        only = {"biases": stage.biases[:1], "offsets": stage.offsets[:1], "steps": stage.steps[:1]}
        return replace(stage, weights=stage.weights[:1], **only)
    thresholds = {border: row[: stage.levels] for border, row in stage.thresholds.items()}
    shape = (1, *stage.output_shape[1:])
    return replace(stage, weights=stage.weights[:1], thresholds=thresholds, output_shape=shape)


def _random_control(stage: _Wired) -> _Wired:
    weights = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), stage.weights.shape)
    return replace(stage, weights=weights)


def _count(task: _Task) -> FormCounts:
    groups = _groups(task.stage)
    if len(groups) == 1:
        return _count_group(task)
    start = time.perf_counter()
    parts = [_count_group(replace(task, stage=part)) for part, _ in groups]
    graphs = [(part.graph, places) for part, (_, places) in zip(parts, groups, strict=True) if part.graph]
    graph = join_graphs(graphs) if graphs else None
    if graph is not None:
        certify(graph, task.stage.matrix, task.stage.name)
    units = [part.units for part in parts if part.units is not None]
    return FormCounts(
        additions=sum(part.additions for part in parts),
        adder_bits=sum(part.adder_bits for part in parts),
        luts=sum(part.luts for part in parts),
        seconds=time.perf_counter() - start,
        units=sum(units) if units else None,
        graph=graph,
    )


def _count_group(task: _Task) -> FormCounts:
    start = time.perf_counter()
    stage, form = task.stage, task.form
    if form == "none":
        # Unshared filters have trees of one shape whatever their signs: one is built for all.
        graph, copies = _build(_first_filter(stage), form, task.unit_levels), len(stage.weights)
        luts = tree_parts(graph, stage.matrix, task.family).cells(task.family).places
    else:
        graph, copies = _build(stage, form, task.unit_levels), 1
        luts = graph_cells(graph, task.family).places
    return FormCounts(
        additions=copies * graph_additions(graph),
        adder_bits=copies * graph_adder_bits(graph),
        luts=luts,
        seconds=time.perf_counter() - start,
        units=len(graph.kernels) if form == "units" else None,
        graph=graph if task.keep and form != "none" else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Counting:
    """What to count of each layer; see `share_network`."""

    forms: tuple[Form, ...]
    strategy: StrategyChoice
    family: CostFamily
    unit_levels: int
    keep: bool

    def tasks(self, stage: _Wired) -> list[_Task]:
        """A layer's graphs to build, each once."""
        choices: tuple[Form, ...] = STRATEGIES if self.strategy == "auto" else (self.strategy,)
        kept = {_built_as(stage, form) for form in choices} if self.keep else set[Form]()
        built: dict[Form, None] = dict.fromkeys(_built_as(stage, form) for form in self.forms)
        return [
            _Task(stage=stage, form=form, family=self.family, unit_levels=self.unit_levels, keep=form in kept)
            for form in built
        ]

    def row(self, stage: _Wired, counts: Mapping[Form, FormCounts]) -> LayerSharing:
        """The layer, from what was counted of its `tasks`."""
        chosen = self.strategy
        if chosen == "auto":
            chosen = least_places({form: counts[_built_as(stage, form)].luts for form in self.forms})
        graph, built = None, _built_as(stage, chosen)
        if self.keep:
            graph = (counts[built].graph if built in counts else None) or _build(stage, built, self.unit_levels)
        return LayerSharing(
            name=stage.name,
            inputs=len(stage.matrix),
            outputs=len(stage.weights),
            pixels=stage.output_shape[1] * stage.output_shape[2],
            counts=count_kernels(stage.weights, stage.groups if isinstance(stage, ConvStage) else 1),
            forms={form: self._form_counts(stage, form, counts) for form in self.forms},
            strategy=chosen,
            graph=graph,
        )

    def _form_counts(self, stage: _Wired, form: Form, counts: Mapping[Form, FormCounts]) -> FormCounts:
        built = _built_as(stage, form)
        again = built != form and built in self.forms
        return replace(counts[built], graph=None, seconds=0.0 if again else counts[built].seconds)


def share_network(
    network: Network,
    forms: Sequence[Form] = FORMS,
    *,
    layers: Collection[str] | None = None,
    strategy: StrategyChoice = "auto",
    family: CostFamily = "ice40",
    unit_levels: int = UNIT_LEVELS,
    control: bool = False,
    keep: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[LayerSharing]:
    """Build and certify every convolution and dense layer in each form, and count.

    Parameters
    ----------
    network : Network
        One that `streamline` accepts.
    forms : sequence of str
        What to count.
    layers : collection of str, optional
        Count only these, by name.
    strategy : {"none", "kernel", "graph", "units", "auto"}
        Which one to choose; ``auto`` chooses from ``forms``.
    family : {"ice40", "ecp5"}
        Whose places are estimated.
    unit_levels : int
        Of ``units``, see `share_sums`.
    control : bool
        Count random weights of every layer's shape as well.
    keep : bool
        Keep the chosen strategy's graphs.
    workers : int
        Most processes to use where there is enough to do; never more than CPUs that this process may run on, or
        graphs to build. A script that asks for more than one needs the usual guard ``if __name__ == "__main__"``.
    progress : callable
        Called with how many graphs are counted, and of how many.

    Raises
    ------
    UnsupportedError
        For ``unit_levels`` below 1.
    CertificateError
        Where a graph is not its layer: a defect of this program.
    WorkerError
        Where a process was killed.
    """
    _check_unit_levels(network.name, unit_levels)
    stages = [
        stage
        for stage in streamline(network)
        if isinstance(stage, (ConvStage, DenseStage)) and (layers is None or stage.name in layers)
    ]
    counting = _Counting(forms=tuple(forms), strategy=strategy, family=family, unit_levels=unit_levels, keep=keep)
    subjects = [(counting, stage) for stage in stages]
    if control:
        subjects += [(replace(counting, keep=False), _random_control(stage)) for stage in stages]
    tasks = [(k, task) for k, (counting, stage) in enumerate(subjects) for task in counting.tasks(stage)]
    # Largest first, so that none is left over at the end.
    tasks.sort(key=lambda job: (job[1].form == "graph", job[1].stage.weights.size), reverse=True)
    enough = sum(task.stage.weights.size for _, task in tasks) >= _WEIGHTS_WORTH_PROCESSES
    counts: list[dict[Form, FormCounts]] = [{} for _ in subjects]
    jobs = [task for _, task in tasks]
    with closing(in_processes(_count, jobs, workers=workers if enough else 1, name=str)) as results:
        for done, (number, counted) in enumerate(results, 1):
            k, task = tasks[number]
            counts[k][task.form] = counted
            progress(done, len(tasks))
    rows = [counting.row(stage, found) for (counting, stage), found in zip(subjects, counts, strict=True)]
    if not control:
        return rows
    whole, drawn = rows[: len(stages)], rows[len(stages) :]
    return [replace(row, control=random) for row, random in zip(whole, drawn, strict=True)]
