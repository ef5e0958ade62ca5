/* A heap of argv[1] MiB (256 if not given) of which only parts were ever touched, then SIGSEGV: the core has holes, written zeros, text, pointers and noise. */
#include "victim.h"
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

/* Above any file system's block, so that an untouched run becomes a hole wherever the core is written. */
enum { RUN = 64 * 1024 };

static uint64_t noise_state = 88172645463325252ULL;

static uint64_t noise(void) {
    noise_state ^= noise_state << 13;
    noise_state ^= noise_state >> 7;
    noise_state ^= noise_state << 17;
    return noise_state;
}

static void fill(unsigned char *run, size_t number) {
    switch (number % 8) {
    case 0:
    case 1:
    case 2:
        return; /* never touched: a hole */
    case 3:
        memset(run, 1, RUN);
        memset(run, 0, RUN); /* touched, and zero again: zeros that are written, no hole */
        return;
    case 4:
    case 5:
        for (size_t at = 0; at < RUN; at += sizeof(uint64_t)) {
            uint64_t value = noise();
            memcpy(run + at, &value, sizeof value);
        }
        return;
    case 6:
        for (size_t at = 0; at + 64 <= RUN; at += 64)
            snprintf((char *)run + at, 64, "order %zu of customer %zu: state=shipped", number * 1024 + at / 64, at);
        return;
    default:
        for (size_t at = 0; at < RUN; at += sizeof(uint64_t)) {
            uint64_t value = (uint64_t)(uintptr_t)run + at / 2;
            memcpy(run + at, &value, sizeof value);
        }
    }
}

int main(int count, char **arguments) {
    size_t mebibytes = count > 1 ? strtoul(arguments[1], NULL, 10) : 256;
    size_t bytes = mebibytes << 20;
    unsigned char *heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (heap == MAP_FAILED)
        fail("mmap");
    /* One touched byte would populate 2 MiB and leave no hole. Not an error where the kernel has no huge pages. */
    madvise(heap, bytes, MADV_NOHUGEPAGE);
    for (size_t number = 0; number < bytes / RUN; number++)
        fill(heap + number * RUN, number);
    say("ready tid=%ld heap=%p bytes=%zu", own_tid(), (void *)heap, bytes);
    next_line();
    *(volatile int *)8 = 42;
}
