// The multiplier of an ECP5 DSP slice (Lattice FPGA-TN-02205), as far as our netlists use it: P = A * B, each
// operand signed where its SIGNED pin is 1; both operands, the product or all of these in registers of clock and
// enable 0, which are never reset. Anything else gives a wrong product.
module MULT18X18D (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  input CLK0, CE0, RST0,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_INPUTC_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0", REG_INPUTB_CE = "CE0", REG_INPUTA_RST = "RST0", REG_INPUTB_RST = "RST0";
  parameter REG_PIPELINE_CLK = "NONE", REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
  parameter SOURCEB_MODE = "B_SHIFT", MULT_BYPASS = "DISABLED", GSR = "ENABLED";

  localparam HELD = REG_INPUTA_CLK == "CLK0", KEPT = REG_OUTPUT_CLK == "CLK0";
  wire known = REG_INPUTA_CLK == REG_INPUTB_CLK && (HELD || REG_INPUTA_CLK == "NONE")
    && (KEPT || REG_OUTPUT_CLK == "NONE") && REG_PIPELINE_CLK == "NONE" && MULT_BYPASS == "DISABLED"
    && SOURCEA == 1'b0 && SOURCEB == 1'b0
    && (!(HELD || KEPT) || (RST0 == 1'b0 && GSR == "DISABLED"))
    && REG_INPUTA_CE == "CE0" && REG_INPUTB_CE == "CE0" && REG_OUTPUT_CE == "CE0";
  wire [17:0] a_in = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b_in = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  reg [17:0] a_held = 0, b_held = 0;
  reg [35:0] kept = 0;
  wire [17:0] a = HELD ? a_held : a_in, b = HELD ? b_held : b_in;
  wire signed [37:0] product = $signed({SIGNEDA & a[17], a}) * $signed({SIGNEDB & b[17], b});
  wire [35:0] p = KEPT ? kept : product[35:0];
  generate if (HELD || KEPT) begin : registers
    always @(posedge CLK0) if (CE0) begin
      a_held <= a_in;
      b_held <= b_in;
      kept <= product[35:0];
    end
  end endgenerate
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0}
    = known ? p : 36'h5a5a5a5a5;
endmodule
