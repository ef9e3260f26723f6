// $fatal and $stop: the message is printed already; leave at once and without a core file.
#include <unistd.h>

#include <cstdio>

#include "verilated.h"

// Called before the end; a flush callback may not close a waveform.
void (*before_stop)() = nullptr;

void vl_stop(const char*, int, const char*) VL_MT_UNSAFE {
    Verilated::runFlushCallbacks();
    if (before_stop) before_stop();
    fflush(stdout);
    _exit(1);
}
