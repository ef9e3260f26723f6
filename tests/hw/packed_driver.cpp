// Drives packed_check.sv. "all": every operand word of COUNT, else words (hexadecimal) from standard input. The
// pipeline stalls at random, with other operands at its inputs meanwhile. Prints how many words were
// checked; ends with 1 at the first wrong one.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "Vtop.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }
void vl_stop(const char* file, int line, const char*) { std::exit(3); }

static Vtop top;
static uint64_t checked = 0, state = 0x9e3779b97f4a7c15;

static uint64_t draw() {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static void cycle(bool valid, uint64_t word) {
    top.en = valid;
    top.operands = word;
    top.clk = 0, top.eval();
    if (top.wrong) {
        std::printf("operands %" PRIx64 ": wrong products\n", (uint64_t)top.of);
        std::exit(1);
    }
    checked += top.checked;
    top.clk = 1, top.eval();
}

static void present(uint64_t word) {
    while ((draw() & 7) == 0) cycle(false, draw());
    cycle(true, word);
}

int main(int count, char** arguments) {
    top.rst = 0;
    if (count > 2 && !std::strcmp(arguments[1], "all")) {
        uint64_t end = std::strtoull(arguments[2], nullptr, 10);
        for (uint64_t word = 0; word < end; word++) present(word);
    } else if (count > 2 && !std::strcmp(arguments[1], "random")) {
        uint64_t number = std::strtoull(arguments[2], nullptr, 10);
        for (uint64_t i = 0; i < number; i++) present(draw() >> 3);
    } else {
        uint64_t word;
        while (std::scanf("%" SCNx64, &word) == 1) present(word);
    }
    for (int i = 0; i < 8; i++) cycle(true, 0);
    std::printf("%" PRIu64 " checked\n", checked - 8 + LATENCY);
    return 0;
}
