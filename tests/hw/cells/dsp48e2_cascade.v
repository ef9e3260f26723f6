// The UltraScale+ DSP block (AMD UG579, chapter 2) with its registers, as hw/dsp48.py sets it: the product of the
// pre-adder's sum and B, or four sums of A:B and C of 12 bits, each with PCIN or RND. Any other setting gives a
// wrong P.
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
  output reg [47:0] P,
  output [47:0] PCOUT
);
  parameter ACASCREG = 1, ADREG = 1, ALUMODEREG = 1, AREG = 1, BCASCREG = 1, BREG = 1, CARRYINREG = 1;
  parameter CARRYINSELREG = 1, CREG = 1, DREG = 1, INMODEREG = 1, MREG = 1, OPMODEREG = 1, PREG = 1;
  parameter AMULTSEL = "A", BMULTSEL = "B", A_INPUT = "DIRECT", B_INPUT = "DIRECT";
  parameter USE_MULT = "MULTIPLY", USE_SIMD = "ONE48";
  parameter [47:0] RND = 0;

  wire multiply = USE_MULT == "MULTIPLY" && USE_SIMD == "ONE48" && AMULTSEL == "AD" && INMODE == 5'b00100
    && OPMODE[3:0] == 4'b0101 && ADREG == 1 && DREG == 1 && MREG == 1;
  wire add = USE_MULT == "NONE" && USE_SIMD == "FOUR12" && AMULTSEL == "A" && INMODE == 5'b00000
    && OPMODE[3:0] == 4'b1111 && ADREG == 0 && DREG == 0 && MREG == 0;
  wire known = (multiply || add) && ALUMODE == 4'b0000 && CARRYINSEL == 3'b000 && CARRYIN == 1'b0
    && (OPMODE[8:4] == 5'b10_000 || OPMODE[8:4] == 5'b00_001)
    && AREG == 1 && ACASCREG == 1 && BREG == 1 && BCASCREG == 1 && CREG == 1 && PREG == 1
    && OPMODEREG == 0 && ALUMODEREG == 0 && INMODEREG == 0 && CARRYINREG == 0 && CARRYINSELREG == 0
    && BMULTSEL == "B" && A_INPUT == "DIRECT" && B_INPUT == "DIRECT"
    && !(RSTA || RSTALLCARRYIN || RSTALUMODE || RSTB || RSTC || RSTCTRL || RSTD || RSTINMODE || RSTM || RSTP);

  reg signed [29:0] a;
  reg signed [17:0] b;
  reg [47:0] c;
  reg signed [26:0] d, ad;
  reg signed [44:0] product;
  wire [47:0] before = OPMODE[4] ? PCIN : RND;
  wire [47:0] ab = {a, b};
  assign PCOUT = P;
  always @(posedge CLK) begin
    if (CEA2) a <= A;
    if (CEB2) b <= B;
    if (CEC) c <= C;
    if (CED) d <= D;
    if (CEAD) ad <= $signed(a[26:0]) + d;
    if (CEM) product <= ad * b;
    if (CEP) begin
      if (multiply) P <= before + {{3{product[44]}}, product};
      else begin
        P[11:0] <= before[11:0] + ab[11:0] + c[11:0];
        P[23:12] <= before[23:12] + ab[23:12] + c[23:12];
        P[35:24] <= before[35:24] + ab[35:24] + c[35:24];
        P[47:36] <= before[47:36] + ab[47:36] + c[47:36];
      end
      if (!known) P <= 48'h5a5a5a5a5a5a;
    end
  end
endmodule
