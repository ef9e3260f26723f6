// The best a manager can do: reads one sequential region with the longest legal bursts, never idle, never
// holding a beat back. What it gets from dram.sv is the ceiling that the fetch engine is measured against.
module ceiling #(
    parameter int BUS_BYTES = 8
) (
    input  logic        clk,
    output logic [63:0] read_beats
);
    localparam int PAGE_BEATS = 4096 / BUS_BYTES;
    localparam int BURST = PAGE_BEATS < 256 ? PAGE_BEATS : 256;
    int region = 1 << 16;                       // bytes, read round and round: +region=N
    initial void'($value$plusargs("region=%d", region));

    logic [3:0] age = 0;
    wire rst = !age[3];
    logic [31:0] addr;
    logic ar_ready;

    always_ff @(posedge clk) begin
        if (rst) age <= age + 1;
        if (rst) addr <= 0;
        else if (ar_ready) addr <= (addr + BURST * BUS_BYTES) % region;
    end

    dram #(.BUS_BYTES(BUS_BYTES)) dram (
        .clk, .rst,
        .ar_addr(addr), .ar_len(8'(BURST - 1)), .ar_valid(!rst), .ar_ready,
        .r_data(), .r_resp(), .r_last(), .r_valid(), .r_ready('1),
        .aw_addr('0), .aw_len('0), .aw_valid('0), .aw_ready(),
        .w_data('0), .w_strb('0), .w_last('0), .w_valid('0), .w_ready(),
        .b_resp(), .b_valid(), .b_ready('1),
        .read_beats, .write_beats(), .busy_cycles(), .held_cycles(), .idle_cycles()
    );
endmodule
