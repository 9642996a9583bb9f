// Samples every event port in every cycle and hands what happened to event_recorder.cpp, by port within a cycle.
module event_recorder
    import bench_types::*;
#(
    parameter int PORTS = 1
) (
    input logic                clk,
    input logic                rst,
    input logic [63:0]         cycle,
    input logic [PORTS-1:0]    valid,
    input event_t [PORTS-1:0]  payload
);
    import "DPI-C" function void event_recorder_record(
        input int number, input longint unsigned cycle, input bit [EVENT_BITS-1:0] payload);

    always @(posedge clk)
        if (!rst)
            for (int p = 0; p < PORTS; p++)
                if (valid[p])
                    event_recorder_record(p, cycle, payload[p]);
endmodule
