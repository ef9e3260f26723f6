// Random AXI4 traffic, or sequential reads, on the controller with its chip.
// Arguments: "random" or "sequential" or "latency", seed, bursts, beats (0: random), stall of 256, then rules.
// Every read beat is compared with what was written, and all of the chip at the end. Prints counts.
#include <cinttypes>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "Vtop.h"
#include "sdram_chip.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }
void vl_stop(const char*, int, const char*) { std::exit(3); }

static void stop(const char* message) {
    std::printf("%s\n", message);
    std::fflush(stdout);
    std::_Exit(1);
}

struct Burst {
    uint32_t address;
    int beats, done = 0;
    bool outside;
};

class Bench {
public:
    Bench(const SdramRules& rules, uint64_t seed, int stall)
        : rules_(rules), chip_(rules, seed, stop), random_(seed * 77777 + 1), stall_(stall), wanted_(chip_.contents()) {
        top.rst = 1;
        for (int i = 0; i < 4; ++i) cycle();
        top.rst = 0;
    }
    uint64_t draw(uint64_t n) {
        random_ ^= random_ << 13, random_ ^= random_ >> 7, random_ ^= random_ << 17;
        return (random_ >> 11) % n;
    }
    bool go() { return static_cast<int>(draw(256)) >= stall_; }

    void cycle() {
        top.eval();
        SdramPinsIn pins;
        pins.cke = top.cke, pins.cs_n = top.cs_n, pins.ras_n = top.ras_n, pins.cas_n = top.cas_n, pins.we_n = top.we_n;
        pins.ba = top.ba, pins.a = top.a, pins.dqm = top.dqm, pins.driven = top.dq_oe, pins.dq = top.dq_o;
        const uint16_t dq = chip_.clock(pins);
        top.clk = 1, top.eval();
        top.dq_i = dq;
        top.clk = 0, top.eval();
        ++now;
    }
    void power_up() {
        while (!top.ready) cycle();
    }
    // A beat of memory as it should be.
    uint32_t word(uint32_t address) const {
        return wanted_[address / 2] | static_cast<uint32_t>(wanted_[address / 2 + 1]) << 16;
    }
    void put(uint32_t address, uint32_t value, int strobes) {
        for (int i = 0; i < 4; ++i)
            if (strobes >> i & 1) {
                uint16_t& half = wanted_[address / 2 + i / 2];
                const int shift = 8 * (i % 2);
                half = (half & ~(0xFF << shift)) | (value >> (8 * i) & 0xFF) << shift;
            }
    }
    uint32_t size() const { return static_cast<uint32_t>(2 * wanted_.size()); }
    bool same() { return wanted_ == chip_.contents(); }
    uint64_t refreshes() const { return chip_.refreshes(); }

    Vtop top;
    int64_t now = 0;

private:
    SdramRules rules_;
    SdramChip chip_;
    uint64_t random_;
    int stall_;
    std::vector<uint16_t> wanted_;
};

