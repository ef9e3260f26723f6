// The rules of one AXI4 manager and its memory (ARM IHI 0022, A3), checked each cycle; a broken one ends the
// run with a line "AXI: <channel>: <rule> ...". Bursts are INCR, full width and in order (hw/axi4.py).
module axi_checker #(
    parameter int BUS_BYTES = 8,
    localparam int BITS = 8 * BUS_BYTES
) (
    input logic                 clk,
    input logic                 rst,
    input logic [39:0]          ar,         // {len, addr}
    input logic                 ar_valid, ar_ready,
    input logic [BITS+2:0]      r,          // {last, resp, data}
    input logic                 r_valid, r_ready,
    input logic [39:0]          aw,
    input logic                 aw_valid, aw_ready,
    input logic [BITS+BUS_BYTES:0] w,       // {last, strb, data}
    input logic                 w_valid, w_ready,
    input logic [1:0]           b,
    input logic                 b_valid, b_ready
);
    localparam int DEPTH = 32;

    // What each channel offered in the cycle before, and whether it was left standing.
    logic [39:0] ar_was, aw_was;
    logic [BITS+2:0] r_was;
    logic [BITS+BUS_BYTES:0] w_was;
    logic [1:0] b_was;
    logic ar_held, r_held, aw_held, w_held, b_held;

    // Bursts accepted: lengths of reads and writes still moving data; write bursts finished but unanswered.
    logic [7:0] reads [DEPTH], writes [DEPTH];
    int unsigned read_in, read_out, write_in, write_out, unanswered;
    logic [7:0] read_beat, write_beat;

    function automatic void held(
            input string channel, input logic was_held, input logic valid, input logic same);
        if (was_held && !valid) $fatal(1, "AXI: %s: valid was withdrawn before ready", channel);
        if (was_held && valid && !same) $fatal(1, "AXI: %s: payload changed while waiting for ready", channel);
    endfunction

    function automatic void burst(input string channel, input logic [39:0] payload);
        automatic logic [31:0] addr = payload[31:0];
        automatic int bytes = (int'(payload[39:32]) + 1) * BUS_BYTES;
        if ($isunknown(payload)) $fatal(1, "AXI: %s: unknown bits in the payload", channel);
        if (addr % BUS_BYTES != 0)
            $fatal(1, "AXI: %s: address 0x%08x is not aligned to %0d bytes", channel, addr, BUS_BYTES);
        if (int'(addr[11:0]) + bytes > 4096)
            $fatal(1, "AXI: %s: burst of %0d bytes at 0x%08x crosses a 4 KiB boundary", channel, bytes, addr);
    endfunction

    always_ff @(posedge clk) begin
        ar_held <= ar_valid && !ar_ready && !rst;
        r_held <= r_valid && !r_ready && !rst;
        aw_held <= aw_valid && !aw_ready && !rst;
        w_held <= w_valid && !w_ready && !rst;
        b_held <= b_valid && !b_ready && !rst;
        ar_was <= ar;
        r_was <= r;
        aw_was <= aw;
        w_was <= w;
        b_was <= b;
        if (rst) begin
            {read_in, read_out, write_in, write_out, unanswered, read_beat, write_beat} <= '0;
        end else begin
            automatic int unsigned open = unanswered;
            if ($isunknown({ar_valid, ar_ready, r_valid, r_ready, aw_valid, aw_ready, w_valid, w_ready,
                            b_valid, b_ready})) $fatal(1, "AXI: unknown handshake signal");
            held("AR", ar_held, ar_valid, ar == ar_was);
            held("R", r_held, r_valid, r == r_was);
            held("AW", aw_held, aw_valid, aw == aw_was);
            held("W", w_held, w_valid, w == w_was);
            held("B", b_held, b_valid, b == b_was);

            if (ar_valid) burst("AR", ar);
            if (aw_valid) burst("AW", aw);
            if (ar_valid && ar_ready) begin
                reads[read_in % DEPTH] <= ar[39:32];
                read_in <= read_in + 1;
            end
            if (aw_valid && aw_ready) begin
                writes[write_in % DEPTH] <= aw[39:32];
                write_in <= write_in + 1;
            end
            if (read_in - read_out > DEPTH || write_in - write_out > DEPTH)
                $fatal(1, "AXI: more than %0d bursts in flight", DEPTH);

            if (r_valid && r_ready) begin
                if (read_in == read_out) $fatal(1, "AXI: R: data without a read burst");
                if (r[BITS+2] != (read_beat == reads[read_out % DEPTH]))
                    $fatal(1, "AXI: R: last is %0b on beat %0d of %0d",
                           r[BITS+2], read_beat + 1, int'(reads[read_out % DEPTH]) + 1);
                read_beat <= r[BITS+2] ? 0 : read_beat + 1;
                if (r[BITS+2]) read_out <= read_out + 1;
            end
            if (w_valid && w_ready) begin
                // The memory takes data only after its address, so a beat here always has its burst.
                if (write_in == write_out) $fatal(1, "AXI: W: data taken before its address");
                if (w[BITS+BUS_BYTES] != (write_beat == writes[write_out % DEPTH]))
                    $fatal(1, "AXI: W: last is %0b on beat %0d of %0d",
                           w[BITS+BUS_BYTES], write_beat + 1, int'(writes[write_out % DEPTH]) + 1);
                write_beat <= w[BITS+BUS_BYTES] ? 0 : write_beat + 1;
                if (w[BITS+BUS_BYTES]) begin
                    write_out <= write_out + 1;
                    open += 1;
                end
            end
            if (b_valid && !b_held) begin
                if (unanswered == 0) $fatal(1, "AXI: B: response without a finished write burst");
                open -= 1;
            end
            unanswered <= open;
        end
    end
endmodule
