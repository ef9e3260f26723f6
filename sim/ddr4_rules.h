// Timing of a DDR4 rank in clocks of the memory, its shape, and where a block (a burst of 8 on 64 bits: 64 bytes)
// lies in it. Names are those of JESD79-4; the values come from sim/ddr4.py as "name:value,name:value".
#pragma once
#include <cstdint>
#include <string>

constexpr int kBlockBytes = 64;
constexpr int kBurst = 4;       // clocks of the data bus for one block
constexpr int kBubble = 2;      // clocks between the last read data and the first write data
constexpr int kPostponed = 8;   // refreshes that may be owed, or given in advance

struct Rules {
    int tCL = 0, tCWL = 0, tRCD = 0, tRP = 0, tRAS = 0, tRC = 0, tCCD_S = 0, tCCD_L = 0, tRRD_S = 0, tRRD_L = 0,
        tFAW = 0, tWTR_S = 0, tWTR_L = 0, tRTP = 0, tWR = 0, tRFC = 0, tREFI = 0;
};

struct RuleName {
    const char* name;
    int Rules::*field;
};
constexpr RuleName kRuleNames[] = {
    {"tCL", &Rules::tCL},       {"tCWL", &Rules::tCWL},     {"tRCD", &Rules::tRCD},     {"tRP", &Rules::tRP},
    {"tRAS", &Rules::tRAS},     {"tRC", &Rules::tRC},       {"tCCD_S", &Rules::tCCD_S}, {"tCCD_L", &Rules::tCCD_L},
    {"tRRD_S", &Rules::tRRD_S}, {"tRRD_L", &Rules::tRRD_L}, {"tFAW", &Rules::tFAW},     {"tWTR_S", &Rules::tWTR_S},
    {"tWTR_L", &Rules::tWTR_L}, {"tRTP", &Rules::tRTP},     {"tWR", &Rules::tWR},       {"tRFC", &Rules::tRFC},
    {"tREFI", &Rules::tREFI},
};

// Of one block. `bank` counts over all groups: group * banks + bank of the group.
struct Place {
    int group, bank, row, column;
};

// Powers of two; `order` names the fields from the highest address bits to the lowest:
// r(ow), b(ank of a group), c(olumn, in blocks), g(roup).
struct Shape {
    int groups = 0, banks = 0, columns = 0, rows = 0;
    std::string order = "rbcg";

    Place place(uint32_t block) const {
        Place found{};
        int inner = 0;
        for (auto field = order.rbegin(); field != order.rend(); ++field) {
            const int size = *field == 'g' ? groups : *field == 'b' ? banks : *field == 'c' ? columns : rows;
            const int part = static_cast<int>(block % static_cast<uint32_t>(size));
            block /= static_cast<uint32_t>(size);
            if (*field == 'g') found.group = part;
            else if (*field == 'b') inner = part;
            else if (*field == 'c') found.column = part;
            else found.row = part;
        }
        found.bank = found.group * banks + inner;
        return found;
    }
};

// Ends the simulation with "DDR4: <message>"; does not return.
[[noreturn]] void ddr4_fail(const std::string& message);
