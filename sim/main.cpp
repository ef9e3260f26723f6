// Simulator main for top.sv under cocotb: as cocotb's verilator.cpp, but the clock is driven here, so neither
// Python nor a timed VPI callback runs while the machine does. Measured on the copier of tests/sim, cycles per
// second of processor time: 2.1 M so, 1.3 M with an SV clock under --timing, 0.55 M with cocotb's GPI clock.
// One time step is half a clock period.
//
// A build with --trace-fst writes a window of cycles (sim/waves.py) to a waveform file.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "Vtop.h"
#include "verilated.h"
#include "verilated_vpi.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

static vluint64_t now = 0;
double sc_time_stamp() { return static_cast<double>(now); }

extern "C" void vlog_startup_routines_bootstrap(void);

static void settle() {
    while (VerilatedVpi::callValueCbs()) {}
}

// SIGTERM leaves the loop, so that files are whole; the session sends it after an error.
static volatile sig_atomic_t stopped = 0;
static void stop(int) { stopped = 1; }

#if VM_TRACE_FST
extern void (*before_stop)();

// +wave=FILE +wave_part=FILE +wave_from=N +wave_to=N; not written without them.
class Wave {
public:
    explicit Wave(Vtop& top) : top_(top), path_(argument("wave=")), part_(argument("wave_part=")) {
        if (path_.empty()) return;
        from_ = std::strtoull(argument("wave_from=").c_str(), nullptr, 10);
        to_ = std::strtoull(argument("wave_to=").c_str(), nullptr, 10);
        file_ = std::make_unique<VerilatedFstC>();
        file_->set_time_unit("1ns");
        file_->set_time_resolution("1ns");
        top.trace(file_.get(), 99);
        one_ = this;
        before_stop = [] { one_->close(); };
    }
    // After each half of a clock cycle.
    void half() {
        if (!file_ || !top_.running) return;
        const uint64_t cycle = top_.run_cycle;
        if (cycle >= to_) return close();
        if (cycle < from_) return;
        if (!open_) file_->open(part_.c_str());
        open_ = true;
        file_->dump(10 * cycle + (top_.clk ? 0 : 5));
    }
    // The file is whole; nothing is written after.
    void close() {
        if (open_) {
            file_->close();
            if (std::rename(part_.c_str(), path_.c_str()) != 0)
                fprintf(stderr, "waveform: cannot rename %s\n", part_.c_str());
        }
        open_ = false;
        file_.reset();
    }

private:
    static std::string argument(const char* name) {
        const char* found = Verilated::commandArgsPlusMatch(name);
        return *found ? found + 1 + std::strlen(name) : "";
    }
    static inline Wave* one_ = nullptr;
    Vtop& top_;
    const std::string path_, part_;
    std::unique_ptr<VerilatedFstC> file_;
    uint64_t from_ = 0, to_ = 0;
    bool open_ = false;
};
#else
class Wave {
public:
    explicit Wave(Vtop&) {}
    void half() {}
    void close() {}
};
#endif

// Evaluates until nothing that a callback wrote is left to take effect.
static void evaluate(Vtop& top) {
    do {
        do {
            top.eval_step();
            VerilatedVpi::clearEvalNeeded();
            VerilatedVpi::doInertialPuts();
            settle();
        } while (VerilatedVpi::evalNeeded());
        VerilatedVpi::callCbs(cbReadWriteSynch);
        VerilatedVpi::doInertialPuts();
        settle();
    } while (VerilatedVpi::evalNeeded());
    top.eval_end_step();
    VerilatedVpi::callCbs(cbReadOnlySynch);
}

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    Verilated::traceEverOn(VM_TRACE);
    const auto top = std::make_unique<Vtop>("");
    Wave wave(*top);
    std::signal(SIGTERM, stop);
    Verilated::fatalOnVpiError(false);  // as cocotb's main: cocotb probes for objects that may be absent
    vlog_startup_routines_bootstrap();
    VerilatedVpi::callCbs(cbStartOfSimulation);
    settle();
    evaluate(*top);
    while (!Verilated::gotFinish() && !stopped) {
        ++now;
        top->clk = !top->clk;
        VerilatedVpi::callCbs(cbNextSimTime);
        VerilatedVpi::callTimedCbs();
        settle();
        evaluate(*top);
        wave.half();
    }
    wave.close();
    top->final();
    VerilatedVpi::callCbs(cbEndOfSimulation);
    return Verilated::threadContextp()->errorCount() > 0;
}
