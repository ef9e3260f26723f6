// The SDRAM chip alone: rules as arguments, then a command a line on the standard input:
// CLOCK NAME BANK ADDRESS [DQM DRIVEN]. Clocks between are NOP. Prints what breaks a rule, and then ends with 1.
#include <iostream>
#include <map>
#include <sstream>

#include "sdram_chip.h"

static void stop(const char* message) {
    std::printf("%s\n", message);
    std::fflush(stdout);
    std::_Exit(1);
}

int main(int argc, char** argv) {
    SdramRules rules;
    for (int i = 1; i < argc; ++i)
        if (!rules.set(argv[i])) stop("no such rule");
    SdramChip chip(rules, 1, stop);
    const std::map<std::string, int> codes = {{"MRS", 0}, {"REF", 1}, {"PRE", 2}, {"ACT", 3},
                                              {"WR", 4}, {"RD", 5}, {"BST", 6}, {"NOP", 7}};
    long now = 0;
    for (std::string line; std::getline(std::cin, line);) {
        if (line.empty()) continue;
        std::istringstream words(line);
        long at = 0;
        std::string name;
        SdramPinsIn pins;
        int driven = -1;
        words >> at >> name >> pins.ba >> pins.a;
        pins.dqm = 0;
        words >> pins.dqm >> driven;
        pins.driven = driven >= 0 ? driven != 0 : name == "WR";
        const SdramPinsIn idle = [] { SdramPinsIn none; none.dqm = 0; return none; }();
        for (; now + 1 < at; ++now) chip.clock(idle);
        const int code = codes.at(name);
        pins.cs_n = code == 7, pins.ras_n = code >> 2 & 1, pins.cas_n = code >> 1 & 1, pins.we_n = code & 1;
        chip.clock(pins), ++now;
        if (name == "WR" && driven < 0) {  // its second word
            SdramPinsIn second = idle;
            second.driven = true;
            chip.clock(second), ++now;
        }
    }
    return 0;
}
