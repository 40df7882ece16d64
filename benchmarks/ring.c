// A plain ring between one writer and one reader, in memory that two processes share: what a message of 64 bytes costs
// at least. Usage: ring COUNT CPU CPU; prints nanoseconds for each message.
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 1024, SIZE = 64 };

struct ring {
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) unsigned char slot[SLOTS][SIZE];
};

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    uint64_t count = strtoull(argv[1], NULL, 10);
    struct ring *ring = mmap(NULL, sizeof *ring, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED)
        return 1;
    unsigned char message[SIZE];
    pid_t child = fork();
    if (child == 0) {
        pin(atoi(argv[3]));
        for (uint64_t next = 0; next < count; next++) {
            while (atomic_load_explicit(&ring->head, memory_order_acquire) == next)
                ;
            memcpy(message, ring->slot[next % SLOTS], SIZE);
            uint64_t number;
            memcpy(&number, message, sizeof number);
            if (number != next)
                _exit(1);
            atomic_store_explicit(&ring->tail, next + 1, memory_order_release);
        }
        _exit(0);
    }
    pin(atoi(argv[2]));
    memset(message, 0, SIZE);
    double begun = now();
    for (uint64_t next = 0; next < count; next++) {
        while (next - atomic_load_explicit(&ring->tail, memory_order_acquire) == SLOTS)
            ;
        memcpy(message, &next, sizeof next);
        memcpy(ring->slot[next % SLOTS], message, SIZE);
        atomic_store_explicit(&ring->head, next + 1, memory_order_release);
    }
    int status;
    waitpid(child, &status, 0);
    printf("%.3f\n", (now() - begun) / count);
    return status != 0;
}
