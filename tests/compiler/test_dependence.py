"""The dependency limit: what is on the chain, and that no walk of the machine is shorter."""

import itertools

import pytest

from compiler.assembler import INSTRUCTION_BYTES
from compiler.compile import compile_program
from compiler.dependence import Link, dependency_chain
from compiler.hazards import wait_bounds
from compiler.timeline import Timeline, decoded
from hw.isa import Source, encode
from hw.machine import CI, WIDE, MachineConfig
from sim.dram import IDEAL
from sim.entries import Entry
from tests.models.random_model import INTEGER_MODELS, random_model

MODELS = {"ternary": {}, "grouped": {"heads": 8, "kv_heads": 2}, "integers": INTEGER_MODELS["int8"]}


def chain_of(machine: MachineConfig, context: int, **options) -> tuple[list[Link], list]:
    model = random_model(3, dim=64, hidden=96, context=128, **options)
    program = decoded(compile_program(model, machine).program)
    return dependency_chain(machine, program, Entry(1, context - 1)), program


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("machine", [CI, WIDE], ids=lambda machine: machine.name)
@pytest.mark.parametrize("context", [1, 90])
def test_no_walk_is_shorter(model: str, machine: MachineConfig, context: int) -> None:
    options = dict(MODELS[model])
    if machine is WIDE and "heads" in options:
        options = {"heads": 4, "kv_heads": 1}
    chain, program = chain_of(machine, context, **options)
    token = [Entry(1, context - 1)]
    for free in ((), ("memory",)):
        assert chain[-1].end <= Timeline(machine, IDEAL, program, free).step(token).cycles


def test_no_walk_of_vector_instructions_is_shorter() -> None:
    """Each reads what the one before it writes, and none waits in the queue."""
    rows = [("MAP", {"n": 4, "a": 4 * i, "d": 4 * i + 4}) for i in range(60)] + [("END", {})]
    waits = wait_bounds(rows)
    words = [encode(name, **fields, **wait) for (name, fields), wait in zip(rows, waits, strict=True)]
    program = decoded(b"".join(word.to_bytes(INSTRUCTION_BYTES, "little") for word in words))
    chain = dependency_chain(CI, program, Entry(1, 0))
    walk = Timeline(CI, IDEAL, program).step([Entry(1, 0)]).cycles
    assert len(chain) == 60 and 0.9 * walk < chain[-1].end <= walk


def test_links_follow_one_another_through_every_layer() -> None:
    chain, _ = chain_of(CI, 40, layers=4)
    assert chain[0].begin == 0
    assert all(a.end == b.begin for a, b in itertools.pairwise(chain))
    assert all(link.end > link.begin for link in chain)
    assert chain[-1].name == "HEAD" and {link.layer for link in chain} >= {0, 1, 2, 3}


def test_attention_and_both_halves_of_the_mlp_are_on_the_chain() -> None:
    names = [link.name for link in chain_of(CI, 60)[0] if link.layer == 0]
    assert names.count("ATTEND") == 4  # both passes, over the tape and over the stage
    sources = [link.fields["source"] for link in chain_of(CI, 60)[0] if link.name == "MAP"]
    assert Source.ATTENTION in sources


def test_a_longer_context_adds_what_its_rows_take_in_every_layer() -> None:
    short, long = (chain_of(CI, context, layers=2)[0][-1].end for context in (20, 60))
    longest = chain_of(CI, 100, layers=2)[0][-1].end
    assert longest - long == long - short > 0
