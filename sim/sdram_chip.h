// A 16-bit SDR SDRAM chip that checks its controller: every command's time and order, the data bus, refresh.
// What breaks a rule is told to `fail`, with the clock and the rule's name, and does not come back.
//
// Rules are those of JEDEC standard 21-C, 3.11.5 as the data sheets of W9825G6KH and IS42S16160G state them.
// Bursts are of 2, sequential. Not modelled, so refused: auto-precharge, clock enable low, burst stop, bursts
// cut short by another command.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

// Times in ns.
struct SdramRules {
    double clock_ns = 12.5;
    int rows = 8192, columns = 512, cas_latency = 3, mode_clocks = 2, init_refreshes = 8;
    double t_rcd = 20, t_rp = 20, t_ras = 45, t_rc = 70, t_rrd = 15, t_wr = 20, t_rfc = 70, t_refi = 7812.5;
    double init_us = 200;
    // Intervals by which refresh may be late: 8 of them may be postponed.
    int postponed = 8;

    // From "name=value"; whether there is such a rule.
    bool set(const std::string& text) {
        const size_t at = text.find('=');
        if (at == std::string::npos) return false;
        const std::string name = text.substr(0, at);
        const double value = std::strtod(text.c_str() + at + 1, nullptr);
        const struct { const char* name; double* real; int* whole; } fields[] = {
            {"clock_ns", &clock_ns, nullptr}, {"t_rcd", &t_rcd, nullptr}, {"t_rp", &t_rp, nullptr},
            {"t_ras", &t_ras, nullptr}, {"t_rc", &t_rc, nullptr}, {"t_rrd", &t_rrd, nullptr},
            {"t_wr", &t_wr, nullptr}, {"t_rfc", &t_rfc, nullptr}, {"t_refi", &t_refi, nullptr},
            {"init_us", &init_us, nullptr}, {"rows", nullptr, &rows}, {"columns", nullptr, &columns},
            {"cas_latency", nullptr, &cas_latency}, {"mode_clocks", nullptr, &mode_clocks},
            {"init_refreshes", nullptr, &init_refreshes}, {"postponed", nullptr, &postponed}};
        for (const auto& field : fields)
            if (name == field.name) {
                if (field.real) *field.real = value;
                else *field.whole = static_cast<int>(value);
                return true;
            }
        return false;
    }
};

// Pins as the chip samples them at a rising edge of its clock.
struct SdramPinsIn {
    bool cke = true, cs_n = true, ras_n = true, cas_n = true, we_n = true;
    int ba = 0, a = 0, dqm = 3;
    bool driven = false;  // the controller drives dq
    uint16_t dq = 0;
};

class SdramChip {
public:
    using Fail = void (*)(const char* message);

    SdramChip(const SdramRules& rules, uint64_t seed, Fail fail)
        : rules_(rules), fail_(fail), random_(seed * 2654435761u + 88172645463325252ull),
          contents_(static_cast<size_t>(4) * rules.rows * rules.columns) {
        for (auto& word : contents_) word = static_cast<uint16_t>(draw());
    }

    // Word at bank, row, column order of the address map: column lowest, then bank, then row.
    std::vector<uint16_t>& contents() { return contents_; }
    uint64_t refreshes() const { return refreshes_; }

    // One rising edge. What dq shows until the next edge: noise unless the chip drives it.
    uint16_t clock(const SdramPinsIn& pins) {
        ++now_;
        if (!pins.cke) broken("CKE", "clock enable is low, which is not modelled");
        debt();
        bus(pins);
        const int command = pins.cs_n ? 7 : pins.ras_n << 2 | pins.cas_n << 1 | pins.we_n;
        if (command != 7) {
            if (now_ * rules_.clock_ns < rules_.init_us * 1000)
                broken("power-up", "a command %.1f us after power-up, wanted %.1f", now_ * rules_.clock_ns / 1000,
                       rules_.init_us);
        }
        second_word(pins, command);
        switch (command) {
            case 0: mode(pins); break;
            case 1: refresh(); break;
            case 2: precharge(pins); break;
            case 3: active(pins); break;
            case 4: write(pins); break;
            case 5: read(pins); break;
            case 6: broken("command", "BURST STOP, which is not modelled"); break;
            default: break;
        }
        masks_[1] = masks_[0];
        masks_[0] = pins.dqm;
        return output();
    }

private:
    struct Bank {
        bool open = false;
        int row = 0;
        int64_t active = kLong, precharge = kLong, written = kLong;
    };
    struct Output {
        bool valid = false;
        uint16_t word = 0;
        int bank = 0;
    };
    static constexpr int64_t kLong = -1000000;

