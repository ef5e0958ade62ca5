/* Writes to address 8: SIGSEGV, si_code 1 (SEGV_MAPERR), si_addr 8, three named frames deep. */
#include "victim.h"

__attribute__((noinline)) static void poke(volatile int *where) { *where = 42; }

__attribute__((noinline)) static void outer(volatile int *where) {
    poke(where);
    say("unreachable");
}

int main(void) {
    say("ready tid=%ld", own_tid());
    next_line();
    outer((volatile int *)8);
}
