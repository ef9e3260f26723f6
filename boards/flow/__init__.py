"""From Verilog to a bitstream with open tools of the Python index: Yosys, nextpnr and the family's packer."""
