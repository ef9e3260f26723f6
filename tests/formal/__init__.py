"""Formal proofs: properties of components for every input, by Yosys and an SMT solver."""
