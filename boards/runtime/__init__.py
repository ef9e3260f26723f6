"""Host side of boards whose registers and memory the host sees: KV260 (PYNQ), U280 (XRT)."""
