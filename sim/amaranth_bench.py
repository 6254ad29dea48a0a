"""Run an Amaranth component with streams ``i`` and ``o`` in Amaranth's own simulator."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import amaranth
from amaranth.hdl import ClockDomain, Elaboratable, Fragment, Module, ResetSignal, Signal, Value
from amaranth.sim import Simulator

from xnorweave.errors import UnsupportedError
from xnorweave.sim.bench import BenchResult, Progress, Session, Stimulus, not_held

__all__ = ["AmaranthBench", "run_amaranth"]

_PERIOD = 1e-6
_MAKING = threading.Lock()
_NESTING = 100_000
_STACK_BYTES = 128 << 20  # a level takes some 300 bytes


class AmaranthBench:
    """A component made ready for Amaranth's simulator once, for any number of runs.

    Parameters
    ----------
    core : wiring.Component
        With `amaranth.lib.stream` members ``i`` (in) and ``o`` (out), in the domain ``sync`` or combinational.
    output_words : int
        Words per frame on ``o``.
    taps : dict of str to (stream, words per frame), optional
        Inner streams to record, by layer. They must exist before elaboration.

    Raises
    ------
    UnsupportedError
        For values too wide for Amaranth's simulator.
    """

    def __init__(self, core: Any, *, output_words: int, taps: Mapping[str, tuple[Any, int]] | None = None) -> None:
        self._taps = dict(taps or {})
        self._core, self._output_words = core, output_words
        self._session: Session | None = None
        self._rst = Signal()
        self._simulator = _simulator(_top(core, self._rst))
        self._simulator.add_clock(_PERIOD)
        self._simulator.add_testbench(self._drive)

    def run(self, stimulus: Stimulus, *, progress: Progress | None = None) -> BenchResult:
        """Send the stimulus through the component, from its initial state, and return what came out.

        Parameters
        ----------
        stimulus : Stimulus
            What to send.
        progress : Progress, optional
            Called after each frame.

        Raises
        ------
        MismatchError
            Where a stream does not hold its payload, gives a word too many, or the design is deadlocked.
        """
        inner = [(layer, words) for layer, (_, words) in self._taps.items()]
        if self._session is not None:
            self._simulator.reset()
        self._session = session = Session(stimulus, self._output_words, inner, progress)
        self._simulator.run()
        return session.result(f"amaranth {amaranth.__version__}")

    async def _drive(self, ctx: Any) -> None:
        assert self._session is not None
        watched = [self._core.o, *(stream for stream, _ in self._taps.values())]
        await _drive(ctx, self._core, self._rst, watched, self._session)


def _simulator(top: Module) -> Simulator:
    """A simulator, made where Python may nest deeply.

    Amaranth makes Python of a design: an expression of a value, nested as deep as the value has parts. Lanes and
    channels are joined by `wide_cat`; a memory's enables, one for each bit of a word, are Amaranth's own. From Python
    3.12 on there is a limit that cannot be moved.
    """
    fragment = Fragment.get(top, None)
    made: list[Simulator | BaseException] = []

    def make() -> None:
        try:
            made.append(Simulator(fragment))
        except BaseException as e:
            made.append(e)

    with _room_for_wide_values():
        # A thread has a stack of its own size; a daemon does not keep an interrupted program from ending.
        thread = threading.Thread(target=make, daemon=True)
        thread.start()
        thread.join()
    match made[0]:
        case Simulator() as simulator:
            return simulator
        case RecursionError() as e:
            raise UnsupportedError(
                "simulator=amaranth: the design has values of some thousands of bits, for which its Python nests too "
                "deeply; give icarus or verilator"
            ) from e
        case error:
            raise error


@contextmanager
def _room_for_wide_values() -> Iterator[None]:
    """Let Python nest deeply, threads begun here have the stack for it, and integers have any number of digits.

    All of these are the whole process's: one simulator is made at a time. The mask of every signal is a decimal number
    in the Python of a design; from 14,285 bits on that are more digits than Python takes unless told to.
    """
    with _MAKING:
        digits, nesting = sys.get_int_max_str_digits(), sys.getrecursionlimit()
        stack = threading.stack_size(_STACK_BYTES)
        sys.set_int_max_str_digits(0)
        sys.setrecursionlimit(max(nesting, _NESTING))
        try:
            yield
        finally:
            sys.setrecursionlimit(nesting)
            sys.set_int_max_str_digits(digits)
            threading.stack_size(stack)


def run_amaranth(
    core: Any,
    stimulus: Stimulus,
    *,
    output_words: int,
    taps: Mapping[str, tuple[Any, int]] | None = None,
    progress: Progress | None = None,
) -> BenchResult:
    """Send the stimulus through a component once; see `AmaranthBench`."""
    return AmaranthBench(core, output_words=output_words, taps=taps).run(stimulus, progress=progress)


def _top(core: Elaboratable, rst: Signal) -> Module:
    top = Module()
    top.domains.sync = ClockDomain()
    top.submodules.core = core
    top.d.comb += ResetSignal().eq(rst)
    keep_clocked = Signal()
    top.d.sync += keep_clocked.eq(~keep_clocked)
    return top


async def _drive(ctx: Any, core: Any, rst: Signal, watched: list[Any], session: Session) -> None:
    samples = [core.i.ready]
    for stream in watched:
        samples += [stream.valid, stream.ready, Value.cast(stream.payload).as_unsigned()]
    payload = Value.cast(core.i.payload)
    held: list[int | None] = [None] * len(watched)
    going = True
    while going:
        ctx.set(rst, session.rst)
        ctx.set(core.i.valid, session.valid)
        if session.valid:
            ctx.set(payload, session.payload)
        ctx.set(core.o.ready, session.ready)
        _, _, accepted, *values = await ctx.tick().sample(*samples)
        transfers: list[tuple[int, int]] = []
        if session.rst:
            held = [None] * len(watched)
        else:
            _observe(values, held, transfers, session)
        going = session.step(bool(accepted and session.valid), transfers)


def _observe(values: list[int], held: list[int | None], transfers: list[tuple[int, int]], session: Session) -> None:
    for stream in range(len(held)):
        valid, ready, word = values[3 * stream : 3 * stream + 3]
        before = held[stream]
        if before is not None and (not valid or word != before):
            raise not_held(session.cycle, session.count(stream))
        held[stream] = word if valid and not ready else None
        if valid and ready:
            transfers.append((stream, word))
