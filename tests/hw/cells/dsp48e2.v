// The multiplier of an UltraScale+ DSP block (AMD UG579, chapter 2), as far as our netlists use it:
// P = A[26:0] * B, signed, no registers, no cascade, Z = 0. Anything else ends the simulation.
module DSP48E2 (
  input [29:0] A, ACIN,
  input [17:0] B, BCIN,
  input [47:0] C, PCIN,
  input [26:0] D,
  input [4:0] INMODE,
  input [3:0] ALUMODE,
  input [8:0] OPMODE,
  input [2:0] CARRYINSEL,
  input CARRYIN, CARRYCASCIN, MULTSIGNIN, CLK,
  input CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC, CECARRYIN, CECTRL, CED, CEINMODE, CEM, CEP,
  input RSTA, RSTALLCARRYIN, RSTALUMODE, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP,
  output [47:0] P
);
  parameter ACASCREG = 1, ADREG = 1, ALUMODEREG = 1, AREG = 1, BCASCREG = 1, BREG = 1, CARRYINREG = 1;
  parameter CARRYINSELREG = 1, CREG = 1, DREG = 1, INMODEREG = 1, MREG = 1, OPMODEREG = 1, PREG = 1;
  parameter AMULTSEL = "A", BMULTSEL = "B", A_INPUT = "DIRECT", B_INPUT = "DIRECT";
  parameter USE_MULT = "MULTIPLY", USE_SIMD = "ONE48";

  // X and Y select the product, Z and W nothing; the ALU adds; the operands come from A2 and B2.
  wire known = OPMODE == 9'b000000101 && ALUMODE == 4'b0000 && INMODE == 5'b00000
    && CARRYINSEL == 3'b000 && CARRYIN == 1'b0
    && AREG == 0 && BREG == 0 && MREG == 0 && PREG == 0
    && OPMODEREG == 0 && ALUMODEREG == 0 && INMODEREG == 0 && CARRYINREG == 0 && CARRYINSELREG == 0
    && AMULTSEL == "A" && BMULTSEL == "B" && A_INPUT == "DIRECT" && B_INPUT == "DIRECT"
    && USE_MULT == "MULTIPLY" && USE_SIMD == "ONE48";
  wire signed [44:0] product = $signed(A[26:0]) * $signed(B);
  assign P = known ? {{3{product[44]}}, product} : 48'h5a5a5a5a5a5a;
endmodule
