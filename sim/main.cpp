// Simulator main for top.sv under cocotb: as cocotb's verilator.cpp, but the clock is driven here, so neither
// Python nor a timed VPI callback runs while the machine does. Measured on the copier of tests/sim, cycles per
// second of processor time: 2.1 M so, 1.3 M with an SV clock under --timing, 0.55 M with cocotb's GPI clock.
// One time step is half a clock period.
#include <algorithm>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#include "verilated_vpi.h"

static vluint64_t now = 0;
double sc_time_stamp() { return static_cast<double>(now); }

extern "C" void vlog_startup_routines_bootstrap(void);

static void settle() {
    while (VerilatedVpi::callValueCbs()) {}
}

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
    const auto top = std::make_unique<Vtop>("");
    Verilated::fatalOnVpiError(false);  // as cocotb's main: cocotb probes for objects that may be absent
    vlog_startup_routines_bootstrap();
    VerilatedVpi::callCbs(cbStartOfSimulation);
    settle();
    evaluate(*top);
    while (!Verilated::gotFinish()) {
        ++now;
        top->clk = !top->clk;
        VerilatedVpi::callCbs(cbNextSimTime);
        VerilatedVpi::callTimedCbs();
        settle();
        evaluate(*top);
    }
    top->final();
    VerilatedVpi::callCbs(cbEndOfSimulation);
    return Verilated::threadContextp()->errorCount() > 0;
}
