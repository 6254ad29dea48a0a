"""A register between a line that cannot be stopped and a stream that can."""

# Amaranth's contexts carry no types.
# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

from typing import Any

from amaranth.hdl import Module, Signal, Value

__all__ = ["hold_byte"]


def hold_byte(m: Module, o: Any, byte: Value, done: Value, overrun: Signal) -> None:
    """Keep a byte on a stream until it is taken; one that comes while another waits is dropped.

    Parameters
    ----------
    m : Module
        Where.
    o : stream interface
        What it waits on.
    byte : Value
        What the line gave.
    done : Value
        High for a cycle when it is whole.
    overrun : Signal
        High for a cycle when it is dropped.
    """
    with m.If(o.ready):
        m.d.sync += o.valid.eq(0)
    with m.If(done):
        with m.If(o.valid & ~o.ready):
            m.d.comb += overrun.eq(1)
        with m.Else():
            m.d.sync += [o.valid.eq(1), o.payload.eq(byte)]
