// The way from several narrow AXI4 ports to one memory port, as a system on chip has it: each port has room
// of its own; addresses are taken in turn, one a cycle; a wide beat of the memory leaves by the port that
// asked for it in PORTS narrow ones. Port 0 alone writes. One port: wires.
//
// Of a narrow burst whole wide beats are wanted, from a wide address on (hw/port_stripe.py asks for no other).
module axi_ports #(
    parameter int BUS_BYTES = 8,    // of the memory port
    parameter int PORTS = 1,
    localparam int BITS = 8 * BUS_BYTES,
    localparam int NARROW = BUS_BYTES / PORTS,
    localparam int PART = 8 * NARROW
) (
    input  logic                            clk,
    input  logic                            rst,
    // Ports, port 0 lowest: {len, addr}, {last, resp, data}, {last, strb, data}.
    input  logic [PORTS-1:0][39:0]          ar,
    input  logic [PORTS-1:0]                ar_valid,
    output logic [PORTS-1:0]                ar_ready,
    output logic [PORTS-1:0][PART+2:0]      r,
    output logic [PORTS-1:0]                r_valid,
    input  logic [PORTS-1:0]                r_ready,
    input  logic [39:0]                     aw,
    input  logic                            aw_valid,
    output logic                            aw_ready,
    input  logic [PART+NARROW:0]            w,
    input  logic                            w_valid,
    output logic                            w_ready,
    // Memory.
    output logic [39:0]                     wide_ar,
    output logic                            wide_ar_valid,
    input  logic                            wide_ar_ready,
    input  logic [BITS+2:0]                 wide_r,
    input  logic                            wide_r_valid,
    output logic                            wide_r_ready,
    output logic [39:0]                     wide_aw,
    output logic                            wide_aw_valid,
    input  logic                            wide_aw_ready,
    output logic [BITS+BUS_BYTES:0]         wide_w,
    output logic                            wide_w_valid,
    input  logic                            wide_w_ready
);
    if (PORTS == 1) begin : plain
        assign wide_ar = ar[0];
        assign wide_ar_valid = ar_valid[0];
        assign ar_ready[0] = wide_ar_ready;
        assign r[0] = wide_r;
        assign r_valid[0] = wide_r_valid;
        assign wide_r_ready = r_ready[0];
        assign wide_aw = aw;
        assign wide_aw_valid = aw_valid;
        assign aw_ready = wide_aw_ready;
        assign wide_w = w;
        assign wide_w_valid = w_valid;
        assign w_ready = wide_w_ready;
    end else begin : several
        localparam int BURSTS = 64;     // reads under way of all ports
        localparam int BEATS = 64;      // wide beats that wait at a port

        function automatic logic [39:0] widened(input string channel, input logic [39:0] narrow);
            automatic int beats = int'(narrow[39:32]) + 1;
            if (beats % PORTS != 0 || narrow[31:0] % BUS_BYTES != 0)
                $fatal(1, "AXI: %s: %0d beats of %0d bytes at 0x%08x are not whole beats of %0d bytes",
                       channel, beats, NARROW, narrow[31:0], BUS_BYTES);
            return {8'(beats / PORTS - 1), narrow[31:0]};
        endfunction

        // Addresses: a register to the memory, filled from the next port that asks.
        int unsigned turn;
        int unsigned owner [BURSTS];
        int unsigned asked, answered;
        int unsigned chosen;
        logic found;
        always_comb begin
            found = 0;
            chosen = 0;
            for (int unsigned i = PORTS; i > 0; i--)
                if (ar_valid[(turn + i - 1) % PORTS]) begin
                    found = 1;
                    chosen = (turn + i - 1) % PORTS;
                end
            found = found && (!wide_ar_valid || wide_ar_ready) && asked - answered < BURSTS;
            ar_ready = '0;
            ar_ready[chosen] = found;
        end

        // Data: a queue for each port; its first wide beat leaves part by part.
        logic [BITS+2:0] queue [PORTS][BEATS];
        int unsigned put [PORTS], got [PORTS], part [PORTS];
        int unsigned at;
        assign at = owner[answered % BURSTS];
        assign wide_r_ready = put[at] - got[at] < BEATS;
        for (genvar p = 0; p < PORTS; p++) begin : port
            logic [BITS+2:0] first;
            assign first = queue[p][got[p] % BEATS];
            assign r_valid[p] = put[p] != got[p];
            assign r[p] = {first[BITS+2] && part[p] == PORTS - 1, first[BITS+1:BITS],
                           first[part[p] * PART +: PART]};
            always_ff @(posedge clk) begin
                if (rst) begin
                    {put[p], got[p], part[p]} <= '0;
                end else begin
                    if (wide_r_valid && wide_r_ready && at == p) begin
                        queue[p][put[p] % BEATS] <= wide_r;
                        put[p] <= put[p] + 1;
                    end
                    if (r_valid[p] && r_ready[p]) begin
                        part[p] <= part[p] == PORTS - 1 ? 0 : part[p] + 1;
                        if (part[p] == PORTS - 1) got[p] <= got[p] + 1;
                    end
                end
            end
        end

        always_ff @(posedge clk) begin
            if (rst) begin
                {turn, asked, answered} <= '0;
                wide_ar_valid <= 0;
            end else begin
                if (wide_ar_ready) wide_ar_valid <= 0;
                if (found) begin
                    wide_ar <= widened("AR", ar[chosen]);
                    wide_ar_valid <= 1;
                    owner[asked % BURSTS] <= chosen;
                    asked <= asked + 1;
                    turn <= (chosen + 1) % PORTS;
                end
                if (wide_r_valid && wide_r_ready && wide_r[BITS+2]) answered <= answered + 1;
            end
        end

        // Writes: narrow beats are put together, each after its address.
        int unsigned opened, ended;
        logic [BITS-1:0] data;
        logic [BUS_BYTES-1:0] strb;
        int unsigned filled;
        assign wide_aw_valid = aw_valid;
        assign aw_ready = wide_aw_ready;
        assign wide_aw = aw_valid ? widened("AW", aw) : '0;
        assign w_ready = opened != ended && (!wide_w_valid || wide_w_ready);
        always_ff @(posedge clk) begin
            if (rst) begin
                wide_w_valid <= 0;
                {filled, opened, ended} <= '0;
            end else begin
                if (wide_w_ready) wide_w_valid <= 0;
                if (aw_valid && aw_ready) opened <= opened + 1;
                if (w_valid && w_ready && w[PART+NARROW]) ended <= ended + 1;
                if (w_valid && w_ready) begin
                    data[filled * PART +: PART] <= w[PART-1:0];
                    strb[filled * NARROW +: NARROW] <= w[PART+NARROW-1:PART];
                    filled <= filled == PORTS - 1 ? 0 : filled + 1;
                    wide_w_valid <= filled == PORTS - 1;
                    wide_w[BITS+BUS_BYTES] <= w[PART+NARROW];
                end
            end
        end
        assign wide_w[BITS+BUS_BYTES-1:0] = {strb, data};
    end
endmodule
