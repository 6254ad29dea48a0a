"""A stand-in for a core: one binary layer of popcounts, its adders kept as modules, its answer the best filter."""

import random

__all__ = ["popcount_layer"]


def _adder(module: str, a_bits: int, b_bits: int, keep: bool) -> str:
    attribute = "(* keep_hierarchy = 1 *)\n" if keep else ""
    return (
        f"{attribute}module {module}(input [{a_bits - 1}:0] a, input [{b_bits - 1}:0] b, "
        f"output [{max(a_bits, b_bits)}:0] o);\n  assign o = a + b;\nendmodule\n"
    )


def popcount_layer(inputs: int, filters: int, *, input_bits: int, seed: int, keep: bool) -> str:
    """Verilog of a core that shifts ``inputs`` bits in and answers with the index of the best filter.

    Parameters
    ----------
    inputs, filters : int
        Shape of the layer; ``inputs`` is a multiple of ``input_bits``.
    input_bits : int
        Bits per input word.
    seed : int
        Of the random weights.
    keep : bool
        Whether the adders' modules carry ``keep_hierarchy``.
    """
    rng = random.Random(seed)
    adders: dict[tuple[int, int], str] = {}
    lines: list[str] = []
    sums = []
    for index in range(filters):
        chosen = [bit for bit in range(inputs) if rng.random() < 0.5] or [0]
        sums.append(_tree([(f"x[{bit}]", 1) for bit in chosen], f"f{index}", lines, adders, keep))
    index_bits = max(1, (filters - 1).bit_length())
    words = inputs // input_bits
    return "".join(_adder(name, *widths, keep) for widths, name in adders.items()) + "\n".join(
        [
            f"module xnorweave_core(input clk, input rst, input [{input_bits - 1}:0] i__payload, input i__valid,",
            f"  output i__ready, output [{index_bits - 1}:0] o__payload, output o__valid, input o__ready);",
            f"  reg [{inputs - 1}:0] x; reg [15:0] count; reg full, busy, valid; reg [{index_bits - 1}:0] best, at;",
            "  reg [15:0] best_sum;",
            "  assign i__ready = !full; assign o__valid = valid; assign o__payload = best;",
            *lines,
            *(f"  reg [15:0] r{index};" for index in range(filters)),
            f"  wire [15:0] s = {_select(filters)};",
            "  always @(posedge clk) if (rst) begin count <= 0; full <= 0; busy <= 0; valid <= 0; end else begin",
            "    if (i__valid && i__ready) begin",
            f"      x <= {{i__payload, x}} >> {input_bits}; count <= count + 1;",
            f"      if (count == {words - 1}) begin count <= 0; full <= 1; end end",
            "    if (full && !busy && !valid) begin busy <= 1; at <= 0; best_sum <= 0; best <= 0;",
            *(f"      r{index} <= {name};" for index, name in enumerate(sums)),
            "    end",
            "    if (busy) begin at <= at + 1; if (s > best_sum) begin best_sum <= s; best <= at; end",
            f"      if (at == {filters - 1}) begin busy <= 0; valid <= 1; end end",
            "    if (valid && o__ready) begin valid <= 0; full <= 0; end",
            "  end",
            "endmodule\n",
        ]
    )


def _select(filters: int) -> str:
    return " : ".join([*(f"at == {index} ? r{index}" for index in range(filters - 1)), f"r{filters - 1}"])


def _tree(
    terms: list[tuple[str, int]], prefix: str, lines: list[str], adders: dict[tuple[int, int], str], keep: bool
) -> str:
    """Add the terms pairwise; gives the name of the sum."""
    count = 0
    while len(terms) > 1:
        following = []
        for (a, a_bits), (b, b_bits) in zip(terms[::2], terms[1::2], strict=False):
            bits = max(a_bits, b_bits) + 1
            name = f"{prefix}_{count}"
            module = adders.setdefault((a_bits, b_bits), f"add_{a_bits}_{b_bits}")
            lines.append(f"  wire [{bits - 1}:0] {name}; {module} u_{name}(.a({a}), .b({b}), .o({name}));")
            following.append((name, bits))
            count += 1
        terms = following + ([terms[-1]] if len(terms) % 2 else [])
    return terms[0][0]
