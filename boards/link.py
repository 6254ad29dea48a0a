"""The serial link between host and core: packets to frames, results to packets; protocol: docs/reference/link.md."""

# Amaranth's members and contexts carry no types.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from xnorweave.boards.link_format import (
    COUNTER_BYTES,
    STATUS_BYTES,
    Identity,
    bytes_per_word,
    packet_bytes,
    status_constants,
)
from xnorweave.boards.link_parts import (
    COUNTERS_AT,
    STATUS_AT,
    AnswerBuilder,
    EventCounters,
    FrameFeeder,
    PacketReceiver,
    position_shape,
)
from xnorweave.hw.cobs import BYTE_BITS, CobsEncoderControl

__all__ = ["Link", "link_memory_bytes"]

_STATUS_BITS = 6
_MOST_RESULT_BYTES = 255


def _ring_bits(result_bytes: int) -> int:
    """Address bits of the ring, which holds the longest answer."""
    longest = max(packet_bytes(STATUS_BYTES), packet_bytes(result_bytes + COUNTER_BYTES))
    return max(_STATUS_BITS, (longest + 1).bit_length())


def _regions(frame_bytes: int, result_bytes: int, buffer_frames: int) -> tuple[int, int, int]:
    """Where the status and the ring begin in the memory, behind the frames, and where the ring ends."""
    frame_places = len(position_shape(frame_bytes)) - 1
    # One frame takes what it takes; of several, the number is the high bits of an address.
    frames = frame_places if buffer_frames == 1 else buffer_frames << frame_places.bit_length()
    ring = 1 << _ring_bits(result_bytes)
    status = _aligned(frames, 1 << _STATUS_BITS)
    answers = _aligned(status + (1 << _STATUS_BITS), ring)
    return status, answers, answers + ring


