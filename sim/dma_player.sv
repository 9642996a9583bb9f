// Plays a list of DMA requests into the unit, as many in flight as it may, and keeps every reply.
//
// The list and the replies are in dma_player.cpp, loaded and read from Python (sim/player.py); Python wakes when
// `idle` rises, not on cycles.  A reply is retired in the cycle after it was taken, as there is no memory access behind it;
// or later, as if there were.
module dma_player #(
    parameter REQUEST_BITS = 130,
    parameter REPLY_BITS = 148
) (
    input  logic                    clk,
    input  logic                    rst,
    output logic                    request_valid,
    output logic [REQUEST_BITS-1:0] request_payload,
    input  logic                    request_ready,
    input  logic                    reply_valid,
    input  logic [REPLY_BITS-1:0]   reply_payload,
    input  logic                    reply_colour,   // the colour field of the payload
    output logic                    reply_ready,
    output logic                    retire_valid,
    output logic                    retire_payload,
    input  logic                    retire_ready,
    output logic                    idle
);
    import "DPI-C" function bit dma_player_next(output bit [REQUEST_BITS-1:0] payload);
    import "DPI-C" function void dma_player_reply(
        input bit [REPLY_BITS-1:0] payload, input bit colour, input longint unsigned now);
    import "DPI-C" function bit dma_player_retire(input longint unsigned now, output bit colour);
    import "DPI-C" function void dma_player_reset();
    import "DPI-C" function bit dma_player_idle();

    bit [REQUEST_BITS-1:0] next_payload;
    bit                    next_colour;
    longint unsigned       now;     // cycles since the reset

    // A retire still on offer holds the next reply back.
    assign reply_ready = !retire_valid || retire_ready;

    always_ff @(posedge clk) begin
        if (rst) begin
            request_valid <= 0;
            retire_valid  <= 0;
            idle          <= 1;
            now           <= 0;
            dma_player_reset();
        end else begin
            now <= now + 1;
            if (reply_valid && reply_ready)
                dma_player_reply(reply_payload, reply_colour, now);
            if (!retire_valid || retire_ready) begin
                retire_valid   <= dma_player_retire(now, next_colour);
                retire_payload <= next_colour;
            end
            if (!request_valid || request_ready) begin
                request_valid   <= dma_player_next(next_payload);
                request_payload <= next_payload;
            end
            idle <= dma_player_idle() && !(request_valid && !request_ready);
        end
    end
endmodule
