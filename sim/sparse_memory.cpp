// The memory of the simulated machine: a sparse 52-bit space behind the ports of sparse_memory.sv.
//
// An access takes effect whole in the cycle in which its request is accepted; its reply waits here until it is due.
// The second half is the face for Python (sim/memory.py): the same memory, without a port and without time.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr unsigned kQuantumBytes = 16;
constexpr unsigned kWordBytes = 64;  // the widest reply; a narrow port's is the quantum at its beginning
constexpr uint64_t kSpaceBytes = uint64_t{1} << 52;

using Page = std::array<uint8_t, kPageBytes>;

struct Reply {
    uint64_t due;
    uint32_t tag;
    bool error;
    std::array<uint8_t, kWordBytes> data;
};

struct Port {
    std::deque<Reply> replies;
    uint64_t random = 1;
    uint64_t accepted = 0;
    uint64_t last_due = 0;
};

struct Timing {
    uint32_t latency = 1;   // cycles from the request to its reply, at least 1
    uint32_t jitter = 0;    // up to that many more, at random
    uint32_t interval = 1;  // cycles between two requests of one port, at least 1
    bool reorder = false;   // replies that are due leave in random order
    uint64_t seed = 1;
};

std::unordered_map<uint64_t, std::unique_ptr<Page>> pages;
std::unordered_set<uint64_t> bad_pages;
std::vector<Port> ports;
Timing timing;
uint64_t limit = kSpaceBytes;

Page* find(uint64_t number) {
    const auto found = pages.find(number);
    return found == pages.end() ? nullptr : found->second.get();
}

Page& make(uint64_t number) {
    auto& page = pages[number];
    if (!page) page = std::make_unique<Page>(Page{});
    return *page;
}

void read_block(uint64_t hpa, uint8_t* data, uint64_t length) {
    while (length) {
        const uint64_t offset = hpa % kPageBytes;
        const uint64_t size = std::min(length, kPageBytes - offset);
        if (const Page* page = find(hpa / kPageBytes)) std::memcpy(data, page->data() + offset, size);
        else std::memset(data, 0, size);
        hpa += size;
        data += size;
        length -= size;
    }
}

void write_block(uint64_t hpa, const uint8_t* data, uint64_t length) {
    while (length) {
        const uint64_t offset = hpa % kPageBytes;
        const uint64_t size = std::min(length, kPageBytes - offset);
        std::memcpy(make(hpa / kPageBytes).data() + offset, data, size);
        hpa += size;
        data += size;
        length -= size;
    }
}

Port& port_of(int number) {
    if (ports.size() <= static_cast<size_t>(number)) ports.resize(number + 1);
    return ports[number];
}

uint64_t next_random(Port& port) {  // xorshift64
    port.random ^= port.random << 13;
    port.random ^= port.random >> 7;
    port.random ^= port.random << 17;
    return port.random;
}

void seed_ports() {
    for (size_t number = 0; number < ports.size(); ++number)
        ports[number].random = (timing.seed * 0x9E3779B97F4A7C15u + number) | 1;
}

// Put the reply of an access in the queue: the word as it stands now, before the access takes effect.
// Returns false if the memory refuses the address.
bool accept(int number, uint64_t cycle, uint32_t tag, uint64_t hpa, bool wide) {
    Port& port = port_of(number);
    Reply reply{};
    reply.tag = tag;
    reply.error = hpa >= limit || bad_pages.count(hpa / kPageBytes);
    const uint64_t size = wide ? kWordBytes : kQuantumBytes;
    if (reply.error) reply.data.fill(0xFF);
    else read_block(hpa / size * size, reply.data.data(), size);
    reply.due = cycle + timing.latency + (timing.jitter ? next_random(port) % (timing.jitter + 1) : 0);
    if (!timing.reorder) reply.due = port.last_due = std::max(reply.due, port.last_due);
    port.replies.push_back(reply);
    ++port.accepted;
    return !reply.error;
}

}  // namespace

