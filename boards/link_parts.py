"""The parts of `xnorweave.boards.link`: what takes packets, feeds the core, builds answers, and counts.

They share one memory, whose use the link settles: what asks for it names an address within its own region.
"""

# Amaranth's members and contexts carry no types.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.boards.link_format import (
    COUNTER_BYTES,
    COUNTERS,
    HEAD_BYTES,
    STATUS_BYTES,
    Kind,
    Refusal,
    bytes_per_word,
)
from xnorweave.hw.cobs import BYTE_BITS, CobsDecoder
from xnorweave.hw.crc import CRC_BYTES, Crc32

__all__ = [
    "COUNTERS_AT",
    "STATUS_AT",
    "AnswerBuilder",
    "EventCounters",
    "FrameFeeder",
    "PacketReceiver",
    "position_shape",
]

# In the status region: the payload is one piece, and a counter's number and byte are bits of its address.
COUNTERS_AT = 32
STATUS_AT = COUNTERS_AT + COUNTER_BYTES * len(COUNTERS) - STATUS_BYTES
_SEQUENCE_AT, _PAYLOAD_AT = 1, HEAD_BYTES

_ANSWER = data.StructLayout({"sequence": BYTE_BITS, "refusal": 2})
_PACKET = data.StructLayout({"data": BYTE_BITS, "end": 1})


class _Phase(enum.Enum, shape=3):
    """What part of an answer is being sent."""

    KIND = 0
    SEQUENCE = 1
    PAYLOAD = 2
    CRC = 3
    END = 4


def position_shape(frame_bytes: int) -> range:
    """Positions in a frame's packet, and one beyond its end."""
    return range(HEAD_BYTES + frame_bytes + CRC_BYTES + 2)


