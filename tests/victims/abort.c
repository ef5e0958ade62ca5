/* Calls abort(): SIGABRT, si_code -6 (SI_TKILL) from its own pid. */
#include "victim.h"

int main(void) {
    say("ready tid=%ld", own_tid());
    next_line();
    abort();
}
