/* Answers questions through memory behind a descriptor that it inherits over exec.
 *
 *   inherited FD ROUNDS
 *
 * Bytes 0-3: the question, an int. Bytes 4-7: the answer, its square. Bytes 8-11: whose turn it is, the word to sleep
 * on: even for the asker, odd for us. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct shared {
    int question;
    int answer;
    _Atomic uint32_t turn;
};

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: inherited FD ROUNDS\n");
        return 2;
    }
    int fd = atoi(argv[1]);
    uint32_t rounds = (uint32_t)atoi(argv[2]);
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    close(fd);

    for (uint32_t round = 0; round < rounds; round++) {
        /* FUTEX_WAIT without FUTEX_PRIVATE_FLAG: the asker is another process. */
        while (atomic_load(&shared->turn) != 2 * round + 1) {
            long slept = syscall(SYS_futex, &shared->turn, FUTEX_WAIT, 2 * round, NULL, NULL, 0);
            if (slept < 0 && errno != EAGAIN && errno != EINTR) {
                perror("FUTEX_WAIT");
                return 1;
            }
        }
        shared->answer = shared->question * shared->question;
        atomic_store(&shared->turn, 2 * round + 2);
        if (syscall(SYS_futex, &shared->turn, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) < 0) {
            perror("FUTEX_WAKE");
            return 1;
        }
    }
    return 0;
}
