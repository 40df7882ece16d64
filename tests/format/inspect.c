/*
 * Reads a segment that somebody else made, and changes nothing: ./inspect FILE
 *
 * Prints the header, who takes part and lives, and, for a Lock, who holds it. It knows samemap.h and the kernel only.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <samemap.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int lives(int file, uint32_t index) {
    struct flock question = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SAMEMAP_LOCK_OFFSET + index, .l_len = 1};
    if (fcntl(file, F_OFD_GETLK, &question) != 0)
        return -1;
    return question.l_type != F_UNLCK;
}

static int fail(const char *what) {
    perror(what);
    return 1;
}

int main(int count, char **arguments) {
    struct samemap_header header;
    struct stat found;
    if (count != 2)
        return fputs("usage: inspect FILE\n", stderr), 2;
    int file = open(arguments[1], O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &found) != 0)
        return fail(arguments[1]);
    if (pread(file, &header, sizeof header, 0) < 0)
        return fail("pread");
    const char *refused = samemap_refused(&header, (uint64_t)found.st_size);
    if (refused != NULL) {
        printf("refused %s\n", refused);
        return 3;
    }
    const char *base = mmap(NULL, header.size, PROT_READ, MAP_SHARED, file, 0);
    if (base == MAP_FAILED)
        return fail("mmap");
    printf("kind %" PRIu32 "\nid ", header.kind);
    for (int i = 0; i < 16; i++)
        printf("%02x", header.id[i]);
    printf("\nsize %" PRIu64 "\ncreator %" PRIu32 "\ncreated %" PRIu64 "\nbody %" PRIu64 "\n", header.size, header.creator,
           header.created, header.body);
    printf("schema %.*s\n", (int)header.schema_size, base + header.schema);
    const struct samemap_entry *roster = (const struct samemap_entry *)(base + header.roster);
    for (uint32_t i = 0; i < header.participants; i++) {
        uint32_t tag = samemap_participant(&roster[i], i);
        char command[65];
        if (tag == 0)
            continue;
        samemap_text(command, roster[i].command, 8);
        printf("participant %" PRIu32 " pid %" PRIu32 " %s waits %" PRIu32 " for %s\n", tag, roster[i].pid,
               lives(file, i) ? "lives" : "dead", samemap_load32(&roster[i].waiting), command);
    }
    if (header.kind == SAMEMAP_KIND_LOCK) {
        const struct samemap_lock *lock = (const struct samemap_lock *)(base + header.body);
        uint32_t word = samemap_load32(&lock->word);
        printf("holder %" PRIu32 " index %" PRId64 " epoch %" PRIu32 " waiters %d\n", samemap_tag(word),
               samemap_tag(word) ? (int64_t)samemap_tag_index(word) : -1, samemap_tag_epoch(word),
               (word & SAMEMAP_MARK) != 0);
    }
    return 0;
}
