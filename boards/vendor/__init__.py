"""Projects for tools of FPGA vendors and generators of others: scripts, constraints, tops."""
