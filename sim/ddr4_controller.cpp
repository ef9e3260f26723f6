#include "ddr4_controller.h"

#include <algorithm>

Controller::Controller(const Rules& rules, const Shape& shape, const Policy& policy, Checker& checker)
    : rules_(rules),
      shape_(shape),
      policy_(policy),
      checker_(checker),
      banks_(static_cast<size_t>(shape.groups * shape.banks)),
      groups_(static_cast<size_t>(shape.groups)),
      refresh_due_(rules.tREFI) {}

void Controller::read(uint32_t block, int beats) {
    Request request{shape_.place(block), block, number_++, -1};
    for (const Request& write : writes_)
        if (write.block == block) request.after = write.number;
    dependent_ = std::max(dependent_, request.after);
    checker_.accepted(false, block, request.number);
    answers_.push_back({request.number, 0, kNever, beats});
    reads_.push_back(request);
    wake_ = now_;
}

void Controller::write(uint32_t block) {
    wake_ = now_;
    if (!writes_.empty() && writes_.back().block == block) return;  // joins the one before it
    writes_.push_back({shape_.place(block), block, number_++, -1});
    checker_.accepted(true, block, writes_.back().number);
}

void Controller::take() {
    Answer& oldest = answers_.front();
    checker_.data(oldest.asked, now_);
    if (--oldest.beats == 0) answers_.pop_front();
}

bool Controller::was_busy() {
    const bool busy = busy_until_ > busy_seen_;
    busy_seen_ = now_;
    return busy;
}

void Controller::clock() {
    ++now_;
    ++counts_.clocks;
    if (now_ >= refresh_due_) {
        ++owed_;
        refresh_due_ += rules_.tREFI;
        wake_ = now_;
    }
    if (now_ < wake_) return;
    wake_ = refresh_due_;
    checker_.time(now_);
    if (owed_ >= policy_.refresh_batch || (owed_ > 0 && reads_.empty() && writes_.empty())) refreshing_ = true;
    if (refreshing_) return refresh();
    choose_direction();
    std::vector<Request>& queue = draining_ ? writes_ : reads_;
    if (schedule(queue, draining_)) wake_ = now_ + 1;
}

// Writes go in batches: when enough wait, when a read waits for one, or when no read has come for a while.
void Controller::choose_direction() {
    if (!reads_.empty()) read_idle_ = now_;
    const int waiting = writes_waiting();
    const bool needed = waiting && writes_.front().number <= dependent_;
    const bool idle = waiting && now_ - read_idle_ >= policy_.idle_clocks;
    if (!draining_) draining_ = needed || idle || waiting >= policy_.drain_at;
    else if (waiting == 0 || (waiting <= policy_.drain_to && !reads_.empty() && !needed)) draining_ = false;
    if (!draining_ && waiting && reads_.empty()) wake_ = std::min(wake_, read_idle_ + policy_.idle_clocks);
}

bool Controller::blocked(const Request& request) const {
    if (request.after < 0) return false;
    for (const Request& write : writes_)
        if (write.number == request.after) return true;
    return false;
}

// One command for the oldest request that can have one: its column, else its row.
bool Controller::schedule(std::vector<Request>& queue, bool write) {
    uint32_t wanted = 0, claimed = 0;   // banks whose open row is wanted; banks of older requests
    for (size_t i = 0; i < queue.size(); ++i) {
        const Request& request = queue[i];
        const Bank& bank = banks_[request.place.bank];
        if (bank.row != request.place.row || blocked(request)) continue;
        const uint32_t bit = uint32_t{1} << request.place.bank;
        if (wanted & bit) continue;     // an older request of this row could not go either
        wanted |= bit;
        const int64_t at = std::max(bank.column, groups_[request.place.group].column[write]);
        if (at <= now_) {
            column(queue, i, write);
            return true;
        }
        wake_ = std::min(wake_, at);
    }
    const int64_t window = activates_.size() < 4 ? 0 : activates_.front() + rules_.tFAW;
    for (const Request& request : queue) {
        const uint32_t bit = uint32_t{1} << request.place.bank;
        if (claimed & bit) continue;
        claimed |= bit;
        if (wanted & bit) continue;
        const Bank& bank = banks_[request.place.bank];
        if (bank.row == request.place.row) continue;    // open for a request that waits for a write
        const bool open = bank.row >= 0;
        const int64_t at =
            open ? bank.precharge : std::max({bank.activate, groups_[request.place.group].activate, window});
        if (at <= now_) {
            if (open) precharge(request.place.bank);
            else activate(request.place);
            return true;
        }
        wake_ = std::min(wake_, at);
    }
    return false;
}

