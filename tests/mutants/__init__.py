"""Mutants of the RTL, and the checks that should catch them."""
