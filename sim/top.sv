// The machine in its simulated surroundings: overlay, AXI checkers, the way to the DRAM, reset, cycle counter.
// Its ports are all that the bench sees (top.vlt); main.cpp drives clk. Module trace is generated.
module top #(
    parameter int BUS_BYTES = 8,
    parameter int PORTS = 1,
    localparam int BITS = 8 * BUS_BYTES,
    localparam int NARROW = BUS_BYTES / PORTS,
    localparam int PART = 8 * NARROW
) (
    input  logic        clk,
    output logic        rst,            // held for the first 8 cycles
    output logic [63:0] cycle,          // since reset
    input  logic [11:0] csr_addr,
    input  logic        csr_write,
    input  logic [31:0] csr_wdata,
    output logic [31:0] csr_rdata,
    output logic        irq,
    input  logic        run,            // from the write that starts a run until the run has ended
    output logic        running,        // this cycle belongs to a run: the interrupt has not come
    output logic [63:0] run_cycle,      // cycles of runs before this one
    output logic [63:0] read_beats,
    output logic [63:0] write_beats,
    output logic [63:0] busy_cycles,
    output logic [63:0] held_cycles,
    output logic [63:0] idle_cycles
);
    logic [3:0] age = 0;
    assign rst = !age[3];
    always_ff @(posedge clk) begin
        if (!age[3]) age <= age + 1;
        cycle <= age[3] ? cycle + 1 : 0;
    end

    logic begun = 0;
    assign running = begun && run && !irq;
    always_ff @(posedge clk) begin
        begun <= run && !irq;
        run_cycle <= rst ? 0 : run_cycle + 64'(running);
    end

    logic [PORTS-1:0][39:0] ar;
    logic [PORTS-1:0][PART+2:0] r;
    logic [PORTS-1:0] ar_valid, ar_ready, r_valid, r_ready;
    logic [39:0] aw;
    logic [PART+NARROW:0] w;
    logic [1:0] b;
    logic aw_valid, aw_ready, w_valid, w_ready, b_valid, b_ready;

    overlay overlay (
        .clk, .rst,
        .read__ar__payload(ar), .read__ar__valid(ar_valid), .read__ar__ready(ar_ready),
        .read__r__payload(r), .read__r__valid(r_valid), .read__r__ready(r_ready),
        .write__aw__payload(aw), .write__aw__valid(aw_valid), .write__aw__ready(aw_ready),
        .write__w__payload(w), .write__w__valid(w_valid), .write__w__ready(w_ready),
        .write__b__payload(b), .write__b__valid(b_valid), .write__b__ready(b_ready),
        .csr__addr(csr_addr), .csr__write(csr_write), .csr__wdata(csr_wdata), .csr__rdata(csr_rdata),
        .irq
    );

    logic [39:0] wide_ar, wide_aw;
    logic [BITS+2:0] wide_r;
    logic [BITS+BUS_BYTES:0] wide_w;
    logic wide_ar_valid, wide_ar_ready, wide_r_valid, wide_r_ready;
    logic wide_aw_valid, wide_aw_ready, wide_w_valid, wide_w_ready;
    axi_ports #(.BUS_BYTES(BUS_BYTES), .PORTS(PORTS)) axi_ports (.*);

    dram #(.BUS_BYTES(BUS_BYTES)) dram (
        .clk, .rst,
        .ar_addr(wide_ar[31:0]), .ar_len(wide_ar[39:32]), .ar_valid(wide_ar_valid), .ar_ready(wide_ar_ready),
        .r_data(wide_r[BITS-1:0]), .r_resp(wide_r[BITS+1:BITS]), .r_last(wide_r[BITS+2]),
        .r_valid(wide_r_valid), .r_ready(wide_r_ready),
        .aw_addr(wide_aw[31:0]), .aw_len(wide_aw[39:32]), .aw_valid(wide_aw_valid), .aw_ready(wide_aw_ready),
        .w_data(wide_w[BITS-1:0]), .w_strb(wide_w[BITS+BUS_BYTES-1:BITS]), .w_last(wide_w[BITS+BUS_BYTES]),
        .w_valid(wide_w_valid), .w_ready(wide_w_ready),
        .b_resp(b), .b_valid, .b_ready,
        .read_beats, .write_beats, .busy_cycles, .held_cycles, .idle_cycles
    );

    // A checker for each port; those but the first have no write channels.
    for (genvar p = 0; p < PORTS; p++) begin : checked
        axi_checker #(.BUS_BYTES(NARROW)) axi_checker (
            .clk, .rst,
            .ar(ar[p]), .ar_valid(ar_valid[p]), .ar_ready(ar_ready[p]),
            .r(r[p]), .r_valid(r_valid[p]), .r_ready(r_ready[p]),
            .aw(p == 0 ? aw : '0), .aw_valid(p == 0 && aw_valid), .aw_ready(p == 0 && aw_ready),
            .w(p == 0 ? w : '0), .w_valid(p == 0 && w_valid), .w_ready(p == 0 && w_ready),
            .b(p == 0 ? b : '0), .b_valid(p == 0 && b_valid), .b_ready(p == 0 && b_ready)
        );
    end
    trace trace (.clk, .running, .run_cycle);
endmodule
