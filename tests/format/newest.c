/*
 * Reads the newest messages of a topic, or values of a Latest, that somebody else made, and changes nothing:
 * ./newest FILE COUNT
 *
 * Prints where everything is, then so many messages: number, publisher, time, length and bytes of each, and in the end how
 * often one was gone before it was copied. It waits for nobody, and nobody waits for it. It knows samemap.h only.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <samemap.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *what) {
    perror(what);
    return 1;
}

static void print_arrangement(const struct samemap_arrangement *at) {
    printf("publishers %" PRIu64 "\nsubscribers %" PRIu64 "\nslots %" PRIu64 "\nring %" PRIu64 "\npayloads %" PRIu64
           "\nstride %" PRIu64 "\n",
           at->publishers_at, at->subscribers_at, at->slots_at, at->ring_at, at->payloads_at, at->stride);
}

int main(int count, char **arguments) {
    struct samemap_header header;
    struct samemap_arrangement at;
    struct samemap_message message;
    struct stat found;
    if (count != 3)
        return fputs("usage: newest FILE COUNT\n", stderr), 2;
    int file = open(arguments[1], O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &found) != 0)
        return fail(arguments[1]);
    if (pread(file, &header, sizeof header, 0) < 0)
        return fail("pread");
    const char *refused = samemap_refused(&header, (uint64_t)found.st_size);
    if (refused == NULL && header.kind != SAMEMAP_KIND_TOPIC && header.kind != SAMEMAP_KIND_LATEST)
        refused = "kind";
    const char *base = refused == NULL ? mmap(NULL, header.size, PROT_READ, MAP_SHARED, file, 0) : NULL;
    if (base == MAP_FAILED)
        return fail("mmap");
    if (refused == NULL && !samemap_arrange(&at, &header, base + header.body))
        refused = "shape";
    if (refused != NULL) {
        printf("refused %s\n", refused);
        return 3;
    }
    print_arrangement(&at);
    char *copy = malloc(at.slot_size + 1);
    if (copy == NULL)
        return fail("malloc");
    uint64_t last = 0, gone = 0;
    for (long left = strtol(arguments[2], NULL, 10); left > 0;) {
        uint64_t newest = samemap_newest(&at, base + header.body);
        if (newest == last) {
            sched_yield();
            continue;
        }
        int is_there = samemap_find(&message, &at, base + header.body, newest);
        if (is_there < 0)
            return fputs("a message is longer than its slot\n", stderr), 1;
        if (!is_there || !samemap_copy(copy, &message)) {
            gone++;
            continue;
        }
        printf("message %" PRIu64 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %.*s\n", message.number, message.publisher,
               message.published, message.length, (int)message.length, copy);
        last = newest;
        left--;
    }
    printf("gone %" PRIu64 "\n", gone);
    free(copy);
    return 0;
}
