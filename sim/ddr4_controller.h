// Controller of one DDR4 rank: open page, first ready first come first served (Rixner et al., ISCA 2000) inside a
// window of blocks, reads before writes, writes drained in batches. At most one command a clock.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "ddr4_checker.h"
#include "ddr4_rules.h"

// Blocks; clocks for idle_clocks.
struct Policy {
    int read_queue = 64, write_queue = 64;
    int drain_at = 48, drain_to = 8;    // a batch of writes begins at so many, and ends
    int idle_clocks = 32;               // without a read, after which writes go
    int refresh_batch = 1;              // refreshes given together
};

struct Statistics {
    int64_t clocks = 0, activates = 0, precharges = 0, reads = 0, writes = 0, refreshes = 0, turns = 0;
};

class Controller {
public:
    Controller(const Rules& rules, const Shape& shape, const Policy& policy, Checker& checker);

    bool read_room() const { return static_cast<int>(answers_.size()) < policy_.read_queue; }
    int writes_waiting() const { return static_cast<int>(writes_.size()); }
    // Blocks in the order of the AXI channels; `beats` of the read block are wanted.
    void read(uint32_t block, int beats);
    void write(uint32_t block);
    // The next clock.
    void clock();
    // The beats of the oldest read block are here.
    bool ready() const { return !answers_.empty() && answers_.front().done <= now_; }
    void take();
    // Since the last call: data moved, the bus turned or a refresh ran.
    bool was_busy();
    const Statistics& statistics() const { return counts_; }

private:
    static constexpr int64_t kNever = INT64_MAX / 2;
    struct Request {
        Place place;
        uint32_t block;
        int64_t number;     // counts requests of both kinds
        int64_t after;      // number of the write that must go first, or -1
    };
    struct Answer {
        int64_t number, asked, done;
        int beats;
    };
    struct Bank {
        int row = -1;
        int64_t activate = 0, column = 0, precharge = 0;    // earliest clock of each
    };
    struct Group {
        int64_t activate = 0, column[2] = {0, 0};           // [write]
    };

    void choose_direction();
    void refresh();
    bool schedule(std::vector<Request>& queue, bool write);
    bool blocked(const Request& request) const;
    void column(std::vector<Request>& queue, size_t index, bool write);
    void activate(const Place& place);
    void precharge(int bank);

    const Rules rules_;
    const Shape shape_;
    const Policy policy_;
    Checker& checker_;
    Statistics counts_;
    std::vector<Request> reads_, writes_;       // waiting, oldest first
    std::deque<Answer> answers_;                // every read that was not wholly taken, oldest first
    std::vector<Bank> banks_;
    std::vector<Group> groups_;
    std::deque<int64_t> activates_;             // the last four, oldest first
    int64_t now_ = 0, wake_ = 0, number_ = 0;   // nothing can happen before wake_
    int64_t refresh_due_, refresh_at_ = 0;
    int64_t read_idle_ = 0, dependent_ = -1;    // since when no read waits; newest write that a read waits for
    int64_t busy_until_ = 0, busy_seen_ = 0;
    int owed_ = 0;
    bool writing_ = false, draining_ = false, refreshing_ = false;
};
