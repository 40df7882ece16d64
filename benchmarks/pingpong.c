/* The physical limit of the bell: the same futex ping-pong in C, between two pinned processes.
 *
 *   pingpong FILE ROUNDS FIRST_CPU SECOND_CPU WORK
 *
 * Each side works (turns in circles) for WORK nanoseconds before it answers; longer than any spin, so that the other
 * sleeps. Prints the nanoseconds of each round trip, one a line. The words are at offsets 0 and 64, as in bell.py. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        perror("sched_setaffinity");
        exit(1);
    }
}

static void ring(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void wait_for(_Atomic uint32_t *word, uint32_t wanted)
{
    uint32_t seen;
    while ((seen = atomic_load(word)) != wanted)
        syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void work(int64_t nanoseconds)
{
    if (nanoseconds == 0)
        return;
    for (int64_t end = now() + nanoseconds; now() < end;)
        ;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: pingpong FILE ROUNDS FIRST_CPU SECOND_CPU WORK\n");
        return 2;
    }
    uint32_t rounds = (uint32_t)atoi(argv[2]);
    int64_t nanoseconds = atoll(argv[5]);
    int fd = open(argv[1], O_RDWR);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    _Atomic uint32_t *ping = (void *)memory, *pong = (void *)(memory + 64);
    atomic_store(ping, 0);
    atomic_store(pong, 0);

    pid_t child = fork();
    if (child == 0) {
        pin(atoi(argv[4]));
        for (uint32_t i = 1; i <= rounds; i++) {
            wait_for(ping, i);
            work(nanoseconds);
            atomic_store(pong, i);
            ring(pong);
        }
        _exit(0);
    }
    pin(atoi(argv[3]));
    int64_t *took = calloc(rounds, sizeof *took);
    for (uint32_t i = 1; i <= rounds; i++) {
        int64_t start = now();
        work(nanoseconds);
        atomic_store(ping, i);
        ring(ping);
        wait_for(pong, i);
        took[i - 1] = now() - start;
    }
    waitpid(child, NULL, 0);
    for (uint32_t i = 0; i < rounds; i++)
        printf("%lld\n", (long long)took[i]);
    return 0;
}
