"""The part of an engine that is measured: codes of a row in, sum of the row and its partial sum out."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.delay_line import delay
from hw.entry_sum import EntrySum, entry_biases
from hw.trit_decode import TritDecode
from models.numerics import gray_trits

from .dsp_sum import dsp_sum
from .sums import deferred_sum, signed_sum

__all__ = ["ACTIVATIONS", "PARTIAL_BITS", "Form", "LookUpArray"]

#: Activations of a row.
ACTIVATIONS = 60
#: Of a partial sum: 65,535 products of 127 and a sign.
PARTIAL_BITS = 24


@dataclass(frozen=True)
class Form:
    """One way to multiply a row by trits and add up.

    Members
    -------
    name, title: for the command line and the table.
    group: trits of a table, or of a byte for "split"; 1 for a form without tables.
    bits: of weights on the tape for a trit.
    kind: "tree" (no tables), "half", "full", "split", "byte".
    sum: "signed", "deferred", "entry" (`EntrySum`), "dsp" (`dsp_sum`).
    tokens, rows: beside each other; rows share the tables.
    memory: Yosys's ``ram_style`` of the tables.
    banks: two, if the tables are built while others are read.
    primitives: instances of the family's cells, where they are wanted (not in simulation).
    largest_k: of the partial sums.
    adders: another family's, in `EntrySum`.
    """

    name: str
    title: str
    group: int
    bits: float
    kind: str
    sum: str
    tokens: int = 1
    rows: int = 1
    memory: str = "distributed"
    banks: int = 2
    primitives: bool = False
    largest_k: int = 65535
    adders: str = ""

    @property
    def tables(self) -> int:
        """Tables, or codes, of a row."""
        return ACTIVATIONS // self.group

    @property
    def code_bits(self) -> int:
        """Bits of the code of a table."""
        return {1: 2, 3: 5, 5: 8, 6: 10}[self.group]

    @property
    def entry_bits(self) -> int:
        """Bits of an entry."""
        return {1: 8, 3: 10, 5: 11, 6: 11}[self.group]

    @property
    def entries(self) -> int:
        """Entries of a bank that are written."""
        return {"tree": 1, "half": 14, "split": 27}.get(self.kind, 3**self.group)

    @property
    def partial_bits(self) -> int:
        """Bits of a partial sum."""
        return 1 + (self.largest_k * 127).bit_length()

    def order(self) -> tuple[tuple[int, ...], ...]:
        """Trits of each entry of a table, by code without sign."""
        if self.kind == "half":
            # The upper half of the Gray order begins at (0, 0, 0): the lower one has the same, negated.
            return gray_trits(self.group)[13:]
        if self.kind == "byte" and self.group == 5:
            return tuple(three + two for two in gray_trits(2) for three in gray_trits(3))
        return gray_trits(self.group)

    def code(self, trits: tuple[int, ...]) -> int:
        """The code of a table's trits."""
        if self.kind == "tree":
            return trits[0] & 3
        if self.kind == "half":
            negated = tuple(-t for t in trits)
            order = self.order()
            return order.index(trits) if trits in order else order.index(negated) | 16
        if self.kind == "split":
            return gray_trits(3).index(trits[:3]) + 27 * gray_trits(2).index(trits[3:])
        return self.order().index(trits)

    def built(self, activations: tuple[int, ...], bias: int) -> list[int]:
        """Entries of the table of some activations; for "split" those of three, then those of two."""
        if self.kind == "tree":
            return [activations[0]]
        parts = (activations[:3], activations[3:]) if self.kind == "split" else (activations,)
        tables = []
        for part in parts:
            order = gray_trits(len(part)) if self.kind == "split" else self.order()
            sums = [sum(t * a for t, a in zip(trits, part, strict=True)) + bias for trits in order]
            tables.append(sums + [0] * (self.entries - len(sums)))
        return [a | (b & 0x3FF) << 10 if self.kind == "split" else a for a, b in zip(
            [v & 0x3FF if self.kind == "split" else v for v in tables[0]], tables[-1], strict=True
        )]  # fmt: skip


