// The board's top in Verilator with its SDRAM chip; its UART is a file descriptor (a pseudo-terminal of sim.board).
//
// Arguments: fd=N divisor=N seed=N, then corrupt=N (one byte in N, both ways; 0: none), skew=X (bit time of the
// host's UART, 1 is right), cut_after=N cut_for=S (after N bytes from the host nothing passes for S seconds),
// and the chip's rules. Standard input: lines "cut", "restore", "corrupt N", "quit". The end of the input ends it.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>

#include "Vtop.h"
#include "sdram_chip.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }
void vl_stop(const char* file, int line, const char* message) {
    std::printf("%s:%d: %s\n", file, line, message);
    std::fflush(stdout);
    std::_Exit(1);
}
static void stop(const char* message) {
    std::printf("%s\n", message);
    std::fflush(stdout);
    std::_Exit(1);
}
static double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Options {
    int fd = -1, divisor = 4;
    uint64_t seed = 1, corrupt = 0, cut_after = 0;
    double skew = 1, cut_for = 0;
};

// What a cable does to bytes.
class Cable {
public:
    explicit Cable(const Options& options) : options_(options), random_(options.seed * 1099511628211u + 14695981039346656037ull) {}
    void corrupt(uint64_t n) { options_.corrupt = n; }
    void cut(bool now) { cut_ = now; }
    // Whether the byte arrives; it may have changed.
    bool carries(uint8_t& byte, bool from_host) {
        passed_ += from_host;
        if (options_.cut_after && passed_ == options_.cut_after && from_host) until_ = seconds() + options_.cut_for;
        if (cut_ || (until_ > 0 && seconds() < until_)) return false;
        if (options_.corrupt && draw(options_.corrupt) == 0) byte ^= static_cast<uint8_t>(1 + draw(255)), ++changed;
        return true;
    }
    uint64_t changed = 0;

private:
    uint64_t draw(uint64_t n) {
        random_ ^= random_ << 13, random_ ^= random_ >> 7, random_ ^= random_ << 17;
        return (random_ >> 11) % n;
    }
    Options options_;
    uint64_t random_, passed_ = 0;
    double until_ = 0;
    bool cut_ = false;
};

// The host's UART: bytes of the descriptor to bits and back.
class Uart {
public:
    Uart(const Options& options, Cable& cable) : fd_(options.fd), bit_(options.divisor * options.skew), cable_(cable) {
        fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
    }
    bool idle() const { return in_.empty() && left_ == 0 && state_ < 0 && out_.empty(); }
    void exchange() {
        uint8_t buffer[4096];
        if (in_.size() < sizeof buffer) {
            const ssize_t n = read(fd_, buffer, sizeof buffer);
            for (ssize_t i = 0; i < n; ++i)
                if (cable_.carries(buffer[i], true)) in_.push_back(buffer[i]);
        }
        if (!out_.empty()) {
            const ssize_t n = write(fd_, out_.data(), out_.size());
            if (n > 0) out_.erase(0, n);
        }
    }
    void wait(int milliseconds) {
        pollfd both[2] = {{fd_, POLLIN, 0}, {0, POLLIN, 0}};
        poll(both, 2, milliseconds);
    }
    // One clock: the board's tx in, its rx out.
    bool clock(bool tx) {
        receive(tx);
        if (left_ == 0) {
            if (in_.empty()) return true;
            shift_ = in_.front() << 1 | 0x200;
            in_.pop_front();
            left_ = 10, time_ = bit_;
        }
        const bool level = shift_ & 1;
        if ((time_ -= 1) < 0.5) time_ += bit_, shift_ >>= 1, --left_;
        return level;
    }

private:
    void receive(bool tx) {
        if (state_ < 0) {
            if (!tx) state_ = 0, wait_ = bit_ * 1.5, byte_ = 0;
            return;
        }
        if ((wait_ -= 1) >= 0.5) return;
        wait_ += bit_;
        if (state_++ < 8) {
            byte_ = byte_ >> 1 | tx << 7;
            return;
        }
        state_ = -1;
        uint8_t byte = byte_;
        if (!tx) stop("UART: the board sent no stop bit");
        if (cable_.carries(byte, false)) out_.push_back(static_cast<char>(byte));
    }
    const int fd_;
    const double bit_;
    Cable& cable_;
    std::deque<uint8_t> in_;
    std::string out_;
    int left_ = 0, shift_ = 0, state_ = -1;
    double time_ = 0, wait_ = 0;
    int byte_ = 0;
};

int main(int argc, char** argv) {
    Options options;
    SdramRules rules;
    for (int i = 1; i < argc; ++i) {
        const std::string text = argv[i], name = text.substr(0, text.find('='));
        const char* value = argv[i] + name.size() + 1;
        if (name == "fd") options.fd = std::atoi(value);
        else if (name == "divisor") options.divisor = std::atoi(value);
        else if (name == "seed") options.seed = std::strtoull(value, nullptr, 10);
        else if (name == "corrupt") options.corrupt = std::strtoull(value, nullptr, 10);
        else if (name == "cut_after") options.cut_after = std::strtoull(value, nullptr, 10);
        else if (name == "cut_for") options.cut_for = std::atof(value);
        else if (name == "skew") options.skew = std::atof(value);
        else if (!rules.set(text)) stop(("board: no option " + text).c_str());
    }
    const auto top = std::make_unique<Vtop>("");
    SdramChip chip(rules, options.seed, stop);
    Cable cable(options);
    Uart uart(options, cable);
    fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
    std::string commands;
    double active = seconds();
    bool rx = true;
    uint16_t dq = 0;
    for (uint64_t now = 0;; ++now) {
        top->clk = 0, top->rst = now < 8, top->rx = rx, top->dq_i = dq;
        top->eval();
#if SDRAM
        SdramPinsIn pins;
        pins.cke = top->cke, pins.cs_n = top->cs_n, pins.ras_n = top->ras_n, pins.cas_n = top->cas_n;
        pins.we_n = top->we_n, pins.ba = top->ba, pins.a = top->a, pins.dqm = top->dqm;
        pins.driven = top->dq_oe, pins.dq = top->dq_o;
        if (now >= 8) dq = chip.clock(pins);
#endif
        const bool tx = top->tx;
        top->clk = 1;
        top->eval();
        rx = uart.clock(tx);
        if (now % 256 != 255) continue;
        uart.exchange();
        if (now % 65536 != 65535) continue;
        char buffer[256];
        const ssize_t n = read(0, buffer, sizeof buffer);
        if (n == 0) break;
        if (n > 0) commands.append(buffer, n);
        for (size_t end; (end = commands.find('\n')) != std::string::npos; commands.erase(0, end + 1)) {
            const std::string line = commands.substr(0, end);
            if (line == "cut" || line == "restore") cable.cut(line == "cut");
            else if (line.rfind("corrupt ", 0) == 0) cable.corrupt(std::strtoull(line.c_str() + 8, nullptr, 10));
            else if (line == "quit") goto done;
        }
        // Nobody has spoken for long: the machine has nothing to do, and others want the processor.
        if (!uart.idle()) active = seconds();
        else if (seconds() - active > 10) uart.wait(50);
    }
done:
    top->final();
    std::printf("bytes changed: %" PRIu64 "\n", cable.changed);
    return 0;
}
