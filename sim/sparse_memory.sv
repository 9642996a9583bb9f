// Memory ports onto the one sparse memory of sparse_memory.cpp.
//
// A request is executed whole in the cycle in which it is accepted, and answered `latency` cycles later (set from
// Python, at least 1) or as soon after that as the requester is ready. Requests accepted in the same cycle are executed
// in the order of their ports. Layouts come from the package bench_types, which is generated from hw.spec.
module sparse_memory
    import bench_types::*;
#(
    parameter int PORTS = 2,
    parameter bit [PORTS-1:0] WIDE = 0           // 1: this port's words have 512 bits, otherwise 128
) (
    input  logic                                 clk,
    input  logic                                 rst,
    input  logic [63:0]                          cycle,
    input  memory_request_t [PORTS-1:0]          request,
    input  logic [PORTS-1:0]                     request_valid,
    output logic [PORTS-1:0]                     request_ready,
    output memory_reply_t [PORTS-1:0]            reply,          // a narrow port takes the low bits of `data`
    output logic [PORTS-1:0]                     reply_valid,
    input  logic [PORTS-1:0]                     reply_ready
);
    import "DPI-C" function void sparse_memory_begin(input int number);
    import "DPI-C" function void sparse_memory_read(
        input int number, input longint unsigned cycle, input int tag, input longint unsigned hpa, input bit wide);
    import "DPI-C" function void sparse_memory_write(
        input int number, input longint unsigned cycle, input int tag, input longint unsigned hpa, input bit wide,
        input bit [127:0] data, input int mask);
    import "DPI-C" function void sparse_memory_compare_exchange(
        input int number, input longint unsigned cycle, input int tag, input longint unsigned hpa, input bit wide,
        input bit [127:0] expected, input bit [127:0] desired);
    import "DPI-C" function int sparse_memory_interval();
    import "DPI-C" function bit sparse_memory_reply(
        input int number, input longint unsigned cycle, output int tag, output bit error, output bit [511:0] data);

    int          wait_cycles [PORTS];   // until the next request is taken
    int          in_flight [PORTS];     // accepted and not yet offered: nothing to ask for if there is none
    int          tag;
    bit          error;
    bit [511:0]  data;

    always @(posedge clk) begin
        for (int p = 0; p < PORTS; p++) begin
            if (rst) begin
                sparse_memory_begin(p);
                request_ready[p] <= 1;
                reply_valid[p] <= 0;
                wait_cycles[p] = 0;
                in_flight[p] = 0;
            end else begin
                if (wait_cycles[p] != 0)
                    wait_cycles[p]--;
                if (request_valid[p] && request_ready[p]) begin
                    case (request[p].operation)
                        MEMORY_OPERATION_READ:
                            sparse_memory_read(p, cycle, 32'(request[p].tag), 64'(request[p].hpa), WIDE[p]);
                        MEMORY_OPERATION_WRITE:
                            sparse_memory_write(p, cycle, 32'(request[p].tag), 64'(request[p].hpa), WIDE[p],
                                                request[p].data, 32'(request[p].write_mask));
                        MEMORY_OPERATION_COMPARE_EXCHANGE:
                            sparse_memory_compare_exchange(p, cycle, 32'(request[p].tag), 64'(request[p].hpa), WIDE[p],
                                                           request[p].expected, request[p].data);
                        default:
                            $fatal(1, "memory port %0d, cycle %0d: reserved operation %0d", p, cycle, request[p].operation);
                    endcase
                    in_flight[p]++;
                    wait_cycles[p] = sparse_memory_interval() - 1;
                end
                request_ready[p] <= wait_cycles[p] == 0;
                if (!reply_valid[p] || reply_ready[p]) begin
                    reply_valid[p] <= 0;
                    if (in_flight[p] != 0 && sparse_memory_reply(p, cycle, tag, error, data)) begin
                        reply_valid[p] <= 1;
                        reply[p] <= '{tag: MEMORY_TAG_BITS'(tag), error: error, data: data};
                        in_flight[p]--;
                    end
                end
            end
        end
    end
endmodule
