// A simulator without cocotb: the same verilated model and memory, clocked in a bare loop, after a script of host accesses.
//
// The script (sim/measure/recorded_bench.py writes it), one command a line:
//   put NAME HEX              set a variable of sim_top
//   access HEX                one access of the host port; the command, as a HostRequest
//   pause CYCLES              let it run
//   timing LATENCY            of the memory
//   sign FIRST COUNT BASE PLACE   pages that read as signed until written, and their signature
//   write HPA HEX             bytes
//   fill HPA LENGTH BYTE
// Then CYCLES cycles (second argument) are run and timed. Printed: seconds, and data accesses made meanwhile.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"
#include "verilated_vpi.h"

extern "C" {
void memory_write_block(uint64_t hpa, const uint8_t* data, uint64_t length);
void memory_fill_block(uint64_t hpa, uint8_t byte, uint64_t length);
void memory_set_timing(uint32_t latency, uint32_t jitter, uint32_t interval, unsigned char reorder, uint64_t seed);
void memory_set_signed_pages(uint64_t first, uint64_t count, uint64_t base, uint32_t place);
uint64_t memory_accepted(uint32_t number);
}

namespace {

constexpr int kStepsPerCycle = BARE_STEPS_PER_CYCLE;
constexpr uint32_t kDataPort = 1;

std::unique_ptr<VerilatedContext> context;
std::unique_ptr<Vtop> top;
uint64_t now = 0;                       // in steps; the model asks for it by sc_time_stamp

// One step of the clock: to the next moment at which something happens.
inline void step() {
    top->eval();
    now = top->nextTimeSlot();
}

void run(uint64_t cycles) {
    const uint64_t end = now + cycles * kStepsPerCycle;
    while (now < end) step();
    top->eval();
}

vpiHandle handle(const std::string& name) {
    vpiHandle found = vpi_handle_by_name(const_cast<char*>(("sim_top." + name).c_str()), nullptr);
    if (!found) {
        std::fprintf(stderr, "sim_top has no %s\n", name.c_str());
        std::exit(2);
    }
    return found;
}

void put(const std::string& name, const std::string& hex) {
    s_vpi_value value{};
    value.format = vpiHexStrVal;
    value.value.str = const_cast<char*>(hex.c_str());
    vpi_put_value(handle(name), &value, nullptr, vpiNoDelay);
}

int get(const std::string& name) {
    s_vpi_value value{};
    value.format = vpiIntVal;
    vpi_get_value(handle(name), &value);
    return value.value.integer;
}

void access(const std::string& command) {
    put("host_command", command);
    put("host_access_go", get("host_access_go") ? "0" : "1");
    const int before = get("host_done");
    while (get("host_done") == before) run(1);
}

std::vector<uint8_t> bytes_of(const std::string& hex) {
    std::vector<uint8_t> bytes;
    for (size_t place = 0; place + 1 < hex.size(); place += 2)
        bytes.push_back(static_cast<uint8_t>(std::stoul(hex.substr(place, 2), nullptr, 16)));
    return bytes;
}

void execute(const std::string& line) {
    std::istringstream words(line);
    std::string command, text;
    uint64_t first = 0, second = 0, third = 0;
    words >> command;
    if (command == "put") {
        std::string name;
        words >> name >> text;
        put(name, text);
    } else if (command == "access") {
        words >> text;
        access(text);
    } else if (command == "pause") {
        words >> first;
        run(first);
    } else if (command == "timing") {
        words >> first;
        memory_set_timing(static_cast<uint32_t>(first), 0, 1, 0, 1);
    } else if (command == "sign") {
        uint64_t place = 0;
        words >> first >> second >> third >> place;
        memory_set_signed_pages(first, second, third, static_cast<uint32_t>(place));
    } else if (command == "write") {
        words >> first >> text;
        const auto bytes = bytes_of(text);
        memory_write_block(first, bytes.data(), bytes.size());
    } else if (command == "fill") {
        words >> first >> second >> third;
        memory_fill_block(first, static_cast<uint8_t>(third), second);
    } else {
        std::fprintf(stderr, "no such command: %s\n", line.c_str());
        std::exit(2);
    }
}

}  // namespace

double sc_time_stamp() { return static_cast<double>(now); }

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: bare_loop SCRIPT CYCLES\n");
        return 2;
    }
    context = std::make_unique<VerilatedContext>();
    top = std::make_unique<Vtop>(context.get(), "");
    top->eval();
    std::ifstream script(argv[1]);
    for (std::string line; std::getline(script, line);) execute(line);
    const uint64_t cycles = std::strtoull(argv[2], nullptr, 10);
    const uint64_t before = memory_accepted(kDataPort);
    const auto begin = std::chrono::steady_clock::now();
    run(cycles);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::printf("%.6f %llu\n", seconds.count(), static_cast<unsigned long long>(memory_accepted(kDataPort) - before));
    return 0;
}