class LookUpArray(wiring.Component):
    """Tables, adders and the accumulator of one row a cycle (``rows`` of them side by side).

    Members
    -------
    write, write_bank, entry, value : In
        Write an entry of all tables: ``entry_bits`` for each table, in it for each token ("split": 20 bits,
        an entry of three, then one of two).
    codes, bank : In
        Codes of ``rows`` rows, and the bank they address.
    partial, first : In(ArrayLayout(ArrayLayout(partial_bits, tokens), rows)), In(1)
        Partial sums, wanted ``latency - 2`` cycles after the codes; not counted if ``first``.
    sum : Out(as partial)
        The sums, ``latency`` cycles after the codes.
    """

    def __init__(self, form: Form, family: str) -> None:
        self.form, self.family = form, family
        bits = 20 if form.kind == "split" else form.entry_bits
        self.value_bits = bits
        self.biases = [0] * form.tables
        self.sums = [self._adder() for _ in range(form.rows * form.tokens)]
        if form.sum in ("entry", "dsp"):
            self.biases = list(entry_biases(form.tables, 127 * form.group))
        partials = data.ArrayLayout(data.ArrayLayout(form.partial_bits, form.tokens), form.rows)
        self.latency = 0  # known after elaboration
        super().__init__({
            "write": In(1), "write_bank": In(1), "entry": In(range(max(2, form.entries))),
            "value": In(data.ArrayLayout(data.ArrayLayout(bits, form.tokens), form.tables)),
            "codes": In(data.ArrayLayout(data.ArrayLayout(form.code_bits, form.tables), form.rows)),
            "bank": In(1), "partial": In(partials), "first": In(1), "sum": Out(partials),
        })  # fmt: skip

    def _adder(self) -> EntrySum | None:
        form = self.form
        if form.sum == "entry":
            return EntrySum(
                form.tables,
                form.adders or self.family,
                form.partial_bits,
                form.primitives,
                largest=127 * form.group,
            )
        return None

    def elaborate(self, platform: object) -> Module:
        m = Module()
        form = self.form
        terms = [[[] for _ in range(form.tokens)] for _ in range(form.rows)]
        cycles = getattr(self, f"_{form.kind}")(m, terms)
        done = 0
        for r in range(form.rows if form.sum != "dsp" else 0):
            for t in range(form.tokens):
                partial = Signal(signed(form.partial_bits), name=f"partial{r}_{t}")
                with m.If(self.first):
                    m.d.sync += partial.eq(0)
                with m.Else():
                    m.d.sync += partial.eq(self.partial[r][t])
                if form.sum == "entry":
                    m.submodules[f"sum{r}_{t}"] = adder = self.sums[r * form.tokens + t]
                    m.d.comb += adder.partial.eq(partial)
                    for i, term in enumerate(terms[r][t]):
                        m.d.comb += adder.i[i].eq(term)
                    total, done = adder.sum, adder.latency
                elif form.sum == "deferred":
                    total, done = deferred_sum(m, terms[r][t], partial, f"r{r}_{t}")
                else:
                    total, done = signed_sum(m, terms[r][t], partial, f"r{r}_{t}")
                m.d.comb += self.sum[r][t].eq(total)
        if form.sum == "dsp":
            partials = [Signal(form.partial_bits, name=f"partial_in{t}") for t in range(form.tokens)]
            for t, partial in enumerate(partials):
                with m.If(self.first):
                    m.d.sync += partial.eq(0)
                with m.Else():
                    m.d.sync += partial.eq(self.partial[0][t])
            totals = dsp_sum(m, terms[0], partials, sum(self.biases), form.primitives)
            done = form.tables // 2 + 1
            for t, total in enumerate(totals):
                m.d.comb += self.sum[0][t].eq(total)
        self.latency = cycles + done
        return m

    def _tree(self, m: Module, terms: list[list[list]]) -> int:
        """Activations in registers; a code of 0 resets the register behind it."""
        form = self.form
        for i in range(form.tables):
            for t in range(form.tokens):
                held = Signal(signed(8), name=f"held{i}_{t}", reset_less=True)
                with m.If(self.write):
                    m.d.sync += held.eq(self.value[i][t])
                for r in range(form.rows):
                    code = self.codes[r][i]
                    term = Signal(signed(8 + (form.sum == "signed")), name=f"term{r}_{i}_{t}")
                    if form.sum == "signed":
                        m.d.sync += term.eq(Mux(code == 0, 0, Mux(code[1], -held, held)))
                        terms[r][t].append(term)
                        continue
                    minus = Signal(name=f"minus{r}_{i}_{t}")
                    m.d.sync += [minus.eq(code[1]), term.eq(held)]
                    with m.If(code == 0):
                        m.d.sync += term.eq(0)
                    terms[r][t].append((term, minus))
        return 1

    def _memory(self, m: Module, name: str, bits: int, depth: int, style: str) -> Memory:
        form = self.form
        m.submodules[name] = memory = Memory(
            shape=data.ArrayLayout(unsigned(bits), form.tokens), depth=depth, init=[],
            attrs={"no_rw_check": 1, "ram_style": style},
        )  # fmt: skip
        return memory

    def _half(self, m: Module, terms: list[list[list]]) -> int:
        """14 entries; the highest bit of the code negates, here or at the end of the adders."""
        form = self.form
        for i in range(form.tables):
            memory = self._memory(m, f"table{i}", form.entry_bits, 16 * form.banks, "distributed")
            bank = [self.write_bank] if form.banks > 1 else []
            write = memory.write_port()
            m.d.comb += [
                write.en.eq(self.write),
                write.addr.eq(Cat(self.entry[:4], *bank)),
                write.data.eq(self.value[i]),
            ]
            read = memory.read_port(domain="comb")
            m.d.comb += read.addr.eq(Cat(self.codes[0][i][:4], *([self.bank] if form.banks > 1 else [])))
            minus_now = self.codes[0][i][4]
            for t in range(form.tokens):
                found = Signal(signed(form.entry_bits), name=f"found{i}_{t}")
                minus = Signal(name=f"minus{i}_{t}")
                value = read.data[t].as_signed()
                m.d.sync += minus.eq(minus_now)
                if form.sum == "signed":
                    m.d.sync += found.eq(Mux(minus_now, -value, value))
                    terms[0][t].append(found)
                else:
                    m.d.sync += found.eq(value)
                    terms[0][t].append((found, minus))
        return 1

    def _full(self, m: Module, terms: list[list[list]]) -> int:
        """27 entries in distributed memory."""
        form = self.form
        for i in range(form.tables):
            memory = self._memory(m, f"table{i}", form.entry_bits, 32 * form.banks, "distributed")
            bank = ([self.write_bank], [self.bank]) if form.banks > 1 else ([], [])
            write = memory.write_port()
            m.d.comb += [
                write.en.eq(self.write),
                write.addr.eq(Cat(self.entry, *bank[0])),
                write.data.eq(self.value[i]),
            ]
            read = memory.read_port(domain="comb")
            m.d.comb += read.addr.eq(Cat(self.codes[0][i], *bank[1]))
            for t in range(form.tokens):
                kind = unsigned if form.sum == "entry" else signed
                found = Signal(kind(form.entry_bits), name=f"found{i}_{t}")
                m.d.sync += found.eq(read.data[t])
                terms[0][t].append(found)
        return 1

    def _split(self, m: Module, terms: list[list[list]]) -> int:
        """A byte to a code of three and one of two, as `hw.split_tables`."""
        form = self.form
        for i in range(form.tables):
            m.submodules[f"decode{i}"] = decode = TritDecode()
            m.d.comb += decode.byte.eq(self.codes[0][i])
            parts = []
            for name, bits, depth, code, low in (
                ("three", 10, 32, decode.three, 0),
                ("two", 9, 16, decode.two, 10),
            ):
                memory = self._memory(m, f"{name}{i}", bits, depth * form.banks, "distributed")
                write = memory.write_port()
                address_bits = depth.bit_length() - 1
                m.d.comb += [
                    write.en.eq(self.write & ((name == "three") | (self.entry < 9))),
                    write.addr.eq(Cat(self.entry[:address_bits], self.write_bank)),
                ]
                for t in range(form.tokens):
                    m.d.comb += write.data[t].eq(self.value[i][t][low : low + bits])
                address = Signal(address_bits, name=f"{name}{i}_address")
                bank = Signal(name=f"{name}{i}_bank")
                m.d.sync += [address.eq(code), bank.eq(self.bank)]
                read = memory.read_port(domain="comb")
                m.d.comb += read.addr.eq(Cat(address, bank))
                parts.append(read.data)
            for t in range(form.tokens):
                found = Signal(signed(11), name=f"found{i}_{t}")
                m.d.sync += found.eq(parts[0][t].as_signed() + parts[1][t].as_signed())
                terms[0][t].append(found)
        return 2

    def _byte(self, m: Module, terms: list[list[list]]) -> int:
        """All entries in block RAM: a synchronous read, and the output register."""
        form = self.form
        size = 1 << form.code_bits
        for i in range(form.tables):
            memory = self._memory(m, f"table{i}", form.entry_bits, size * form.banks, form.memory)
            write = memory.write_port()
            banks = form.banks > 1
            m.d.comb += [
                write.en.eq(self.write),
                write.addr.eq(Cat(self.entry, self.write_bank) if banks else self.entry),
                write.data.eq(self.value[i]),
            ]
            both = Signal(form.code_bits, name=f"both{i}")
            for r in range(form.rows):
                read = memory.read_port()
                code = self.codes[r][i]
                if form.sum == "dsp":  # each block adds a cycle later than the one before
                    code = delay(m, code, i // 2)
                if form.rows == 2 and not banks and r == 0:
                    # The port that writes also reads: while tables are built, one row a cycle.
                    m.d.comb += [both.eq(Mux(self.write, self.entry, code)), write.addr.eq(both)]
                    code = both
                bank = delay(m, self.bank, i // 2 if form.sum == "dsp" else 0)
                m.d.comb += read.addr.eq(Cat(code, bank) if banks else code)
                for t in range(form.tokens):
                    kind = signed if form.sum == "signed" else unsigned
                    found = Signal(kind(form.entry_bits), name=f"found{r}_{i}_{t}")
                    m.d.sync += found.eq(read.data[t])
                    terms[r][t].append(found)
        return 2
