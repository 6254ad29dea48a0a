"""The serial link between a host and a core: bytes to pixels, classes to bytes, and recovery from lost bytes."""

# Amaranth's members and contexts carry no types.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

__all__ = ["BYTE_BITS", "Link", "bytes_per_word"]

BYTE_BITS = 8


def bytes_per_word(bits: int) -> int:
    """Bytes that carry one word of so many bits."""
    return -(-bits // BYTE_BITS)


class Link(wiring.Component):
    """Bytes of a host to input words of a core, and its output words to bytes.

    A word of ``b`` bits travels as ``ceil(b / 8)`` bytes, the low one first; bits beyond ``b`` are ignored (in) or
    zero (out). A frame is ``input_words`` words and is answered by one output word. The host sends no more than
    ``buffer_bytes`` ahead of the answers: the line has no flow control.

    Recovery: when no byte comes for ``timeout_cycles`` within a frame, the core is reset and the partial frame
    forgotten, and so are whole frames that still wait. After ``lost`` or a full buffer the frame is spoilt: bytes
    are ignored until the line has been idle for ``timeout_cycles``, and then the same is done. So a host that hears
    no answer waits for that time and sends the frame again; no wrong answer comes of a lost byte.

    Latency 3 cycles from the last byte of a word to ``core_i.valid``; 0 from ``core_o`` to the answer's first byte.
    Interval: one byte per cycle in both directions.

    Parameters
    ----------
    input_bits, output_bits : int
        Widths of the core's words.
    input_words : int
        Words per frame.
    timeout_cycles : int
        Idle time that ends a partial frame.
    reset_cycles : int
        Length of the core's reset after power-up and in recovery.
    buffer_bytes : int, optional
        Bytes held while the core is not ready; one frame if not given.

    Members
    -------
    rx : In(stream.Signature(8))
        Bytes from the host; always ready.
    lost : In(1)
        High for a cycle when the line lost a byte.
    tx : Out(stream.Signature(8))
        Bytes to the host.
    core_reset : Out(1)
        The core's synchronous reset; high from power-up.
    core_i : Out(stream.Signature(input_bits))
        To the core's input.
    core_o : In(stream.Signature(output_bits))
        From the core's output.
    result : Out(output_bits)
        The last answer, e.g. for LEDs.

    Raises
    ------
    ValueError
        If a parameter is below 1.
    """

    def __init__(
        self,
        *,
        input_bits: int,
        output_bits: int,
        input_words: int,
        timeout_cycles: int,
        reset_cycles: int,
        buffer_bytes: int | None = None,
    ) -> None:
        self.word_bytes = bytes_per_word(input_bits)
        self.frame_bytes = self.word_bytes * input_words
        self.answer_bytes = bytes_per_word(output_bits)
        self.timeout_cycles = timeout_cycles
        self.reset_cycles = reset_cycles
        self.buffer_bytes = self.frame_bytes if buffer_bytes is None else buffer_bytes
        for name, value in (
            ("input_bits", input_bits),
            ("output_bits", output_bits),
            ("input_words", input_words),
            ("timeout_cycles", timeout_cycles),
            ("reset_cycles", reset_cycles),
            ("buffer_bytes", self.buffer_bytes),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        super().__init__(
            {
                "rx": In(stream.Signature(BYTE_BITS)),
                "lost": In(1),
                "tx": Out(stream.Signature(BYTE_BITS)),
                "core_reset": Out(1),
                "core_i": Out(stream.Signature(input_bits)),
                "core_o": In(stream.Signature(output_bits)),
                "result": Out(output_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Watch the line, buffer its bytes, make words of them, and answer."""
        m = Module()
        restart = Signal()
        buffer = SyncFIFOBuffered(width=BYTE_BITS, depth=self.buffer_bytes)
        m.submodules.buffer = ResetInserter(restart)(buffer)
        self._watch_line(m, restart, buffer)
        self._reset_core(m, restart)
        self._make_words(m, restart, buffer)
        self._answer(m, restart)
        return m

    def _watch_line(self, m: Module, restart: Signal, buffer: SyncFIFOBuffered) -> None:
        """Put bytes in the buffer, follow the position in the frame, and ask for a restart after a broken one."""
        position = Signal(range(self.frame_bytes))
        spoilt = Signal()
        idle_cycles = Signal(range(self.timeout_cycles))
        take = Signal()
        m.d.comb += [
            self.rx.ready.eq(1),
            take.eq(self.rx.valid & ~spoilt),
            buffer.w_data.eq(self.rx.payload),
            buffer.w_en.eq(take),
        ]
        with m.If(take & buffer.w_rdy):
            m.d.sync += position.eq(position + 1)
            with m.If(position == self.frame_bytes - 1):
                m.d.sync += position.eq(0)
        with m.If(self.lost | (take & ~buffer.w_rdy)):
            m.d.sync += spoilt.eq(1)
        with m.If(self.rx.valid | self.lost | ~(spoilt | (position != 0))):
            m.d.sync += idle_cycles.eq(0)
        with m.Elif(idle_cycles == self.timeout_cycles - 1):
            m.d.comb += restart.eq(1)
            m.d.sync += [idle_cycles.eq(0), position.eq(0), spoilt.eq(0)]
        with m.Else():
            m.d.sync += idle_cycles.eq(idle_cycles + 1)

    def _reset_core(self, m: Module, restart: Signal) -> None:
        left_cycles = Signal(range(self.reset_cycles + 1), init=self.reset_cycles)
        m.d.comb += self.core_reset.eq(left_cycles != 0)
        with m.If(restart):
            m.d.sync += left_cycles.eq(self.reset_cycles)
        with m.Elif(self.core_reset):
            m.d.sync += left_cycles.eq(left_cycles - 1)

    def _make_words(self, m: Module, restart: Signal, buffer: SyncFIFOBuffered) -> None:
        """Collect a word's bytes in a shift register, low byte first; the next word may start as one leaves."""
        word = Signal(BYTE_BITS * self.word_bytes)
        filled = Signal(range(self.word_bytes + 1))
        full, leaves = Signal(), Signal()
        m.d.comb += [
            full.eq(filled == self.word_bytes),
            self.core_i.payload.eq(word),
            self.core_i.valid.eq(full & ~self.core_reset),
            leaves.eq(self.core_i.valid & self.core_i.ready),
            buffer.r_en.eq(~full | leaves),
        ]
        with m.If(buffer.r_rdy & buffer.r_en):
            m.d.sync += [word.eq(Cat(word, buffer.r_data)[BYTE_BITS:]), filled.eq(Mux(leaves, 0, filled) + 1)]
        with m.Elif(leaves):
            m.d.sync += filled.eq(0)
        with m.If(restart):
            m.d.sync += filled.eq(0)

    def _answer(self, m: Module, restart: Signal) -> None:
        """Send the core's word byte by byte, low byte first."""
        sent = Signal(range(self.answer_bytes))
        last = Signal()
        m.d.comb += [
            last.eq(sent == self.answer_bytes - 1),
            self.tx.payload.eq(self.core_o.payload.word_select(sent, BYTE_BITS)),
            self.tx.valid.eq(self.core_o.valid & ~self.core_reset),
            self.core_o.ready.eq(self.tx.ready & last & ~self.core_reset),
        ]
        with m.If(self.tx.valid & self.tx.ready):
            m.d.sync += sent.eq(Mux(last, 0, sent + 1))
        with m.If(self.core_o.valid & self.core_o.ready):
            m.d.sync += self.result.eq(self.core_o.payload)
        with m.If(restart):
            m.d.sync += sent.eq(0)
