// The lists behind dma_player.sv: requests to play once, requests to cycle through beside them, and the replies as they came.
//
// What is to be played once goes first; the cycle fills the cycles that are left, at most one request in `gap` cycles.
// Tags are given here, in rotation: a request waits until the next one is free. So are the cycles of the retires: each a
// random time after its reply, from a seed, in whatever order that makes.
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <vector>

namespace {

constexpr unsigned kTagBits = 10;           // hw.spec.dma.TAG_BITS; tag is the top field of a request, the lowest of a reply
constexpr unsigned kTags = 1u << kTagBits;
constexpr unsigned kWords = 5;              // 32-bit words that hold a request (130 bits) or a reply (148 bits)
constexpr unsigned kTagLow = 120;           // lowest bit of DmaRequest.tag

struct Words {
    uint32_t word[kWords];
};

struct Owner {       // of a tag
    bool busy;
    bool cycled;
    size_t index;    // in its list
};

struct Seen {        // a reply to a cycled request, without what differs from time to time
    uint64_t index;
    uint64_t count;
    Words reply;
};

std::vector<Words> requests;
std::vector<Words> replies;
std::vector<uint8_t> done;
std::vector<Words> cycle_requests;
std::vector<Seen> seen;
std::vector<std::vector<size_t>> seen_of;   // by cycled request
std::vector<Owner> owners(kTags);
Words cycle_mask{};
size_t next_request = 0;
size_t next_cycled = 0;
size_t answered = 0;
size_t in_flight = 0;
size_t limit = kTags;
unsigned next_tag = 0;
uint64_t gap = 1;
uint64_t since_cycled = 0;
std::multimap<uint64_t, bool> retires;      // colours not handed back yet, by the cycle from which on they may be
uint64_t longest_retire = 0;
std::mt19937_64 retire_random;

bool send(uint32_t* payload, Words words, bool cycled, size_t index) {
    for (unsigned bit = 0; bit < kTagBits; ++bit) {
        const unsigned place = kTagLow + bit;
        const uint32_t mask = 1u << (place % 32);
        if (next_tag >> bit & 1) words.word[place / 32] |= mask;
        else words.word[place / 32] &= ~mask;
    }
    std::memcpy(payload, words.word, sizeof words.word);
    owners[next_tag] = Owner{true, cycled, index};
    next_tag = (next_tag + 1) % kTags;
    ++in_flight;
    return true;
}

void note(size_t index, const uint32_t* payload) {
    Words masked{};
    for (unsigned number = 0; number < kWords; ++number) masked.word[number] = payload[number] & cycle_mask.word[number];
    for (const size_t place : seen_of[index]) {
        if (std::memcmp(seen[place].reply.word, masked.word, sizeof masked.word) == 0) {
            ++seen[place].count;
            return;
        }
    }
    seen_of[index].push_back(seen.size());
    seen.push_back(Seen{index, 1, masked});
}

}  // namespace

extern "C" {

unsigned char dma_player_next(uint32_t* payload) {
    ++since_cycled;
    if (in_flight >= limit || owners[next_tag].busy) return 0;
    if (next_request < requests.size()) {
        const size_t index = next_request++;
        return send(payload, requests[index], false, index);
    }
    if (cycle_requests.empty() || since_cycled < gap) return 0;
    since_cycled = 0;
    const size_t index = next_cycled;
    next_cycled = (next_cycled + 1) % cycle_requests.size();
    return send(payload, cycle_requests[index], true, index);
}

void dma_player_reply(const uint32_t* payload, unsigned char colour, uint64_t cycle) {
    retires.emplace(cycle + (longest_retire ? retire_random() % (longest_retire + 1) : 0), colour);
    Owner& owner = owners[payload[0] & (kTags - 1)];
    if (!owner.busy) {
        answered = SIZE_MAX;  // a reply that nobody waits for: Python sees an impossible count
        return;
    }
    owner.busy = false;
    --in_flight;
    if (owner.cycled) {
        note(owner.index, payload);
        return;
    }
    std::memcpy(replies[owner.index].word, payload, sizeof(Words));
    done[owner.index] = 1;
    ++answered;
}

// The next colour that is handed back in this cycle; false if none is.
unsigned char dma_player_retire(uint64_t cycle, unsigned char* colour) {
    const auto first = retires.begin();
    if (first == retires.end() || first->first > cycle) return 0;
    *colour = first->second;
    retires.erase(first);
    return 1;
}

void dma_player_reset() { retires.clear(); }

unsigned char dma_player_idle() { return in_flight == 0 && next_request >= requests.size() && cycle_requests.empty(); }

// --- the face for Python ---------------------------------------------------------------------------------------------

// Forget everything, which must have been answered, and play this.
void dma_player_load(const uint32_t* words, uint64_t count, uint64_t outstanding) {
    requests.assign(reinterpret_cast<const Words*>(words), reinterpret_cast<const Words*>(words) + count);
    replies.assign(count, Words{});
    done.assign(count, 0);
    owners.assign(kTags, Owner{});
    cycle_requests.clear();
    seen.clear();
    seen_of.clear();
    next_request = answered = in_flight = next_cycled = 0;
    limit = outstanding < kTags ? outstanding : kTags;
}

// Retire each reply from now on up to so many cycles late.
void dma_player_retire_late(uint64_t most, uint64_t seed) {
    longest_retire = most;
    retire_random.seed(seed);
}

// Play this too. Returns the index of the first.
uint64_t dma_player_append(const uint32_t* words, uint64_t count) {
    const uint64_t first = requests.size();
    requests.insert(requests.end(), reinterpret_cast<const Words*>(words), reinterpret_cast<const Words*>(words) + count);
    replies.resize(requests.size());
    done.resize(requests.size());
    return first;
}

// Cycle through these from now on; none stops it. What was in flight of others before must have been answered.
void dma_player_cycle(const uint32_t* words, uint64_t count, const uint32_t* mask, uint64_t gap_cycles) {
    cycle_requests.assign(reinterpret_cast<const Words*>(words), reinterpret_cast<const Words*>(words) + count);
    std::memcpy(cycle_mask.word, mask, sizeof(Words));
    gap = gap_cycles;
    next_cycled = 0;
    if (count) {
        seen.clear();
        seen_of.assign(count, {});
    }
}

uint64_t dma_player_answered() { return answered; }

uint64_t dma_player_in_flight() { return in_flight; }

unsigned char dma_player_done(uint64_t index) { return index < done.size() && done[index]; }

void dma_player_read(uint32_t* words, uint64_t first, uint64_t count) {
    std::memcpy(words, replies.data() + first, count * sizeof(Words));
}

uint64_t dma_player_seen() { return seen.size(); }

// The different replies to cycled requests so far, and how often each came; they are forgotten.
void dma_player_take_seen(uint64_t* index, uint64_t* count, uint32_t* words) {
    for (size_t place = 0; place < seen.size(); ++place) {
        index[place] = seen[place].index;
        count[place] = seen[place].count;
        std::memcpy(words + place * kWords, seen[place].reply.word, sizeof(Words));
    }
    seen.clear();
    seen_of.assign(seen_of.size(), {});
}

}  // extern "C"
