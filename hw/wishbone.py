"""A core behind the registers of a classic Wishbone slave."""

from enum import IntEnum

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ADDRESS_BITS", "IDENTITY", "WORD_BITS", "Register", "Wishbone"]

WORD_BITS = 32
ADDRESS_BITS = 6
IDENTITY = 0x584E5701
"""What `Register.IDENTITY` reads: "XNW", and the version of the register map."""


class Register(IntEnum):
    """Byte addresses."""

    IDENTITY = 0x00
    CONTROL = 0x04
    STATUS = 0x08
    INPUT = 0x0C
    OUTPUT = 0x10
    FRAMES_IN = 0x14
    FRAMES_OUT = 0x18
    POSITION = 0x1C
    INPUT_WORDS = 0x20
    INPUT_BITS = 0x24
    OUTPUT_WORDS = 0x28
    OUTPUT_BITS = 0x2C


class Wishbone(wiring.Component):
    """Registers that give words to a core and take its answers.

    Words wider than 32 bits go through ``INPUT`` and ``OUTPUT`` in parts, the low one first. No access waits for the
    core: a write that finds no room is lost and sets ``overrun``, a read that finds no word gives 0 and sets
    ``underrun``.

    Latency: an access is acknowledged in the cycle after it is seen, and takes two cycles; the core gets a word in the
    cycle after its last part is acknowledged.

    Parameters
    ----------
    input_bits, output_bits : int
        Widths of the core's words.
    input_words, output_words : int
        Words per frame.
    reset_cycles : int
        Length of the core's reset by ``CONTROL``.

    Members
    -------
    wb_cyc_i, wb_stb_i, wb_we_i, wb_adr_i, wb_sel_i, wb_dat_i : In
    wb_dat_o, wb_ack_o : Out
        The bus: 32 bits, byte addresses of which the two low bits are ignored.
    irq_o : Out(1)
        High while there is an answer to read and ``CONTROL`` enables it.
    core_reset : Out(1)
        The core's synchronous reset.
    core_i : Out(stream.Signature(input_bits))
    core_o : In(stream.Signature(output_bits))
        The core's streams.

    Raises
    ------
    ValueError
        If a parameter is below 1.

    References
    ----------
    OpenCores, Wishbone B4, chapter 3 (classic standard cycles).
    """

    def __init__(
        self, *, input_bits: int, output_bits: int, input_words: int, output_words: int, reset_cycles: int = 4
    ):
        self.input_bits, self.output_bits = input_bits, output_bits
        self.input_words, self.output_words, self.reset_cycles = input_words, output_words, reset_cycles
        for name in ("input_bits", "output_bits", "input_words", "output_words", "reset_cycles"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        super().__init__(
            {
                "wb_cyc_i": In(1),
                "wb_stb_i": In(1),
                "wb_we_i": In(1),
                "wb_adr_i": In(ADDRESS_BITS),
                "wb_sel_i": In(WORD_BITS // 8),
                "wb_dat_i": In(WORD_BITS),
                "wb_dat_o": Out(WORD_BITS),
                "wb_ack_o": Out(1),
                "irq_o": Out(1),
                "core_reset": Out(1),
                "core_i": Out(stream.Signature(input_bits)),
                "core_o": In(stream.Signature(output_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        access, written = Signal(), Signal(WORD_BITS)
        lanes = Cat(select.replicate(8) for select in self.wb_sel_i)
        m.d.comb += [access.eq(self.wb_cyc_i & self.wb_stb_i & ~self.wb_ack_o), written.eq(self.wb_dat_i & lanes)]
        m.d.sync += self.wb_ack_o.eq(access)

        def hit(register, *, write):
            return access & (self.wb_we_i == write) & (self.wb_adr_i[2:] == register >> 2)

        restart = self._control(m, hit(Register.CONTROL, write=1), written)
        ready, overrun, frames_in, position = self._input(m, hit(Register.INPUT, write=1), written, restart)
        part, underrun, frames_out = self._output(m, hit(Register.OUTPUT, write=0), restart)
        flags = self._flags(m, hit(Register.STATUS, write=1), written, restart, overrun, underrun)
        values = {
            Register.IDENTITY: IDENTITY,
            Register.CONTROL: Cat(Const(0, 1), self._irq_enabled),
            Register.STATUS: Cat(ready, self._answered, position != 0, Const(0, 1), flags),
            Register.OUTPUT: Mux(self._answered, part, 0),
            Register.FRAMES_IN: frames_in,
            Register.FRAMES_OUT: frames_out,
            Register.POSITION: position,
            Register.INPUT_WORDS: self.input_words,
            Register.INPUT_BITS: self.input_bits,
            Register.OUTPUT_WORDS: self.output_words,
            Register.OUTPUT_BITS: self.output_bits,
        }
        m.d.sync += self.wb_dat_o.eq(0)
        with m.If(access & ~self.wb_we_i), m.Switch(self.wb_adr_i[2:]):
            for register, value in values.items():
                with m.Case(register >> 2):
                    m.d.sync += self.wb_dat_o.eq(value)
        return m

    def _control(self, m, written_to, written):
        """Reset of the core, for some cycles, and the interrupt's enable; gives the cycle that starts a reset."""
        restart, left_cycles = Signal(), Signal(range(self.reset_cycles + 1))
        self._irq_enabled, self._answered = Signal(), Signal()
        m.d.comb += [
            restart.eq(written_to & written[0]),
            self.core_reset.eq(left_cycles != 0),
            self._answered.eq(self.core_o.valid & ~self.core_reset),
            self.irq_o.eq(self._irq_enabled & self._answered),
        ]
        with m.If(written_to):
            m.d.sync += self._irq_enabled.eq(written[1])
        with m.If(restart):
            m.d.sync += left_cycles.eq(self.reset_cycles)
        with m.Elif(self.core_reset):
            m.d.sync += left_cycles.eq(left_cycles - 1)
        return restart

    def _input(self, m, written_to, written, restart):
        """Collect a word's parts, and hand it over; gives readiness, overrun, frames and words of the frame so far."""
        parts = -(-self.input_bits // WORD_BITS)
        word, filled, full = Signal(WORD_BITS * parts), Signal(range(parts)), Signal()
        frames, position = Signal(WORD_BITS), Signal(range(self.input_words))
        ready = ~full & ~self.core_reset
        m.d.comb += [self.core_i.payload.eq(word), self.core_i.valid.eq(full & ~self.core_reset)]
        with m.If(self.core_i.valid & self.core_i.ready):
            m.d.sync += full.eq(0)
        with m.If(written_to & ready):
            m.d.sync += [word.eq(Cat(word, written)[WORD_BITS:]), filled.eq(filled + 1)]
            with m.If(filled == parts - 1):
                m.d.sync += [filled.eq(0), full.eq(1), position.eq(position + 1)]
                with m.If(position == self.input_words - 1):
                    m.d.sync += [position.eq(0), frames.eq(frames + 1)]
        with m.If(restart):
            m.d.sync += [filled.eq(0), full.eq(0), position.eq(0), frames.eq(0)]
        return ready, written_to & ~ready, frames, position

    def _output(self, m, read, restart):
        """Show the core's word part by part, and take it with the last; gives the part, underrun and frames."""
        parts = -(-self.output_bits // WORD_BITS)
        shown, frames, position = Signal(range(parts)), Signal(WORD_BITS), Signal(range(self.output_words))
        taken = read & self._answered
        m.d.comb += self.core_o.ready.eq(taken & (shown == parts - 1))
        with m.If(taken):
            m.d.sync += shown.eq(shown + 1)
        with m.If(self.core_o.ready):
            m.d.sync += [shown.eq(0), position.eq(position + 1)]
            with m.If(position == self.output_words - 1):
                m.d.sync += [position.eq(0), frames.eq(frames + 1)]
        with m.If(restart):
            m.d.sync += [shown.eq(0), position.eq(0), frames.eq(0)]
        return self.core_o.payload.word_select(shown, WORD_BITS), read & ~self._answered, frames

    def _flags(self, m, written_to, written, restart, overrun, underrun):
        """``overrun`` and ``underrun``, kept until a 1 is written to them."""
        flags = Signal(2)
        cleared = Mux(written_to, written[4:6], 0)
        m.d.sync += flags.eq(Mux(restart, 0, (flags & ~cleared) | Cat(overrun, underrun)))
        return flags
