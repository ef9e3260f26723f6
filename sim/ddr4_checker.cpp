#include "ddr4_checker.h"

#include <algorithm>
#include <string>

namespace {
const char* name(Command what) {
    switch (what) {
        case Command::kActivate: return "ACT";
        case Command::kRead: return "RD";
        case Command::kWrite: return "WR";
        case Command::kPrecharge: return "PRE";
        default: return "REF";
    }
}

std::string shown(Command what, int64_t at, int bank) {
    const std::string where = bank < 0 ? "" : " of bank " + std::to_string(bank);
    return name(what) + where + " at clock " + std::to_string(at);
}
}  // namespace

Checker::Checker(const Rules& rules, int groups, int banks)
    : rules_(rules), banks_(banks), rows_(static_cast<size_t>(groups * banks), -1) {
    constexpr auto act = Command::kActivate, rd = Command::kRead, wr = Command::kWrite, pre = Command::kPrecharge;
    const int written = rules.tCWL + kBurst;  // from WR to the end of its data
    pairs_ = {
        {"tRCD", act, rd, Where::kBank, rules.tRCD},
        {"tRCD", act, wr, Where::kBank, rules.tRCD},
        {"tRP", pre, act, Where::kBank, rules.tRP},
        {"tRP", pre, Command::kRefresh, Where::kRank, rules.tRP},
        {"tRAS", act, pre, Where::kBank, rules.tRAS},
        {"tRC", act, act, Where::kBank, rules.tRC},
        {"tRRD_L", act, act, Where::kGroup, rules.tRRD_L},
        {"tRRD_S", act, act, Where::kOtherGroup, rules.tRRD_S},
        {"tCCD_L", rd, rd, Where::kGroup, rules.tCCD_L},
        {"tCCD_S", rd, rd, Where::kOtherGroup, rules.tCCD_S},
        {"tCCD_L", wr, wr, Where::kGroup, rules.tCCD_L},
        {"tCCD_S", wr, wr, Where::kOtherGroup, rules.tCCD_S},
        {"tCL and tCWL (data bus)", rd, wr, Where::kRank, rules.tCL + kBurst + kBubble - rules.tCWL},
        {"tWTR_L", wr, rd, Where::kGroup, written + rules.tWTR_L},
        {"tWTR_S", wr, rd, Where::kOtherGroup, written + rules.tWTR_S},
        {"tRTP", rd, pre, Where::kBank, rules.tRTP},
        {"tWR", wr, pre, Where::kBank, written + rules.tWR},
    };
    for (const Pair& pair : pairs_) span_ = std::max(span_, pair.clocks);
}

bool Checker::concerns(Where where, int before, int after) const {
    if (where == Where::kRank) return true;
    if (before < 0 || after < 0) return where == Where::kBank;  // all banks
    switch (where) {
        case Where::kBank: return before == after;
        case Where::kGroup: return before / banks_ == after / banks_;
        default: return before / banks_ != after / banks_;
    }
}

void Checker::command(Command what, int64_t now, int bank, int row) {
    const auto broken = [&](const std::string& rule, Command before, int64_t at, int of, int wanted) {
        ddr4_fail(rule + ": " + shown(what, now, bank) + " is " + std::to_string(now - at) + " clocks after " +
                  shown(before, at, of) + ", wanted " + std::to_string(wanted));
    };
    if (!log_.empty() && now <= log_.front().at)
        broken("command bus", log_.front().what, log_.front().at, log_.front().bank, 1);
    time(now);
    if (now - refreshed_ < rules_.tRFC) broken("tRFC", Command::kRefresh, refreshed_, -1, rules_.tRFC);
    for (const Entry& before : log_)
        for (const Pair& pair : pairs_)
            if (pair.before == before.what && pair.after == what && now - before.at < pair.clocks &&
                concerns(pair.where, before.bank, bank))
                broken(pair.rule, before.what, before.at, before.bank, pair.clocks);
    if (what == Command::kActivate) {
        if (activates_.size() == 4 && now - activates_.back() < rules_.tFAW)
            broken("tFAW: fifth activation", Command::kActivate, activates_.back(), -1, rules_.tFAW);
        activates_.push_front(now);
        if (activates_.size() > 4) activates_.pop_back();
    }
    states(what, now, bank, row);
    log_.push_front({what, now, bank});
    while (now - log_.back().at > span_) log_.pop_back();
}

void Checker::states(Command what, int64_t now, int bank, int row) {
    const auto wrong = [&](const std::string& how) { ddr4_fail("row: " + shown(what, now, bank) + how); };
    switch (what) {
        case Command::kActivate:
            if (rows_.at(bank) >= 0) wrong(", whose row " + std::to_string(rows_[bank]) + " is open");
            rows_[bank] = row;
            break;
        case Command::kRead:
        case Command::kWrite:
            if (rows_.at(bank) != row)
                wrong(" means row " + std::to_string(row) + ", open is " + std::to_string(rows_[bank]));
            break;
        case Command::kPrecharge:
            if (bank < 0) std::fill(rows_.begin(), rows_.end(), -1);
            else rows_.at(bank) = -1;
            break;
        default:
            for (size_t i = 0; i < rows_.size(); ++i)
                if (rows_[i] >= 0) wrong(" while bank " + std::to_string(i) + " is open");
            refreshed_ = now;
            ++refreshes_;
            if (refreshes_ > now / rules_.tREFI + kPostponed)
                ddr4_fail("tREFI: " + shown(what, now, bank) + " is more than " + std::to_string(kPostponed) +
                          " refreshes early");
    }
}

void Checker::data(int64_t asked, int64_t now) const {
    if (now - asked < rules_.tCL + kBurst)
        ddr4_fail("tCL: data of the RD at clock " + std::to_string(asked) + " used after " +
                  std::to_string(now - asked) + " clocks, wanted " + std::to_string(rules_.tCL + kBurst));
}

void Checker::accepted(bool write, uint32_t block, int64_t number) {
    if (write) writes_.push_back({block, number});
}

void Checker::served(bool write, uint32_t block, int64_t number) {
    for (const Write& waiting : writes_)
        if (waiting.block == block && waiting.number < number)
            ddr4_fail("order: a " + std::string(write ? "write" : "read") + " of block " + std::to_string(block) +
                      " overtook the write before it");
    if (!write) return;
    const auto same = [&](const Write& waiting) { return waiting.number == number; };
    writes_.erase(std::remove_if(writes_.begin(), writes_.end(), same), writes_.end());
}

void Checker::time(int64_t now) const {
    if (now / rules_.tREFI - refreshes_ > kPostponed)
        ddr4_fail("tREFI: at clock " + std::to_string(now) + " more than " + std::to_string(kPostponed) +
                  " refreshes are owed");
}