void Controller::column(std::vector<Request>& queue, size_t index, bool write) {
    const Request request = queue[index];
    queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(index));
    checker_.command(write ? Command::kWrite : Command::kRead, now_, request.place.bank, request.place.row);
    checker_.served(write, request.block, request.number);
    if (write != writing_) ++counts_.turns;
    writing_ = write;
    Bank& bank = banks_[request.place.bank];
    const int moved = (write ? rules_.tCWL : rules_.tCL) + kBurst;
    busy_until_ = now_ + moved;
    for (int i = 0; i < shape_.groups; ++i) {
        const bool same = i == request.place.group;
        Group& group = groups_[i];
        const int other = write ? moved + (same ? rules_.tWTR_L : rules_.tWTR_S) : moved + kBubble - rules_.tCWL;
        int64_t& again = group.column[write];
        int64_t& turned = group.column[!write];
        again = std::max(again, now_ + (same ? rules_.tCCD_L : rules_.tCCD_S));
        turned = std::max(turned, now_ + other);
    }
    if (write) {
        ++counts_.writes;
        bank.precharge = std::max(bank.precharge, now_ + moved + rules_.tWR);
        return;
    }
    ++counts_.reads;
    bank.precharge = std::max(bank.precharge, now_ + rules_.tRTP);
    Answer& answer = *std::lower_bound(answers_.begin(), answers_.end(), request.number,
                                       [](const Answer& left, int64_t right) { return left.number < right; });
    answer.asked = now_;
    answer.done = now_ + moved;
}

void Controller::activate(const Place& place) {
    checker_.command(Command::kActivate, now_, place.bank, place.row);
    ++counts_.activates;
    Bank& bank = banks_[place.bank];
    bank.row = place.row;
    bank.column = now_ + rules_.tRCD;
    bank.precharge = now_ + rules_.tRAS;
    bank.activate = now_ + rules_.tRC;
    for (int i = 0; i < shape_.groups; ++i) {
        int64_t& next = groups_[i].activate;
        next = std::max(next, now_ + (i == place.group ? rules_.tRRD_L : rules_.tRRD_S));
    }
    activates_.push_back(now_);
    if (activates_.size() > 4) activates_.pop_front();
}

void Controller::precharge(int number) {
    checker_.command(Command::kPrecharge, now_, number);
    ++counts_.precharges;
    Bank& bank = banks_[number];
    bank.row = -1;
    bank.activate = std::max(bank.activate, now_ + rules_.tRP);
    refresh_at_ = std::max(refresh_at_, now_ + rules_.tRP);
}

// Close all banks together, then one REF for each that is owed.
void Controller::refresh() {
    bool open = false;
    int64_t at = refresh_at_;
    for (const Bank& bank : banks_)
        if (bank.row >= 0) {
            if (!open) at = 0;
            open = true;
            at = std::max(at, bank.precharge);
        }
    busy_until_ = now_ + 1;
    wake_ = std::max(now_ + 1, at);
    if (at > now_) return;
    if (open) {
        checker_.command(Command::kPrecharge, now_);
        ++counts_.precharges;
        for (Bank& bank : banks_) {
            bank.row = -1;
            bank.activate = std::max(bank.activate, now_ + rules_.tRP);
        }
        wake_ = refresh_at_ = now_ + rules_.tRP;
        return;
    }
    checker_.command(Command::kRefresh, now_);
    ++counts_.refreshes;
    --owed_;
    busy_until_ = wake_ = refresh_at_ = now_ + rules_.tRFC;
    for (Bank& bank : banks_) bank.activate = std::max(bank.activate, refresh_at_);
    refreshing_ = owed_ > 0;
}
