"""Small hand-written cores to test the benches with: a summing core with planted faults, and a tiny network."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.design import Design, Tap
from xnorweave.network import Conv2D, InputSpec, Network, Threshold

# The summing core: words of 72 bits (8 of data, 3 of a fault to commit, 61 of ballast); a frame of 4 words gives one of
# 80 bits: the sum of (data + 1), and the XOR of the ballast above it.
WORDS = 4
FAULTS = {"wrong": 1, "unheld": 2, "deadlock": 3, "surplus": 4, "unknown": 5, "valid_falls": 6}

SUMMING_CORE = """
module adder(
  input clk, input rst, input [71:0] i__payload, input i__valid, output i__ready,
  output reg [71:0] o__payload, output reg o__valid, input o__ready, output reg [2:0] fault
);
  assign i__ready = !o__valid || o__ready;
  always @(posedge clk)
    if (rst) o__valid <= 0;
    else if (i__ready) begin
      o__valid <= i__valid;
      fault <= i__payload[10:8];
      o__payload <= {i__payload[71:11], 3'd0, i__payload[7:0] + 8'd1};
    end
endmodule

module xnorweave_core(
  input clk, input rst, input [71:0] i__payload, input i__valid, output i__ready,
  output [79:0] o__payload, output o__valid, input o__ready
);
  wire [71:0] p;
  wire v, r;
  wire [2:0] now;
  adder plus_one(.clk(clk), .rst(rst), .i__payload(i__payload), .i__valid(i__valid), .i__ready(i__ready),
                 .o__payload(p), .o__valid(v), .o__ready(r), .fault(now));
  reg [2:0] fault;
  reg [1:0] count;
  reg [79:0] sum, word;
  reg valid, waited, again;
  wire [79:0] next = {sum[79:16] ^ {3'd0, p[71:11]}, sum[15:0] + {8'd0, p[7:0]} + {15'd0, now == 3'd1}};
  assign r = (!valid || o__ready) && fault != 3'd3;
  assign o__payload = fault == 3'd2 && waited ? ~word : fault == 3'd5 ? {word[79:1], 1'bx} : word;
  assign o__valid = valid && !(fault == 3'd6 && waited);
  always @(posedge clk)
    if (rst) begin
      valid <= 0; count <= 0; sum <= 0; fault <= 0; waited <= 0; again <= 0;
    end else begin
      waited <= o__valid && !o__ready;
      if (o__ready) begin
        valid <= again;
        again <= 0;
      end
      if (v && r) begin
        if (now != 0) fault <= now;
        count <= count + 2'd1;
        sum <= count == 2'd3 ? 80'd0 : next;
        if (count == 2'd3) begin
          word <= next;
          valid <= 1;
          again <= (now == 3'd4);
        end
      end
    end
endmodule
"""

PLUS_ONE = Tap(
    layer="plus_one",
    instance="plus_one",
    channels=9,
    lanes=9,
    lane_bits=8,
    signed=False,
    words=WORDS,
    scale=1,
    offsets=(0,) * 9,
)


def word(data, ballast=0, fault=None):
    return ballast << 11 | FAULTS.get(fault, 0) << 8 | data


def summed(frames):
    outputs = []
    for frame in frames:
        total, ballast = 0, 0
        for value in frame:
            total += ((value & 0xFF) + 1) & 0xFF
            ballast ^= value >> 11
        outputs.append([ballast << 16 | total])
    return outputs


def plus_one(frames):
    return [[value >> 11 << 11 | ((value & 0xFF) + 1) & 0xFF for value in frame] for frame in frames]


@pytest.fixture(scope="session")
def summing():
    """The summing core and what it has to give."""
    design = Design(
        verilog=SUMMING_CORE,
        input_bits=72,
        output_bits=80,
        input_words=WORDS,
        output_words=1,
        taps=(PLUS_ONE,),
    )

    def frames(count, seed=1, fault=None, at=2):
        rng = np.random.default_rng(seed)
        made = [[word(int(rng.integers(256)), int(rng.integers(1 << 61))) for _ in range(WORDS)] for _ in range(count)]
        if fault:
            made[at][-1] = word(made[at][-1] & 0xFF, 0, fault)
        return made

    return SimpleNamespace(design=design, tap=PLUS_ONE, frames=frames, summed=summed, plus_one=plus_one, word=word)


class SummingCore(wiring.Component):
    """The summing core's first 16 bits in Amaranth; ``fault`` is planted in frame 2."""

    def __init__(self, fault=None):
        self.fault = fault
        self.inner = stream.Signature(8).create()
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(16))})

    def elaborate(self, platform):
        m = Module()
        inner, planted, waited = self.inner, Signal(), Signal()
        m.d.comb += self.i.ready.eq(~inner.valid | inner.ready)
        with m.If(self.i.ready):
            m.d.sync += [inner.valid.eq(self.i.valid), inner.payload.eq(self.i.payload + 1)]
        valid, word, again, count, total = Signal(), Signal(16), Signal(), Signal(range(WORDS * 4)), Signal(16)
        m.d.comb += [
            inner.ready.eq((~valid | self.o.ready) & ~(planted & (self.fault == "deadlock"))),
            self.o.valid.eq(valid & ~(planted & waited & (self.fault == "valid_falls"))),
            self.o.payload.eq(word ^ (planted & waited & (self.fault == "unheld"))),
        ]
        m.d.sync += waited.eq(self.o.valid & ~self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += [valid.eq(again), again.eq(0)]
        last = Signal()
        m.d.comb += last.eq(count[:2] == WORDS - 1)
        with m.If(inner.valid & inner.ready):
            sum_now = total + inner.payload
            m.d.sync += [count.eq(count + 1), total.eq(sum_now)]
            with m.If(last):
                m.d.sync += [total.eq(0), valid.eq(1), word.eq(sum_now + (self.fault == "wrong"))]
            with m.If(count == 2 * WORDS + WORDS - 1):
                m.d.sync += [planted.eq(1), again.eq(int(self.fault == "surplus"))]
        return m


@pytest.fixture
def summing_core():
    return SummingCore


# The tiny network: four bits a pixel, a 1x1 convolution of two filters, a threshold.


@dataclass(frozen=True)
class Tiny:
    network: Network
    design: Design

    def frames(self, count, seed=0):
        shape = (count, *self.network.input.shape)
        return np.random.default_rng(seed).integers(0, 2, shape).astype(np.uint8)

    def broken(self):
        """The same with a filter's weight turned over in the hardware."""
        return replace(self.design, verilog=tiny_verilog([0b0110, 0b1011], [2, 3]))


def tiny_verilog(masks, limits):
    counts = "".join(f" {{2'd0, x{f}[0]}} + {{2'd0, x{f}[1]}} + {{2'd0, x{f}[2]}} + {{2'd0, x{f}[3]}}," for f in (1, 0))
    return f"""
module unit #(parameter IN = 4, OUT = 6) (
  input clk, input rst, input [OUT-1:0] value, input i__valid, output i__ready,
  output reg [OUT-1:0] o__payload, output reg o__valid, input o__ready
);
  assign i__ready = !o__valid || o__ready;
  always @(posedge clk)
    if (rst) o__valid <= 0;
    else if (i__ready) begin o__valid <= i__valid; o__payload <= value; end
endmodule
module xnorweave_core(
  input clk, input rst, input [3:0] i__payload, input i__valid, output i__ready,
  output [1:0] o__payload, output o__valid, input o__ready
);
  wire [3:0] x0 = i__payload ~^ 4'd{masks[0]};
  wire [3:0] x1 = i__payload ~^ 4'd{masks[1]};
  wire [5:0] sums = {{{counts[:-1]} }};
  wire [5:0] p;
  wire v, r;
  unit #(.OUT(6)) conv(.clk(clk), .rst(rst), .value(sums), .i__valid(i__valid), .i__ready(i__ready),
                       .o__payload(p), .o__valid(v), .o__ready(r));
  wire [1:0] fire = {{p[5:3] >= 3'd{limits[1]}, p[2:0] >= 3'd{limits[0]}}};
  unit #(.OUT(2)) act(.clk(clk), .rst(rst), .value(fire), .i__valid(v), .i__ready(r),
                      .o__payload(o__payload), .o__valid(o__valid), .o__ready(o__ready));
endmodule
"""


class TinyCore(wiring.Component):
    def __init__(self, taps, masks, limits):
        self.taps, self.masks, self.limits = taps, masks, limits
        self.sums, self.fires = stream.Signature(6).create(), stream.Signature(2).create()
        self.tap_streams = {"conv": self.sums, "act": self.fires}
        super().__init__({"i": In(stream.Signature(4)), "o": Out(stream.Signature(2))})

    def elaborate(self, platform):
        m = Module()
        agree = [~(self.i.payload ^ mask) for mask in self.masks]
        sums = Cat(*(_popcount(m, bits) for bits in agree))
        fire = Cat(*(self.sums.payload.word_select(k, 3) >= limit for k, limit in enumerate(self.limits)))
        for upstream, value, unit in ((self.i, sums, self.sums), (self.sums, fire, self.fires)):
            m.d.comb += upstream.ready.eq(~unit.valid | unit.ready)
            with m.If(upstream.ready):
                m.d.sync += [unit.valid.eq(upstream.valid), unit.payload.eq(value)]
        m.d.comb += [
            self.o.valid.eq(self.fires.valid),
            self.o.payload.eq(self.fires.payload),
            self.fires.ready.eq(self.o.ready),
        ]
        return m


def _popcount(m, bits):
    total = Signal(3)
    m.d.comb += total.eq(sum(bits[k] for k in range(4)))
    return total


@pytest.fixture(scope="session")
def tiny():
    masks, limits = [0b0110, 0b1010], [2, 3]
    weights = np.array([[1 if mask >> c & 1 else -1 for c in range(4)] for mask in masks], np.int8).reshape(2, 4, 1, 1)
    # Of four inputs m agree: acc = 2 m - 4.
    thresholds = np.array([2 * limit - 4 for limit in limits], np.int32)
    network = Network(
        name="tiny",
        input=InputSpec(kind="bits", shape=(4, 3, 2)),
        layers=(Conv2D(name="conv", weights=weights), Threshold(name="act", thresholds=thresholds)),
    )
    common = {"channels": 2, "lanes": 2, "signed": False, "words": 6, "scale": 2}
    taps = (
        Tap(layer="conv", instance="conv", lane_bits=3, offsets=(-4, -4), **common),
        Tap(layer="act", instance="act", lane_bits=1, offsets=(-1, -1), **common),
    )
    verilog = tiny_verilog(masks, limits)
    design = Design(verilog=verilog, input_bits=4, output_bits=2, input_words=6, output_words=6, taps=taps)
    return Tiny(network=network, design=design)


@pytest.fixture
def tiny_core(tiny):
    def make(masks=(0b0110, 0b1010), limits=(2, 3)):
        return TinyCore(tiny.design.taps, masks, limits)

    return make


@pytest.fixture(autouse=True)
def _logs_stay_with_the_test(tmp_path, monkeypatch):
    """A failed tool's folder is kept for its logs: here, below the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
