// The host of the simulated machine, as seen from Python (sim/bench.py): one access, or one pause, at a time.
//
// Python sets `command` or `pause_cycles` and toggles `access_go` or `pause_go`; `done` toggles when the reply came, or
// that many edges of the clock later. Python so wakes once per access, just after an edge, whatever the access takes.
module host_port
    import bench_types::*;
(
    input  logic           clk,
    input  logic           rst,
    input  host_request_t  command,
    input  logic           access_go,
    input  logic [31:0]    pause_cycles,
    input  logic           pause_go,
    output logic           done = 0,
    output host_reply_t    result,
    output host_request_t  request,
    output logic           request_valid,
    input  logic           request_ready,
    input  host_reply_t    reply,
    input  logic           reply_valid,
    output logic           reply_ready
);
    logic         access_seen = 0;
    logic         pause_seen = 0;
    logic         waiting = 0;
    logic [31:0]  left = 0;

    assign reply_ready = 1;

    always @(posedge clk) begin
        // A pause needs no machine: it also counts while the machine is held in reset.
        if (pause_go != pause_seen) begin
            pause_seen <= pause_go;
            left <= pause_cycles - 1;
            if (pause_cycles == 1)
                done <= ~done;
        end else if (left != 0) begin
            left <= left - 1;
            if (left == 1)
                done <= ~done;
        end
        if (rst) begin
            access_seen <= access_go;
            request_valid <= 0;
            waiting <= 0;
        end else begin
            if (access_go != access_seen) begin
                access_seen <= access_go;
                request <= command;
                request_valid <= 1;
                waiting <= 1;
            end else if (request_ready)
                request_valid <= 0;
            if (reply_valid && !waiting)
                $fatal(1, "host port: a reply that no access waits for");
            if (waiting && reply_valid) begin
                waiting <= 0;
                result <= reply;
                done <= ~done;
            end
        end
    end
endmodule
