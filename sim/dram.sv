// DRAM behind one AXI4 port: an in-order memory whose timing is set at run time (sim/dram.py lists the plusargs).
//
// The bytes live in a file that dram.cpp maps, so the host reads and writes them without a simulated cycle.
// One data bus is shared: a read beat, a write beat, a turn-round or a refresh takes each cycle.
// As unkind as AXI allows: a write reaches memory only when its B is sent, a read looks only when its beat is
// sent, so a manager that reads what it wrote must wait for B, and an interrupt must follow the last B.
// With +ddr4 (sim/ddr4.py) a DDR4 rank and its controller (ddr4.cpp) say when a read beat is there and when a
// write beat has room, in place of read latency, turn-round and refresh of the plain model.
module dram #(
    parameter int BUS_BYTES = 8,
    localparam int BITS = 8 * BUS_BYTES
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic [31:0]          ar_addr,
    input  logic [7:0]           ar_len,
    input  logic                 ar_valid,
    output logic                 ar_ready,
    output logic [BITS-1:0]      r_data,
    output logic [1:0]           r_resp,
    output logic                 r_last,
    output logic                 r_valid,
    input  logic                 r_ready,
    input  logic [31:0]          aw_addr,
    input  logic [7:0]           aw_len,
    input  logic                 aw_valid,
    output logic                 aw_ready,
    input  logic [BITS-1:0]      w_data,
    input  logic [BUS_BYTES-1:0] w_strb,
    input  logic                 w_last,
    input  logic                 w_valid,
    output logic                 w_ready,
    output logic [1:0]           b_resp,
    output logic                 b_valid,
    input  logic                 b_ready,
    // Counters since reset, in cycles or beats.
    output logic [63:0]          read_beats,    // beats the manager took
    output logic [63:0]          write_beats,
    output logic [63:0]          busy_cycles,   // data bus moving a beat, turning round or refreshing
    output logic [63:0]          held_cycles,   // a read beat offered and not taken
    output logic [63:0]          idle_cycles    // no read burst asked for
);
    localparam int DEPTH = 16;      // bursts in flight, per direction
    localparam int SHARE = 16;      // beats one direction may move while the other waits

    import "DPI-C" function void dram_open(input string path, input int bus_bytes);
    import "DPI-C" function void dram_read(input int unsigned addr, output bit [BITS-1:0] data);
    import "DPI-C" function void dram_write(
        input int unsigned addr, input bit [BITS-1:0] data, input bit [BUS_BYTES-1:0] strb);
    import "DPI-C" function void dram_commit(input int beats);
    import "DPI-C" function void ddr4_open(input string settings, input int bus_bytes);
    import "DPI-C" function void ddr4_read(input int unsigned addr, input int unsigned beats);
    import "DPI-C" function void ddr4_write(input int unsigned addr);    // of one block, all its beats taken
    import "DPI-C" function int ddr4_cycle(input int sent);              // {busy, room to write, read beat there}

    // Run-time parameters.
    int latency = 20, write_latency = 10, turn = 0, refresh_every = 0, refresh_cycles = 0;
    int stall_r = 0, stall_ar = 0, stall_aw = 0, stall_w = 0;
    longint unsigned seed = 1;
    string path = "", settings = "";
    bit ddr4 = 0;

    initial begin
        void'($value$plusargs("latency=%d", latency));
        void'($value$plusargs("write_latency=%d", write_latency));
        void'($value$plusargs("turn=%d", turn));
        void'($value$plusargs("refresh_every=%d", refresh_every));
        void'($value$plusargs("refresh_cycles=%d", refresh_cycles));
        void'($value$plusargs("stall_r=%d", stall_r));
        void'($value$plusargs("stall_ar=%d", stall_ar));
        void'($value$plusargs("stall_aw=%d", stall_aw));
        void'($value$plusargs("stall_w=%d", stall_w));
        void'($value$plusargs("seed=%d", seed));
        if (!$value$plusargs("mem=%s", path)) $fatal(1, "DRAM: no memory file; wanted +mem=FILE");
        dram_open(path, BUS_BYTES);
        if ($value$plusargs("ddr4=%s", settings)) begin
            ddr4 = 1;
            ddr4_open(settings, BUS_BYTES);
        end
    end

    // xorshift64: a fresh word a cycle; each channel looks at its own 10 bits.
    logic [63:0] noise;
    function automatic logic [63:0] xorshift(input logic [63:0] x);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return x;
    endfunction
    logic go_r, go_ar, go_aw, go_w;
    always_comb begin
        go_r = int'(noise[9:0]) >= stall_r;
        go_ar = int'(noise[19:10]) >= stall_ar;
        go_aw = int'(noise[29:20]) >= stall_aw;
        go_w = int'(noise[39:30]) >= stall_w;
    end

    logic [63:0] now;
    int refresh_count, refresh_left;

    // Bursts asked for, oldest first. Pointers run free; the index is their low bits.
    logic [31:0] read_addr [DEPTH];
    logic [7:0] read_len [DEPTH];
    logic [63:0] read_due [DEPTH];
    logic [31:0] write_addr [DEPTH];
    logic [7:0] write_len [DEPTH];
    logic [63:0] done_due [DEPTH];
    logic [7:0] done_len [DEPTH];
    int unsigned read_in, read_out, write_in, write_out, done_in, done_out;
    logic [7:0] read_beat, write_beat;

    int debt;       // data-bus cycles that accepted writes and turn-rounds have still to use
    int run, hold;  // write beats since the last read beat; read beats owed before the next write
    logic writing;  // direction of the bus
    logic [2:0] rank;   // of ddr4_cycle

    always_ff @(posedge clk) begin
        if (rst) begin
            {now, read_beats, write_beats, busy_cycles, held_cycles, idle_cycles} <= '0;
            {ar_ready, aw_ready, w_ready, r_valid, b_valid, writing, rank} <= '0;
            {read_beat, write_beat, r_resp, b_resp, r_last, r_data} <= '0;
            {read_in, read_out, write_in, write_out, done_in, done_out} <= '0;
            {refresh_left, debt, run, hold} <= '0;
            refresh_count <= 0;
            noise <= xorshift(64'h9E3779B97F4A7C15 ^ (seed * 64'hD1342543DE82EF95));
        end else begin
            automatic int unsigned reads = read_in;     // pointers after this cycle's handshakes
            automatic int unsigned writes = write_in, written = write_out;
            automatic int unsigned done = done_in, answered = done_out;
            automatic int owed = debt, streak = run, quota = hold;
            automatic logic refreshing = refresh_left != 0, issue = 0, waiting;
            automatic logic [BITS-1:0] data;
            automatic logic [31:0] addr;
            automatic logic [2:0] found = '0;

            now <= now + 1;
            noise <= xorshift(noise);
            refresh_count <= refresh_count + 1;
            if (refreshing) refresh_left <= refresh_left - 1;
            if (refresh_every != 0 && refresh_count + 1 >= refresh_every) begin
                refresh_count <= 0;
                refresh_left <= refresh_cycles;
            end

            // Addresses.
            if (ar_valid && ar_ready) begin
                read_addr[reads[3:0]] <= ar_addr;
                read_len[reads[3:0]] <= ar_len;
                read_due[reads[3:0]] <= now + 64'(latency) - 1;
                reads += 1;
                if (ddr4) ddr4_read(ar_addr, 32'(ar_len) + 1);
            end
            if (aw_valid && aw_ready) begin
                write_addr[writes[3:0]] <= aw_addr;
                write_len[writes[3:0]] <= aw_len;
                writes += 1;
            end

            // Write data: buffered now, paid for on the data bus from now on, in memory when B is sent.
            if (owed != 0 && !refreshing) owed -= 1;
            if (w_valid && w_ready) begin
                addr = write_addr[written[3:0]] + 32'(write_beat) * BUS_BYTES;
                dram_write(addr, w_data, w_strb);
                write_beats <= write_beats + 1;
                if (!ddr4) begin
                    owed += writing ? 1 : 1 + turn;
                    writing <= 1;
                    streak += 1;
                end else if (write_beat == write_len[written[3:0]] || (addr + BUS_BYTES) % 64 == 0)
                    ddr4_write(addr);
                write_beat <= write_beat + 1;
                if (write_beat == write_len[written[3:0]]) begin
                    done_due[done[3:0]] <= now + 64'(write_latency) - 1;
                    done_len[done[3:0]] <= write_beat;
                    done += 1;
                    write_beat <= 0;
                    written += 1;
                end
            end

            // Write responses.
            if (b_valid && b_ready) b_valid <= 0;
            if ((!b_valid || b_ready) && answered != done_in && now >= done_due[answered[3:0]]) begin
                dram_commit(int'(done_len[answered[3:0]]) + 1);
                b_valid <= 1;
                answered += 1;
            end

            // Read data: one beat a cycle while the data bus is free.
            waiting = ddr4 ? rank[0] : read_out != read_in && now >= read_due[read_out[3:0]];
            if (r_valid && r_ready) begin
                r_valid <= 0;
                read_beats <= read_beats + 1;
            end
            issue = waiting && (!r_valid || r_ready) && debt == 0 && !refreshing && go_r;
            if (issue) begin
                dram_read(read_addr[read_out[3:0]] + 32'(read_beat) * BUS_BYTES, data);
                r_data <= data;
                r_last <= read_beat == read_len[read_out[3:0]];
                r_valid <= 1;
                read_beat <= read_beat + 1;
                if (read_beat == read_len[read_out[3:0]]) begin
                    read_beat <= 0;
                    read_out <= read_out + 1;
                end
                writing <= w_valid && w_ready;
                streak = 0;
                if (quota != 0) quota -= 1;
            end
            if (!waiting || ddr4) quota = 0;
            else if (streak >= SHARE) quota = SHARE;

            if (ddr4) begin
                found = 3'(ddr4_cycle(32'(issue)));
                rank <= found;
            end

            // Ready for the next cycle: room left after this cycle, and the dice.
            ar_ready <= (reads - read_out) < DEPTH && go_ar;
            aw_ready <= (writes - written) < DEPTH && go_aw;
            w_ready <= written != writes && (done - answered) < DEPTH && owed <= SHARE + turn
                && quota == 0 && !refreshing && (!ddr4 || found[1]) && go_w;

            if (issue || debt != 0 || refreshing || found[2]) busy_cycles <= busy_cycles + 1;
            if (r_valid && !r_ready) held_cycles <= held_cycles + 1;
            if (read_out == read_in && !r_valid) idle_cycles <= idle_cycles + 1;
            {read_in, write_in, write_out} <= {reads, writes, written};
            {done_in, done_out} <= {done, answered};
            {debt, run, hold} <= {owed, streak, quota};
        end
    end
endmodule
