// The memory of the simulated machine: a sparse 52-bit space behind the ports of sparse_memory.sv.
//
// An access takes effect whole in the cycle in which its request is accepted; its reply waits here until it is due.
// The second half is the face for Python (sim/memory.py): the same memory, without a port and without time.
//
// Pages are kept whole from their first write on, except for signed ones: of these, gigabytes are visited at random, so
// only the words that were written are kept, until a page is written whole.
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
using Quantum = std::array<uint8_t, kQuantumBytes>;

// Pages [first, first + count): a quantum there that was never written is zero but for `base | page` at `offset`.
struct Signed {
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t base = 0;
    uint32_t offset = 0;
};

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
std::unordered_map<uint64_t, Quantum> signed_quanta;  // written ones, by hpa / kQuantumBytes, of pages not in `pages`
Signed signed_pages;
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

bool is_signed(uint64_t number) { return number - signed_pages.first < signed_pages.count; }

Quantum signature_of(uint64_t number) {
    Quantum quantum{};
    const uint64_t signature = signed_pages.base | number;
    std::memcpy(quantum.data() + signed_pages.offset, &signature, sizeof signature);
    return quantum;
}

// A quantum of a signed page that is not kept whole.
Quantum signed_quantum(uint64_t index) {
    const auto found = signed_quanta.find(index);
    return found == signed_quanta.end() ? signature_of(index * kQuantumBytes / kPageBytes) : found->second;
}

// The quantum to write to, within whatever keeps it.
uint8_t* writable(uint64_t index) {
    const uint64_t number = index * kQuantumBytes / kPageBytes;
    if (is_signed(number) && !find(number))
        return signed_quanta.try_emplace(index, signature_of(number)).first->second.data();
    return make(number).data() + index * kQuantumBytes % kPageBytes;
}

// Call `act(part of data, hpa, size)` for each part of a block that lies within one unit of `unit` bytes.
template <typename Byte, typename Act>
void in_parts(uint64_t unit, uint64_t hpa, Byte* data, uint64_t length, Act act) {
    while (length) {
        const uint64_t size = std::min(length, unit - hpa % unit);
        act(data, hpa, size);
        hpa += size;
        data += size;
        length -= size;
    }
}

void read_block(uint64_t hpa, uint8_t* data, uint64_t length) {
    in_parts(kPageBytes, hpa, data, length, [](uint8_t* data, uint64_t hpa, uint64_t size) {
        const uint64_t number = hpa / kPageBytes;
        if (const Page* page = find(number)) std::memcpy(data, page->data() + hpa % kPageBytes, size);
        else if (!is_signed(number)) std::memset(data, 0, size);
        else in_parts(kQuantumBytes, hpa, data, size, [](uint8_t* data, uint64_t hpa, uint64_t size) {
            std::memcpy(data, signed_quantum(hpa / kQuantumBytes).data() + hpa % kQuantumBytes, size);
        });
    });
}

void write_block(uint64_t hpa, const uint8_t* data, uint64_t length) {
    in_parts(kPageBytes, hpa, data, length, [](const uint8_t* data, uint64_t hpa, uint64_t size) {
        const uint64_t number = hpa / kPageBytes;
        if (size == kPageBytes || find(number) || !is_signed(number))
            std::memcpy(make(number).data() + hpa % kPageBytes, data, size);
        else in_parts(kQuantumBytes, hpa, data, size, [](const uint8_t* data, uint64_t hpa, uint64_t size) {
            std::memcpy(writable(hpa / kQuantumBytes) + hpa % kQuantumBytes, data, size);
        });
    });
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
    const auto* bytes = reinterpret_cast<const uint8_t*>(data);
    uint8_t* target = writable(hpa / kQuantumBytes);
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

// What was written stays; a page of which something was written under the range before stays signed.
void memory_set_signed_pages(uint64_t first, uint64_t count, uint64_t base, uint32_t offset) {
    for (const auto& [index, quantum] : signed_quanta) {
        const uint64_t number = index * kQuantumBytes / kPageBytes;
        if (!find(number)) {
            Page& page = make(number);
            const Quantum signature = signature_of(number);
            for (uint64_t place = 0; place < kPageBytes; place += kQuantumBytes)
                std::memcpy(page.data() + place, signature.data(), kQuantumBytes);
        }
        std::memcpy(make(number).data() + index * kQuantumBytes % kPageBytes, quantum.data(), kQuantumBytes);
    }
    signed_quanta.clear();
    signed_pages = {first, count, base, offset};
}

void memory_mark_error(uint64_t page, unsigned char bad) {
    if (bad) bad_pages.insert(page);
    else bad_pages.erase(page);
}

// Contents, signed pages, limit, bad pages and timing as at the beginning; replies in flight stay, their requesters wait for them.
void memory_reset() {
    pages.clear();
    signed_quanta.clear();
    signed_pages = Signed{};
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
