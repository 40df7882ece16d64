/*
 * The format of a samemap segment, in C11 and C++11. docs/format.md says what each field means, who writes it and in which
 * order; tests/format/test_format.py holds the two together.
 *
 * A program may map a segment with PROT_READ and read all of it. To change anything it has to join the roster first: see
 * docs/format.md, "Who lives".
 */
#ifndef SAMEMAP_H
#define SAMEMAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define SAMEMAP_ASSERT(condition, text) static_assert(condition, text)
#define SAMEMAP_LINE alignas(64)
#else
#define SAMEMAP_ASSERT(condition, text) _Static_assert(condition, text)
#define SAMEMAP_LINE _Alignas(64)
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the numbers of a segment are little-endian, and those of this machine are not"
#endif

#define SAMEMAP_MAGIC UINT64_C(0x0270616d656d6173)
#define SAMEMAP_VERSION UINT32_C(1)
#define SAMEMAP_FEATURES UINT64_C(0)
#define SAMEMAP_FINGERPRINT UINT64_C(0xd107424166e36bed)
#define SAMEMAP_HEADER_SPACE 4096
#define SAMEMAP_LONGEST_SCHEMA 3968
#define SAMEMAP_MOST_PARTICIPANTS 1023
/* Participant i holds an exclusive open-file-description lock (F_OFD_SETLK) on byte SAMEMAP_LOCK_OFFSET + i. */
#define SAMEMAP_LOCK_OFFSET INT64_C(0x4000000000000000)

/* A tag: index + 1 in the low bits, then the epoch, then two bits that are no part of it. */
#define SAMEMAP_INDEX_BITS 10
#define SAMEMAP_EPOCH_BITS 20
#define SAMEMAP_MARK UINT32_C(0x80000000)
#define SAMEMAP_SECOND_MARK UINT32_C(0x40000000)
/* In the state of a roster entry: its owner takes part. */
#define SAMEMAP_PRESENT UINT32_C(0x80000000)
#define SAMEMAP_LEFT UINT32_C(0x40000000)

enum samemap_kind {
    SAMEMAP_KIND_LOCK = 1,
    SAMEMAP_KIND_RLOCK = 2,
    SAMEMAP_KIND_SEMAPHORE = 3,
    SAMEMAP_KIND_EVENT = 4,
    SAMEMAP_KIND_CONDITION = 5,
    SAMEMAP_KIND_BARRIER = 6,
    SAMEMAP_KIND_COUNTER = 7,
    SAMEMAP_KIND_READ_WRITE_LOCK = 8,
    SAMEMAP_KIND_NAMESPACE = 9
};

struct samemap_header {
    uint64_t magic;
    uint32_t version;
    uint32_t kind;
    uint64_t features;
    uint64_t fingerprint;
    uint8_t id[16];
    uint8_t boot[16];
    uint64_t size;
    uint64_t created;
    uint32_t creator;
    uint32_t participants;
    uint64_t roster;
    uint64_t body;
    uint64_t body_size;
    uint32_t schema;
    uint32_t schema_size;
    uint8_t reserved[8];
};

struct samemap_entry {
    SAMEMAP_LINE uint32_t state;
    uint32_t pid;
    uint64_t started;
    uint64_t joined;
    uint32_t user;
    uint32_t waiting;
    uint64_t waiting_on;
    uint64_t pid_namespace;
    uint64_t role[2];
    uint64_t command[8];
    uint32_t died_epoch;
    uint32_t died_pid;
    uint64_t died_noticed;
    uint64_t died_command[6];
};

struct samemap_bell {
    uint32_t rings;
    uint32_t listeners;
};

struct samemap_lock {
    SAMEMAP_LINE uint32_t word;
    uint32_t died;
    uint64_t since;
    uint32_t recoveries;
    uint32_t sleeps;
};

struct samemap_rlock {
    struct samemap_lock lock;
    uint64_t thread;
    uint32_t depth;
};

struct samemap_holding {
    SAMEMAP_LINE uint64_t held;
};

struct samemap_semaphore {
    struct samemap_lock guard;
    uint32_t limit;
    uint32_t initial;
    uint32_t bound;
    uint32_t keep;
    uint32_t extent;
    struct samemap_bell bell;
};

struct samemap_event {
    SAMEMAP_LINE uint32_t word;
};

struct samemap_waiter {
    SAMEMAP_LINE uint64_t ticket;
    uint32_t word;
};

struct samemap_condition {
    SAMEMAP_LINE uint64_t arrivals;
    uint32_t used;
};

struct samemap_barrier {
    SAMEMAP_LINE uint32_t phase;
    uint32_t parties;
    uint64_t endings;
    uint32_t died;
};

struct samemap_counter {
    SAMEMAP_LINE int64_t value;
    struct samemap_bell bell;
};

