"""Coverage of random programs: what is counted is what ran, and most of what can run does."""

import dataclasses

import numpy as np

from hw.isa import COUNTERS, encode
from hw.machine import CI
from sim.coverage import GROUPS, Coverage, Watch, watching
from sim.coverage_stalls import hit_stalls, monitored
from sim.entries import Entry
from sim.random_check import MEMORY_BYTES, RandomCase, predict
from sim.verilate import overlay_verilog
from tests.random.program import random_program

#: Programs, and the share of the bins of the interpreter's groups that they hit.
COUNT, SHARE = 150, 0.85
RTL_ONLY = ("stalled", "counters")


def _run(case: RandomCase, coverage: Coverage) -> None:
    watch = Watch(coverage, case)
    with watching(watch):
        predicted = predict(case, CI, watch)
    watch.end(predicted.error, predicted.tokens)
    coverage.hit_counters(predicted.counters)


def _case(*rows: tuple[str, dict[str, int]], tokens: int = 1, tile: int = 1) -> RandomCase:
    program = b"".join(encode(name, **fields).to_bytes(24, "little") for name, fields in rows)
    entries = tuple(Entry(0, i, 0, i > 0) for i in range(tokens))
    memory = np.zeros(MEMORY_BYTES, np.uint8)
    return RandomCase(0, program, rows, memory, 0, entries, tile, 1, False, (), 0, False)


def test_bins_of_integers():
    """A LINEAR of an odd row over one group beyond k, from mantissas; a machine of int8 has no such bins."""
    coverage = Coverage(CI)
    shape = {"rows": 3, "k": 5, "width": 1, "group": 16, "minima": 1, "acc": 4}
    case = _case(
        ("QUANTISE", {"n": 16, "mantissa": 1}),
        ("NORM", {"mantissa": 1}),
        ("FETCH", {"bytes": 2 * (16 + 8 + 8)}),
        ("LINEAR", shape),
        ("MAP", {"source": 4, "n": 4, "a": 4}),
        ("END", {}),
    )
    _run(case, coverage)
    for group, name in (
        ("fields", "LINEAR.group beyond k"), ("fields", "LINEAR.k fills a unit up"), ("fields", "LINEAR.rows odd"),
        ("fields", "LINEAR.width INT4"), ("fields", "LINEAR.minima 1"), ("fields", "LINEAR.acc 4"),
        ("fields", "MAP.source LINEAR"), ("fields", "MAP.a LINEAR 4"), ("fields", "QUANTISE.mantissa 1"),
        ("operations", "LINEAR INT4, scales and minima"), ("operations", "MAP LINEAR COPY plain"),
        ("operations", "QUANTISE mantissa plain"), ("operations", "NORM mantissa plain"),
        ("numbers", "Q mantissas 0"), ("numbers", "ACC of LINEAR +0"), ("runs", "ahead 1"),
        ("counters", "integer_products"),
    ):  # fmt: skip
        assert coverage.bins[group][name] > 0, (group, name)
    for group, name in (
        ("fields", "LINEAR.group a unit"), ("fields", "LINEAR.k whole units"), ("fields", "LINEAR.rows even"),
        ("fields", "NORM.mantissa 0"), ("operations", "QUANTISE MATMUL plain"), ("operations", "NORM plain"),
        ("operations", "LINEAR INT4, scales"), ("numbers", "Q 0"), ("numbers", "ACC 0"),
    ):  # fmt: skip
        assert coverage.bins[group][name] == 0, (group, name)
    small = Coverage(dataclasses.replace(CI, activation_bits=8))
    names = [name for bins in small.bins.values() for name in bins if "mantissa" in name]
    assert names == ["QUANTISE.mantissa 0", "NORM.mantissa 0"]


def test_bins_are_hit_by_what_runs_and_by_nothing_else():
    coverage = Coverage(CI)
    size = {"base": 0, "bytes": 16, "index": 4, "tiled": 1, "stride": 16}
    case = _case(
        ("FETCH", size),
        ("MAP", {"source": 3, "n": 4, "d": 8, "tiled": 1}),
        ("MAP", {"predicate": 5, "source": 1, "n": 4}),
        ("STORE", {"payload": 3, "a": 8, "bytes": 16, "step": 16, "base": 64, "wait_vector": 0, "tiled": 1}),
        ("END", {}),
        tokens=3,
        tile=4,
    )
    _run(case, coverage)
    for group, name in (
        ("fields", "FETCH.index ENTRY"), ("fields", "MAP.n 4"), ("fields", "STORE.wait_vector 0"),
        ("operations", "MAP TAPE COPY plain"), ("operations", "MAP COPY to ACTIVATION"),
        ("operations", "STORE ACTIVATION outside"), ("acting", "MAP tiled, 3 live"),
        ("predicates", "MAP other off"), ("predicates", "MAP always on"), ("waits", "STORE on VECTOR 0"),
        ("loops", "none"), ("runs", "ENTRY tiled, 3 live"), ("runs", "ahead 1"),
        ("chunks", "last tile 3 of 4"), ("chunks", "no HEAD"), ("numbers", "ACT +0"),
        ("counters", "spill_bytes"),
    ):  # fmt: skip
        assert coverage.bins[group][name] > 0, (group, name)
    for group, name in (
        ("operations", "MAP ACCUMULATOR COPY plain"), ("acting", "MAP not tiled, 3 live"),
        ("waits", "STORE on STORE 0"), ("numbers", "ACT normal"), ("counters", "lookups"),
    ):  # fmt: skip
        assert coverage.bins[group][name] == 0, (group, name)


def test_two_machines_add_up():
    a, b = Coverage(CI), Coverage(dataclasses.replace(CI, tile=1))
    a.hit("chunks", "tile 1")
    b.hit("chunks", "tile 1")
    a.add(b)
    assert a.bins["chunks"]["tile 1"] == 2
    assert a.covered("chunks")[0] == 1


def test_random_programs_cover_most():
    coverage = Coverage(CI)
    for seed in range(COUNT):
        _run(random_program(seed, CI), coverage)
    pairs = [coverage.covered(group) for group in GROUPS if group not in RTL_ONLY]
    hit, bins = map(sum, zip(*pairs, strict=True))
    print(f"{hit} of {bins} bins by {COUNT} programs")
    assert hit >= SHARE * bins, "\n".join(map(str, coverage.missing()))
    exact = {counter.name for counter in COUNTERS if counter.exact}
    assert all(coverage.bins["counters"][name] for name in exact)


def test_the_monitor_finds_its_places_in_the_text(tmp_path):
    text = monitored(overlay_verilog(CI))
    assert text.count("trine_count [") == 2
    assert text.count("$fdisplay") == 51
    written = tmp_path / "stalls"
    written.write_text("VECTOR MATMUL 0 12\nFETCH STORE 1 0\n")
    coverage = Coverage(CI)
    hit_stalls(coverage, written)
    assert coverage.bins["stalled"]["VECTOR on MATMUL 0"] == 12
    assert coverage.covered("stalled")[0] == 1
