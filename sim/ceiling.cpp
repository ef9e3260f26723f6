// Runs ceiling.sv: +warmup=N cycles, then prints the read beats of the next +cycles=N.
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "Vtop.h"
#include "verilated.h"

static vluint64_t now = 0;
double sc_time_stamp() { return static_cast<double>(now); }

static unsigned long long argument(const char* name) {
    const char* found = Verilated::commandArgsPlusMatch(name);  // "+name=value", or ""
    for (; *found; ++found)
        if (*found == '=') return strtoull(found + 1, nullptr, 10);
    fprintf(stderr, "ceiling: wanted +%s=N\n", name);
    exit(1);
}

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    const unsigned long long warmup = argument("warmup"), cycles = argument("cycles");
    const auto top = std::make_unique<Vtop>("");
    const auto run = [&top](unsigned long long n) {
        for (n *= 2; n; --n) {
            ++now;
            top->clk = !top->clk;
            top->eval();
        }
    };
    run(warmup);
    const unsigned long long before = top->read_beats;
    run(cycles);
    printf("%llu\n", static_cast<unsigned long long>(top->read_beats) - before);
    return 0;
}
