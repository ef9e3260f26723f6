// What Verilator's FST writer takes from <lz4.h> and <zlib.h>, so that a wave build needs neither library.
// LZ4 blocks: one greedy pass with one candidate for each hash. zlib: no shorter form is ever found, and the
// writer then stores the bytes as they are, as the FST format allows.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace fst_pack {
constexpr int kMinMatch = 4, kNoMatchNearEnd = 12, kLiteralsAtEnd = 5, kMaxOffset = 65535, kHashBits = 12;

inline uint32_t four(const uint8_t* at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

// A length that does not fit the 4 bits of a token goes on in bytes of 255.
inline uint8_t* length(uint8_t* out, int value) {
    if (value < 15) return out;
    for (value -= 15; value >= 255; value -= 255) *out++ = 255;
    *out++ = static_cast<uint8_t>(value);
    return out;
}

// One sequence: `count` literals, then a match (none where offset is 0).
inline uint8_t* sequence(uint8_t* out, const uint8_t* literals, int count, int offset, int match) {
    const int rest = offset ? match - kMinMatch : 0;
    *out++ = static_cast<uint8_t>(std::min(count, 15) << 4 | std::min(rest, 15));
    out = length(out, count);
    if (count) memcpy(out, literals, static_cast<size_t>(count));
    out += count;
    if (!offset) return out;
    *out++ = static_cast<uint8_t>(offset & 255);
    *out++ = static_cast<uint8_t>(offset >> 8);
    return length(out, rest);
}
}  // namespace fst_pack

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

// `capacity` is at least LZ4_compressBound(size).
inline int LZ4_compress_default(const char* source, char* target, int size, int /*capacity*/) {
    using namespace fst_pack;
    const uint8_t* const in = reinterpret_cast<const uint8_t*>(source);
    uint8_t* const begin = reinterpret_cast<uint8_t*>(target);
    uint8_t* out = begin;
    int done = 0;
    if (size > kNoMatchNearEnd) {
        std::array<int32_t, 1 << kHashBits> seen;
        seen.fill(-1);
        for (int at = 0; at < size - kNoMatchNearEnd;) {
            int32_t& last = seen[(four(in + at) * 2654435761U) >> (32 - kHashBits)];
            const int from = last;
            last = at;
            if (from < 0 || at - from > kMaxOffset || four(in + from) != four(in + at)) {
                ++at;
                continue;
            }
            int match = kMinMatch;
            while (at + match < size - kLiteralsAtEnd && in[from + match] == in[at + match]) ++match;
            out = sequence(out, in + done, at - done, at - from, match);
            done = at += match;
        }
    }
    out = sequence(out, in + done, size - done, 0, 0);
    return static_cast<int>(out - begin);
}

using uLong = unsigned long;
using uLongf = uLong;
using Bytef = unsigned char;
constexpr int Z_OK = 0;
inline uLong compressBound(uLong size) { return size; }
inline int compress2(Bytef* target, uLongf* size, const Bytef* source, uLong count, int) {
    if (count) memcpy(target, source, count);
    *size = count;
    return Z_OK;
}
