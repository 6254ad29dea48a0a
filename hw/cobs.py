"""Consistent overhead byte stuffing: packets of any bytes as bytes without zeros, and zeros between them.

A packet, with a zero imagined behind it, is cut after its zeros. A piece of ``n`` bytes and its zero travel as the
code ``n + 1`` and the bytes; a piece of 254 bytes or more without one begins with 254 bytes behind the code 255, and
the rest of it follows as another.

References
----------
Cheshire and Baker, Consistent Overhead Byte Stuffing, IEEE/ACM Transactions on Networking 7 (2), 1999.
"""

# Amaranth's members and contexts carry no types.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["BYTE_BITS", "MOST_BLOCK_BYTES", "CobsDecoder", "CobsEncoder", "CobsEncoderControl", "encoded_bytes"]

BYTE_BITS = 8
MOST_BLOCK_BYTES = 254
_LONG_CODE = MOST_BLOCK_BYTES + 1
# A block RAM of iCE40; two pieces, so that one comes while the other goes.
_OWN_ADDRESS_BITS = 9


def encoded_bytes(packet_bytes: int) -> int:
    """Most bytes that a packet takes on the line, its delimiter included."""
    return packet_bytes + max(1, -(-packet_bytes // MOST_BLOCK_BYTES)) + 1


class CobsDecoder(wiring.Component):
    """Take the stuffing out.

    Latency 0 cycles; interval 1 cycle. Any sequence of bytes is decoded to something, and a zero always ends a packet.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes of the line. Ready while ``o`` is, and always for a byte that gives nothing.
    o : Out(stream.Signature({data: 8, end: 1, broken: 1}))
        A packet's bytes, and one transfer with ``end`` and no data behind them; of nothing but a zero that transfer
        alone. ``broken`` tells at ``end`` whether the zero came before a piece was complete.
    """

    def __init__(self) -> None:
        packet = data.StructLayout({"data": BYTE_BITS, "end": 1, "broken": 1})
        super().__init__({"i": In(stream.Signature(BYTE_BITS)), "o": Out(stream.Signature(packet))})

    def elaborate(self, platform: object) -> Module:
        """Count a piece down; its zero is given when the next code shows that there is one."""
        m = Module()
        # One more than the bytes that are left of a piece: a code as it comes.
        left = Signal(BYTE_BITS, init=1)
        zero_due, zero, at_code = Signal(), Signal(), Signal()
        m.d.comb += [
            zero.eq(self.i.payload == 0),
            at_code.eq(left == 1),
            self.o.payload.end.eq(zero),
            self.o.payload.broken.eq(~at_code),
            self.o.payload.data.eq(Mux(at_code, 0, self.i.payload)),
            self.o.valid.eq(self.i.valid & (zero | ~at_code | zero_due)),
            self.i.ready.eq(self.o.ready | ~(zero | ~at_code | zero_due)),
        ]
        with m.If(self.i.valid & self.i.ready):
            with m.If(zero):
                m.d.sync += [left.eq(1), zero_due.eq(0)]
            with m.Elif(at_code):
                m.d.sync += [left.eq(self.i.payload), zero_due.eq(self.i.payload != _LONG_CODE)]
            with m.Else():
                m.d.sync += left.eq(left - 1)
        return m


class CobsEncoderControl(wiring.Component):
    """Put the stuffing in, with a memory outside: a ring that holds a piece until its code is known.

    Latency 2 cycles from the transfer that ends a piece to its code on ``o``, where nothing waits before it. Interval
    1 cycle a byte, one more on ``i`` at the end of a packet and of a piece of 254 bytes; as long as the memory takes.

    Parameters
    ----------
    address_bits : int
        The ring has ``2**address_bits`` places: at least 8 for packets of any length, else one for every byte between
        two zeros of a packet and two more.

    Members
    -------
    i : In(stream.Signature({data: 8, end: 1}))
        A packet's bytes, and one transfer with ``end``, whose data means nothing, behind them.
    o : Out(stream.Signature(8))
        Bytes of the line, a zero after each packet.
    write : Out(stream.Signature({address: address_bits, data: 8}))
        What to keep.
    read : Out(stream.Signature(address_bits))
        What is wanted.
    stored : In(8)
        What was wanted last: from the cycle after its transfer on ``read`` to that of the next.
    idle : Out(1)
        High while nothing can be sent.

    Raises
    ------
    ValueError
        If ``address_bits`` is below 2.
    """

    def __init__(self, *, address_bits: int) -> None:
        if address_bits < 2:
            raise ValueError(f"address_bits must be at least 2, not {address_bits!r}")
        self.address_bits = address_bits
        packet = data.StructLayout({"data": BYTE_BITS, "end": 1})
        write = data.StructLayout({"address": address_bits, "data": BYTE_BITS})
        super().__init__(
            {
                "i": In(stream.Signature(packet)),
                "o": Out(stream.Signature(BYTE_BITS)),
                "write": Out(stream.Signature(write)),
                "read": Out(stream.Signature(address_bits)),
                "stored": In(BYTE_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Two ends of a ring: bytes come to ``place``, and what lies before ``code`` may go, from ``front`` on."""
        m = Module()
        place = Signal(self.address_bits, init=1)
        code, front = Signal(self.address_bits), Signal(self.address_bits)
        self._fill(m, place, code, front)
        self._drain(m, code, front)
        return m

    def _fill(self, m: Module, place: Signal, code: Signal, front: Signal) -> None:
        """Write each byte, or at the end of a piece its code into the place kept free; then that of the zero is free.

        The end of a packet is two such ends, of which the second writes the delimiter.
        """
        byte, end = self.i.payload.data, self.i.payload.end
        # Of the piece, with its code: what the code will be.
        length = Signal(min(BYTE_BITS, self.address_bits), init=1)
        room, full, closes, ending = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            # One place is always taken, so that the ends meet only in a full ring.
            room.eq(place != front),
            full.eq(length == _LONG_CODE if self.address_bits >= BYTE_BITS else 0),
            closes.eq(end | (byte == 0) | full),
            self.write.valid.eq(self.i.valid & room),
            self.write.payload.address.eq(Mux(closes, code, place)),
            self.write.payload.data.eq(Mux(closes, Mux(ending, 0, length), byte)),
            self.i.ready.eq(room & self.write.ready & Mux(end, ending, ~full)),
        ]
        with m.If(self.write.valid & self.write.ready):
            m.d.sync += [place.eq(place + 1), length.eq(length + 1), ending.eq(end & ~ending)]
            with m.If(closes):
                m.d.sync += [code.eq(place), length.eq(1)]

    def _drain(self, m: Module, code: Signal, front: Signal) -> None:
        """Fetch a byte as the one before goes."""
        free = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            self.read.payload.eq(front),
            self.read.valid.eq((front != code) & free),
            self.o.payload.eq(self.stored),
            self.idle.eq((front == code) & ~self.o.valid),
        ]
        with m.If(free):
            m.d.sync += self.o.valid.eq(self.read.valid & self.read.ready)
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += front.eq(front + 1)


class CobsEncoder(wiring.Component):
    """Put the stuffing in; packets of any length.

    Latency 2 cycles from the transfer that ends a piece to its code on ``o``, where nothing waits before it. Interval
    1 cycle a byte, one more on ``i`` at the end of a packet and of a piece of 254 bytes. Keeps up to 511 bytes.

    Members
    -------
    i : In(stream.Signature({data: 8, end: 1}))
        A packet's bytes, and one transfer with ``end``, whose data means nothing, behind them.
    o : Out(stream.Signature(8))
        Bytes of the line, a zero after each packet.
    """

    def __init__(self) -> None:
        self._control = CobsEncoderControl(address_bits=_OWN_ADDRESS_BITS)
        super().__init__({"i": In(self._control.i.signature.flip()), "o": Out(self._control.o.signature)})

    def elaborate(self, platform: object) -> Module:
        """The control and its memory."""
        m = Module()
        m.submodules.control = control = self._control
        m.submodules.memory = memory = Memory(shape=BYTE_BITS, depth=2**_OWN_ADDRESS_BITS, init=[])
        write, read = memory.write_port(), memory.read_port()
        wiring.connect(m, wiring.flipped(self.i), control.i)
        wiring.connect(m, control.o, wiring.flipped(self.o))
        m.d.comb += [
            control.write.ready.eq(1),
            write.en.eq(control.write.valid),
            write.addr.eq(control.write.payload.address),
            write.data.eq(control.write.payload.data),
            control.read.ready.eq(1),
            read.en.eq(control.read.valid),
            read.addr.eq(control.read.payload),
            control.stored.eq(read.data),
        ]
        return m
