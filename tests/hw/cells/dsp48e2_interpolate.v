// The UltraScale+ DSP block (AMD UG579, chapter 2) as hw.dsp48_product.interpolated sets it: registers C, M, OPMODE,
// ALUMODE and P; P = product + C, or not (product + C + RND). Any other setting gives a wrong P.
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

  reg [8:0] opmode;
  reg [3:0] alumode;
  reg signed [44:0] product;
  reg [47:0] c, held;
  wire known = USE_MULT == "MULTIPLY" && USE_SIMD == "ONE48" && AMULTSEL == "A" && BMULTSEL == "B"
    && A_INPUT == "DIRECT" && B_INPUT == "DIRECT" && INMODE == 5'b00000
    && CARRYINSEL == 3'b000 && CARRYIN == 1'b0 && opmode[6:0] == 7'b011_01_01
    && (opmode[8:7] == 2'b00 || opmode[8:7] == 2'b10) && (alumode == 4'b0000 || alumode == 4'b0010)
    && AREG == 0 && ACASCREG == 0 && BREG == 0 && BCASCREG == 0 && CREG == 1 && MREG == 1 && PREG == 1
    && OPMODEREG == 1 && ALUMODEREG == 1 && INMODEREG == 0 && CARRYINREG == 0 && CARRYINSELREG == 0
    && !(RSTA || RSTALLCARRYIN || RSTALUMODE || RSTB || RSTC || RSTCTRL || RSTD || RSTINMODE || RSTM || RSTP);
  wire [47:0] sum = {{3{product[44]}}, product} + c + (opmode[8] ? RND : 48'd0);
  always @(posedge CLK) begin
    if (CEM) product <= $signed(A[26:0]) * $signed(B);
    if (CEC) c <= C;
    if (CECTRL) opmode <= OPMODE;
    if (CEALUMODE) alumode <= ALUMODE;
    if (CEP) held <= !known ? 48'h5a5a5a5a5a5a : alumode[1] ? ~sum : sum;
  end
  assign P = held;
  assign PCOUT = P;
endmodule
