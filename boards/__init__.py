"""Boards: pins, clocks, memory and flow of each. `board.py` says what one is."""
