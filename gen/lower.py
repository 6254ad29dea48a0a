"""From network and plan to Amaranth: one component for each stage, joined by streams."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
from amaranth import Shape, unsigned
from amaranth.lib import wiring
from numpy.typing import NDArray

from xnorweave.adder_graph import AdderGraph, certify
from xnorweave.core import Core, Shortcut
from xnorweave.design import Tap
from xnorweave.errors import UnsupportedError
from xnorweave.hw.adder_graph import AdderGraph as AdderGraphUnit
from xnorweave.hw.adder_graph import range_shape
from xnorweave.hw.argmax import ArgMax
from xnorweave.hw.border_sums import BorderSums
from xnorweave.hw.conv2d import Conv2D
from xnorweave.hw.dense import BiasUnit, Dense
from xnorweave.hw.folded_conv2d import FoldedConv2D
from xnorweave.hw.global_sum import GlobalSum
from xnorweave.hw.lanes import Packer, Unpacker
from xnorweave.hw.matrix_vector import MatrixVector
from xnorweave.hw.maxpool import MaxPool
from xnorweave.hw.pixel_table import PixelTable
from xnorweave.hw.residual_add import ResidualAdd, StreamFork
from xnorweave.hw.scale import ScaleUnit
from xnorweave.hw.sliding_window import SlidingWindow
from xnorweave.hw.stream_fifo import StreamFifo
from xnorweave.hw.stream_register import StreamRegister
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.network import Add, Encoding, Network
from xnorweave.passes.folds import Link, links, waiting_words
from xnorweave.passes.plan import make_plan
from xnorweave.passes.plan_types import LayerPlan, Plan
from xnorweave.passes.schedule import Schedule, schedule
from xnorweave.passes.share import StrategyChoice, share_layer
from xnorweave.passes.shortcuts import Held, held_folded, held_in_windows, room_words
from xnorweave.passes.streamline import (
    AddStage,
    ArgMaxStage,
    ConvStage,
    DenseStage,
    GlobalSumStage,
    PoolStage,
    ScaleStage,
    Stage,
    TableStage,
    streamline,
)
from xnorweave.passes.sums import ThresholdStage

__all__ = ["graph_unit", "lower"]

# An enable that stops this many registers is the slowest net of the chip: on ECP5, 4,326 of them take 15 ns.
_MOST_ENABLED_FLIP_FLOPS = 1500


def lower(
    network: Network,
    *,
    strategy: StrategyChoice = "kernel",
    plan: Plan | None = None,
    graphs: Mapping[str, AdderGraph] | None = None,
    most_enabled_flip_flops: int = _MOST_ENABLED_FLIP_FLOPS,
) -> Core:
    """Build the hardware of a network.

    Every adder graph is certified against its weights on the way.

    Parameters
    ----------
    network : Network
        What to build.
    strategy : str
        How results are shared; ``auto`` is for iCE40.
    plan : Plan, optional
        How it is built.
    graphs : dict of str to AdderGraph, optional
        Graphs to use, by layer; the strategy is for the others.
    most_enabled_flip_flops : int
        Most registers of an adder graph that one enable stops; those of larger graphs run free, where the plan has
        that.

    Raises
    ------
    UnsupportedError
        For a layer or option without hardware.
    CertificateError
        Where a graph is not its layer.
    """
    plan = plan or make_plan(network)
    builder = _Builder(network, strategy, plan, graphs or {}, most_enabled_flip_flops)
    stages = streamline(network)
    if len(stages) != len(plan.layers):
        raise UnsupportedError(f"the plan has {len(plan.layers)} layers, the network {len(stages)}; plan it again")
    for stage, layer in zip(stages, plan.layers, strict=True):
        builder.place(stage, layer)
    _, height, width = network.input.shape
    return Core(
        parts=builder.parts,
        taps=tuple(builder.taps),
        input_words=height * width,
        latencies=builder.latencies,
        shortcuts=builder.shortcuts,
    )


class _Builder:
    """Collects components and follows the stream's words from stage to stage."""

    def __init__(
        self,
        network: Network,
        strategy: StrategyChoice,
        plan: Plan,
        graphs: Mapping[str, AdderGraph],
        most_enabled_flip_flops: int,
    ):
        self.strategy, self.plan, self.graphs = strategy, plan, graphs
        self.most_enabled_flip_flops = most_enabled_flip_flops
        self.parts: list[tuple[str, wiring.Component]] = []
        self.taps: list[Tap] = []
        self.latencies: dict[str, int] = {}
        self.shortcuts: list[Shortcut] = []
        # Of stages that a shortcut may pass: what they hold.
        self.held: dict[str, Held] = {}
        self.branches = Counter(layer.source for layer in network.layers if isinstance(layer, Add))
        channels, height, width = network.input.shape
        self.lanes, self.frame_lanes = channels, channels * height * width
        self.link = Link(channels)
        self.sum_shape: Shape | None = None

    def place(self, stage: Stage, plan: LayerPlan) -> None:
        match stage:
            case TableStage():
                table = PixelTable(tables=stage.entries, output_bits=stage.encoding.bits)
                self.parts.append(("pixel_table", table))
            case ConvStage():
                part = self._folded_conv(stage, plan) if plan.engine == "folded" else self._conv(stage)
                self._add(stage, part, stage.output_encoding)
            case PoolStage():
                size = stage.input_shape[1:]
                pool = MaxPool(
                    channels=stage.input_shape[0],
                    size=size,
                    kernel=stage.size,
                    stride=stage.stride,
                    lane_bits=stage.encoding.bits,
                )
                self.held[stage.name] = held_in_windows(stage, 1)
                self._add(stage, pool, stage.encoding)
            case GlobalSumStage():
                total = GlobalSum(
                    channels=stage.input_shape[0],
                    lane_bits=stage.encoding.bits,
                    positions=stage.positions,
                    sum_bits=stage.output_encoding.bits,
                )
                self._add(stage, total, stage.output_encoding)
            case AddStage():
                self._residual(stage)
            case ThresholdStage():
                threshold = ThresholdUnit(
                    thresholds={0: stage.thresholds}, sum_shape=unsigned(stage.encoding.bits), levels=stage.levels
                )
                self.held[stage.name] = held_in_windows(stage, 1)
                self._add(stage, threshold, stage.output_encoding)
            case DenseStage():
                self._dense(stage, plan)
            case ScaleStage():
                self._scale(stage)
            case ArgMaxStage():
                self._argmax(stage)
        self.link = links(stage, plan, self.link)

    def _shared(self, stage: ConvStage | DenseStage) -> AdderGraph:
        graph = self.graphs.get(stage.name)
        if graph is None:
            return share_layer(stage, self.strategy, unit_levels=self.plan.unit_levels)
        certify(graph, stage.matrix, stage.name)
        return graph

    def _residual(self, stage: AddStage) -> None:
        """An addition, and the shortcut from the fork that stands behind its source already."""
        bits = stage.encoding.bits, stage.shortcut.bits
        self.held[stage.name] = held_in_windows(stage, 1)
        room = room_words([self.held[each.name] for each in stage.between], math.prod(stage.output_shape[1:]))
        word_bits = stage.output_shape[0] * bits[1]
        # A buffered FIFO of one or two words gives none in the next cycle.
        wait = StreamRegister(word_bits=word_bits) if room == 1 else StreamFifo(word_bits=word_bits, depth=room + 2)
        taken = sum(shortcut.fork == f"fork_{stage.source}" for shortcut in self.shortcuts)
        self.shortcuts.append(
            Shortcut(
                name=f"shortcut_{stage.name}",
                part=wait,
                fork=f"fork_{stage.source}",
                branch=taken,
                target=_instance(stage.name),
            )
        )
        unit = ResidualAdd(channels=stage.output_shape[0], bits=bits, factors=stage.factors)
        self._add(stage, unit, stage.output_encoding)

    def _add(
        self,
        stage: ConvStage | PoolStage | GlobalSumStage | AddStage | ThresholdStage,
        part: wiring.Component,
        encoding: Encoding,
    ) -> None:
        channels, height, width = stage.output_shape
        self._tap(
            part,
            Tap(
                layer=stage.layer,
                instance=_instance(stage.name),
                channels=channels,
                lanes=channels,
                lane_bits=encoding.bits,
                signed=False,
                words=height * width,
                scale=encoding.scale,
                offsets=(encoding.offset,) * channels,
            ),
        )
        self.lanes, self.frame_lanes = channels, channels * height * width
        if branches := self.branches[stage.layer]:
            fork = StreamFork(word_bits=channels * encoding.bits, shortcuts=branches)
            self.parts.append((f"fork_{stage.layer}", fork))

    def _tap(self, part: wiring.Component, tap: Tap) -> None:
        self.parts.append((tap.instance, part))
        self.taps.append(tap)

    def _conv(self, stage: ConvStage) -> Conv2D:
        graph = self._shared(stage)
        window = SlidingWindow(
            word_bits=stage.encoding.bits * stage.input_shape[0],
            size=stage.input_shape[1:],
            kernel=stage.weights.shape[2:],
            stride=stage.stride,
            padding=stage.padding,
        )
        sums, free_running = self._sums(graph, tag_bits=window.border_bits)
        # The graph's outputs are L and its constants.
        if stage.sums is None:
            last = ThresholdUnit(
                thresholds={
                    border: tuple(t + graph.constants[k // stage.levels] for k, t in enumerate(row))
                    for border, row in stage.thresholds.items()
                },
                sum_shape=sums.output_shape,
                border_bits=window.border_bits,
                levels=stage.levels,
            )
        else:
            last = BorderSums(
                biases={
                    border: tuple(bias - stage.sums.factor * c for bias, c in zip(row, graph.constants, strict=True))
                    for border, row in stage.sums.biases.items()
                },
                factor=stage.sums.factor,
                sum_shape=sums.output_shape,
                output_bits=stage.sums.encoding.bits,
                border_bits=window.border_bits,
            )
        layer = Conv2D(window=window, graph=sums, last=last, free_running=free_running)
        self.latencies[stage.name] = layer.latency
        self.held[stage.name] = held_in_windows(stage, layer.sums.held_words)
        return layer

    def _folded_conv(self, stage: ConvStage, plan: LayerPlan) -> FoldedConv2D:
        channels, waiting = stage.input_shape[0], waiting_words(stage, self.link, plan.simd)
        self.held[stage.name] = held_folded(
            stage,
            vectors=plan.vectors,
            buffer_rows=plan.buffer_rows,
            waiting=waiting if plan.simd < self.lanes else 0,
        )
        self._adapt(stage.name, stage.encoding.bits, plan.simd, waiting)
        return FoldedConv2D(
            weights=tuple(_mask(row) for row in stage.weights.transpose(0, 2, 3, 1).reshape(len(stage.weights), -1)),
            channels=channels,
            input_bits=stage.encoding.bits,
            thresholds=stage.thresholds,
            size=stage.input_shape[1:],
            kernel=stage.weights.shape[2:],
            stride=stage.stride,
            padding=stage.padding,
            pe=plan.pe,
            simd=plan.simd,
            vectors=plan.vectors,
            buffer_rows=plan.buffer_rows,
            block_ram=plan.storage == "block",
            codebook=plan.storage == "codebook",
            levels=stage.levels,
            groups=stage.groups,
            biases=stage.sums.biases if stage.sums else None,
            factor=stage.sums.factor if stage.sums else 1,
            sum_bits=stage.sums.encoding.bits if stage.sums else 0,
        )

    def _sums(self, graph: AdderGraph, tag_bits: int = 0) -> tuple[AdderGraphUnit, bool]:
        """The graph's component, and whether its registers, too many for a common enable, run free."""
        levels = self.plan.levels_per_register
        pipeline = schedule(graph, levels_per_register=levels)
        unit = graph_unit(graph, levels_per_register=levels, tag_bits=tag_bits, pipeline=pipeline)
        return unit, self.plan.free_running and pipeline.flip_flops > self.most_enabled_flip_flops

    def _adapt(self, name: str, lane_bits: int, simd: int, waiting: int) -> None:
        """Bring the stream from its lanes per word to ``simd``.

        An unpacker takes a word only every few cycles: in front of it ``waiting`` words have a place in a FIFO. No wait
        is circular, since words move one way only.
        """
        words = -(-self.frame_lanes // self.lanes)
        if simd == self.lanes:
            return
        if simd % self.lanes == 0:
            part = Packer(word_bits=self.lanes * lane_bits, factor=simd // self.lanes, words=words)
        elif self.lanes % simd == 0:
            self.parts.append((f"fifo_{name}", StreamFifo(word_bits=self.lanes * lane_bits, depth=waiting)))
            words = -(-self.frame_lanes // simd)
            part = Unpacker(word_bits=simd * lane_bits, factor=self.lanes // simd, words=words)
        else:
            raise UnsupportedError(
                f"{name}: simd={simd} is neither a multiple nor a divisor of the {self.lanes} lanes before it; "
                f"nearest: {self.lanes}"
            )
        self.parts.append((f"lanes_{name}", part))

    def _dense(self, stage: DenseStage, plan: LayerPlan) -> None:
        outputs = len(stage.weights)
        if plan.engine == "spatial":
            unit, shape = self._wired(stage)
        else:
            unit, shape = self._folded(stage, plan)
        self.sum_shape = None if stage.fires else shape
        code = stage.output_encoding
        self._tap(
            unit,
            Tap(
                layer=stage.layer,
                instance=_instance(stage.name),
                channels=outputs,
                lanes=plan.lanes,
                lane_bits=code.bits if stage.fires else shape.width,
                signed=not stage.fires and shape.signed,
                words=-(-outputs // plan.lanes),
                scale=code.scale if stage.fires else stage.scale,
                offsets=(code.offset,) * outputs if stage.fires else stage.offsets,
            ),
        )
        self.lanes, self.frame_lanes = plan.lanes, outputs

    def _folded(self, stage: DenseStage, plan: LayerPlan) -> tuple[MatrixVector, Shape]:
        self._adapt(stage.name, stage.encoding.bits, plan.simd, waiting_words(stage, self.link, plan.simd))
        unit = MatrixVector(
            weights=tuple(_mask(row) for row in stage.weights),
            inputs=stage.weights.shape[1],
            input_bits=stage.encoding.bits,
            biases=stage.biases,
            fires=stage.fires,
            pe=plan.pe,
            simd=plan.simd,
            block_ram=plan.storage == "block",
            steps=stage.steps,
        )
        return unit, unit.sum_shape

    def _wired(self, stage: DenseStage) -> tuple[Dense, Shape]:
        """Spatial engine: its sums leave as the folded one's do, so that nothing behind it can tell."""
        inputs = stage.weights.shape[1]
        lanes = -(-inputs // self.lanes) * self.lanes
        self._adapt(stage.name, stage.encoding.bits, lanes, waiting_words(stage, self.link, lanes))
        graph = self._shared(stage)
        sums, free_running = self._sums(graph)
        # The graph's outputs are L and its constants; the layer wants L and the biases.
        biases = tuple(bias - c for bias, c in zip(stage.linear_biases, graph.constants, strict=True))
        if stage.fires:
            shape = sums.output_shape
            steps = stage.steps or ((),) * len(biases)
            limits = tuple(step - bias for bias, row in zip(biases, steps, strict=True) for step in (0, *row))
            last = ThresholdUnit(thresholds={0: limits}, sum_shape=shape, levels=stage.levels)
        else:
            shape = range_shape(min(stage.biases), max(stage.biases) + inputs * (2**stage.encoding.bits - 1))
            last = BiasUnit(biases=biases, sum_shape=sums.output_shape, output_shape=shape)
        layer = Dense(graph=sums, last=last, lanes=lanes, free_running=free_running)
        self.latencies[stage.name] = layer.latency
        return layer, shape

    def _scale(self, stage: ScaleStage) -> None:
        assert self.sum_shape is not None, "Network puts every Scale behind a Dense"
        shape, channels = range_shape(0, stage.highest), len(stage.factors)
        part = ScaleUnit(
            factors=stage.factors,
            offsets=stage.offsets,
            lanes=self.lanes,
            sum_shape=self.sum_shape,
            sum_range=stage.sum_range,
            output_shape=shape,
        )
        self.sum_shape = shape
        self._tap(
            part,
            Tap(
                layer=stage.layer,
                instance=_instance(stage.name),
                channels=channels,
                lanes=self.lanes,
                lane_bits=shape.width,
                signed=False,
                words=part.words,
                scale=stage.scale,
                offsets=(stage.offset,) * channels,
            ),
        )

    def _argmax(self, stage: ArgMaxStage) -> None:
        assert self.sum_shape is not None, "Network puts every ArgMax behind a Dense or a Scale"
        part = ArgMax(classes=stage.classes, lanes=self.lanes, sum_shape=self.sum_shape, order=stage.order)
        self._tap(
            part,
            Tap(
                layer=stage.layer,
                instance=_instance(stage.name),
                channels=1,
                lanes=1,
                lane_bits=len(part.o.payload),
                signed=False,
                words=1,
                scale=1,
                offsets=(0,),
            ),
        )


def _mask(row: NDArray[np.int8]) -> int:
    """Weights of one output as a bit mask, input 0 lowest."""
    return int.from_bytes(np.packbits(row > 0, bitorder="little").tobytes(), "little")


def _instance(layer: str) -> str:
    """Instance name of a layer: prefixed, so that no layer's name is a Verilog keyword."""
    return f"layer_{layer}"


def graph_unit(
    graph: AdderGraph, *, levels_per_register: int, tag_bits: int = 0, pipeline: Schedule | None = None
) -> AdderGraphUnit:
    """The component of an adder graph; without a ``pipeline``, with as few registers as the levels allow."""
    pipeline = pipeline or schedule(graph, levels_per_register=levels_per_register)
    return AdderGraphUnit(
        input_count=graph.inputs,
        input_bits=graph.input_bits,
        kernels=graph.kernels,
        nodes=graph.nodes,
        outputs=graph.outputs,
        output_range=graph.output_range,
        levels_per_register=levels_per_register,
        segments=pipeline.segments,
        tag_bits=tag_bits,
    )
