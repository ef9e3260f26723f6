// Watches the commands that a controller gives a DDR4 rank, and ends the simulation on the first broken rule.
// It shares no state with the controller: it keeps a log of the last commands and a table of pairs.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "ddr4_rules.h"

enum class Command { kActivate, kRead, kWrite, kPrecharge, kRefresh };

class Checker {
public:
    Checker(const Rules& rules, int groups, int banks);

    // A command at clock `now`. Bank -1 is all banks; `row` is the one that ACT opens or RD and WR mean.
    void command(Command what, int64_t now, int bank = -1, int row = -1);
    // The controller used the data of the read it commanded at clock `asked`, all 8 beats there at `now`.
    void data(int64_t asked, int64_t now) const;
    // A read or write of `block` was accepted, and later commanded; `number` counts what was accepted.
    void accepted(bool write, uint32_t block, int64_t number);
    void served(bool write, uint32_t block, int64_t number);
    // Time passes; the refreshes are counted.
    void time(int64_t now) const;

private:
    enum class Where { kBank, kGroup, kOtherGroup, kRank };
    struct Pair {
        const char* rule;
        Command before, after;
        Where where;
        int clocks;
    };
    struct Entry {
        Command what;
        int64_t at;
        int bank;
    };
    struct Write {
        uint32_t block;
        int64_t number;
    };
    bool concerns(Where where, int before, int after) const;
    void states(Command what, int64_t now, int bank, int row);

    const Rules rules_;
    const int banks_;                   // of one group
    std::vector<Pair> pairs_;
    std::deque<Entry> log_;             // newest first, as old as a pair may reach
    std::deque<int64_t> activates_;     // the last four, newest first
    std::vector<int> rows_;             // open row of each bank, -1: closed
    std::vector<Write> writes_;         // accepted, not yet commanded
    int64_t refreshes_ = 0, refreshed_ = -(1 << 30);
    int span_ = 0;
};
