"""The machine's contract and its RTL: one Amaranth component per file, importing nothing else of ours."""
