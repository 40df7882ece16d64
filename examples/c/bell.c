/* A C program that takes part in the bell. It needs nothing but libc.
 *
 *   gcc -O2 -o /tmp/bell examples/c/bell.c && python examples/bell.py /tmp/bell
 *
 * Usage: bell FILE ROUNDS. For each number that appears in `ping`, it stores the same number in `pong`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A futex word is any 32-bit integer at a multiple of 4. The kernel knows it by file and offset, not by address, so
 * each process may map the file wherever it likes. There is nothing to initialise: the word is your own data, and the
 * kernel keeps a queue of sleepers only while there are some. */
struct shared {
    _Alignas(64) _Atomic uint32_t ping;
    _Alignas(64) _Atomic uint32_t pong;
};

/* Sleeps while *word is `seen`. No FUTEX_PRIVATE_FLAG: with it, the kernel would look for sleepers and wakers in this
 * process only, and Python would never be found. */
static void sleep_while(_Atomic uint32_t *word, uint32_t seen)
{
    /* The kernel compares once more before it sleeps, so a change just before the call is not slept over: EAGAIN. */
    if (syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0) < 0 && errno != EAGAIN && errno != EINTR) {
        perror("FUTEX_WAIT");
        exit(1);
    }
}

static void ring(_Atomic uint32_t *word)
{
    if (syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) < 0) {
        perror("FUTEX_WAKE");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bell FILE ROUNDS\n");
        return 2;
    }
    int fd = open(argv[1], O_RDWR);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    close(fd);

    uint32_t last = (uint32_t)strtoul(argv[2], NULL, 10);
    for (uint32_t seen = 0; seen != last;) {
        /* In a loop, because a sleeper may wake without a change: the word decides, the bell only says "look again". */
        uint32_t now = atomic_load(&shared->ping);
        if (now == seen) {
            sleep_while(&shared->ping, seen);
            continue;
        }
        seen = now;
        /* First the word, then the bell: whoever wakes must find the news. */
        atomic_store(&shared->pong, seen);
        ring(&shared->pong);
    }
    return 0;
}
