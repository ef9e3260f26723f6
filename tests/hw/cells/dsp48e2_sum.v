// The UltraScale+ DSP block (AMD UG579, chapter 2) as hw.dsp48.sum_block sets it: registers A2, B2, D, INMODE, OPMODE
// and P; the pre-adder takes A or D; P = product + W, where W is 0, RND or C. Any other setting gives a wrong P.
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
  output reg [47:0] P
);
  parameter ACASCREG = 1, ADREG = 1, ALUMODEREG = 1, AREG = 1, BCASCREG = 1, BREG = 1, CARRYINREG = 1;
  parameter CARRYINSELREG = 1, CREG = 1, DREG = 1, INMODEREG = 1, MREG = 1, OPMODEREG = 1, PREG = 1;
  parameter AMULTSEL = "A", BMULTSEL = "B", A_INPUT = "DIRECT", B_INPUT = "DIRECT";
  parameter USE_MULT = "MULTIPLY", USE_SIMD = "ONE48";
  parameter [47:0] RND = 0;

  reg signed [29:0] a;
  reg signed [17:0] b;
  reg signed [26:0] d;
  reg [4:0] inmode;
  reg [8:0] opmode;
  wire known = USE_MULT == "MULTIPLY" && USE_SIMD == "ONE48" && AMULTSEL == "AD" && BMULTSEL == "B"
    && A_INPUT == "DIRECT" && B_INPUT == "DIRECT" && opmode[6:0] == 7'b000_01_01 && opmode[8:7] != 2'b01
    && (inmode == 5'b00000 || inmode == 5'b00110) && ALUMODE == 4'b0000 && CARRYINSEL == 3'b000 && !CARRYIN
    && AREG == 1 && ACASCREG == 1 && BREG == 1 && BCASCREG == 1 && DREG == 1 && PREG == 1
    && CREG == 0 && ADREG == 0 && MREG == 0 && OPMODEREG == 1 && INMODEREG == 1
    && ALUMODEREG == 0 && CARRYINREG == 0 && CARRYINSELREG == 0
    && !(RSTA || RSTALLCARRYIN || RSTALUMODE || RSTB || RSTC || RSTCTRL || RSTD || RSTINMODE || RSTM || RSTP);
  wire signed [26:0] ad = (inmode[1] ? 27'sd0 : $signed(a[26:0])) + (inmode[2] ? d : 27'sd0);
  wire signed [44:0] product = ad * b;
  wire [47:0] w = opmode[8] ? (opmode[7] ? C : RND) : 48'd0;
  always @(posedge CLK) begin
    if (CEA2) a <= A;
    if (CEB2) b <= B;
    if (CED) d <= D;
    if (CEINMODE) inmode <= INMODE;
    if (CECTRL) opmode <= OPMODE;
    if (CEP) P <= known ? w + {{3{product[44]}}, product} : 48'h5a5a5a5a5a5a;
  end
endmodule
