// The UltraScale+ DSP block (AMD UG579, chapter 2) as hw/dsp48_product.py sets it: the product of A and B in the
// register M, alone, or with PCIN shifted right by 17 bits, in the register P. Any other setting gives a wrong P.
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
  output [47:0] P, PCOUT
);
  parameter ACASCREG = 1, ADREG = 1, ALUMODEREG = 1, AREG = 1, BCASCREG = 1, BREG = 1, CARRYINREG = 1;
  parameter CARRYINSELREG = 1, CREG = 1, DREG = 1, INMODEREG = 1, MREG = 1, OPMODEREG = 1, PREG = 1;
  parameter AMULTSEL = "A", BMULTSEL = "B", A_INPUT = "DIRECT", B_INPUT = "DIRECT";
  parameter USE_MULT = "MULTIPLY", USE_SIMD = "ONE48";
  parameter [47:0] RND = 0;

  wire known = USE_MULT == "MULTIPLY" && USE_SIMD == "ONE48" && AMULTSEL == "A" && BMULTSEL == "B"
    && A_INPUT == "DIRECT" && B_INPUT == "DIRECT" && INMODE == 5'b00000 && ALUMODE == 4'b0000
    && CARRYINSEL == 3'b000 && CARRYIN == 1'b0 && OPMODE[3:0] == 4'b0101
    && (OPMODE[8:4] == 5'b00_000 || OPMODE[8:4] == 5'b00_101)
    && AREG == 0 && ACASCREG == 0 && BREG == 0 && BCASCREG == 0 && MREG == 1
    && OPMODEREG == 0 && ALUMODEREG == 0 && INMODEREG == 0 && CARRYINREG == 0 && CARRYINSELREG == 0
    && !(RSTA || RSTALLCARRYIN || RSTALUMODE || RSTB || RSTC || RSTCTRL || RSTD || RSTINMODE || RSTM || RSTP);

  reg signed [44:0] product;
  reg [47:0] held;
  wire [47:0] before = OPMODE[6] ? {{17{PCIN[47]}}, PCIN[47:17]} : 48'd0;
  wire [47:0] sum = known ? before + {{3{product[44]}}, product} : 48'h5a5a5a5a5a5a;
  always @(posedge CLK) begin
    if (CEM) product <= $signed(A[26:0]) * $signed(B);
    if (CEP) held <= sum;
  end
  assign P = PREG == 1 ? held : sum;
  assign PCOUT = P;
endmodule
