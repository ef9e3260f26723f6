// $fatal and $stop: the message is printed already; leave at once and without a core file.
#include <unistd.h>

#include <cstdio>

#include "verilated.h"

void vl_stop(const char*, int, const char*) VL_MT_UNSAFE {
    Verilated::runFlushCallbacks();
    fflush(stdout);
    _exit(1);
}
