"""BTOR2 transition systems as terms of the Bitwuzla solver (Niemetz, Preiner, Wolf, Biere, CAV 2018)."""

from dataclasses import dataclass, field

import bitwuzla
from bitwuzla import Kind, Term

#: Operators whose operands are terms and whose result has the operands' meaning as it is.
WORD = {
    "not": Kind.BV_NOT, "neg": Kind.BV_NEG, "and": Kind.BV_AND, "or": Kind.BV_OR, "xor": Kind.BV_XOR,
    "xnor": Kind.BV_XNOR, "add": Kind.BV_ADD, "sub": Kind.BV_SUB, "mul": Kind.BV_MUL, "sll": Kind.BV_SHL,
    "srl": Kind.BV_SHR, "sra": Kind.BV_ASHR, "concat": Kind.BV_CONCAT, "redor": Kind.BV_REDOR,
    "redand": Kind.BV_REDAND, "redxor": Kind.BV_REDXOR, "eq": Kind.BV_COMP,
}  # fmt: skip
#: Comparisons: Boolean in SMT, one bit in BTOR2.
COMPARE = {
    "ult": Kind.BV_ULT, "ulte": Kind.BV_ULE, "ugt": Kind.BV_UGT, "ugte": Kind.BV_UGE, "slt": Kind.BV_SLT,
    "slte": Kind.BV_SLE, "sgt": Kind.BV_SGT, "sgte": Kind.BV_SGE, "neq": Kind.DISTINCT,
}  # fmt: skip


@dataclass
class Frame:
    """One cycle of the system: the term of every node, and what its properties say."""

    terms: dict[int, Term] = field(default_factory=dict)
    constraints: list[Term] = field(default_factory=list)
    bad: list[tuple[str, Term]] = field(default_factory=list)
    #: Named inputs, states, outputs and wires.
    named: dict[str, Term] = field(default_factory=dict)


class System:
    """A BTOR2 file without arrays.

    Parameters
    ----------
    text : str
        As written by ``yosys write_btor`` after ``memory_map``.
    """

    def __init__(self, text: str):
        lines = (line.split(";")[0].split() for line in text.splitlines())
        self.lines = [line for line in lines if line]
        self.manager = bitwuzla.TermManager()
        self.sorts = {int(i): int(width) for i, op, *rest in self.lines if op == "sort" for width in rest[1:]}
        self.inits: dict[int, int] = {}
        self.nexts: dict[int, int] = {}
        for _, op, *rest in self.lines:
            if op in ("init", "next"):
                table = self.inits if op == "init" else self.nexts
                table[int(rest[1])] = int(rest[2])
        kinds = {int(line[0]): line[1] for line in self.lines}
        #: `$initstate`: the states that are 1 in the first cycle and 0 ever after.
        self.first = {
            state
            for state, value in self.inits.items()
            if kinds[value] == "one" and kinds.get(self.nexts.get(state, 0)) == "zero"
        }

    def value(self, width: int, value: int) -> Term:
        """A constant."""
        return self.manager.mk_bv_value(self.manager.mk_bv_sort(width), value)

    def holds(self, bit: Term) -> Term:
        """A one-bit node as a Boolean."""
        return self.manager.mk_term(Kind.EQUAL, [bit, self.value(1, 1)])

    def frame(self, previous: Frame | None, initial: bool) -> Frame:
        """The cycle after `previous`; without one, the reset state, or (not `initial`) any later state."""
        frame, make = Frame(), self.manager.mk_term
        for line in self.lines:
            node, op, args = int(line[0]), line[1], line[2:]
            if op in ("sort", "init", "next"):
                continue
            if op == "bad":
                frame.bad.append((" ".join(args[1:]), self.holds(frame.terms[int(args[0])])))
                continue
            if op in ("constraint", "output"):
                term = frame.terms[abs(int(args[0]))]
                if op == "constraint":
                    frame.constraints.append(self.holds(term))
                elif len(args) > 1:
                    frame.named[args[1]] = term
                continue
            width = self.sorts[int(args[0])]
            operands = [self.operand(frame, int(a)) for a in args[1:] if op not in ("slice", "uext", "sext")
                        and op not in ("const", "constd", "consth", "state", "input")]  # fmt: skip
            if op in ("input", "state"):
                term = self.leaf(node, op, width, frame, previous, initial)
                if len(args) > 1:
                    frame.named[args[1]] = term
            elif op in ("const", "constd", "consth"):
                term = self.value(width, int(args[1], {"const": 2, "constd": 10, "consth": 16}[op]))
            elif op in ("zero", "one", "ones"):
                term = self.value(width, {"zero": 0, "one": 1, "ones": (1 << width) - 1}[op])
            elif op == "ite":
                term = make(Kind.ITE, [self.holds(operands[0]), *operands[1:]])
            elif op == "slice":
                term = make(
                    Kind.BV_EXTRACT, [self.operand(frame, int(args[1]))], [int(args[2]), int(args[3])]
                )
            elif op == "uext" and args[1] == "-1":  # Yosys writes a constant 0 as the extension of no bits
                term = self.value(width, 0)
            elif op in ("uext", "sext"):
                kind = Kind.BV_ZERO_EXTEND if op == "uext" else Kind.BV_SIGN_EXTEND
                term = make(kind, [self.operand(frame, int(args[1]))], [int(args[2])])
                if len(args) > 3:  # Yosys names a wire by extending it by nothing
                    frame.named[args[3]] = term
            elif op in WORD:
                term = make(WORD[op], operands)
            elif op in COMPARE:
                term = make(Kind.ITE, [make(COMPARE[op], operands), self.value(1, 1), self.value(1, 0)])
            else:
                raise ValueError(f"BTOR2: wanted a bit-vector operator, found {op!r}")
            frame.terms[node] = term
        return frame

    def operand(self, frame: Frame, node: int) -> Term:
        """A node, or its complement where BTOR2 gives a negative number."""
        term = frame.terms[abs(node)]
        return term if node > 0 else self.manager.mk_term(Kind.BV_NOT, [term])

    def leaf(
        self, node: int, op: str, width: int, frame: Frame, previous: Frame | None, initial: bool
    ) -> Term:
        """An input or a state of this cycle."""
        if op == "state" and previous is not None and node in self.nexts:
            return self.operand(previous, self.nexts[node])
        if op == "state" and previous is None:
            if not initial and node in self.first:
                return self.value(width, 0)
            if initial and node in self.inits:
                return self.operand(frame, self.inits[node])
        return self.manager.mk_const(self.manager.mk_bv_sort(width))