struct samemap_read_write_lock {
    struct samemap_lock lock;
    struct samemap_bell written;
    struct samemap_bell left;
    uint32_t extent;
    uint32_t draining;
    uint32_t owed;
};

struct samemap_directory {
    struct samemap_lock guard;
};

struct samemap_directory_entry {
    SAMEMAP_LINE uint32_t kind;
    uint32_t offset;
    uint32_t length;
    uint32_t reserved;
    uint64_t name[6];
};

/* Every structure (name, size, alignment) and every field (structure, name, offset, size), for a macro of each. */
#define SAMEMAP_LAYOUT(STRUCTURE, FIELD) \
    STRUCTURE(header, 128, 8) \
    FIELD(header, magic, 0, 8) \
    FIELD(header, version, 8, 4) \
    FIELD(header, kind, 12, 4) \
    FIELD(header, features, 16, 8) \
    FIELD(header, fingerprint, 24, 8) \
    FIELD(header, id, 32, 16) \
    FIELD(header, boot, 48, 16) \
    FIELD(header, size, 64, 8) \
    FIELD(header, created, 72, 8) \
    FIELD(header, creator, 80, 4) \
    FIELD(header, participants, 84, 4) \
    FIELD(header, roster, 88, 8) \
    FIELD(header, body, 96, 8) \
    FIELD(header, body_size, 104, 8) \
    FIELD(header, schema, 112, 4) \
    FIELD(header, schema_size, 116, 4) \
    FIELD(header, reserved, 120, 8) \
    STRUCTURE(entry, 192, 64) \
    FIELD(entry, state, 0, 4) \
    FIELD(entry, pid, 4, 4) \
    FIELD(entry, started, 8, 8) \
    FIELD(entry, joined, 16, 8) \
    FIELD(entry, user, 24, 4) \
    FIELD(entry, waiting, 28, 4) \
    FIELD(entry, waiting_on, 32, 8) \
    FIELD(entry, pid_namespace, 40, 8) \
    FIELD(entry, role, 48, 16) \
    FIELD(entry, command, 64, 64) \
    FIELD(entry, died_epoch, 128, 4) \
    FIELD(entry, died_pid, 132, 4) \
    FIELD(entry, died_noticed, 136, 8) \
    FIELD(entry, died_command, 144, 48) \
    STRUCTURE(bell, 8, 4) \
    FIELD(bell, rings, 0, 4) \
    FIELD(bell, listeners, 4, 4) \
    STRUCTURE(lock, 64, 64) \
    FIELD(lock, word, 0, 4) \
    FIELD(lock, died, 4, 4) \
    FIELD(lock, since, 8, 8) \
    FIELD(lock, recoveries, 16, 4) \
    FIELD(lock, sleeps, 20, 4) \
    STRUCTURE(rlock, 128, 64) \
    FIELD(rlock, lock, 0, 64) \
    FIELD(rlock, thread, 64, 8) \
    FIELD(rlock, depth, 72, 4) \
    STRUCTURE(holding, 64, 64) \
    FIELD(holding, held, 0, 8) \
    STRUCTURE(semaphore, 128, 64) \
    FIELD(semaphore, guard, 0, 64) \
    FIELD(semaphore, limit, 64, 4) \
    FIELD(semaphore, initial, 68, 4) \
    FIELD(semaphore, bound, 72, 4) \
    FIELD(semaphore, keep, 76, 4) \
    FIELD(semaphore, extent, 80, 4) \
    FIELD(semaphore, bell, 84, 8) \
    STRUCTURE(event, 64, 64) \
    FIELD(event, word, 0, 4) \
    STRUCTURE(waiter, 64, 64) \
    FIELD(waiter, ticket, 0, 8) \
    FIELD(waiter, word, 8, 4) \
    STRUCTURE(condition, 64, 64) \
    FIELD(condition, arrivals, 0, 8) \
    FIELD(condition, used, 8, 4) \
    STRUCTURE(barrier, 64, 64) \
    FIELD(barrier, phase, 0, 4) \
    FIELD(barrier, parties, 4, 4) \
    FIELD(barrier, endings, 8, 8) \
    FIELD(barrier, died, 16, 4) \
    STRUCTURE(counter, 64, 64) \
    FIELD(counter, value, 0, 8) \
    FIELD(counter, bell, 8, 8) \
    STRUCTURE(read_write_lock, 128, 64) \
    FIELD(read_write_lock, lock, 0, 64) \
    FIELD(read_write_lock, written, 64, 8) \
    FIELD(read_write_lock, left, 72, 8) \
    FIELD(read_write_lock, extent, 80, 4) \
    FIELD(read_write_lock, draining, 84, 4) \
    FIELD(read_write_lock, owed, 88, 4) \
    STRUCTURE(directory, 64, 64) \
    FIELD(directory, guard, 0, 64) \
    STRUCTURE(directory_entry, 64, 64) \
    FIELD(directory_entry, kind, 0, 4) \
    FIELD(directory_entry, offset, 4, 4) \
    FIELD(directory_entry, length, 8, 4) \
    FIELD(directory_entry, reserved, 12, 4) \
    FIELD(directory_entry, name, 16, 48)

