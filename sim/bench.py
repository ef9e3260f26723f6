"""The cocotb test that runs inside the simulator: CSR accesses on command, asleep while the machine runs.

Commands and replies are JSON, one object a line, on two inherited pipes (`sim.session.RtlSession` is the
other end):

=========  ==========================================  ====================================================
``op``     further members                             reply
=========  ==========================================  ====================================================
write      ``writes``: [[address, value], ...]         ``{}``
read       ``reads``: [address, ...]                   ``{"reads": [value, ...]}``
run        ``writes``, ``reads``, ``max_cycles``,      ``{"progress": cycles}`` every ``report`` cycles, then
           ``report``                                  ``{"done", "cycles", "reads", "counters"}``
quit       none                                        none: the simulation ends
=========  ==========================================  ====================================================

A ``run`` does its writes, the last of which starts the machine, waits for the interrupt or for
``max_cycles``, then reads. ``cycles`` counts clock edges from the one that took the last write to the one
that raised the interrupt. Addresses are 32-bit word indices.
"""

import json
import os
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, First, RisingEdge, Timer

#: Environment variables that hold the two file descriptors.
COMMANDS, REPLIES = "TRINE_SIM_COMMANDS", "TRINE_SIM_REPLIES"
#: Outputs of ``top.sv`` that every finished run reports.
COUNTERS = ("read_beats", "write_beats", "busy_cycles", "held_cycles", "idle_cycles")
#: Simulation steps in a clock period (``main.cpp``).
PERIOD = 2


async def write(dut: Any, address: int, value: int) -> None:
    """One CSR write; pins change at the falling edge, the machine takes them at the rising edge."""
    dut.csr_addr.value = address
    dut.csr_wdata.value = value
    dut.csr_write.value = 1
    await FallingEdge(dut.clk)
    dut.csr_write.value = 0


async def read(dut: Any, address: int) -> int:
    """One CSR read: data is there in the cycle after the address."""
    dut.csr_addr.value = address
    await FallingEdge(dut.clk)
    return int(dut.csr_rdata.value)


async def run(dut: Any, command: dict[str, Any], reply: Any) -> dict[str, Any]:
    """The ``run`` command; `reply` sends a progress line."""
    *before, start = command["writes"]
    for address, value in before:
        await write(dut, address, value)
    if dut.irq.value:
        return {"error": "the interrupt is pending before the start; acknowledge it first"}
    dut.run.value = 1
    await write(dut, *start)
    # Now at the falling edge after the one that took the write.
    started = int(dut.cycle.value)
    interrupt = RisingEdge(dut.irq)
    elapsed = 0
    while not dut.irq.value and elapsed < command["max_cycles"]:
        pause = min(command["report"], command["max_cycles"] - elapsed)
        await First(interrupt, Timer(pause * PERIOD, unit="step"))
        elapsed = int(dut.cycle.value) - started
        if not dut.irq.value and elapsed < command["max_cycles"]:
            reply({"progress": elapsed})
    done = bool(dut.irq.value)
    dut.run.value = 0
    counters = {name: int(getattr(dut, name).value) for name in COUNTERS}
    await FallingEdge(dut.clk)
    reads = [await read(dut, address) for address in command["reads"]]
    return {"done": done, "cycles": elapsed, "reads": reads, "counters": counters}


@cocotb.test()
async def serve(dut: Any) -> None:
    """Obeys commands until ``quit`` or the end of the pipe."""
    dut.csr_addr.value = 0
    dut.csr_wdata.value = 0
    dut.csr_write.value = 0
    dut.run.value = 0
    await FallingEdge(dut.rst)
    await FallingEdge(dut.clk)
    commands = os.fdopen(int(os.environ[COMMANDS]), "r")
    with commands, os.fdopen(int(os.environ[REPLIES]), "w") as replies:

        def reply(message: dict[str, Any]) -> None:
            print(json.dumps(message), file=replies, flush=True)

        reply({})
        for line in commands:
            command = json.loads(line)
            match command["op"]:
                case "write":
                    for address, value in command["writes"]:
                        await write(dut, address, value)
                    reply({})
                case "read":
                    reply({"reads": [await read(dut, address) for address in command["reads"]]})
                case "run":
                    reply(await run(dut, command, reply))
                case "quit":
                    return