class PacketReceiver(wiring.Component):
    """Take packets apart, keep what may be a frame, and decide at each delimiter what it was.

    Interval 8 cycles a byte; 1 for a delimiter. A byte is written at its position in the packet, over what is read
    already of the frame that is kept there; where that is behind, the packet finds no room.

    Parameters
    ----------
    frame_bytes : int
        Payload of a frame.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes of the line.
    lost : In(1)
        High for a cycle when the line lost a byte: nothing comes of the packet.
    full : In(1)
        Whether there is a frame at the place for the next one.
    front : In(position)
        The first position of that frame that is still wanted.
    write : Out(stream.Signature({address: position, data: 8}))
        What to keep.
    patient : In(1)
        Whether events can be counted; a packet's end waits for it.
    taken, restart, dropped, refused : Out(1)
        High for a cycle at the end of a frame that is whole, of a reset, of a packet that is not right, and of one
        that is refused.
    answer : Out(stream.Signature({sequence: 8, refusal: 2}))
        A status is wanted (``refusal`` 0), or a refusal. While one waits, further ones are forgotten.
    """

    def __init__(self, *, frame_bytes: int) -> None:
        self.frame_bytes = frame_bytes
        position = position_shape(frame_bytes)
        self.position = Signal(position)
        super().__init__(
            {
                "i": In(stream.Signature(BYTE_BITS)),
                "lost": In(1),
                "full": In(1),
                "front": In(position),
                "write": Out(stream.Signature(data.StructLayout({"address": self.position.shape(), "data": 8}))),
                "patient": In(1),
                "taken": Out(1),
                "restart": Out(1),
                "dropped": Out(1),
                "refused": Out(1),
                "answer": Out(stream.Signature(_ANSWER)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Decoder, CRC, and what is known of the packet so far."""
        m = Module()
        m.submodules.decoder = self._decoder = CobsDecoder()
        m.submodules.crc = self._crc = Crc32(bits_per_cycle=1)
        self._kind, self._sequence = Signal(2), Signal(BYTE_BITS)
        self._spoilt, self._no_room, self._at_head = Signal(), Signal(), Signal()
        # Comparisons with small numbers share the high bits.
        m.d.comb += self._at_head.eq(self.position[3:] == 0)
        wiring.connect(m, wiring.flipped(self.i), self._decoder.i)
        ends, took = Signal(), Signal()
        packet = self._decoder.o
        m.d.comb += ends.eq(packet.valid & packet.payload.end & self.patient)
        self._take(m, took)
        m.d.comb += packet.ready.eq(Mux(packet.payload.end, self.patient, took))
        with m.If(ends):
            m.d.sync += [self.position.eq(0), self._spoilt.eq(0), self._no_room.eq(0)]
        with m.If(self.lost):
            m.d.sync += self._spoilt.eq(1)
        m.d.comb += self._crc.start.eq(ends)
        self._decide(m, ends)
        return m

    def _take(self, m: Module, took: Signal) -> None:
        """A byte goes to the CRC and to the memory in the same cycle."""
        byte = self._decoder.o.payload.data
        wanted, within, overtakes, writes = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            wanted.eq(self._decoder.o.valid & ~self._decoder.o.payload.end),
            within.eq(self.position != position_shape(self.frame_bytes)[-1]),
            overtakes.eq(self.full & (self.position == self.front)),
            writes.eq(within & ~overtakes & ~self._no_room),
            self.write.payload.address.eq(self.position),
            self.write.payload.data.eq(byte),
            self.write.valid.eq(wanted & writes & self._crc.i.ready),
            self._crc.i.payload.eq(byte),
            self._crc.i.valid.eq(wanted & (self.write.ready | ~writes)),
            took.eq(self._crc.i.ready & (self.write.ready | ~writes)),
        ]
        with m.If(wanted & took):
            m.d.sync += self._no_room.eq(self._no_room | overtakes)
            with m.If(within):
                m.d.sync += self.position.eq(self.position + 1)
            with m.If(self._is_at(0)):
                m.d.sync += self._kind.eq(Mux(byte[2:] == 0, byte[:2], 0))
            with m.If(self._is_at(_SEQUENCE_AT)):
                m.d.sync += self._sequence.eq(byte)

    def _is_at(self, position: int) -> Value:
        return self._at_head & (self.position[:3] == position)

    def _decide(self, m: Module, ends: Signal) -> None:
        bare = HEAD_BYTES + CRC_BYTES
        good, refusal, asks = Signal(), Signal(2), Signal()
        short = self._at_head & ~self.position[1:3].all()
        m.d.comb += good.eq(self._crc.good & ~self._decoder.o.payload.broken & ~self._spoilt & ~short)
        with m.If(ends & ~good):
            m.d.comb += self.dropped.eq(self._decoder.o.payload.broken | ~self._is_at(0))
        with m.Elif(ends), m.Switch(self._kind):
            with m.Case(Kind.FRAME):
                with m.If(self.position != bare + self.frame_bytes):
                    m.d.comb += refusal.eq(Refusal.LENGTH)
                with m.Elif(self._no_room):
                    m.d.comb += refusal.eq(Refusal.NO_ROOM)
                with m.Else():
                    m.d.comb += self.taken.eq(1)
            with m.Case(Kind.STATUS_REQUEST, Kind.RESET):
                m.d.comb += [
                    asks.eq(self._is_at(bare)),
                    self.dropped.eq(~asks),
                    self.restart.eq(asks & self._kind[0]),
                ]
            with m.Default():
                m.d.comb += refusal.eq(Refusal.KIND)
        m.d.comb += self.refused.eq(refusal != 0)
        with m.If(self.answer.ready):
            m.d.sync += self.answer.valid.eq(0)
        with m.If((asks | self.refused) & ~self.answer.valid):
            m.d.sync += [
                self.answer.valid.eq(1),
                self.answer.payload.sequence.eq(self._sequence),
                self.answer.payload.refusal.eq(refusal),
            ]


class FrameFeeder(wiring.Component):
    """Read a frame and give it to the core as words, low byte first.

    Latency 5 cycles from ``start`` to the first word of one byte, where the memory is free. Interval 1 cycle a byte.

    Parameters
    ----------
    input_bits : int
        Width of the core's words.
    frame_bytes : int
        Payload of a frame.

    Members
    -------
    start : In(1)
        Begin with the frame that is kept.
    restart : In(1)
        Forget it.
    active : Out(1)
        High from the cycle after ``start`` until the last byte is taken. The memory is wanted all the while.
    granted : In(1)
        Whether the memory reads what is wanted.
    address : Out(position)
        What is wanted.
    stored : In(8)
        What was read in the cycle before.
    front : Out(position)
        The first position that is still wanted.
    done : Out(1)
        High for a cycle as the last byte is taken from the memory.
    sequence : Out(8)
        Of the frame that was begun last.
    o : Out(stream.Signature(input_bits))
        Words for the core.
    """

    def __init__(self, *, input_bits: int, frame_bytes: int) -> None:
        self.word_bytes = bytes_per_word(input_bits)
        self.frame_bytes = frame_bytes
        position = position_shape(frame_bytes)
        super().__init__(
            {
                "start": In(1),
                "restart": In(1),
                "active": Out(1),
                "granted": In(1),
                "address": Out(position),
                "stored": In(BYTE_BITS),
                "front": Out(position, init=_SEQUENCE_AT),
                "done": Out(1),
                "sequence": Out(BYTE_BITS),
                "o": Out(stream.Signature(input_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Ask for the next byte in each cycle; one that finds no place, or that was not read, is asked for again."""
        m = Module()
        arrives, loads, last, in_payload = Signal(), Signal(), Signal(), Signal()
        room = self._collect(m, loads & in_payload)
        following = Signal.like(self.front)
        m.d.comb += [
            loads.eq(arrives & (room | ~in_payload)),
            last.eq(self.front == _PAYLOAD_AT + self.frame_bytes - 1),
            self.done.eq(loads & last),
            following.eq(self.front + 1),
            self.address.eq(Mux(loads, following, self.front)),
        ]
        m.d.sync += arrives.eq(self.active & self.granted & ~self.done)
        with m.If(self.start):
            m.d.sync += self.active.eq(1)
        with m.If(loads):
            m.d.sync += [self.front.eq(following), in_payload.eq(1)]
            with m.If(~in_payload):
                m.d.sync += self.sequence.eq(self.stored)
        with m.If(self.done | self.restart):
            m.d.sync += [self.front.eq(_SEQUENCE_AT), in_payload.eq(0), self.active.eq(0)]
        with m.If(self.restart):
            m.d.sync += arrives.eq(0)
        return m

    def _collect(self, m: Module, loads: Signal) -> Signal:
        """A word's bytes in a shift register. Tells whether a byte has room.

        A word that the core does not take at once moves aside for the next one, so that room, and with it the memory's
        address, does not follow the core's ready within the cycle: that path begins deep inside the core.
        """
        word, aside = Signal(BYTE_BITS * self.word_bytes), Signal(BYTE_BITS * self.word_bytes)
        filled = Signal(range(self.word_bytes + 1))
        full, waits = Signal(), Signal()
        m.d.comb += [
            full.eq(filled == self.word_bytes),
            self.o.payload.eq(Mux(waits, aside, word)),
            self.o.valid.eq(full | waits),
        ]
        leaves = full & ~waits & self.o.ready
        with m.If(loads):
            m.d.sync += [word.eq(Cat(word, self.stored)[BYTE_BITS:]), filled.eq(Mux(full, 0, filled) + 1)]
        with m.Elif(leaves):
            m.d.sync += filled.eq(0)
        with m.If(~waits):
            m.d.sync += [aside.eq(word), waits.eq(full & loads & ~self.o.ready)]
        with m.Elif(self.o.ready):
            m.d.sync += waits.eq(0)
        with m.If(self.restart):
            m.d.sync += [filled.eq(0), waits.eq(0)]
        return ~(full & waits)


class EventCounters(wiring.Component):
    """Counters of 32 bits in a memory, one byte at a time.

    Latency 3 to 12 cycles for an event that finds no other. One more event of the same kind may wait meanwhile;
    of several only one is counted.

    Members
    -------
    events : In(5)
        High for a cycle for each event; bits as in `packets.COUNTERS`.
    hold : In(1)
        Begin with no further event.
    busy : Out(1)
        Whether a counter is about to change.
    waiting : Out(5)
        Events that have not begun to be counted.
    reads, writes : Out(1)
        Whether the memory is wanted; it is given at once.
    address : Out(5)
        Of the byte, from the first counter on.
    stored : In(8)
        What was read in the cycle before.
    following : Out(8)
        What to write.
    """

    def __init__(self) -> None:
        count = len(COUNTERS)
        super().__init__(
            {
                "events": In(count),
                "hold": In(1),
                "busy": Out(1),
                "waiting": Out(count),
                "reads": Out(1),
                "writes": Out(1),
                "address": Out(range(COUNTER_BYTES * count)),
                "stored": In(BYTE_BITS),
                "following": Out(BYTE_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read, write, and go on to the next byte with a carry."""
        m = Module()
        which, byte = Signal(range(len(COUNTERS))), Signal(range(COUNTER_BYTES))
        carry, any_waits = Signal(), Signal()
        begins = Signal(len(COUNTERS))
        m.d.comb += [
            self.address.eq(Cat(byte, which)),
            Cat(self.following, carry).eq(self.stored + 1),
            any_waits.eq((self.waiting != 0) & ~self.hold),
        ]
        m.d.sync += self.waiting.eq(self.waiting & ~begins | self.events)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.busy.eq(any_waits)
                m.d.sync += byte.eq(0)
                with m.If(any_waits):
                    for number in reversed(range(len(COUNTERS))):
                        with m.If(self.waiting[number]):
                            m.d.sync += which.eq(number)
                            m.d.comb += begins.eq(1 << number)
                    m.next = "read"
            with m.State("read"):
                m.d.comb += [self.busy.eq(1), self.reads.eq(1)]
                m.next = "write"
            with m.State("write"):
                m.d.comb += [self.busy.eq(1), self.writes.eq(1)]
                m.d.sync += byte.eq(byte + 1)
                m.next = "idle"
                with m.If(carry & (byte != COUNTER_BYTES - 1)):
                    m.next = "read"
        return m


class AnswerBuilder(wiring.Component):
    """Make the packets that go to the host: body and CRC, one byte after the other.

    Interval 10 cycles a byte. What the host asked for goes before a result.

    Parameters
    ----------
    output_bits : int
        Width of the core's result.
    address_bits : int
        Of positions in the longest packet.

    Members
    -------
    answer : In(stream.Signature({sequence: 8, refusal: 2}))
        A status or a refusal to send; taken when it is built.
    result : In(stream.Signature({word: output_bits, cycles: 32, sequence: 8}))
        A result to send; taken when it is built.
    free : In(1)
        Whether a packet may be begun: a status waits for nothing then, so that its counters are of one moment.
    begun : Out(1)
        Whether it is a result that is being built.
    wants : Out(1)
        Whether a byte of the status is wanted.
    granted : In(1)
        Whether the memory reads it.
    address : Out(6)
        Of that byte.
    stored : In(8)
        What was read in the cycle before.
    hold : Out(1)
        High between the first and the last byte of a counter: it must not change.
    o : Out(stream.Signature({data: 8, end: 1}))
        A packet's bytes, and one transfer with ``end`` and no data behind them.
    """

    def __init__(self, *, output_bits: int, address_bits: int) -> None:
        self.word_bytes = bytes_per_word(output_bits)
        self.address_bits = address_bits
        result = data.StructLayout({"word": output_bits, "cycles": COUNTER_BYTES * BYTE_BITS, "sequence": BYTE_BITS})
        super().__init__(
            {
                "answer": In(stream.Signature(_ANSWER)),
                "result": In(stream.Signature(result)),
                "free": In(1),
                "begun": Out(1),
                "wants": Out(1),
                "granted": In(1),
                "address": Out(6),
                "stored": In(BYTE_BITS),
                "hold": Out(1),
                "o": Out(stream.Signature(_PACKET)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Fetch, load and offer each byte, in four phases; the payload's positions are those in the status region."""
        m = Module()
        m.submodules.crc = self._crc = Crc32(bits_per_cycle=1)
        self._index = index = Signal(self.address_bits)
        self._byte, self._phase, self._is_status = Signal(BYTE_BITS), Signal(_Phase), Signal()
        in_status, first = Signal(), Signal()
        m.d.comb += [
            in_status.eq(self._is_status & (self._phase == _Phase.PAYLOAD)),
            self.address.eq(index),
            first.eq(index[:2] == 0),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self._crc.start.eq(1)
                m.d.sync += [index.eq(STATUS_AT), self._phase.eq(_Phase.KIND)]
                m.d.sync += [self.begun.eq(0), self._is_status.eq(0)]
                with m.If(self.free & self.answer.valid):
                    m.d.sync += self._is_status.eq(self.answer.payload.refusal == 0)
                    m.next = "fetch"
                with m.Elif(self.free & self.result.valid):
                    m.d.sync += self.begun.eq(1)
                    m.next = "fetch"
            with m.State("fetch"):
                m.d.comb += [self.wants.eq(in_status), self.hold.eq(in_status & ~first)]
                with m.If(self.granted | ~in_status):
                    m.next = "load"
            with m.State("load"):
                m.d.comb += self.hold.eq(in_status)
                self._load(m)
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.hold.eq(in_status)
                self._offer(m)
        return m

    def _load(self, m: Module) -> None:
        """The next byte of the packet."""
        index, result, asked = self._index, self.result.payload, self.answer.payload
        cycles_at = STATUS_AT + self.word_bytes
        # Four bytes in a row: the low bits of the position tell them apart, wherever they begin.
        cycles = Array(result.cycles.word_select((k - cycles_at) % COUNTER_BYTES, BYTE_BITS) for k in range(4))
        word = Cat(result.word, *[0] * (self.word_bytes * BYTE_BITS - len(result.word)))
        in_word = index == STATUS_AT if self.word_bytes == 1 else index < cycles_at
        with m.Switch(self._phase):
            with m.Case(_Phase.KIND):
                kind = Mux(self._is_status, Kind.STATUS, Kind.REFUSED)
                m.d.sync += self._byte.eq(Mux(self.begun, Kind.RESULT, kind))
            with m.Case(_Phase.SEQUENCE):
                m.d.sync += self._byte.eq(Mux(self.begun, result.sequence, asked.sequence))
            with m.Case(_Phase.PAYLOAD):
                with m.If(self._is_status):
                    m.d.sync += self._byte.eq(self.stored)
                with m.Elif(~self.begun):
                    m.d.sync += self._byte.eq(asked.refusal)
                with m.Elif(in_word):
                    word_number = 0 if self.word_bytes == 1 else (index - STATUS_AT)[: len(index)]
                    m.d.sync += self._byte.eq(word.word_select(word_number, BYTE_BITS))
                with m.Else():
                    m.d.sync += self._byte.eq(cycles[index[:2]])
            with m.Default():
                m.d.sync += self._byte.eq(self._crc.value[:BYTE_BITS])

    def _offer(self, m: Module) -> None:
        """A byte goes to the CRC and to the line in the same cycle; those of the CRC drain it."""
        last_result = STATUS_AT + self.word_bytes + COUNTER_BYTES - 1
        last = Mux(self.begun, last_result, Mux(self._is_status, STATUS_AT + STATUS_BYTES - 1, STATUS_AT))
        phase, index = self._phase, self._index
        m.d.comb += [
            self.o.payload.data.eq(self._byte),
            self.o.payload.end.eq(phase == _Phase.END),
            self.o.valid.eq(self._crc.i.ready),
            self._crc.i.payload.eq(self._byte),
            self._crc.i.valid.eq(self.o.ready | ~self._crc.i.ready),
            self._crc.drain.eq(phase == _Phase.CRC),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.next = "fetch"
            with m.Switch(phase):
                with m.Case(_Phase.KIND):
                    m.d.sync += phase.eq(_Phase.SEQUENCE)
                with m.Case(_Phase.SEQUENCE):
                    m.d.sync += phase.eq(_Phase.PAYLOAD)
                with m.Case(_Phase.PAYLOAD):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == last):
                        m.d.sync += phase.eq(_Phase.CRC)
                with m.Case(_Phase.CRC):
                    m.d.sync += index.eq(index + 1)
                    # Four bytes on, the low bits are again what they were at the last one.
                    with m.If(index[:2] == last[:2]):
                        m.d.sync += phase.eq(_Phase.END)
                with m.Default():
                    m.d.comb += [self.answer.ready.eq(~self.begun), self.result.ready.eq(self.begun)]
                    m.next = "idle"
