"""What the simulator's event log records: writes to on-chip memories and DRAM, and every unit's `done`.

`machine_table` is the table: for each memory the component that writes it, and enable, token, address and
data as expressions over that component's attributes. `sim.trace_module` makes of it what is simulated.

An expression is SystemVerilog with integers, operators and attributes of the component (``unit.done``
follows attributes, ``write_ports.0.en`` an index too). An attribute that is not there is an error.
"""

import json
from dataclasses import dataclass

from hw.isa import SCALARS, STATISTICS, Dest, Unit
from hw.machine import MachineConfig

#: Units whose `done` is logged.
UNITS = (Unit.MATMUL, Unit.VECTOR, Unit.ATTENTION, Unit.STORE)
#: File beside the simulator that has `Table.layout`.
LAYOUT = "trace.json"
#: Our files that say what the module ``trace`` is.
MAKERS = ("trace_ports.py", "trace_module.py", "activity_module.py")
#: Event kinds below are writes, by index in the table; from here on dones, by index in `UNITS`.
DONE = 128
#: Bytes of an event before its data: cycle (8), address (4), kind, token, 2 unused.
EVENT_HEAD = 16


@dataclass(frozen=True)
class Traced:
    """A machine with its trace: the module ``overlay``, the module ``trace``, `Table.layout`."""

    verilog: str
    module: str
    layout: str


#: The module ``trace`` of a machine without hooks.
UNTRACED = "module trace (input logic clk, input logic running, input logic [63:0] run_cycle);\nendmodule\n"


@dataclass(frozen=True)
class Hook:
    """One way in which a memory is written: `elements` neighbours of `bits` bits each, the first lowest.

    `component` is a path of submodule names below the overlay, "" the overlay itself, ``dram`` the module of
    ``dram.sv``. `strobes` (an expression, a bit for each element) says which elements are written.
    """

    memory: str
    component: str
    en: str
    address: str
    data: str
    bits: int
    elements: int = 1
    token: str = "0"
    strobes: str | None = None


@dataclass(frozen=True)
class Table:
    """All hooks of a machine.

    Members
    -------
    dones: component and expression of each unit's `done`.
    sizes: of each memory: elements of one token, at which addresses wrap; 0 for the bytes of the DRAM.
    bus_bytes: of a machine whose activity is logged too (`sim.activity_module`); 0: it is not.
    """

    hooks: list[Hook]
    dones: dict[Unit, tuple[str, str]]
    sizes: dict[str, int]
    bus_bytes: int = 0

    @property
    def data_bytes(self) -> int:
        """Of every event, in whole 8: the widest elements and, where there are strobes, a bit for each."""
        bits = max(hook.elements * (hook.bits + bool(hook.strobes)) for hook in self.hooks)
        return -(-bits // 64) * 8

    @property
    def layout(self) -> str:
        """What a reader of the log must know, as JSON for `sim.trace_log.Layout`."""
        kinds = [
            {
                "memory": hook.memory,
                "bits": hook.bits,
                "elements": hook.elements,
                "strobes": bool(hook.strobes),
            }
            for hook in self.hooks
        ]
        return json.dumps({"event_bytes": EVENT_HEAD + self.data_bytes, "kinds": kinds, "sizes": self.sizes})


def machine_table(machine: MachineConfig) -> Table:
    """The table of `hw.overlay.Overlay(machine)`."""
    sizes = {
        "ACT": machine.activation_words, "CONST": machine.constant_words, "SCALAR": SCALARS,
        "STAT_TOTAL": STATISTICS, "STAT_MAXIMUM": STATISTICS, "Q": machine.quantised_words,
        "ACC": machine.accumulator_rows, "QUERY": machine.max_query, "QUERY_SCALE": machine.max_heads,
        "STAGE_K": machine.stage_bytes, "STAGE_V": machine.stage_bytes, "MEMORY": 0,
    }  # fmt: skip
    hooks = [
        *_vector_memory(machine),
        *_accumulator(machine),
        *_targets(machine),
        dram_hook(machine.bus_bytes),
    ]
    dones = {unit: (unit.name.lower(), "unit.done") for unit in UNITS}
    return Table(hooks, dones, sizes, machine.bus_bytes)


def _vector_memory(machine: MachineConfig) -> list[Hook]:
    """Memories of the vector unit: words by MAP, scalars by NORM, statistics."""
    at = "vector.memory"

    def word(memory: str, dest: Dest, condition: str = "1", token: str = "0") -> Hook:
        return Hook(memory, at, f"write_en & (write_dest == {int(dest)}) & {condition}", "write_address",
                    "write_word", 32, machine.lanes, token)  # fmt: skip

    return [
        word("ACT", Dest.ACTIVATION, token="write_token"),
        word("CONST", Dest.CONSTANT),
        word("SCALAR", Dest.SCALAR, "~scalar_en"),
        Hook("SCALAR", at, "scalar_en", "write_address", "scalar_value", 32),
        Hook("STAT_TOTAL", at, "statistics.total_en", "statistics.total_slot", "statistics.total", 64,
             token="statistics.total_token"),
        Hook("STAT_MAXIMUM", at, "statistics.maximum_en", "statistics.maximum_slot", "statistics.maximum", 32,
             token="statistics.maximum_token"),
    ]  # fmt: skip


def _accumulator(machine: MachineConfig) -> list[Hook]:
    """Results of MATMUL and LINEAR, those of all tokens of a row side by side."""
    return [
        Hook("ACC", "matmul.accumulator", f"placing >> {token} & 1", "place",
             f"placed[{32 * token + 31}:{32 * token}]", 32, token=str(token))
        for token in range(machine.tile)
    ]  # fmt: skip


def _targets(machine: MachineConfig) -> list[Hook]:
    """What QUANTISE writes: activations, queries, staged rows."""
    lanes, at = machine.lanes, "vector"
    codes, bits = "q_write.data", machine.activation_bits
    if bits > 8:  # as int16: elements of the log are whole bytes
        tops = [(lane + 1) * bits - 1 for lane in reversed(range(lanes))]
        words = (f"{{{16 - bits}{{{codes}[{top}]}}}}, {codes}[{top}:{top - bits + 1}]" for top in tops)
        codes, bits = f"{{{', '.join(words)}}}", 16
    hooks = [
        Hook("Q", at, "q_write.en", "q_write.address", codes, bits, lanes, "q_write.token"),
        Hook("QUERY", at, "query.en", "query.address", "query.data", 16, lanes, "query.token"),
        Hook("QUERY_SCALE", at, "query.scale_en", "query.scale_head", "query.scale", 32,
             token="query.scale_token"),
        Hook("STAGE_K", at, "stage.scale_en", "stage.scale_address", "stage.scale", 8, 4,
             "stage.scale_token"),
    ]  # fmt: skip
    for memory, condition in (("STAGE_K", "~stage.value"), ("STAGE_V", "stage.value")):
        en = f"stage.en & {condition}"
        hooks.append(Hook(memory, at, en, "stage.address", "stage.data", 8, lanes, "stage.token"))
    return hooks


def dram_hook(bus_bytes: int) -> Hook:
    """A beat of write data, as the DRAM takes it."""
    address = f"write_addr[write_out & 15] + write_beat * {bus_bytes}"
    return Hook("MEMORY", "dram", "w_valid & w_ready", address, "w_data", 8, bus_bytes, strobes="w_strb")
