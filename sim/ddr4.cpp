// The DDR4 timing behind dram.sv: bursts in, the cycle of each beat out. The bytes themselves are dram.cpp's.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>

#include "ddr4_checker.h"
#include "ddr4_controller.h"
#include "svdpi.h"

void ddr4_fail(const std::string& message) {
    fflush(stdout);
    fprintf(stderr, "DDR4: %s\n", message.c_str());
    fflush(stderr);
    _exit(1);
}

namespace {
struct Settings {
    Rules rules, kept;  // checked; kept by the controller (the same but in tests of the checker)
    Shape shape;
    Policy policy;
    int clock_khz = 0, memory_khz = 0, latency = 0;

    explicit Settings(const std::string& text) {
        for (size_t at = 0; at < text.size();) {
            const size_t end = std::min(text.find(',', at), text.size());
            const size_t colon = text.find(':', at);
            if (colon == std::string::npos || colon >= end) ddr4_fail("settings: wanted name:value in " + text);
            set(text.substr(at, colon - at), text.substr(colon + 1, end - colon - 1));
            at = end + 1;
        }
        for (const RuleName& rule : kRuleNames)
            if (rules.*rule.field < 1) ddr4_fail("settings: " + std::string(rule.name) + " is missing");
        if (clock_khz < 1 || memory_khz < 1) ddr4_fail("settings: a clock is missing");
    }

private:
    void set(const std::string& name, const std::string& text) {
        if (name == "order") {
            shape.order = text;
            return;
        }
        const int value = std::atoi(text.c_str());
        for (const RuleName& rule : kRuleNames) {
            if (name == rule.name) rules.*rule.field = kept.*rule.field = value;
            if (name == std::string("controller_") + rule.name) kept.*rule.field = value;
            if (name == rule.name || name == std::string("controller_") + rule.name) return;
        }
        const struct {
            const char* name;
            int* field;
        } others[] = {
            {"groups", &shape.groups},
            {"banks", &shape.banks},
            {"columns", &shape.columns},
            {"rows", &shape.rows},
            {"read_queue", &policy.read_queue},
            {"write_queue", &policy.write_queue},
            {"drain_at", &policy.drain_at},
            {"drain_to", &policy.drain_to},
            {"idle_clocks", &policy.idle_clocks},
            {"refresh_batch", &policy.refresh_batch},
            {"clock_khz", &clock_khz},
            {"memory_khz", &memory_khz},
            {"latency", &latency},
        };
        for (const auto& other : others)
            if (name == other.name) {
                *other.field = value;
                return;
            }
        ddr4_fail("settings: nothing is called " + name);
    }
};

class Memory {
public:
    Memory(const Settings& settings, uint32_t bus)
        : settings_(settings),
          bus_(bus),
          checker_(settings.rules, settings.shape.groups, settings.shape.banks),
          controller_(settings.kept, settings.shape, settings.policy, checker_) {}

    void read(uint32_t addr, uint32_t beats) { reads_.push_back({addr, beats, cycle_ + settings_.latency}); }
    void write(uint32_t addr) { writes_.push_back({addr, 1, cycle_ + settings_.latency}); }

    // A cycle of the bus: bit 0 a read beat can go in the next, bit 1 a write beat, bit 2 the memory was busy.
    int cycle(bool sent) {
        ++cycle_;
        if (sent) controller_.take();
        for (; !writes_.empty() && writes_.front().due <= cycle_; writes_.pop_front())
            controller_.write(writes_.front().addr / kBlockBytes);
        while (!reads_.empty() && reads_.front().due <= cycle_ && controller_.read_room()) {
            Burst& burst = reads_.front();
            const uint32_t left = (kBlockBytes - burst.addr % kBlockBytes) / bus_;  // beats of this block
            const uint32_t beats = burst.beats < left ? burst.beats : left;
            controller_.read(burst.addr / kBlockBytes, static_cast<int>(beats));
            burst.addr += beats * bus_;
            burst.beats -= beats;
            if (burst.beats == 0) reads_.pop_front();
        }
        for (phase_ += settings_.memory_khz; phase_ >= settings_.clock_khz; phase_ -= settings_.clock_khz)
            controller_.clock();
        const bool room = controller_.writes_waiting() + static_cast<int>(writes_.size()) < settings_.policy.write_queue;
        return int{controller_.ready()} | int{room} << 1 | int{controller_.was_busy()} << 2;
    }

    const Statistics& statistics() const { return controller_.statistics(); }

private:
    struct Burst {
        uint32_t addr, beats;
        int64_t due;
    };
    const Settings settings_;
    const uint32_t bus_;
    Checker checker_;
    Controller controller_;
    std::deque<Burst> reads_, writes_;  // on their way to the controller
    int64_t cycle_ = 0, phase_ = 0;
};

std::unique_ptr<Memory> memory;
}  // namespace

extern "C" void ddr4_open(const char* settings, int bus_bytes) {
    memory = std::make_unique<Memory>(Settings(settings), static_cast<uint32_t>(bus_bytes));
}
extern "C" void ddr4_read(uint32_t addr, uint32_t beats) { memory->read(addr, beats); }
extern "C" void ddr4_write(uint32_t addr) { memory->write(addr); }
extern "C" int ddr4_cycle(int sent) { return memory->cycle(sent != 0); }

// For benches: what the controller did so far, as members of a JSON object.
std::string ddr4_statistics() {
    if (!memory) return "";
    const Statistics& s = memory->statistics();
    const auto member = [](const char* name, int64_t value) {
        return std::string(", \"") + name + "\": " + std::to_string(value);
    };
    return member("clocks", s.clocks) + member("activates", s.activates) + member("precharges", s.precharges) +
           member("reads", s.reads) + member("writes", s.writes) + member("refreshes", s.refreshes) +
           member("turns", s.turns);
}
