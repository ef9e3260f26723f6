// The bytes of dram.sv: a file mapped shared, so that the host sees what the machine wrote, and the reverse.
// Writes wait here until dram.sv sends their response.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>

#include "svdpi.h"

namespace {
constexpr size_t kMaxBus = 64;

struct Beat {
    uint32_t addr;
    uint64_t strobes;
    uint8_t data[kMaxBus];
};

uint8_t* memory = nullptr;
uint64_t size = 0;
uint32_t bus = 0;
std::deque<Beat> pending;

[[noreturn]] void fail() {
    fflush(stdout);
    fflush(stderr);
    _exit(1);
}

void check(const char* what, uint32_t addr) {
    if (uint64_t{addr} + bus <= size) return;
    fprintf(stderr, "DRAM: %s at 0x%08x, beyond the memory of %llu bytes\n", what, addr,
            static_cast<unsigned long long>(size));
    fail();
}
}  // namespace

extern "C" void dram_open(const char* path, int bus_bytes) {
    struct stat info;
    const int file = open(path, O_RDWR);
    if (file < 0 || fstat(file, &info) != 0) {
        fprintf(stderr, "DRAM: cannot open memory file %s: %s\n", path, strerror(errno));
        fail();
    }
    size = static_cast<uint64_t>(info.st_size);
    bus = static_cast<uint32_t>(bus_bytes);
    void* map = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) {
        fprintf(stderr, "DRAM: cannot map memory file %s: %s\n", path, strerror(errno));
        fail();
    }
    close(file);
    memory = static_cast<uint8_t*>(map);
}

extern "C" void dram_read(uint32_t addr, svBitVecVal* data) {
    check("read", addr);
    memcpy(data, memory + addr, bus);
}

extern "C" void dram_write(uint32_t addr, const svBitVecVal* data, const svBitVecVal* strobes) {
    check("write", addr);
    Beat beat{addr, 0, {}};
    memcpy(&beat.strobes, strobes, bus > 32 ? 8 : 4);
    memcpy(beat.data, data, bus);
    pending.push_back(beat);
}

extern "C" void dram_commit(int beats) {
    for (; beats > 0; --beats) {
        const Beat& beat = pending.front();
        for (uint32_t i = 0; i < bus; ++i)
            if (beat.strobes >> i & 1) memory[beat.addr + i] = beat.data[i];
        pending.pop_front();
    }
}
