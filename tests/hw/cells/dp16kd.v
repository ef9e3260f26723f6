// The block RAM of the ECP5 (Lattice FPGA-TN-02204), as far as Yosys' mapping uses it: both ports clocked by rising
// edges, no output registers. 2048 bytes of 9 bits; widths of 1, 2 and 4 use the lower 8. Of 36 bits port A writes and
// B reads; DOA then holds the lower half. Where both ports meet in an address, a read finds what was there before.
// A reset is synchronous and keeps a write of its port from happening; with RESETMODE "ASYNC", which Yosys writes where
// there is none, RST must stay 0. Anything else ends the simulation.
module DP16KD #(
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG",
    RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000",
    WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED",
    WID = 0, INIT_DATA = "STATIC",
  parameter [319:0]
    INITVAL_00 = 320'h0,
    INITVAL_01 = 320'h0,
    INITVAL_02 = 320'h0,
    INITVAL_03 = 320'h0,
    INITVAL_04 = 320'h0,
    INITVAL_05 = 320'h0,
    INITVAL_06 = 320'h0,
    INITVAL_07 = 320'h0,
    INITVAL_08 = 320'h0,
    INITVAL_09 = 320'h0,
    INITVAL_0A = 320'h0,
    INITVAL_0B = 320'h0,
    INITVAL_0C = 320'h0,
    INITVAL_0D = 320'h0,
    INITVAL_0E = 320'h0,
    INITVAL_0F = 320'h0,
    INITVAL_10 = 320'h0,
    INITVAL_11 = 320'h0,
    INITVAL_12 = 320'h0,
    INITVAL_13 = 320'h0,
    INITVAL_14 = 320'h0,
    INITVAL_15 = 320'h0,
    INITVAL_16 = 320'h0,
    INITVAL_17 = 320'h0,
    INITVAL_18 = 320'h0,
    INITVAL_19 = 320'h0,
    INITVAL_1A = 320'h0,
    INITVAL_1B = 320'h0,
    INITVAL_1C = 320'h0,
    INITVAL_1D = 320'h0,
    INITVAL_1E = 320'h0,
    INITVAL_1F = 320'h0,
    INITVAL_20 = 320'h0,
    INITVAL_21 = 320'h0,
    INITVAL_22 = 320'h0,
    INITVAL_23 = 320'h0,
    INITVAL_24 = 320'h0,
    INITVAL_25 = 320'h0,
    INITVAL_26 = 320'h0,
    INITVAL_27 = 320'h0,
    INITVAL_28 = 320'h0,
    INITVAL_29 = 320'h0,
    INITVAL_2A = 320'h0,
    INITVAL_2B = 320'h0,
    INITVAL_2C = 320'h0,
    INITVAL_2D = 320'h0,
    INITVAL_2E = 320'h0,
    INITVAL_2F = 320'h0,
    INITVAL_30 = 320'h0,
    INITVAL_31 = 320'h0,
    INITVAL_32 = 320'h0,
    INITVAL_33 = 320'h0,
    INITVAL_34 = 320'h0,
    INITVAL_35 = 320'h0,
    INITVAL_36 = 320'h0,
    INITVAL_37 = 320'h0,
    INITVAL_38 = 320'h0,
    INITVAL_39 = 320'h0,
    INITVAL_3A = 320'h0,
    INITVAL_3B = 320'h0,
    INITVAL_3C = 320'h0,
    INITVAL_3D = 320'h0,
    INITVAL_3E = 320'h0,
    INITVAL_3F = 320'h0
) (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  reg [8:0] bytes [0:2047];
  integer i;
  initial begin
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CSDECODE_A != "0b000"
        || CSDECODE_B != "0b000" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB") begin
      $display("DP16KD: a parameter that the model does not know");
      $finish;
    end
    for (i = 0; i < 16; i = i + 1) {bytes[0 + 2 * i + 1], bytes[0 + 2 * i]} = INITVAL_00[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[32 + 2 * i + 1], bytes[32 + 2 * i]} = INITVAL_01[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[64 + 2 * i + 1], bytes[64 + 2 * i]} = INITVAL_02[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[96 + 2 * i + 1], bytes[96 + 2 * i]} = INITVAL_03[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[128 + 2 * i + 1], bytes[128 + 2 * i]} = INITVAL_04[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[160 + 2 * i + 1], bytes[160 + 2 * i]} = INITVAL_05[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[192 + 2 * i + 1], bytes[192 + 2 * i]} = INITVAL_06[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[224 + 2 * i + 1], bytes[224 + 2 * i]} = INITVAL_07[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[256 + 2 * i + 1], bytes[256 + 2 * i]} = INITVAL_08[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[288 + 2 * i + 1], bytes[288 + 2 * i]} = INITVAL_09[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[320 + 2 * i + 1], bytes[320 + 2 * i]} = INITVAL_0A[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[352 + 2 * i + 1], bytes[352 + 2 * i]} = INITVAL_0B[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[384 + 2 * i + 1], bytes[384 + 2 * i]} = INITVAL_0C[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[416 + 2 * i + 1], bytes[416 + 2 * i]} = INITVAL_0D[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[448 + 2 * i + 1], bytes[448 + 2 * i]} = INITVAL_0E[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[480 + 2 * i + 1], bytes[480 + 2 * i]} = INITVAL_0F[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[512 + 2 * i + 1], bytes[512 + 2 * i]} = INITVAL_10[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[544 + 2 * i + 1], bytes[544 + 2 * i]} = INITVAL_11[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[576 + 2 * i + 1], bytes[576 + 2 * i]} = INITVAL_12[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[608 + 2 * i + 1], bytes[608 + 2 * i]} = INITVAL_13[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[640 + 2 * i + 1], bytes[640 + 2 * i]} = INITVAL_14[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[672 + 2 * i + 1], bytes[672 + 2 * i]} = INITVAL_15[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[704 + 2 * i + 1], bytes[704 + 2 * i]} = INITVAL_16[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[736 + 2 * i + 1], bytes[736 + 2 * i]} = INITVAL_17[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[768 + 2 * i + 1], bytes[768 + 2 * i]} = INITVAL_18[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[800 + 2 * i + 1], bytes[800 + 2 * i]} = INITVAL_19[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[832 + 2 * i + 1], bytes[832 + 2 * i]} = INITVAL_1A[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[864 + 2 * i + 1], bytes[864 + 2 * i]} = INITVAL_1B[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[896 + 2 * i + 1], bytes[896 + 2 * i]} = INITVAL_1C[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[928 + 2 * i + 1], bytes[928 + 2 * i]} = INITVAL_1D[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[960 + 2 * i + 1], bytes[960 + 2 * i]} = INITVAL_1E[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[992 + 2 * i + 1], bytes[992 + 2 * i]} = INITVAL_1F[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1024 + 2 * i + 1], bytes[1024 + 2 * i]} = INITVAL_20[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1056 + 2 * i + 1], bytes[1056 + 2 * i]} = INITVAL_21[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1088 + 2 * i + 1], bytes[1088 + 2 * i]} = INITVAL_22[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1120 + 2 * i + 1], bytes[1120 + 2 * i]} = INITVAL_23[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1152 + 2 * i + 1], bytes[1152 + 2 * i]} = INITVAL_24[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1184 + 2 * i + 1], bytes[1184 + 2 * i]} = INITVAL_25[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1216 + 2 * i + 1], bytes[1216 + 2 * i]} = INITVAL_26[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1248 + 2 * i + 1], bytes[1248 + 2 * i]} = INITVAL_27[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1280 + 2 * i + 1], bytes[1280 + 2 * i]} = INITVAL_28[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1312 + 2 * i + 1], bytes[1312 + 2 * i]} = INITVAL_29[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1344 + 2 * i + 1], bytes[1344 + 2 * i]} = INITVAL_2A[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1376 + 2 * i + 1], bytes[1376 + 2 * i]} = INITVAL_2B[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1408 + 2 * i + 1], bytes[1408 + 2 * i]} = INITVAL_2C[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1440 + 2 * i + 1], bytes[1440 + 2 * i]} = INITVAL_2D[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1472 + 2 * i + 1], bytes[1472 + 2 * i]} = INITVAL_2E[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1504 + 2 * i + 1], bytes[1504 + 2 * i]} = INITVAL_2F[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1536 + 2 * i + 1], bytes[1536 + 2 * i]} = INITVAL_30[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1568 + 2 * i + 1], bytes[1568 + 2 * i]} = INITVAL_31[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1600 + 2 * i + 1], bytes[1600 + 2 * i]} = INITVAL_32[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1632 + 2 * i + 1], bytes[1632 + 2 * i]} = INITVAL_33[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1664 + 2 * i + 1], bytes[1664 + 2 * i]} = INITVAL_34[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1696 + 2 * i + 1], bytes[1696 + 2 * i]} = INITVAL_35[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1728 + 2 * i + 1], bytes[1728 + 2 * i]} = INITVAL_36[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1760 + 2 * i + 1], bytes[1760 + 2 * i]} = INITVAL_37[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1792 + 2 * i + 1], bytes[1792 + 2 * i]} = INITVAL_38[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1824 + 2 * i + 1], bytes[1824 + 2 * i]} = INITVAL_39[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1856 + 2 * i + 1], bytes[1856 + 2 * i]} = INITVAL_3A[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1888 + 2 * i + 1], bytes[1888 + 2 * i]} = INITVAL_3B[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1920 + 2 * i + 1], bytes[1920 + 2 * i]} = INITVAL_3C[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1952 + 2 * i + 1], bytes[1952 + 2 * i]} = INITVAL_3D[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[1984 + 2 * i + 1], bytes[1984 + 2 * i]} = INITVAL_3E[20 * i +: 18];
    for (i = 0; i < 16; i = i + 1) {bytes[2016 + 2 * i + 1], bytes[2016 + 2 * i]} = INITVAL_3F[20 * i +: 18];
  end
  always @(posedge CLKA) if (RESETMODE != "SYNC" && (RSTA || RSTB)) begin
    $display("DP16KD: an asynchronous reset, which the model does not know");
    $finish;
  end
  wire [13:0] aA = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] aB = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] diA = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] diB = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  reg [35:0] qA = 0, qB = 0;

  // Port A.
  always @(posedge CLKA) begin
    if (CEA && WEA && !RSTA) case (DATA_WIDTH_A)
      1: bytes[aA[13:3]][aA[2:0]] <= diA[0];
      2: bytes[aA[13:3]][{aA[2:1], 1'b0} +: 2] <= diA[1:0];
      4: bytes[aA[13:3]][{aA[2], 2'b0} +: 4] <= diA[3:0];
      9: bytes[aA[13:3]] <= diA[8:0];
      18: begin
        if (aA[0]) bytes[{aA[13:4], 1'b0}] <= diA[8:0];
        if (aA[1]) bytes[{aA[13:4], 1'b1}] <= diA[17:9];
      end
      36: begin
        if (aA[0]) bytes[{aA[13:5], 2'd0}] <= diA[8:0];
        if (aA[1]) bytes[{aA[13:5], 2'd1}] <= diA[17:9];
        if (aA[2]) bytes[{aA[13:5], 2'd2}] <= diB[8:0];
        if (aA[3]) bytes[{aA[13:5], 2'd3}] <= diB[17:9];
      end
      default: ;
    endcase
    if (RSTA) qA <= 0;
    else if (CEA && !WEA) qA <= oldA;
    else if (CEA && WRITEMODE_A == "READBEFOREWRITE") qA <= oldA;
    else if (CEA && WRITEMODE_A == "WRITETHROUGH") qA <= newA;
  end
  wire [8:0] byteA = bytes[aA[13:3]];
  wire [17:0] wordA = {bytes[{aA[13:4], 1'b1}], bytes[{aA[13:4], 1'b0}]};
  wire [35:0] oldA = DATA_WIDTH_A == 1 ? byteA[aA[2:0]]
    : DATA_WIDTH_A == 2 ? byteA[{aA[2:1], 1'b0} +: 2]
    : DATA_WIDTH_A == 4 ? byteA[{aA[2], 2'b0} +: 4]
    : DATA_WIDTH_A == 9 ? byteA
    : DATA_WIDTH_A == 18 ? wordA
    : {bytes[{aA[13:5], 2'd3}], bytes[{aA[13:5], 2'd2}], bytes[{aA[13:5], 2'd1}], bytes[{aA[13:5], 2'd0}]};
  // What is written, where it is written; of 18 bits byte by byte.
  wire [35:0] newA = DATA_WIDTH_A != 18 ? diA
    : {aA[1] ? diA[17:9] : wordA[17:9], aA[0] ? diA[8:0] : wordA[8:0]};

  // Port B.
  always @(posedge CLKB) begin
    if (CEB && WEB && !RSTB) case (DATA_WIDTH_B)
      1: bytes[aB[13:3]][aB[2:0]] <= diB[0];
      2: bytes[aB[13:3]][{aB[2:1], 1'b0} +: 2] <= diB[1:0];
      4: bytes[aB[13:3]][{aB[2], 2'b0} +: 4] <= diB[3:0];
      9: bytes[aB[13:3]] <= diB[8:0];
      18: begin
        if (aB[0]) bytes[{aB[13:4], 1'b0}] <= diB[8:0];
        if (aB[1]) bytes[{aB[13:4], 1'b1}] <= diB[17:9];
      end
      36: begin
        if (aB[0]) bytes[{aB[13:5], 2'd0}] <= diA[8:0];
        if (aB[1]) bytes[{aB[13:5], 2'd1}] <= diA[17:9];
        if (aB[2]) bytes[{aB[13:5], 2'd2}] <= diB[8:0];
        if (aB[3]) bytes[{aB[13:5], 2'd3}] <= diB[17:9];
      end
      default: ;
    endcase
    if (RSTB) qB <= 0;
    else if (CEB && !WEB) qB <= oldB;
    else if (CEB && WRITEMODE_B == "READBEFOREWRITE") qB <= oldB;
    else if (CEB && WRITEMODE_B == "WRITETHROUGH") qB <= newB;
  end
  wire [8:0] byteB = bytes[aB[13:3]];
  wire [17:0] wordB = {bytes[{aB[13:4], 1'b1}], bytes[{aB[13:4], 1'b0}]};
  wire [35:0] oldB = DATA_WIDTH_B == 1 ? byteB[aB[2:0]]
    : DATA_WIDTH_B == 2 ? byteB[{aB[2:1], 1'b0} +: 2]
    : DATA_WIDTH_B == 4 ? byteB[{aB[2], 2'b0} +: 4]
    : DATA_WIDTH_B == 9 ? byteB
    : DATA_WIDTH_B == 18 ? wordB
    : {bytes[{aB[13:5], 2'd3}], bytes[{aB[13:5], 2'd2}], bytes[{aB[13:5], 2'd1}], bytes[{aB[13:5], 2'd0}]};
  // What is written, where it is written; of 18 bits byte by byte.
  wire [35:0] newB = DATA_WIDTH_B != 18 ? diB
    : {aB[1] ? diB[17:9] : wordB[17:9], aB[0] ? diB[8:0] : wordB[8:0]};

  wire wide = DATA_WIDTH_B == 36;
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = wide ? qB[17:0] : qA[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = wide ? qB[35:18] : qB[17:0];
endmodule
