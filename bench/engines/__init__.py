"""What a ternary MAC a cycle costs in look-up tables, by form of the engine and FPGA family."""
