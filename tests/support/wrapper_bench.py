"""What cocotb loads to drive an emitted wrapper; the job and its results are JSON files."""

import itertools
import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, with_timeout
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource
from cocotbext.wishbone.driver import WBOp, WishboneMaster

PATIENCE_CYCLES = 3000
RESET_CYCLES = 3


@cocotb.test()
async def run(dut: Any) -> None:
    """Run the job's phases or script."""
    job = json.loads(Path(os.environ["WRAPPER_JOB"]).read_text())
    random.seed(job["seed"])
    result = await (_axi(dut, job) if job["bus"] == "axi-stream" else _wishbone(dut, job))
    Path(job["result"]).write_text(json.dumps(result))


def _pauses(share: float) -> Any:
    return (random.random() < share for _ in itertools.count())


def _to_bytes(words: list[int], lanes: int) -> bytes:
    return b"".join(word.to_bytes(lanes, "little") for word in words)


async def _axi(dut: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Phases of frames; one with ``cut`` is reset after so many cycles, the others wait for all their answers."""
    Clock(dut.aclk, 2, "ns").start(start_high=False)
    dut.aresetn.value = 1
    options = {"reset": dut.aresetn, "reset_active_level": False}
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, **options)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, **options)
    found = {"faults": [], "frame_errors": 0, "phases": []}
    await _axi_reset(dut, source, sink)
    cocotb.start_soon(_watch(dut, found))
    for phase in job["phases"]:
        source.set_pause_generator(_pauses(job["idle"]))
        sink.set_pause_generator(_pauses(job["stall"]))
        for frame in phase["frames"]:
            source.send_nowait(AxiStreamFrame(_to_bytes(frame, source.byte_lanes)))
        cut = phase.get("cut")
        for _ in range(PATIENCE_CYCLES if cut is None else cut):
            if cut is None and sink.count() == len(phase["frames"]) and source.idle():
                break
            await RisingEdge(dut.aclk)
        found["phases"].append([_answer(frame, sink.byte_lanes) for frame in _received(sink)])
        if cut is not None:
            await _axi_reset(dut, source, sink)
    return found


async def _axi_reset(dut: Any, source: AxiStreamSource, sink: AxiStreamSink) -> None:
    dut.aresetn.value = 0
    for _ in range(RESET_CYCLES):
        await RisingEdge(dut.aclk)
    source.clear()
    sink.clear()
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)


def _received(sink: AxiStreamSink) -> list[AxiStreamFrame]:
    return [sink.recv_nowait(compact=False) for _ in range(sink.count())]


def _answer(frame: AxiStreamFrame, lanes: int) -> dict[str, Any]:
    data = bytes(frame.tdata)
    words = [int.from_bytes(data[start : start + lanes], "little") for start in range(0, len(data), lanes)]
    return {"words": words, "user": [int(bit) for bit in frame.tuser[::lanes]]}


async def _watch(dut: Any, found: dict[str, Any]) -> None:
    """What is offered must stay as it is until it is taken; errors are counted by the cycle."""
    names = ("tdata", "tlast", "tuser")
    before = None
    while True:
        await RisingEdge(dut.aclk)
        offered = int(dut.aresetn.value) and int(dut.m_axis_tvalid.value)
        now = tuple(int(getattr(dut, f"m_axis_{name}").value) for name in names) if offered else None
        if int(dut.aresetn.value) and before is not None and now != before:
            found["faults"].append(f"{before} became {now}")
        before = now if offered and not int(dut.m_axis_tready.value) else None
        found["frame_errors"] += int(dut.aresetn.value) and int(dut.frame_error.value)


async def _wishbone(dut: Any, job: dict[str, Any]) -> list[Any]:
    """A script of steps ``[name, arguments...]``; gives the result of each."""
    Clock(dut.wb_clk_i, 2, "ns").start(start_high=False)
    # Before the model does so: Icarus loses what it deposits on nets that never had a value.
    for name in ("cyc", "stb", "we", "adr", "sel", "dat", "rst"):
        getattr(dut, f"wb_{name}_i").value = 0
    await RisingEdge(dut.wb_clk_i)
    names = {"cyc": "cyc_i", "stb": "stb_i", "we": "we_i", "adr": "adr_i", "sel": "sel_i"}
    names |= {"datwr": "dat_i", "datrd": "dat_o", "ack": "ack_o"}
    master = WishboneMaster(dut, "wb", dut.wb_clk_i, timeout=PATIENCE_CYCLES, signals_dict=names)
    for level in (0, 1, 0):
        dut.wb_rst_i.value = level
        for _ in range(RESET_CYCLES):
            await RisingEdge(dut.wb_clk_i)
    host = Host(dut, master, job)
    return [await getattr(host, step[0])(*step[1:]) for step in job["script"]]


class Host:
    """Software on the bus: polls ``STATUS``, gives words where there is room, takes those that are there."""

    def __init__(self, dut: Any, master: WishboneMaster, job: dict[str, Any]) -> None:
        self.dut, self.master, self.job, self.at = dut, master, job, job["registers"]

    async def _access(self, *operations: WBOp) -> list[int]:
        for operation in operations:
            operation.idle = random.randint(0, 3) if random.random() < self.job["idle"] else 0
        results = await with_timeout(self.master.send_cycle(list(operations)), PATIENCE_CYCLES, "ns")
        assert all(result.ack == 1 for result in results)
        return [int(result.datrd) for result in results]

    async def read(self, register: str) -> int:
        return (await self._access(WBOp(self.at[register])))[0]

    async def write(self, register: str, value: int, sel: int = 0xF) -> None:
        await self._access(WBOp(self.at[register], value, sel=sel))

    async def wait(self, cycles: int) -> None:
        for _ in range(cycles):
            await RisingEdge(self.dut.wb_clk_i)

    async def irq(self) -> int:
        return int(self.dut.irq_o.value)

    async def exchange(self, words: list[list[int]], answers: int) -> list[list[int]]:
        """Write words, each a list of parts, and read as many answers, each in its parts."""
        left, found = list(words), []
        for _ in range(PATIENCE_CYCLES):
            if not left and len(found) == answers:
                return found
            status = await self.read("STATUS")
            if status & 2 and len(found) < answers and random.random() >= self.job["stall"]:
                found.append(await self._access(*(WBOp(self.at["OUTPUT"]) for _ in range(self.job["output_parts"]))))
            elif status & 1 and left:
                await self._access(*(WBOp(self.at["INPUT"], part) for part in left.pop(0)))
        return found
