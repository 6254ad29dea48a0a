"""AXI4-Stream around a core: tlast ends a frame, and every frame is answered, marked where its length was wrong."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.stream_fifo import StreamFifo
from xnorweave.hw.stream_register import StreamRegister

__all__ = ["AxiStream", "padded_bits"]

FRAMES_IN_FLIGHT = 32


def padded_bits(bits: int) -> int:
    """Width of tdata for words of so many bits: whole bytes."""
    return -(-bits // 8) * 8


class AxiStream(wiring.Component):
    """Join an AXI4-Stream slave and master to the streams of a core.

    A frame is ``input_words`` transfers, the last one with tlast. It is answered by ``output_words`` transfers, the
    last one with tlast. A frame of another length is answered too, and the last transfer of that answer has tuser: a
    short frame is filled up with words of zeros, while no input is taken; of a long one what is too much is taken and
    forgotten. The frames around it are answered as if it had been of the right length.

    Latency 0 cycles at the input, 1 cycle at the output, where the last word of an answer also waits until the end of
    its frame has come in; interval 1 cycle; holds its word while tready is low.

    Parameters
    ----------
    input_bits, output_bits : int
        Widths of the core's words. Bits of tdata above them are ignored (in) or zero (out).
    input_words, output_words : int
        Words per frame.
    frames_in_flight : int
        Frames that may have come in without being answered.

    Members
    -------
    s_axis_tdata, s_axis_tvalid, s_axis_tlast : In
    s_axis_tready : Out(1)
        Frames.
    m_axis_tdata, m_axis_tvalid, m_axis_tlast, m_axis_tuser : Out
    m_axis_tready : In(1)
        Answers.
    frame_error : Out(1)
        High for the cycle in which tlast is early or missing.
    core_i : Out(stream.Signature(input_bits))
    core_o : In(stream.Signature(output_bits))
        The core's streams.

    Raises
    ------
    ValueError
        If a parameter is below 1.

    References
    ----------
    Arm, AMBA AXI-Stream Protocol Specification, IHI 0051B.
    """

    def __init__(
        self,
        *,
        input_bits: int,
        output_bits: int,
        input_words: int,
        output_words: int,
        frames_in_flight: int = FRAMES_IN_FLIGHT,
    ):
        self.input_words, self.output_words, self.frames_in_flight = input_words, output_words, frames_in_flight
        self.input_bits, self.output_bits = input_bits, output_bits
        for name in ("input_bits", "output_bits", "input_words", "output_words", "frames_in_flight"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        super().__init__(
            {
                "s_axis_tdata": In(padded_bits(input_bits)),
                "s_axis_tvalid": In(1),
                "s_axis_tready": Out(1),
                "s_axis_tlast": In(1),
                "m_axis_tdata": Out(padded_bits(output_bits)),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "m_axis_tlast": Out(1),
                "m_axis_tuser": Out(1),
                "frame_error": Out(1),
                "core_i": Out(stream.Signature(input_bits)),
                "core_o": In(stream.Signature(output_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # One bit for each frame whose end has come in: whether its length was wrong.
        m.submodules.wrong = wrong = StreamFifo(word_bits=1, depth=self.frames_in_flight)
        self._take_frames(m, wrong.i)
        self._give_answers(m, wrong.o)
        return m

    def _take_frames(self, m, wrong):
        position = Signal(range(self.input_words))
        at_end, ending, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            at_end.eq(position == self.input_words - 1),
            ending.eq(at_end | self.s_axis_tlast),
            moves.eq(self.core_i.valid & self.core_i.ready),
        ]
        with m.If(moves):
            m.d.sync += position.eq(position + 1)
            with m.If(at_end):
                m.d.sync += position.eq(0)
        with m.FSM():
            with m.State("PASS"):
                room = wrong.ready | ~ending
                m.d.comb += [
                    self.core_i.payload.eq(self.s_axis_tdata),
                    self.core_i.valid.eq(self.s_axis_tvalid & room),
                    self.s_axis_tready.eq(self.core_i.ready & room),
                    wrong.payload.eq(at_end ^ self.s_axis_tlast),
                    wrong.valid.eq(self.s_axis_tvalid & self.core_i.ready & ending),
                    self.frame_error.eq(moves & (at_end ^ self.s_axis_tlast) & ending),
                ]
                with m.If(moves & self.s_axis_tlast & ~at_end):
                    m.next = "FILL"
                with m.If(moves & at_end & ~self.s_axis_tlast):
                    m.next = "SKIP"
            with m.State("FILL"):
                m.d.comb += self.core_i.valid.eq(1)
                with m.If(moves & at_end):
                    m.next = "PASS"
            with m.State("SKIP"):
                m.d.comb += self.s_axis_tready.eq(1)
                with m.If(self.s_axis_tvalid & self.s_axis_tlast):
                    m.next = "PASS"

    def _give_answers(self, m, wrong):
        """The register frees the core of a last word that comes before its frame's end, so that the end can come."""
        m.submodules.word = word = StreamRegister(word_bits=self.output_bits)
        wiring.connect(m, wiring.flipped(self.core_o), word.i)
        position = Signal(range(self.output_words))
        leaves, last, told = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq(position == self.output_words - 1),
            told.eq(wrong.valid | ~last),
            self.m_axis_tdata.eq(word.o.payload),
            self.m_axis_tvalid.eq(word.o.valid & told),
            self.m_axis_tlast.eq(last),
            self.m_axis_tuser.eq(last & wrong.payload),
            word.o.ready.eq(self.m_axis_tready & told),
            leaves.eq(self.m_axis_tvalid & self.m_axis_tready),
            wrong.ready.eq(leaves & last),
        ]
        with m.If(leaves):
            m.d.sync += position.eq(position + 1)
            with m.If(last):
                m.d.sync += position.eq(0)
