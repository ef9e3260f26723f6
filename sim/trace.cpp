// The event log of the generated module trace (sim/trace_ports.py); sim/trace_log.py reads it. Appended to the
// file at the end of a run, so that the reader may cut the file off in between.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "svdpi.h"
#include "verilated.h"

namespace {
constexpr size_t kHead = 16, kMost = 1024, kBuffer = 1 << 20;

int file = -1;
size_t data_bytes = 0, used = 0;
uint8_t buffer[kBuffer + kHead + kMost];

[[noreturn]] void fail(const char* what, const char* path) {
    fprintf(stderr, "trace: cannot %s %s: %s\n", what, path, strerror(errno));
    fflush(stderr);
    _exit(1);
}

void drain(void*) {
    for (size_t done = 0; done < used;) {
        const ssize_t count = write(file, buffer + done, used - done);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) fail("write", "the event log");
        done += static_cast<size_t>(count);
    }
    used = 0;
}
}  // namespace

extern "C" void trace_open(const char* path, int bytes) {
    file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (file < 0) fail("open", path);
    data_bytes = static_cast<size_t>(bytes);
    Verilated::addFlushCb(drain, nullptr);
}

extern "C" void trace_event(int kind, uint64_t cycle, int token, uint32_t address, const svBitVecVal* data) {
    uint8_t* at = buffer + used;
    memcpy(at, &cycle, 8);
    memcpy(at + 8, &address, 4);
    at[12] = static_cast<uint8_t>(kind);
    at[13] = static_cast<uint8_t>(token);
    at[14] = at[15] = 0;
    memcpy(at + kHead, data, data_bytes);
    used += kHead + data_bytes;
    if (used >= kBuffer) drain(nullptr);
}

extern "C" void trace_flush() { drain(nullptr); }
