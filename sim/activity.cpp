// The activity log of the generated module trace (sim/activity_module.py); sim/activity_log.py reads it. Neighbouring
// cycles of one kind become one event, so that a long run stays small. Appended to the file at the end of a run.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <vector>

#include "svdpi.h"
#include "verilated.h"

namespace {
constexpr uint32_t kWindow = 64;  // cycles of a sample at most
constexpr int kBus = 4, kAccount = 7, kUnits = 4;
constexpr int kWrite = kBus + kAccount, kBegin = kWrite + 1, kStep = kBegin + 1, kAccept = kStep + 1,
              kDone = kAccept + kUnits;
constexpr size_t kWord = 24;

enum Kind : uint8_t { COMMAND, DONE, FETCH, BUS, SAMPLE, STEP };

// sim/activity_log.py has the same layout.
struct Event {
    uint64_t cycle;
    uint32_t length;
    uint8_t kind, which;
    uint16_t layer;
    uint32_t a, b;
    uint8_t data[kWord];
};
static_assert(sizeof(Event) == 48, "packed as numpy reads it");

struct Run {
    uint64_t asked, first;
    uint32_t address, bytes, beats, left;
};
struct Segment {
    uint8_t kind;
    uint16_t layer;
};

int file = -1;
uint32_t bus_bytes = 0;
std::vector<Event> events;
std::deque<Run> runs;
std::deque<Segment> segments;
Event bus{}, sample{};
uint64_t begun = 0;

[[noreturn]] void fail(const char* what, const char* path) {
    fprintf(stderr, "activity: cannot %s %s: %s\n", what, path, strerror(errno));
    fflush(stderr);
    _exit(1);
}

void drain(void*) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(events.data());
    const size_t size = events.size() * sizeof(Event);
    for (size_t done = 0; done < size;) {
        const ssize_t count = write(file, bytes + done, size - done);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) fail("write", "the activity log");
        done += static_cast<size_t>(count);
    }
    events.clear();
}

// Emits what was gathered, and begins anew.
void close(Event& event) {
    if (event.length) events.push_back(event);
    event = Event{};
}

void read_beat(uint64_t cycle) {
    if (runs.empty()) return;
    Run& run = runs.front();
    if (run.left == run.beats) run.first = cycle;
    if (--run.left) return;
    Event event{run.first, static_cast<uint32_t>(cycle - run.first + 1), FETCH, 0, 0, run.address, run.bytes, {}};
    if (!segments.empty()) {
        event.which = segments.front().kind;
        event.layer = segments.front().layer;
        segments.pop_front();
    }
    memcpy(event.data, &run.asked, 8);
    events.push_back(event);
    runs.pop_front();
}
}  // namespace

extern "C" void activity_open(const char* path, int bytes) {
    file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (file < 0) fail("open", path);
    bus_bytes = static_cast<uint32_t>(bytes);
    Verilated::addFlushCb(drain, nullptr);
}

extern "C" void activity_command(int unit, uint64_t cycle, const svBitVecVal* command) {
    Event event{cycle, 0, COMMAND, static_cast<uint8_t>(unit), static_cast<uint16_t>(command[6]),
                command[6] >> 16 & 0xff, command[6] >> 24 & 0x7, {}};
    memcpy(event.data, command, kWord);
    events.push_back(event);
}

extern "C" void activity_append(int kind, uint32_t bytes, int layer) {
    if (bytes) segments.push_back({static_cast<uint8_t>(kind), static_cast<uint16_t>(layer)});
}

extern "C" void activity_run(uint64_t cycle, uint64_t run) {
    const uint32_t bytes = static_cast<uint32_t>(run >> 32), beats = (bytes + bus_bytes - 1) / bus_bytes;
    if (bytes) runs.push_back({cycle, 0, static_cast<uint32_t>(run), bytes, beats, beats});
}

extern "C" void activity_cycle(uint64_t cycle, int status, int level) {
    const auto bit = [status](int at) { return (status >> at & 1) != 0; };
    const auto some = [status](int at) { return (status >> at & ((1 << kUnits) - 1)) != 0; };
    // The bus: one interval as long as it does the same.
    for (int state = 0; state < kBus; ++state)
        if (bit(state)) {
            if (bus.length == 0 || bus.which != state || bus.cycle + bus.length != cycle) {
                close(bus);
                bus.cycle = cycle;
                bus.kind = BUS;
                bus.which = static_cast<uint8_t>(state);
            }
            ++bus.length;
        }
    if (bit(0)) read_beat(cycle);
    // Samples end where an instruction begins or ends, so each belongs to the same instructions throughout.
    if (some(kAccept) || sample.cycle + sample.length != cycle) close(sample);
    if (sample.length == 0) sample.cycle = cycle;
    sample.kind = SAMPLE;
    ++sample.length;
    sample.a = static_cast<uint32_t>(level);
    for (int i = 0; i < kAccount; ++i) sample.data[i] += bit(kBus + i);
    sample.data[kAccount] += bit(0);
    sample.data[kAccount + 1] += bit(kWrite);
    if (some(kDone) || sample.length == kWindow) close(sample);
    for (int unit = 0; unit < kUnits; ++unit)
        if (bit(kDone + unit)) events.push_back({cycle, 0, DONE, static_cast<uint8_t>(unit), 0, 0, 0, {}});
    if (bit(kBegin)) begun = cycle;
    if (bit(kStep)) events.push_back({begun, static_cast<uint32_t>(cycle - begun + 1), STEP, 0, 0, 0, 0, {}});
    if (events.size() >= 1 << 15) drain(nullptr);
}

extern "C" void activity_flush() {
    close(bus);
    close(sample);
    drain(nullptr);
}