extern "C" {

// --- called by sparse_memory.sv ----------------------------------------------------------------------------------------

void sparse_memory_begin(int number) {
    Port& port = port_of(number);
    port = Port{};
    seed_ports();
}

void sparse_memory_read(int number, uint64_t cycle, int tag, uint64_t hpa, unsigned char wide) {
    accept(number, cycle, tag, hpa, wide);
}

void sparse_memory_write(int number, uint64_t cycle, int tag, uint64_t hpa, unsigned char wide, const uint32_t* data,
                         int mask) {
    if (!accept(number, cycle, tag, hpa, wide)) return;
    const uint64_t quantum = hpa / kQuantumBytes * kQuantumBytes;
    const auto* bytes = reinterpret_cast<const uint8_t*>(data);
    uint8_t* target = make(quantum / kPageBytes).data() + quantum % kPageBytes;
    for (unsigned byte = 0; byte < kQuantumBytes; ++byte)
        if (mask >> byte & 1) target[byte] = bytes[byte];
}

void sparse_memory_compare_exchange(int number, uint64_t cycle, int tag, uint64_t hpa, unsigned char wide,
                                    const uint32_t* expected, const uint32_t* desired) {
    if (!accept(number, cycle, tag, hpa, wide)) return;
    const uint64_t quantum = hpa / kQuantumBytes * kQuantumBytes;
    uint8_t before[kQuantumBytes];
    read_block(quantum, before, kQuantumBytes);
    if (!std::memcmp(before, expected, kQuantumBytes))
        write_block(quantum, reinterpret_cast<const uint8_t*>(desired), kQuantumBytes);
}

int sparse_memory_interval() { return static_cast<int>(timing.interval); }

// The reply to offer from the next cycle on, if one is due by then.
unsigned char sparse_memory_reply(int number, uint64_t cycle, int* tag, unsigned char* error, uint32_t* data) {
    Port& port = port_of(number);
    auto chosen = port.replies.end();
    uint64_t candidates = 0;
    for (auto reply = port.replies.begin(); reply != port.replies.end(); ++reply) {
        if (reply->due > cycle + 1) {
            if (!timing.reorder) break;
            continue;
        }
        if (++candidates == 1 || next_random(port) % candidates == 0) chosen = reply;
        if (!timing.reorder) break;
    }
    if (chosen == port.replies.end()) return 0;
    *tag = static_cast<int>(chosen->tag);
    *error = chosen->error;
    std::memcpy(data, chosen->data.data(), kWordBytes);
    port.replies.erase(chosen);
    return 1;
}

// --- the face for Python -----------------------------------------------------------------------------------------------

void memory_read_block(uint64_t hpa, uint8_t* data, uint64_t length) { read_block(hpa, data, length); }

void memory_write_block(uint64_t hpa, const uint8_t* data, uint64_t length) { write_block(hpa, data, length); }

void memory_fill_block(uint64_t hpa, uint8_t byte, uint64_t length) {
    Page pattern;
    pattern.fill(byte);
    for (uint64_t done = 0; done < length; done += kPageBytes)
        write_block(hpa + done, pattern.data(), std::min(kPageBytes, length - done));
}

void memory_set_timing(uint32_t latency, uint32_t jitter, uint32_t interval, unsigned char reorder, uint64_t seed) {
    timing = {latency, jitter, interval, reorder != 0, seed};
    seed_ports();
}

void memory_set_limit(uint64_t bytes) { limit = bytes; }

void memory_mark_error(uint64_t page, unsigned char bad) {
    if (bad) bad_pages.insert(page);
    else bad_pages.erase(page);
}

// Contents, limit, bad pages and timing as at the beginning; replies in flight stay, their requesters wait for them.
void memory_reset() {
    pages.clear();
    bad_pages.clear();
    limit = kSpaceBytes;
    timing = Timing{};
    seed_ports();
}

uint64_t memory_limit() { return limit; }
uint64_t memory_pages() { return pages.size(); }
uint64_t memory_accepted(uint32_t number) { return number < ports.size() ? ports[number].accepted : 0; }
uint64_t memory_in_flight(uint32_t number) { return number < ports.size() ? ports[number].replies.size() : 0; }

}  // extern "C"