def _aligned(address: int, size: int) -> int:
    """The first multiple of a size from an address on."""
    return -(-address // size) * size


def link_memory_bytes(frame_bytes: int, result_bytes: int = 1, buffer_frames: int = 1) -> int:
    """Size of the link's memory: frames, what a status tells, and the answers that wait."""
    return _regions(frame_bytes, result_bytes, buffer_frames)[-1]


class Link(wiring.Component):
    """Packets of a host to input words of a core, and its output words to packets.

    A frame is ``input_words`` words of ``ceil(input_bits / 8)`` bytes and is answered by one output word. Nothing of a
    frame reaches the core before its CRC is found right. Meanwhile it lies in a memory, over what is read already of
    the frame before: with room for one frame, the next one may come as soon as the core takes this one. One frame is
    in the core at a time; its answer is copied, and the core goes on while the answer is sent.

    Recovery: what is lost, changed or cut spoils the packets that it touches, and no others; a delimiter begins anew.
    A status or refusal that comes due while another one waits or is built is left out; the host asks again.

    Latency 8 cycles from the delimiter of a frame to its first word of one byte. Interval: 8 cycles a byte from the
    host, 1 to the core, 10 to the host.

    Parameters
    ----------
    input_bits, output_bits : int
        Widths of the core's words.
    input_words : int
        Words per frame.
    reset_cycles : int
        Length of the core's reset after power-up and when the host asks for it.
    identity : Identity
        What a status tells of the board.
    buffer_frames : int
        Frames that have room, 1 to 255; more than one take a power of two bytes each.

    Members
    -------
    rx : In(stream.Signature(8))
        Bytes from the host; ready in the eighth cycle of each at the latest, but for a few cycles while something
        is counted.
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
        The last result, e.g. for LEDs.

    Raises
    ------
    ValueError
        If a parameter is below 1 or above what a status can tell.
    """

    def __init__(
        self,
        *,
        input_bits: int,
        output_bits: int,
        input_words: int,
        reset_cycles: int,
        identity: Identity,
        buffer_frames: int = 1,
    ) -> None:
        for name, value, most in (
            ("input_bits", input_bits, None),
            ("output_bits", output_bits, BYTE_BITS * _MOST_RESULT_BYTES),
            ("input_words", input_words, None),
            ("reset_cycles", reset_cycles, None),
            ("buffer_frames", buffer_frames, 255),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
            if most is not None and value > most:
                raise ValueError(f"{name} must be at most {most}, not {value!r}")
        self.frame_bytes = bytes_per_word(input_bits) * input_words
        self.result_bytes = bytes_per_word(output_bits)
        self.reset_cycles = reset_cycles
        self.identity = identity
        self.buffer_frames = buffer_frames
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
        """Parts around one memory."""
        m = Module()
        ring_bits = _ring_bits(self.result_bytes)
        m.submodules.receiver = self._receiver = PacketReceiver(frame_bytes=self.frame_bytes)
        m.submodules.feeder = self._feeder = FrameFeeder(
            input_bits=len(self.core_i.payload), frame_bytes=self.frame_bytes
        )
        m.submodules.counters = self._counters = EventCounters()
        m.submodules.builder = self._builder = AnswerBuilder(
            output_bits=len(self.core_o.payload), address_bits=ring_bits
        )
        m.submodules.encoder = self._encoder = CobsEncoderControl(address_bits=ring_bits)
        wiring.connect(m, wiring.flipped(self.rx), self._receiver.i)
        wiring.connect(m, self._receiver.answer, self._builder.answer)
        wiring.connect(m, self._builder.o, self._encoder.i)
        wiring.connect(m, self._encoder.o, wiring.flipped(self.tx))
        self._share_memory(m)
        self._reset_core(m)
        self._count_events(m)
        self._run_core(m, self._keep_frames(m))
        return m

    def _share_memory(self, m: Module) -> None:
        """Counters go before answers, and answers before frames; who does not come asks again."""
        status, ring, depth = _regions(self.frame_bytes, self.result_bytes, self.buffer_frames)
        constants = status_constants(
            self.identity,
            frame_bytes=self.frame_bytes,
            result_bytes=self.result_bytes,
            frames=self.buffer_frames,
        )
        init = [0] * (status + STATUS_AT) + list(constants)
        m.submodules.memory = self._memory = memory = Memory(shape=BYTE_BITS, depth=depth, init=init)
        write, read = memory.write_port(), memory.read_port()
        receiver, feeder, encoder = self._receiver, self._feeder, self._encoder
        counters, builder = self._counters, self._builder
        counter = Signal.like(write.addr)
        self._write_frame, self._read_frame = Signal.like(write.addr), Signal.like(read.addr)
        m.d.comb += [
            counter.eq(status + COUNTERS_AT | counters.address),
            encoder.write.ready.eq(~counters.writes),
            receiver.write.ready.eq(~counters.writes & ~encoder.write.valid),
            write.en.eq(counters.writes | encoder.write.valid | receiver.write.valid),
            builder.granted.eq(builder.wants & ~counters.busy),
            encoder.read.ready.eq(~counters.reads & ~builder.granted),
            feeder.granted.eq(encoder.read.ready & ~encoder.read.valid),
        ]
        with m.If(counters.writes):
            m.d.comb += [write.addr.eq(counter), write.data.eq(counters.following)]
        with m.Elif(encoder.write.valid):
            m.d.comb += [
                write.addr.eq(ring | encoder.write.payload.address),
                write.data.eq(encoder.write.payload.data),
            ]
        with m.Else():
            m.d.comb += [write.addr.eq(self._write_frame), write.data.eq(receiver.write.payload.data)]
        with m.If(counters.reads):
            m.d.comb += read.addr.eq(counter)
        with m.Elif(builder.granted):
            m.d.comb += read.addr.eq(status | builder.address)
        with m.Elif(encoder.read.valid):
            m.d.comb += read.addr.eq(ring | encoder.read.payload)
        with m.Else():
            m.d.comb += read.addr.eq(self._read_frame)
        m.d.comb += [part.stored.eq(read.data) for part in (feeder, counters, builder)]
        # The encoder may have to wait with what it read, while others read on.
        fetched, kept = Signal(), Signal(BYTE_BITS)
        m.d.comb += encoder.stored.eq(Mux(fetched, read.data, kept))
        m.d.sync += [fetched.eq(encoder.read.valid & encoder.read.ready), kept.eq(encoder.stored)]

    def _reset_core(self, m: Module) -> None:
        """Count up to a power of two: its bit tells the end."""
        top = 1 << (self.reset_cycles - 1).bit_length()
        count = Signal(range(2 * top), init=top - self.reset_cycles)
        m.d.comb += self.core_reset.eq(~count[-1])
        with m.If(self._receiver.restart):
            m.d.sync += count.eq(count.init)
        with m.Elif(self.core_reset):
            m.d.sync += count.eq(count + 1)

    def _count_events(self, m: Module) -> None:
        receiver, counters, builder = self._receiver, self._counters, self._builder
        taken, _, dropped, _, refused = counters.waiting
        sent = builder.result.valid & builder.result.ready
        m.d.comb += [
            receiver.lost.eq(self.lost),
            receiver.patient.eq(~(taken | dropped | refused)),
            counters.events.eq(Cat(receiver.taken, sent, receiver.dropped, self.lost, receiver.refused)),
            counters.hold.eq(builder.hold),
        ]

    def _keep_frames(self, m: Module) -> Signal:
        """Which frames wait for the core; tells whether there is one."""
        receiver, feeder = self._receiver, self._feeder
        waiting = Signal(range(self.buffer_frames + 1))
        m.d.comb += [
            receiver.full.eq(waiting == self.buffer_frames),
            receiver.front.eq(feeder.front),
            feeder.restart.eq(receiver.restart),
        ]
        m.d.sync += waiting.eq(waiting + receiver.taken - feeder.done)
        places = []
        for name, goes_on in (("newest", receiver.taken), ("oldest", feeder.done)):
            place = Signal(range(self.buffer_frames), name=name)
            with m.If(goes_on):
                m.d.sync += place.eq(Mux(place == self.buffer_frames - 1, 0, place + 1))
            with m.If(receiver.restart):
                m.d.sync += place.eq(0)
            places.append(place)
        with m.If(receiver.restart):
            m.d.sync += waiting.eq(0)
        m.d.comb += [
            self._write_frame.eq(Cat(receiver.write.payload.address, places[0])),
            self._read_frame.eq(Cat(feeder.address, places[1])),
        ]
        return waiting != 0

    def _run_core(self, m: Module, frame_waits: Signal) -> None:
        """Begin a frame when the answer to the last one is built, and copy its result and its cycles."""
        receiver, feeder, builder = self._receiver, self._feeder, self._builder
        running, fresh, answered, leaves = Signal(), Signal(), Signal(), Signal()
        cycles = Signal(COUNTER_BYTES * BYTE_BITS)
        m.d.comb += [
            # Not while counters want the memory: cycles of a frame that comes alone are those of the core.
            feeder.start.eq(
                frame_waits & ~running & ~answered & ~feeder.active & ~self._counters.busy & ~self.core_reset
            ),
            self.core_i.payload.eq(feeder.o.payload),
            self.core_i.valid.eq(feeder.o.valid & ~self.core_reset),
            feeder.o.ready.eq(self.core_i.ready & ~self.core_reset),
            leaves.eq(self.core_i.valid & self.core_i.ready),
            self.core_o.ready.eq(running & ~self.core_reset),
            builder.result.valid.eq(answered),
            builder.result.payload.word.eq(self.result),
            builder.result.payload.cycles.eq(cycles),
            builder.result.payload.sequence.eq(feeder.sequence),
            # A result that a restart forgets must not be begun in the same cycle.
            builder.free.eq(self._encoder.idle & ~receiver.restart),
        ]
        with m.If(fresh & leaves):
            m.d.sync += [cycles.eq(1), fresh.eq(0)]
        with m.Elif(running & ~self.core_o.valid):
            m.d.sync += cycles.eq(cycles + 1)
        with m.If(feeder.start):
            m.d.sync += [running.eq(1), fresh.eq(1)]
        with m.If(self.core_o.valid & self.core_o.ready):
            m.d.sync += [self.result.eq(self.core_o.payload), running.eq(0), answered.eq(1)]
        with m.If(builder.result.ready):
            m.d.sync += answered.eq(0)
        with m.If(receiver.restart):
            m.d.sync += [running.eq(0), fresh.eq(0)]
            with m.If(~builder.begun):
                m.d.sync += answered.eq(0)