    uint64_t draw() {
        random_ ^= random_ << 13, random_ ^= random_ >> 7, random_ ^= random_ << 17;
        return random_;
    }

    void broken(const char* rule, const char* format, ...) __attribute__((format(printf, 3, 4))) {
        char text[256], line[320];
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        std::snprintf(line, sizeof line, "SDRAM: %s: clock %lld: %s", rule, static_cast<long long>(now_), text);
        fail_(line);
        std::exit(1);
    }

    // `since` is the clock of an earlier event: is it at least so many ns ago?
    void after(const char* rule, int64_t since, double ns) {
        if ((now_ - since) * rules_.clock_ns + 1e-6 < ns)
            broken(rule, "%lld clocks (%.1f ns) after it began, wanted %.1f ns", static_cast<long long>(now_ - since),
                   (now_ - since) * rules_.clock_ns, ns);
    }

    void all_closed(const char* what) {
        for (int b = 0; b < 4; ++b)
            if (banks_[b].open) broken(what, "bank %d is open", b);
    }

    // Everything but NOP waits for REFRESH and MODE REGISTER SET.
    void settled() {
        after("tRFC", refreshed_, rules_.t_rfc);
        if (now_ - mode_set_ < rules_.mode_clocks) broken("tMRD", "a command too soon after MODE REGISTER SET");
    }

    void usable(const char* what) {
        settled();
        if (!mode_) broken("init", "%s before MODE REGISTER SET", what);
        if (refreshes_ < static_cast<uint64_t>(rules_.init_refreshes))
            broken("init", "%s after %llu REFRESHes, wanted %d", what, static_cast<unsigned long long>(refreshes_),
                   rules_.init_refreshes);
    }

    void mode(const SdramPinsIn& pins) {
        settled();
        if (!precharged_) broken("init", "MODE REGISTER SET before PRECHARGE of all banks");
        all_closed("mode");
        for (const auto& bank : banks_) after("tRP", bank.precharge, rules_.t_rp);
        const int latency = pins.a >> 4 & 7;
        if (pins.ba != 0 || (pins.a & ~0x70) != 1 || latency != rules_.cas_latency)
            broken("mode", "mode %#x, wanted a sequential burst of 2 and CAS latency %d", pins.a, rules_.cas_latency);
        if (latency == 2 && rules_.clock_ns < 10) broken("mode", "CAS latency 2 needs a clock of 10 ns or slower");
        mode_ = true;
        mode_set_ = now_;
        begin_debt();
    }

    void refresh() {
        settled();
        if (!precharged_) broken("init", "REFRESH before PRECHARGE of all banks");
        all_closed("refresh");
        for (const auto& bank : banks_) {
            after("tRP", bank.precharge, rules_.t_rp);
            after("tRC", bank.active, rules_.t_rc);
        }
        refreshed_ = now_;
        ++refreshes_;
        owed_ -= 1;
        if (owed_ < -rules_.postponed) owed_ = -rules_.postponed;
    }

    void precharge(const SdramPinsIn& pins) {
        settled();
        const bool all = pins.a >> 10 & 1;
        for (int b = 0; b < 4; ++b) {
            Bank& bank = banks_[b];
            if (!all && b != pins.ba) continue;
            for (int i = rules_.cas_latency - 1; i < kPipe; ++i)
                if (pipe_[i].valid && pipe_[i].bank == b) broken("burst", "PRECHARGE cuts a read burst of bank %d", b);
            if (bank.open) {
                after("tRAS", bank.active, rules_.t_ras);
                after("tWR", bank.written, rules_.t_wr);
                bank.precharge = now_;
            } else if (all) {
                bank.precharge = now_ > bank.precharge ? now_ : bank.precharge;
            }
            bank.open = false;
        }
        precharged_ |= all;
    }

    void active(const SdramPinsIn& pins) {
        usable("ACTIVE");
        Bank& bank = banks_[pins.ba];
        if (bank.open) broken("bank", "ACTIVE to bank %d, which is open", pins.ba);
        if (pins.a >= rules_.rows) broken("address", "row %d of %d", pins.a, rules_.rows);
        after("tRP", bank.precharge, rules_.t_rp);
        after("tRC", bank.active, rules_.t_rc);
        for (const auto& other : banks_) after("tRRD", other.active, rules_.t_rrd);
        bank.open = true;
        bank.row = pins.a;
        bank.active = now_;
    }

