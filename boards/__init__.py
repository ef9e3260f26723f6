"""Boards: pins, clocks, memory and flow of each. None yet; this version's machines run in simulation."""
