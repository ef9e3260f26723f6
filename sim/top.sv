// The machine in its simulated surroundings: overlay, DRAM, AXI checker, reset and cycle counter.
// Its ports are all that the bench sees (top.vlt); main.cpp drives clk. Module trace is generated.
module top #(
    parameter int BUS_BYTES = 8,
    localparam int BITS = 8 * BUS_BYTES
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

    logic [39:0] ar, aw;
    logic [BITS+2:0] r;
    logic [BITS+BUS_BYTES:0] w;
    logic [1:0] b;
    logic ar_valid, ar_ready, r_valid, r_ready, aw_valid, aw_ready, w_valid, w_ready, b_valid, b_ready;

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

    dram #(.BUS_BYTES(BUS_BYTES)) dram (
        .clk, .rst,
        .ar_addr(ar[31:0]), .ar_len(ar[39:32]), .ar_valid, .ar_ready,
        .r_data(r[BITS-1:0]), .r_resp(r[BITS+1:BITS]), .r_last(r[BITS+2]), .r_valid, .r_ready,
        .aw_addr(aw[31:0]), .aw_len(aw[39:32]), .aw_valid, .aw_ready,
        .w_data(w[BITS-1:0]), .w_strb(w[BITS+BUS_BYTES-1:BITS]), .w_last(w[BITS+BUS_BYTES]),
        .w_valid, .w_ready,
        .b_resp(b), .b_valid, .b_ready,
        .read_beats, .write_beats, .busy_cycles, .held_cycles, .idle_cycles
    );

    axi_checker #(.BUS_BYTES(BUS_BYTES)) axi_checker (.*);
    trace trace (.clk, .running, .run_cycle);
endmodule
