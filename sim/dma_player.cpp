// The list behind dma_player.sv: requests to play, replies as they came.
//
// Tags are given here: a request waits until its tag (its place in the list, modulo the tags there are) is free.
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr unsigned kTagBits = 10;           // hw.spec.dma.TAG_BITS; tag is the top field of a request, the lowest of a reply
constexpr unsigned kTags = 1u << kTagBits;
constexpr unsigned kWords = 5;              // 32-bit words that hold a request (130 bits) or a reply (148 bits)
constexpr unsigned kTagLow = 120;           // lowest bit of DmaRequest.tag

struct Words {
    uint32_t word[kWords];
};

std::vector<Words> requests;
std::vector<Words> replies;
std::vector<uint32_t> index_of_tag(kTags);
std::vector<bool> busy(kTags);
size_t next_request = 0;
size_t answered = 0;
size_t limit = kTags;

}  // namespace

extern "C" {

unsigned char dma_player_next(uint32_t* payload) {
    if (next_request >= requests.size() || next_request - answered >= limit) return 0;
    const unsigned tag = next_request % kTags;
    if (busy[tag]) return 0;
    Words words = requests[next_request];
    for (unsigned bit = 0; bit < kTagBits; ++bit) {
        const unsigned place = kTagLow + bit;
        const uint32_t mask = 1u << (place % 32);
        if (tag >> bit & 1) words.word[place / 32] |= mask;
        else words.word[place / 32] &= ~mask;
    }
    std::memcpy(payload, words.word, sizeof words.word);
    busy[tag] = true;
    index_of_tag[tag] = static_cast<uint32_t>(next_request++);
    return 1;
}

void dma_player_reply(const uint32_t* payload) {
    const unsigned tag = payload[0] & (kTags - 1);
    if (!busy[tag]) {
        answered = SIZE_MAX;  // a reply that nobody waits for: Python sees an impossible count
        return;
    }
    busy[tag] = false;
    std::memcpy(replies[index_of_tag[tag]].word, payload, sizeof(Words));
    ++answered;
}

unsigned char dma_player_idle() { return answered >= requests.size(); }

// --- the face for Python ---------------------------------------------------------------------------------------------

void dma_player_load(const uint32_t* words, uint64_t count, uint64_t outstanding) {
    requests.assign(reinterpret_cast<const Words*>(words), reinterpret_cast<const Words*>(words) + count);
    replies.assign(count, Words{});
    busy.assign(kTags, false);
    next_request = answered = 0;
    limit = outstanding < kTags ? outstanding : kTags;
}

uint64_t dma_player_answered() { return answered; }

void dma_player_read(uint32_t* words) { std::memcpy(words, replies.data(), replies.size() * sizeof(Words)); }

}  // extern "C"