static void random_traffic(Bench& b, int bursts, int most) {
    std::deque<Burst> reads, writes, answers;
    std::map<uint32_t, int> busy;  // pages in use
    int begun = 0, finished = 0;
    int64_t read_beats = 0, write_beats = 0;
    bool ar = false, aw = false, w = false, r_ready = false, b_ready = false;
    Burst next_read{}, next_write{};
    int strobes = 0;
    uint32_t value = 0;
    const auto pick = [&](Burst& burst) {
        const bool outside = b.draw(64) == 0;
        // A few rows of each bank, so that all kinds of neighbours come up; the end of memory too.
        uint32_t page = b.draw(4) ? b.draw(8) : b.draw(2) ? b.size() / 4096 - 1 - b.draw(3) : b.draw(b.size() / 4096);
        if (outside) page = b.size() / 4096 + b.draw(1000);
        if (busy.count(page)) return false;
        const uint32_t beat = b.draw(3) ? b.draw(1024) : 256 * b.draw(4) + b.draw(4) - (b.draw(2) ? 2 : 0);
        const uint32_t first = beat % 1024;
        uint32_t beats = most ? most : b.draw(3) ? 1 + b.draw(8) : 1 + b.draw(256);
        if (beats > 1024 - first) beats = 1024 - first;
        if (beats > 256) beats = 256;
        burst = {page * 4096 + 4 * first, static_cast<int>(beats), 0, outside};
        ++busy[page];
        ++begun;
        return true;
    };
    while (finished < bursts) {
        if (!ar && begun < bursts && reads.size() < 12 && b.go() && b.draw(2)) ar = pick(next_read);
        if (!aw && begun < bursts && writes.size() < 6 && b.go() && b.draw(2)) aw = pick(next_write);
        if (!w && !writes.empty() && b.go()) {
            w = true;
            value = static_cast<uint32_t>(b.draw(1ull << 32));
            strobes = b.draw(2) ? 15 : static_cast<int>(b.draw(16));
        }
        r_ready = b.go(), b_ready = b.go();
        b.top.ar_valid = ar, b.top.ar = next_read.address | static_cast<uint64_t>(next_read.beats - 1) << 32;
        b.top.aw_valid = aw, b.top.aw = next_write.address | static_cast<uint64_t>(next_write.beats - 1) << 32;
        b.top.w_valid = w;
        const bool last = !writes.empty() && writes.front().done + 1 == writes.front().beats;
        b.top.w = value | static_cast<uint64_t>(strobes) << 32 | static_cast<uint64_t>(last) << 36;
        b.top.r_ready = r_ready, b.top.b_ready = b_ready;
        b.top.eval();
        const bool ar_done = ar && b.top.ar_ready, aw_done = aw && b.top.aw_ready, w_done = w && b.top.w_ready;
        const bool r_done = r_ready && b.top.r_valid, b_done = b_ready && b.top.b_valid;
        const uint64_t r = b.top.r;
        const int answer = b.top.b;
        b.cycle();
        if (ar_done) reads.push_back(next_read), ar = false;
        if (r_done) {
            if (reads.empty()) stop("AXI: R: data without a read burst");
            Burst& burst = reads.front();
            const uint32_t address = burst.address + 4 * burst.done++;
            const bool ends = burst.done == burst.beats;
            const int response = r >> 32 & 3;
            if ((r >> 34 & 1) != ends) stop("AXI: R: last is wrong");
            if (response != (burst.outside ? 3 : 0)) stop("AXI: R: response is wrong");
            if (!burst.outside && static_cast<uint32_t>(r) != b.word(address)) {
                std::printf("read %08x: wanted %08x, found %08x\n", address, b.word(address), static_cast<uint32_t>(r));
                stop("wrong data");
            }
            ++read_beats;
            if (ends) busy.erase(burst.address / 4096), reads.pop_front(), ++finished;
        }
        if (w_done) {
            Burst& burst = writes.front();
            if (!burst.outside) b.put(burst.address + 4 * burst.done, value, strobes);
            ++write_beats;
            w = false;
            if (++burst.done == burst.beats) answers.push_back(burst), writes.pop_front();
        }
        if (aw_done) writes.push_back(next_write), aw = false;
        if (b_done) {
            if (answers.empty()) stop("AXI: B: response without a finished burst");
            if (answer != (answers.front().outside ? 3 : 0)) stop("AXI: B: response is wrong");
            busy.erase(answers.front().address / 4096), answers.pop_front(), ++finished;
        }
        if (b.now > 200000000) stop("no progress");
    }
    b.top.ar_valid = b.top.aw_valid = b.top.w_valid = 0;
    for (int i = 0; i < 64; ++i) b.cycle();
    if (!b.same()) stop("contents differ at the end");
    std::printf("%" PRId64 " %" PRId64 " %" PRId64 " %" PRIu64 "\n", read_beats, write_beats, b.now, b.refreshes());
}

// Beats of back-to-back sequential bursts, and the cycles from the first beat to the last.
static void sequential(Bench& b, int bursts, int beats) {
    int asked = 0;
    int64_t got = 0, first = 0;
    const int64_t total = static_cast<int64_t>(bursts) * beats;
    b.top.r_ready = 1;
    while (got < total) {
        const uint32_t address = static_cast<uint32_t>(4ull * beats * asked % b.size());
        b.top.ar_valid = asked < bursts;
        b.top.ar = address | static_cast<uint64_t>(beats - 1) << 32;
        b.top.eval();
        const bool taken = asked < bursts && b.top.ar_ready, beat = b.top.r_valid;
        const uint32_t data = static_cast<uint32_t>(b.top.r);
        b.cycle();
        asked += taken;
        if (beat) {
            if (got == 0) first = b.now;
            if (data != b.word(static_cast<uint32_t>(4 * got % b.size()))) stop("wrong data");
            ++got;
        }
    }
    std::printf("%" PRId64 " %" PRId64 "\n", got, b.now - first + 1);
}

// Clocks from address to first beat: no row open (just after a refresh), the row open, another row open.
static void latency(Bench& b) {
    const uint64_t before = b.refreshes();
    while (b.refreshes() == before) b.cycle();
    for (int i = 0; i < 30; ++i) b.cycle();
    for (const uint32_t address : {0x1000u, 0x1040u, 0x2040u}) {
        b.top.ar_valid = 1, b.top.ar = address, b.top.r_ready = 1;
        b.top.eval();
        while (!b.top.ar_ready) b.cycle();
        const int64_t asked = b.now;
        b.cycle();
        b.top.ar_valid = 0, b.top.eval();
        while (!b.top.r_valid) b.cycle();
        std::printf("%" PRId64 " ", b.now - asked);
        for (int i = 0; i < 30; ++i) b.cycle();
    }
    std::printf("\n");
}

int main(int argc, char** argv) {
    SdramRules rules;
    for (int i = 6; i < argc; ++i)
        if (!rules.set(argv[i])) stop("no such rule");
    const auto bench = std::make_unique<Bench>(rules, std::strtoull(argv[2], nullptr, 10), std::atoi(argv[5]));
    bench->power_up();
    const std::string what = argv[1];
    if (what == "random") random_traffic(*bench, std::atoi(argv[3]), std::atoi(argv[4]));
    else if (what == "sequential") sequential(*bench, std::atoi(argv[3]), std::atoi(argv[4]));
    else latency(*bench);
    return 0;
}