    // Address of a READ or WRITE.
    size_t access(const SdramPinsIn& pins, const char* what) {
        usable(what);
        const Bank& bank = banks_[pins.ba];
        if (!bank.open) broken("bank", "%s to bank %d, which is closed", what, pins.ba);
        after("tRCD", bank.active, rules_.t_rcd);
        if (pins.a >> 10 & 1) broken("command", "%s with auto-precharge, which is not modelled", what);
        const int column = pins.a & 0x3FF;
        if (column >= rules_.columns || column % 2) broken("address", "%s of column %d", what, column);
        return (static_cast<size_t>(bank.row) * 4 + pins.ba) * rules_.columns + column;
    }

    void read(const SdramPinsIn& pins) {
        const size_t at = access(pins, "READ");
        if (pipe_[rules_.cas_latency].valid || pipe_[rules_.cas_latency - 1].valid)
            broken("burst", "READ cuts a read burst short");
        for (int i = 0; i < 2; ++i)
            pipe_[rules_.cas_latency - 1 + i] = {true, contents_[at + i], pins.ba};
    }

    void write(const SdramPinsIn& pins) {
        const size_t at = access(pins, "WRITE");
        for (int i = 0; i < kPipe; ++i)
            if (pipe_[i].valid) broken("data bus", "WRITE while a read burst is under way");
        word(pins, at);
        write_at_ = at + 1;
        write_bank_ = pins.ba;
        writing_ = 1;
        banks_[pins.ba].written = now_;
    }

    // The second word of a WRITE goes on beside ACTIVE and PRECHARGE of other banks.
    void second_word(const SdramPinsIn& pins, int command) {
        if (writing_ == 0) return;
        if (command != 7 && command != 2 && command != 3) broken("burst", "a command cuts a write burst short");
        writing_ = 0;
        word(pins, write_at_);
        banks_[write_bank_].written = now_;
    }

    void word(const SdramPinsIn& pins, size_t at) {
        if (pins.dqm != 3 && !pins.driven) broken("data bus", "nobody drives the data of a WRITE");
        const uint16_t mask = (pins.dqm & 1 ? 0 : 0x00FF) | (pins.dqm & 2 ? 0 : 0xFF00);
        contents_[at] = (contents_[at] & ~mask) | (pins.dq & mask);
    }

    // Both sides on dq, or one directly after the other.
    void bus(const SdramPinsIn& pins) {
        if (pins.driven && shown_) broken("data bus", "chip and controller drive it at once");
        if (pins.driven && shown_before_) broken("data bus", "no clock to turn round between chip and controller");
    }

    // What is on dq after this edge. DQM counts two clocks later: it was sampled at the edge before.
    uint16_t output() {
        const Output out = pipe_[0];
        for (int i = 0; i + 1 < kPipe; ++i) pipe_[i] = pipe_[i + 1];
        pipe_[kPipe - 1] = {};
        shown_before_ = shown_;
        shown_ = out.valid && masks_[1] != 3;
        uint16_t word = static_cast<uint16_t>(draw());
        if (out.valid && !(masks_[1] & 1)) word = (word & 0xFF00) | (out.word & 0x00FF);
        if (out.valid && !(masks_[1] & 2)) word = (word & 0x00FF) | (out.word & 0xFF00);
        return word;
    }

    void begin_debt() { owed_ = 0, next_debt_ = now_ * rules_.clock_ns + rules_.t_refi; }
    void debt() {
        if (!mode_ || now_ * rules_.clock_ns < next_debt_) return;
        next_debt_ += rules_.t_refi;
        if (++owed_ > rules_.postponed) broken("tREFI", "%d REFRESHes are overdue, at most %d may be", owed_, rules_.postponed);
    }

    static constexpr int kPipe = 8;
    SdramRules rules_;
    Fail fail_;
    uint64_t random_;
    std::vector<uint16_t> contents_;
    Bank banks_[4];
    Output pipe_[kPipe];
    int masks_[2] = {3, 3}, writing_ = 0, write_bank_ = 0, owed_ = 0;
    size_t write_at_ = 0;
    bool mode_ = false, precharged_ = false, shown_ = false, shown_before_ = false;
    int64_t now_ = 0, refreshed_ = kLong, mode_set_ = kLong;
    double next_debt_ = 0;
    uint64_t refreshes_ = 0;
};