#ifdef __cplusplus
#define SAMEMAP_ALIGNMENT(type) alignof(type)
#else
#define SAMEMAP_ALIGNMENT(type) _Alignof(type)
#endif
#define SAMEMAP_CHECK_STRUCTURE(structure, bytes, alignment) \
    SAMEMAP_ASSERT(sizeof(struct samemap_##structure) == (bytes), "samemap_" #structure " has another size"); \
    SAMEMAP_ASSERT(SAMEMAP_ALIGNMENT(struct samemap_##structure) == (alignment), "samemap_" #structure " is aligned otherwise");
#define SAMEMAP_CHECK_FIELD(structure, field, from, bytes) \
    SAMEMAP_ASSERT(offsetof(struct samemap_##structure, field) == (from), "samemap_" #structure "." #field " is elsewhere"); \
    SAMEMAP_ASSERT(sizeof(((struct samemap_##structure *)0)->field) == (bytes), \
                   "samemap_" #structure "." #field " has another size");
SAMEMAP_LAYOUT(SAMEMAP_CHECK_STRUCTURE, SAMEMAP_CHECK_FIELD)

/* A word that others may change at any time, and all that was done before it was stored. */
static inline uint32_t samemap_load32(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline uint64_t samemap_load64(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

/* The tag in a word, without marks; 0 for nobody. */
static inline uint32_t samemap_tag(uint32_t word) {
    uint32_t names_somebody = word & ((UINT32_C(1) << SAMEMAP_INDEX_BITS) - 1);
    return names_somebody ? word & ~(SAMEMAP_MARK | SAMEMAP_SECOND_MARK) : 0;
}

/* Which entry of the roster; for a tag that is not 0. Check it against the roster's length before use. */
static inline uint32_t samemap_tag_index(uint32_t tag) { return (tag & ((UINT32_C(1) << SAMEMAP_INDEX_BITS) - 1)) - 1; }

/* Which of the successive owners of that entry. */
static inline uint32_t samemap_tag_epoch(uint32_t tag) {
    return (tag >> SAMEMAP_INDEX_BITS) & ((UINT32_C(1) << SAMEMAP_EPOCH_BITS) - 1);
}

/* The tag of whoever takes part in the entry number `index`, dead or alive; 0 for nobody. */
static inline uint32_t samemap_participant(const struct samemap_entry *entry, uint32_t index) {
    uint32_t state = samemap_load32(&entry->state);
    uint32_t epoch = state & ((UINT32_C(1) << SAMEMAP_EPOCH_BITS) - 1);
    return state == (epoch | SAMEMAP_PRESENT) ? (epoch << SAMEMAP_INDEX_BITS) | (index + 1) : 0;
}

/* Copies a text of `words` words into 8 * words + 1 bytes, and ends it with a NUL. */
static inline void samemap_text(char *to, const uint64_t *from, size_t words) {
    for (size_t i = 0; i < 8 * words; i++)
        to[i] = (char)(samemap_load64(from + i / 8) >> (8 * (i % 8)));
    to[8 * words] = 0;
}

/*
 * The name of the first field of a header that this version does not understand, or that cannot be true of a file of
 * `bytes` bytes; NULL when there is none. Give it a copy: others may write to what is mapped.
 */
static inline const char *samemap_refused(const struct samemap_header *header, uint64_t bytes) {
    if (bytes < sizeof *header)
        return "size";
    if (header->magic != SAMEMAP_MAGIC)
        return "magic";
    if (header->version != SAMEMAP_VERSION)
        return "version";
    if (header->features & ~SAMEMAP_FEATURES)
        return "features";
    if (header->fingerprint != SAMEMAP_FINGERPRINT)
        return "fingerprint";
    if (header->size > bytes)
        return "size";
    if (header->participants < 1 || header->participants > SAMEMAP_MOST_PARTICIPANTS)
        return "participants";
    if (header->roster < SAMEMAP_HEADER_SPACE || header->roster % 64 || header->roster > header->size ||
        header->body < header->roster ||
        header->body - header->roster < header->participants * (uint64_t)sizeof(struct samemap_entry))
        return "roster";
    if (header->body % 64 || header->body > header->size || header->body_size > header->size - header->body)
        return "body";
    if (header->kind < SAMEMAP_KIND_LOCK || header->kind > SAMEMAP_KIND_NAMESPACE)
        return "kind";
    if (header->schema < sizeof *header || header->schema > SAMEMAP_HEADER_SPACE ||
        header->schema_size > SAMEMAP_HEADER_SPACE - header->schema)
        return "schema_size";
    return NULL;
}

#endif
