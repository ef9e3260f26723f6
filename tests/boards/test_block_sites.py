"""Sites of blocks: the assignment is the best one where that is known, and nothing moves without a gain."""

import random
from typing import Any

from boards.flow.block_sites import DEVICES, LEAST, choose_sites

DEVICE = "LFE5U-85F"
SITES = DEVICES[DEVICE]()


def placement(kind: str, count: int, seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Blocks at random sites, each with a net to a look-up table at the place of another site; that site."""
    rng = random.Random(seed)
    bels = rng.sample(list(SITES[kind]), 2 * count)
    cells, wanted = {}, {}
    for i, (there, best) in enumerate(zip(bels[:count], bels[count:], strict=True)):
        column, row = SITES[kind][best]
        cells[f"block{i}"] = {"type": kind, "attributes": {"NEXTPNR_BEL": there},
                              "connections": {"A0": [10 + i], "CLK0": [1]}}  # fmt: skip
        slice_ = f"X{column}/Y{row}/SLICEA.COMB0"
        cells[f"lut{i}"] = {"type": "TRELLIS_COMB", "attributes": {"NEXTPNR_BEL": slice_},
                            "connections": {"F": [10 + i]}}  # fmt: skip
        wanted[f"block{i}"] = best
    return {"cells": cells}, wanted


def test_each_block_lies_where_its_wires_end():
    for kind in SITES:
        placed, wanted = placement(kind, 40, seed=3)
        found, before, after = choose_sites(placed, DEVICE)
        assert found == wanted and before > after == 0


def test_blocks_that_want_one_site_share_what_is_near():
    """All are drawn to one place: no site is taken twice, and the sum is that of the nearest sites."""
    placed, _ = placement("DP16KD", 30, seed=4)
    for i in range(30):
        placed["cells"][f"lut{i}"]["attributes"]["NEXTPNR_BEL"] = "X60/Y46/SLICEA.COMB0"
    found, _, after = choose_sites(placed, DEVICE)
    assert len(set(found.values())) == 30
    nearest = sorted(abs(x - 60) + abs(y - 46) for x, y in SITES["DP16KD"].values())
    assert after == sum(nearest[:30])


def test_nothing_moves_without_a_gain():
    placed, _ = placement("MULT18X18D", LEAST - 1, seed=5)
    assert choose_sites(placed, DEVICE) == ({}, 0, 0)
    placed, wanted = placement("MULT18X18D", LEAST, seed=5)
    assert choose_sites(placed, "LFE5U-25F") == ({}, 0, 0)
    for name, bel in wanted.items():
        placed["cells"][name]["attributes"]["NEXTPNR_BEL"] = bel
    assert choose_sites(placed, DEVICE) == ({}, 0, 0)


def test_the_device_has_as_many_as_its_data_sheet_says():
    """LFE5U-85: 156 multipliers of 18 x 18, 208 block RAMs (FPGA-DS-02012, table 1.1)."""
    assert {kind: len(sites) for kind, sites in SITES.items()} == {"MULT18X18D": 156, "DP16KD": 208}
