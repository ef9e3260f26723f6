// Plays a list of bursts (+bursts=FILE, lines "R addr beats" or "W addr beats") to dram.sv and compares what it reads
// with a plain memory; prints a JSON object of counts. A burst waits until the bursts before it that touch the same
// bytes are answered, if one of them writes.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }
std::string ddr4_statistics();

namespace {
constexpr int kFlight = 32;

std::string argument(const char* name) {
    const char* found = Verilated::commandArgsPlusMatch((std::string(name) + "=").c_str());
    return *found ? found + 2 + std::strlen(name) : "";
}

struct Burst {
    bool write;
    uint32_t addr, beats;
    bool overlaps(const Burst& other, uint32_t bus) const {
        return addr < other.addr + other.beats * bus && other.addr < addr + beats * bus;
    }
};

uint64_t noise = 88172645463325252;
uint64_t dice() {
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    return noise;
}

template <typename Signal>
uint8_t* bytes(Signal& signal) {
    return reinterpret_cast<uint8_t*>(&signal);
}
}  // namespace

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    const uint32_t bus = static_cast<uint32_t>(std::atoi(argument("bus").c_str()));
    const uint64_t hold = std::strtoull(argument("hold").c_str(), nullptr, 10);
    std::vector<Burst> bursts;
    FILE* file = std::fopen(argument("bursts").c_str(), "r");
    char kind;
    unsigned addr, beats;
    uint64_t size = 0;
    while (file && std::fscanf(file, " %c %u %u", &kind, &addr, &beats) == 3) {
        bursts.push_back({kind == 'W', addr, beats});
        size = std::max<uint64_t>(size, uint64_t{addr} + uint64_t{beats} * bus);
    }
    if (file) std::fclose(file);
    std::vector<uint8_t> plain(size, 0);

    const auto top = std::make_unique<Vtop>("");
    std::deque<Burst> reading, writing, data;  // asked; asked and unanswered; with data still to give
    uint32_t read_beat = 0, write_beat = 0;
    uint64_t cycles = 0, read_beats = 0, write_beats = 0, done = 0, quiet = 0;
    size_t next = 0;
    bool given = false;  // a write beat stands on the bus
    const auto fail = [&](const char* what, uint32_t at) {
        std::fprintf(stderr, "bench: %s at 0x%08x in cycle %llu\n", what, at, (unsigned long long)cycles);
        std::exit(1);
    };
    const auto clock = [&] {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
    };
    top->rst = 1;
    top->clk = 0;
    for (int i = 0; i < 8; ++i) clock();
    top->rst = 0;
    top->eval();
    top->b_ready = 1;
    while (done < bursts.size()) {
        // What the manager shows in this cycle.
        bool free = next < bursts.size();
        if (free && !top->ar_valid && !top->aw_valid) {
            const Burst& wanted = bursts[next];
            const auto clash = [&](const Burst& other) { return wanted.overlaps(other, bus); };
            free = std::none_of(writing.begin(), writing.end(), clash) &&
                   (!wanted.write || std::none_of(reading.begin(), reading.end(), clash)) &&
                   (wanted.write ? writing : reading).size() < kFlight;
            if (free && wanted.write) {
                top->aw_addr = wanted.addr;
                top->aw_len = static_cast<uint8_t>(wanted.beats - 1);
                top->aw_valid = 1;
            } else if (free) {
                top->ar_addr = wanted.addr;
                top->ar_len = static_cast<uint8_t>(wanted.beats - 1);
                top->ar_valid = 1;
            }
        }
        top->r_ready = (dice() & 1023) >= hold;
        if (!given && !data.empty() && (dice() & 1023) >= hold) {
            given = true;
            uint64_t strobes = dice() % 4 ? ~uint64_t{0} : dice();
            if (bus < 64) strobes &= (uint64_t{1} << bus) - 1;
            std::memcpy(bytes(top->w_strb), &strobes, sizeof top->w_strb);
            const uint32_t at = data.front().addr + write_beat * bus;
            for (uint32_t i = 0; i < bus; ++i) {
                const uint8_t value = static_cast<uint8_t>(dice());
                bytes(top->w_data)[i] = value;
                if (strobes >> i & 1) plain[at + i] = value;
            }
            top->w_last = write_beat + 1 == data.front().beats;
        }
        top->w_valid = given;
        // Who shakes hands at the coming edge.
        const bool ar = top->ar_valid && top->ar_ready, aw = top->aw_valid && top->aw_ready;
        const bool r = top->r_valid && top->r_ready, w = top->w_valid && top->w_ready, b = top->b_valid;
        if (r) {
            if (reading.empty()) fail("a read beat that nobody asked for", 0);
            const Burst& from = reading.front();
            const uint32_t at = from.addr + read_beat * bus;
            if (std::memcmp(bytes(top->r_data), &plain[at], bus) != 0) fail("wrong bytes", at);
            ++read_beats;
            const bool last = ++read_beat == from.beats;
            if (last != static_cast<bool>(top->r_last)) fail("wrong last", at);
            if (last) {
                reading.pop_front();
                read_beat = 0;
                ++done;
            }
        }
        if (b) {
            if (writing.empty()) fail("a response that nobody waits for", 0);
            writing.pop_front();
            ++done;
        }
        if (w) {
            ++write_beats;
            given = false;
            if (++write_beat == data.front().beats) {
                data.pop_front();
                write_beat = 0;
            }
        }
        const Burst taken = ar || aw ? bursts[next] : Burst{};
        clock();
        ++cycles;
        if (ar) top->ar_valid = 0;
        if (aw) top->aw_valid = 0;
        if (ar || aw) {
            ++next;
            if (aw) data.push_back(taken);
            (aw ? writing : reading).push_back(taken);
        }
        quiet = ar || aw || r || w || b ? 0 : quiet + 1;
        if (quiet > 100000) fail("the memory does not answer", 0);
    }
    std::printf("{\"cycles\": %llu, \"read_beats\": %llu, \"write_beats\": %llu%s}\n",
                (unsigned long long)cycles, (unsigned long long)read_beats, (unsigned long long)write_beats,
                ddr4_statistics().c_str());
    return 0;
}
