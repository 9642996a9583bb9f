// Keeps recorded events until Python takes them (sim/events.py). A record is the cycle, the port and the payload as it
// is; what the payload means is known to hw.spec.events alone. EVENT_WORDS is its size, from there, in 32-bit words.
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct Record {
    uint32_t cycle_low;
    uint32_t cycle_high;
    uint32_t port;
    uint32_t payload[EVENT_WORDS];
};

std::vector<Record> records;

}  // namespace

extern "C" {

void event_recorder_record(int number, uint64_t cycle, const uint32_t* payload) {
    Record record{static_cast<uint32_t>(cycle), static_cast<uint32_t>(cycle >> 32), static_cast<uint32_t>(number), {}};
    std::memcpy(record.payload, payload, sizeof record.payload);
    records.push_back(record);
}

// --- the face for Python -----------------------------------------------------------------------------------------------

uint64_t events_count() { return records.size(); }

// Copies the first `count` records and forgets them.
void events_take(uint8_t* target, uint64_t count) {
    std::memcpy(target, records.data(), count * sizeof(Record));
    records.erase(records.begin(), records.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // extern "C"
