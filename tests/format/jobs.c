/*
 * Lists the jobs of a queue, or the requests and replies of a service, that somebody else made, and changes nothing:
 * ./jobs FILE
 *
 * Prints where everything is, then the jobs in the order of their places: number, phase, attempt, holder, producer, lane,
 * flags, time, length and bytes of each; who serves; and in the end how many wait. It knows samemap.h only.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <samemap.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *what) {
    perror(what);
    return 1;
}

static void print_storage(const struct samemap_storage *at) {
    printf("lanes %" PRIu64 "\nworkers %" PRIu64 "\njobs %" PRIu64 "\nwords %" PRIu64 "\nblocks %" PRIu64 "\ncells %" PRIu64
           "\nheap %" PRIu64 "\n",
           at->lanes_at, at->workers_at, at->jobs_at, at->words_at, at->blocks_at, at->cells_at, at->heap_at);
}

/* The kernel tells of any one lock in the range: the others are on either side of it. */
static int print_servers(int file, int64_t start, int64_t end) {
    struct flock question = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = end - start};
    if (start >= end)
        return 0;
    if (fcntl(file, F_OFD_GETLK, &question) != 0)
        return -1;
    if (question.l_type == F_UNLCK || question.l_start < start || question.l_start >= end)
        return 0;
    printf("server %" PRId64 "\n", question.l_start - SAMEMAP_SERVER_OFFSET);
    if (print_servers(file, start, question.l_start) != 0)
        return -1;
    return print_servers(file, question.l_start + 1, end);
}

static int print_job(const struct samemap_storage *at, const void *body, uint32_t place) {
    static const char *const phases[] = {"free", "filling", "ready", "leased", "held", "dead"};
    struct samemap_found_job found;
    int is_there = samemap_find_job(&found, at, body, place);
    if (is_there <= 0)
        return is_there;
    /* What waits is ready, whatever its state still says. */
    int waits = found.phase == SAMEMAP_PHASE_FILLING && found.number != 0;
    char *copy = found.payload == NULL ? NULL : malloc(found.length + 1);
    /* One that is done meanwhile is none of those that are listed. */
    if (found.payload == NULL || (copy != NULL && samemap_copy_job(copy, &found)))
        printf("job %" PRIu64 " %s %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %.*s\n",
               found.number, phases[waits ? SAMEMAP_PHASE_READY : found.phase], samemap_attempt(found.state),
               waits ? 0 : found.holder, found.origin, found.lane,
               found.flags, found.put, found.length, copy == NULL ? 0 : (int)found.length, copy == NULL ? "" : copy);
    free(copy);
    return 0;
}

int main(int count, char **arguments) {
    struct samemap_header header;
    struct samemap_storage at;
    struct stat status;
    if (count != 2)
        return fputs("usage: jobs FILE\n", stderr), 2;
    int file = open(arguments[1], O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0)
        return fail(arguments[1]);
    if (pread(file, &header, sizeof header, 0) < 0)
        return fail("pread");
    const char *refused = samemap_refused(&header, (uint64_t)status.st_size);
    if (refused == NULL && header.kind != SAMEMAP_KIND_QUEUE && header.kind != SAMEMAP_KIND_SERVICE)
        refused = "kind";
    const char *base = refused == NULL ? mmap(NULL, header.size, PROT_READ, MAP_SHARED, file, 0) : NULL;
    if (base == MAP_FAILED)
        return fail("mmap");
    if (refused == NULL && !samemap_store(&at, &header, base + header.body))
        refused = "shape";
    if (refused != NULL) {
        printf("refused %s\n", refused);
        return 3;
    }
    print_storage(&at);
    for (uint32_t place = 0; place < at.jobs; place++)
        if (print_job(&at, base + header.body, place) < 0)
            return fputs("a message is not where it can be\n", stderr), 1;
    if (print_servers(file, SAMEMAP_SERVER_OFFSET, SAMEMAP_SERVER_OFFSET + SAMEMAP_MOST_PIDS) != 0)
        return fail("fcntl");
    printf("depth %" PRIu32 "\n", samemap_depth(&at, base + header.body));
    return 0;
}
