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
#include <string.h>

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
#define SAMEMAP_FINGERPRINT UINT64_C(0x4478552c76fdb8d5)
#define SAMEMAP_HEADER_SPACE 4096
#define SAMEMAP_LONGEST_SCHEMA 3968
#define SAMEMAP_MOST_PARTICIPANTS 1023
/* Participant i holds an exclusive open-file-description lock (F_OFD_SETLK) on byte SAMEMAP_LOCK_OFFSET + i. */
#define SAMEMAP_LOCK_OFFSET INT64_C(0x4000000000000000)
/* The process with the number pid holds a shared one on byte SAMEMAP_SERVER_OFFSET + pid while it serves. */
#define SAMEMAP_SERVER_OFFSET INT64_C(0x2000000000000000)
#define SAMEMAP_MOST_PIDS 4194304

/* A tag: index + 1 in the low bits, then the epoch, then two bits that are no part of it. */
#define SAMEMAP_INDEX_BITS 10
#define SAMEMAP_EPOCH_BITS 20
#define SAMEMAP_MARK UINT32_C(0x80000000)
#define SAMEMAP_SECOND_MARK UINT32_C(0x40000000)
/* In the state of a roster entry: its owner takes part. */
#define SAMEMAP_PRESENT UINT32_C(0x80000000)
#define SAMEMAP_LEFT UINT32_C(0x40000000)

/* A word of a ring: the slot, or the place of a job, in the low bits, then the low 44 bits of the number of what is there. */
#define SAMEMAP_SLOT_BITS 20
#define SAMEMAP_MOST_SLOTS 1048576
#define SAMEMAP_MOST_PINS 128

/* The state of a job: a tag and two marks, then how often it was delivered (8 bits), then its generation (24 bits). */
#define SAMEMAP_ATTEMPT_SHIFT 32
#define SAMEMAP_GENERATION_SHIFT 40
#define SAMEMAP_MOST_ATTEMPTS 254
/* Instead of deliveries: the job was left to its keeper. */
#define SAMEMAP_TO_KEEPER 255
/* In a keeper: that there are views is a guess. */
#define SAMEMAP_MOST_JOBS 1048576
/* Jobs that may wait in a lane for replies, which is as many words as its ring has. */
#define SAMEMAP_REPLIES 16
#define SAMEMAP_MOST_CALLS 128

enum samemap_kind {
    SAMEMAP_KIND_LOCK = 1,
    SAMEMAP_KIND_RLOCK = 2,
    SAMEMAP_KIND_SEMAPHORE = 3,
    SAMEMAP_KIND_EVENT = 4,
    SAMEMAP_KIND_CONDITION = 5,
    SAMEMAP_KIND_BARRIER = 6,
    SAMEMAP_KIND_COUNTER = 7,
    SAMEMAP_KIND_READ_WRITE_LOCK = 8,
    SAMEMAP_KIND_NAMESPACE = 9,
    SAMEMAP_KIND_TOPIC = 10,
    SAMEMAP_KIND_LATEST = 11,
    SAMEMAP_KIND_QUEUE = 12,
    SAMEMAP_KIND_SERVICE = 13
};

/* What becomes of a subscription that cannot follow. */
enum samemap_policy {
    SAMEMAP_POLICY_LATEST = 1,
    SAMEMAP_POLICY_DROP = 2,
    SAMEMAP_POLICY_BLOCK = 3,
    SAMEMAP_POLICY_ENDED = 4
};

/* How far a job has come, as samemap_phase() reads it. */
enum samemap_job_phase {
    SAMEMAP_PHASE_FREE = 0,
    SAMEMAP_PHASE_FILLING = 1,
    SAMEMAP_PHASE_READY = 2,
    SAMEMAP_PHASE_LEASED = 3,
    SAMEMAP_PHASE_HELD = 4,
    SAMEMAP_PHASE_DEAD = 5
};

/* What the message of a job is, in a queue of pickles; with none of these, a pickle with buffers beside it. */
enum samemap_flag {
    SAMEMAP_FLAG_PLAIN = 16384,
    SAMEMAP_FLAG_RAW = 32768
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

struct samemap_topic {
    SAMEMAP_LINE uint32_t slots;
    uint32_t ring;
    uint32_t subscribers;
    uint32_t publishers;
    uint64_t slot_size;
    uint32_t blocking;
    uint32_t extent;
    uint64_t reserved[4];
    uint64_t next;
    uint64_t reserved_next[7];
    struct samemap_bell news;
    uint64_t reserved_news[7];
    struct samemap_bell room;
    uint64_t reserved_room[7];
};

struct samemap_publisher {
    SAMEMAP_LINE uint64_t messages;
    uint64_t bytes;
    uint64_t dropped;
    uint64_t last;
    uint64_t before[3];
    uint32_t tag;
};

struct samemap_subscriber {
    SAMEMAP_LINE uint64_t cursor;
    uint64_t received;
    uint64_t missed;
    uint64_t joined;
    uint32_t owner;
    uint32_t policy;
    uint64_t reserved[3];
    uint32_t delays[32];
};

struct samemap_slot {
    SAMEMAP_LINE uint64_t seq;
    uint64_t pins[2];
    uint64_t published;
    uint64_t held;
    uint64_t length;
    uint32_t owner;
    uint32_t publisher;
};

struct samemap_queue {
    SAMEMAP_LINE uint32_t maxsize;
    uint32_t jobs;
    uint32_t lanes;
    uint32_t ring;
    uint32_t workers;
    uint32_t max_attempts;
    uint32_t once;
    uint32_t cell;
    uint64_t blocks;
    uint64_t block_size;
    uint32_t shut;
    uint32_t returned;
    uint64_t reserved[1];
    struct samemap_bell room;
    uint64_t reserved_room[7];
    struct samemap_bell finished;
    uint64_t reserved_finished[15];
};

struct samemap_lane {
    SAMEMAP_LINE uint64_t head;
    uint64_t owner;
    uint64_t reserved[6];
    uint64_t next;
    uint64_t reserved_next[7];
    struct samemap_bell news;
    uint64_t reserved_news[7];
};

struct samemap_worker {
    SAMEMAP_LINE uint64_t puts;
    uint64_t bytes;
    uint32_t tag;
    uint32_t reserved;
    uint64_t reserved_puts[5];
    uint64_t gets;
    uint64_t done;
    uint64_t acknowledged;
    uint64_t returned;
    uint64_t before[2];
    uint64_t leases;
    uint64_t reserved_gets;
};

struct samemap_job {
    SAMEMAP_LINE uint64_t state;
    uint64_t seq;
    uint64_t length;
    uint64_t run;
    uint64_t put;
    uint64_t taken;
    uint64_t route;
    uint64_t origin;
    uint64_t keeper;
    uint64_t until;
    uint64_t reply;
    uint64_t reserved[5];
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
    FIELD(directory_entry, name, 16, 48) \
    STRUCTURE(topic, 256, 64) \
    FIELD(topic, slots, 0, 4) \
    FIELD(topic, ring, 4, 4) \
    FIELD(topic, subscribers, 8, 4) \
    FIELD(topic, publishers, 12, 4) \
    FIELD(topic, slot_size, 16, 8) \
    FIELD(topic, blocking, 24, 4) \
    FIELD(topic, extent, 28, 4) \
    FIELD(topic, reserved, 32, 32) \
    FIELD(topic, next, 64, 8) \
    FIELD(topic, reserved_next, 72, 56) \
    FIELD(topic, news, 128, 8) \
    FIELD(topic, reserved_news, 136, 56) \
    FIELD(topic, room, 192, 8) \
    FIELD(topic, reserved_room, 200, 56) \
    STRUCTURE(publisher, 64, 64) \
    FIELD(publisher, messages, 0, 8) \
    FIELD(publisher, bytes, 8, 8) \
    FIELD(publisher, dropped, 16, 8) \
    FIELD(publisher, last, 24, 8) \
    FIELD(publisher, before, 32, 24) \
    FIELD(publisher, tag, 56, 4) \
    STRUCTURE(subscriber, 192, 64) \
    FIELD(subscriber, cursor, 0, 8) \
    FIELD(subscriber, received, 8, 8) \
    FIELD(subscriber, missed, 16, 8) \
    FIELD(subscriber, joined, 24, 8) \
    FIELD(subscriber, owner, 32, 4) \
    FIELD(subscriber, policy, 36, 4) \
    FIELD(subscriber, reserved, 40, 24) \
    FIELD(subscriber, delays, 64, 128) \
    STRUCTURE(slot, 64, 64) \
    FIELD(slot, seq, 0, 8) \
    FIELD(slot, pins, 8, 16) \
    FIELD(slot, published, 24, 8) \
    FIELD(slot, held, 32, 8) \
    FIELD(slot, length, 40, 8) \
    FIELD(slot, owner, 48, 4) \
    FIELD(slot, publisher, 52, 4) \
    STRUCTURE(queue, 256, 64) \
    FIELD(queue, maxsize, 0, 4) \
    FIELD(queue, jobs, 4, 4) \
    FIELD(queue, lanes, 8, 4) \
    FIELD(queue, ring, 12, 4) \
    FIELD(queue, workers, 16, 4) \
    FIELD(queue, max_attempts, 20, 4) \
    FIELD(queue, once, 24, 4) \
    FIELD(queue, cell, 28, 4) \
    FIELD(queue, blocks, 32, 8) \
    FIELD(queue, block_size, 40, 8) \
    FIELD(queue, shut, 48, 4) \
    FIELD(queue, returned, 52, 4) \
    FIELD(queue, reserved, 56, 8) \
    FIELD(queue, room, 64, 8) \
    FIELD(queue, reserved_room, 72, 56) \
    FIELD(queue, finished, 128, 8) \
    FIELD(queue, reserved_finished, 136, 120) \
    STRUCTURE(lane, 192, 64) \
    FIELD(lane, head, 0, 8) \
    FIELD(lane, owner, 8, 8) \
    FIELD(lane, reserved, 16, 48) \
    FIELD(lane, next, 64, 8) \
    FIELD(lane, reserved_next, 72, 56) \
    FIELD(lane, news, 128, 8) \
    FIELD(lane, reserved_news, 136, 56) \
    STRUCTURE(worker, 128, 64) \
    FIELD(worker, puts, 0, 8) \
    FIELD(worker, bytes, 8, 8) \
    FIELD(worker, tag, 16, 4) \
    FIELD(worker, reserved, 20, 4) \
    FIELD(worker, reserved_puts, 24, 40) \
    FIELD(worker, gets, 64, 8) \
    FIELD(worker, done, 72, 8) \
    FIELD(worker, acknowledged, 80, 8) \
    FIELD(worker, returned, 88, 8) \
    FIELD(worker, before, 96, 16) \
    FIELD(worker, leases, 112, 8) \
    FIELD(worker, reserved_gets, 120, 8) \
    STRUCTURE(job, 128, 64) \
    FIELD(job, state, 0, 8) \
    FIELD(job, seq, 8, 8) \
    FIELD(job, length, 16, 8) \
    FIELD(job, run, 24, 8) \
    FIELD(job, put, 32, 8) \
    FIELD(job, taken, 40, 8) \
    FIELD(job, route, 48, 8) \
    FIELD(job, origin, 56, 8) \
    FIELD(job, keeper, 64, 8) \
    FIELD(job, until, 72, 8) \
    FIELD(job, reply, 80, 8) \
    FIELD(job, reserved, 88, 40)

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
    if (header->kind < SAMEMAP_KIND_LOCK || header->kind > SAMEMAP_KIND_SERVICE)
        return "kind";
    if (header->schema < sizeof *header || header->schema > SAMEMAP_HEADER_SPACE ||
        header->schema_size > SAMEMAP_HEADER_SPACE - header->schema)
        return "schema_size";
    return NULL;
}

/* How many there are of everything in a topic, and where, in bytes from the start of the body; read once, and checked. */
struct samemap_arrangement {
    uint32_t slots;
    uint32_t ring;
    uint32_t subscribers;
    uint32_t publishers;
    uint64_t slot_size;
    /* From one payload to the next. */
    uint64_t stride;
    uint64_t publishers_at;
    uint64_t subscribers_at;
    uint64_t slots_at;
    uint64_t ring_at;
    uint64_t payloads_at;
};

/* Fills it in, for a header that is not refused, of a Topic or a Latest; returns 0 where the body cannot be arranged so. */
static inline int samemap_arrange(struct samemap_arrangement *at, const struct samemap_header *header, const void *body) {
    const struct samemap_topic *topic = (const struct samemap_topic *)body;
    uint64_t ring = 8;
    if (header->body_size < sizeof *topic)
        return 0;
    at->slots = samemap_load32(&topic->slots);
    at->ring = samemap_load32(&topic->ring);
    at->subscribers = samemap_load32(&topic->subscribers);
    at->publishers = samemap_load32(&topic->publishers);
    at->slot_size = samemap_load64(&topic->slot_size);
    while (ring < at->slots)
        ring *= 2;
    if (at->slots < 2 || at->slots > SAMEMAP_MOST_SLOTS || at->ring != ring || at->subscribers > SAMEMAP_MOST_PINS ||
        at->publishers != header->participants || at->slot_size > header->body_size)
        return 0;
    at->stride = (at->slot_size + 63) / 64 * 64;
    at->publishers_at = sizeof *topic;
    at->subscribers_at = at->publishers_at + at->publishers * (uint64_t)sizeof(struct samemap_publisher);
    at->slots_at = at->subscribers_at + at->subscribers * (uint64_t)sizeof(struct samemap_subscriber);
    at->ring_at = at->slots_at + at->slots * (uint64_t)sizeof(struct samemap_slot);
    at->payloads_at = at->ring_at + at->ring * (uint64_t)sizeof(uint64_t);
    return at->payloads_at <= header->body_size &&
           (at->stride == 0 || at->slots <= (header->body_size - at->payloads_at) / at->stride);
}

/* How far the message of a ring's word is ahead of message `number`: 0 when it is that one. */
static inline int64_t samemap_ahead(uint64_t word, uint64_t number) {
    const uint64_t numbers = UINT64_C(1) << (64 - SAMEMAP_SLOT_BITS);
    uint64_t difference = ((word >> SAMEMAP_SLOT_BITS) - number) & (numbers - 1);
    return difference < numbers / 2 ? (int64_t)difference : -(int64_t)(numbers - difference);
}

/* The word in which the ring has message `number`, or an older or a newer one. */
static inline uint64_t samemap_ring_word(const struct samemap_arrangement *at, const void *body, uint64_t number) {
    const uint64_t *ring = (const uint64_t *)(const void *)((const char *)body + at->ring_at);
    return samemap_load64(&ring[number & (at->ring - 1)]);
}

/* The number of the newest message; 0 before the first. */
static inline uint64_t samemap_newest(const struct samemap_arrangement *at, const void *body) {
    uint64_t next = samemap_load64(&((const struct samemap_topic *)body)->next);
    /* A word that is further ahead than it can be was written over: no loop relies on what it reads. */
    for (uint32_t i = 0; i < 2 * at->ring; i++) {
        int64_t ahead = samemap_ahead(samemap_ring_word(at, body, next), next);
        if (ahead < 0)
            break;
        next += (uint64_t)ahead + 1;
    }
    return next == 0 ? 0 : next - 1;
}

/* A message, where it lies. */
struct samemap_message {
    uint64_t number;
    uint64_t length;
    uint64_t published;
    uint32_t publisher;
    const struct samemap_slot *slot;
    const uint64_t *payload;
};

/* Finds message `number`: 1; 0 when it is not there, or not any more; -1 when its length cannot be. */
static inline int samemap_find(struct samemap_message *message, const struct samemap_arrangement *at, const void *body,
                               uint64_t number) {
    uint64_t word = samemap_ring_word(at, body, number);
    uint64_t slot = word & ((UINT64_C(1) << SAMEMAP_SLOT_BITS) - 1);
    if (number == 0 || samemap_ahead(word, number) != 0 || slot >= at->slots)
        return 0;
    message->slot = (const struct samemap_slot *)(const void *)((const char *)body + at->slots_at) + slot;
    if (samemap_load64(&message->slot->seq) != number)
        return 0;
    message->number = number;
    message->length = __atomic_load_n(&message->slot->length, __ATOMIC_RELAXED);
    message->published = __atomic_load_n(&message->slot->published, __ATOMIC_RELAXED);
    message->publisher = __atomic_load_n(&message->slot->publisher, __ATOMIC_RELAXED);
    message->payload = (const uint64_t *)(const void *)((const char *)body + at->payloads_at + slot * at->stride);
    if (message->length <= at->slot_size)
        return 1;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&message->slot->seq, __ATOMIC_RELAXED) == number ? -1 : 0;
}

/* Copies all of a message: 1; or 0 when it has gone meanwhile, and what was copied may be torn. */
static inline int samemap_copy(void *to, const struct samemap_message *message) {
    for (uint64_t i = 0; i < message->length; i += 8) {
        /* The end of the last word belongs to the payload's place, too. */
        uint64_t word = __atomic_load_n(&message->payload[i / 8], __ATOMIC_RELAXED);
        memcpy((char *)to + i, &word, message->length - i < 8 ? (size_t)(message->length - i) : 8);
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&message->slot->seq, __ATOMIC_RELAXED) == message->number;
}

/* How many there are of everything in a queue, and where, in bytes from the start of the body; read once, and checked. */
struct samemap_storage {
    uint32_t maxsize;
    uint32_t jobs;
    uint32_t lanes;
    uint32_t ring;
    uint32_t workers;
    uint32_t cell;
    uint64_t blocks;
    uint64_t block_size;
    uint64_t lanes_at;
    uint64_t workers_at;
    uint64_t jobs_at;
    uint64_t words_at;
    uint64_t blocks_at;
    uint64_t cells_at;
    uint64_t heap_at;
};

/* Fills it in, for a header that is not refused, of a Queue or a Service; returns 0 where the body cannot be arranged so. */
static inline int samemap_store(struct samemap_storage *at, const struct samemap_header *header, const void *body) {
    const struct samemap_queue *queue = (const struct samemap_queue *)body;
    uint64_t ring = 8;
    if (header->body_size < sizeof *queue)
        return 0;
    at->maxsize = samemap_load32(&queue->maxsize);
    at->jobs = samemap_load32(&queue->jobs);
    at->lanes = samemap_load32(&queue->lanes);
    at->ring = samemap_load32(&queue->ring);
    at->workers = samemap_load32(&queue->workers);
    at->cell = samemap_load32(&queue->cell);
    at->blocks = samemap_load64(&queue->blocks);
    at->block_size = samemap_load64(&queue->block_size);
    while (ring < at->maxsize)
        ring *= 2;
    if (at->maxsize < 1 || at->maxsize > at->jobs || at->jobs > SAMEMAP_MOST_JOBS || at->lanes < 1 ||
        at->lanes > 1 + SAMEMAP_MOST_CALLS || at->ring != ring || at->workers != header->participants || at->cell % 64 ||
        at->block_size % 64 || (at->block_size == 0 && at->blocks != 0) || at->blocks > UINT32_MAX)
        return 0;
    at->lanes_at = sizeof *queue;
    at->workers_at = at->lanes_at + at->lanes * (uint64_t)sizeof(struct samemap_lane);
    at->jobs_at = at->workers_at + at->workers * (uint64_t)sizeof(struct samemap_worker);
    at->words_at = at->jobs_at + at->jobs * (uint64_t)sizeof(struct samemap_job);
    at->blocks_at = at->words_at + (at->ring + (at->lanes - 1) * (uint64_t)SAMEMAP_REPLIES) * sizeof(uint64_t);
    at->cells_at = at->blocks_at + (at->blocks + 7) / 8 * 64;
    at->heap_at = at->cells_at + at->jobs * (uint64_t)at->cell;
    return at->heap_at <= header->body_size &&
           (at->blocks == 0 || at->blocks <= (header->body_size - at->heap_at) / at->block_size);
}

/* How far a job has come, by its state. What nobody writes counts as free. */
static inline enum samemap_job_phase samemap_phase(uint64_t state) {
    int is_somebodys = samemap_tag((uint32_t)state) != 0, mark = (state & SAMEMAP_MARK) != 0;
    if ((state & SAMEMAP_SECOND_MARK) == 0)
        return is_somebodys ? (mark ? SAMEMAP_PHASE_LEASED : SAMEMAP_PHASE_FILLING)
                            : (mark ? SAMEMAP_PHASE_READY : SAMEMAP_PHASE_FREE);
    if (is_somebodys)
        return mark ? SAMEMAP_PHASE_FREE : SAMEMAP_PHASE_HELD;
    return mark ? SAMEMAP_PHASE_DEAD : SAMEMAP_PHASE_FREE;
}

/* How often it was delivered, by its state. */
static inline uint32_t samemap_attempt(uint64_t state) { return (uint32_t)(state >> SAMEMAP_ATTEMPT_SHIFT) & 255; }

/* Which use of its place it is, by its state. */
static inline uint32_t samemap_generation(uint64_t state) { return (uint32_t)(state >> SAMEMAP_GENERATION_SHIFT); }

/* The word in which the ring of a lane has job `number`, or an older or a newer one. */
static inline uint64_t samemap_lane_word(const struct samemap_storage *at, const void *body, uint32_t lane,
                                         uint64_t number) {
    const uint64_t *words = (const uint64_t *)(const void *)((const char *)body + at->words_at);
    if (lane == 0)
        return samemap_load64(&words[number & (at->ring - 1)]);
    return samemap_load64(&words[at->ring + (lane - 1) * SAMEMAP_REPLIES + (number & (SAMEMAP_REPLIES - 1))]);
}

/* A job, where it lies. */
struct samemap_found_job {
    const struct samemap_job *job;
    uint64_t state;
    enum samemap_job_phase phase;
    /* Who fills, has or holds it; 0 for nobody. */
    uint32_t holder;
    /* In its lane; 0 while it has none. */
    uint64_t number;
    uint32_t lane;
    uint32_t flags;
    /* For which call it is. */
    uint32_t call;
    uint32_t origin;
    uint64_t put;
    uint64_t taken;
    uint64_t length;
    /* Its message; NULL where there is none that can be read: nobody has put it yet, or it is done. */
    const uint64_t *payload;
};

/* Finds the job in place `place`: 1; 0 when there is none, or not any more; -1 when its message cannot be where it says. */
static inline int samemap_find_job(struct samemap_found_job *found, const struct samemap_storage *at, const void *body,
                                   uint32_t place) {
    const uint64_t places = UINT64_C(1) << SAMEMAP_SLOT_BITS;
    const char *bytes = (const char *)body;
    const struct samemap_job *job = (const struct samemap_job *)(const void *)(bytes + at->jobs_at) + place;
    found->job = job;
    found->state = samemap_load64(&job->state);
    found->phase = samemap_phase(found->state);
    if (found->phase == SAMEMAP_PHASE_FREE)
        return 0;
    uint64_t origin = samemap_load64(&job->origin);
    /* Of the generation before, for a moment, it says nothing of this one. */
    int is_numbered = origin >> 32 == samemap_generation(found->state);
    found->number = is_numbered ? __atomic_load_n(&job->seq, __ATOMIC_RELAXED) : 0;
    uint64_t run = __atomic_load_n(&job->run, __ATOMIC_RELAXED), route = __atomic_load_n(&job->route, __ATOMIC_RELAXED);
    uint64_t first = run & UINT32_MAX, blocks = run >> 32, room = blocks * at->block_size;
    found->holder = samemap_tag((uint32_t)found->state);
    found->lane = (uint32_t)route & 0xffff;
    found->flags = (uint32_t)(route >> 16) & 0xffff;
    found->call = (uint32_t)(route >> 32);
    found->origin = samemap_tag((uint32_t)origin);
    found->put = __atomic_load_n(&job->put, __ATOMIC_RELAXED);
    found->taken = __atomic_load_n(&job->taken, __ATOMIC_RELAXED);
    found->length = __atomic_load_n(&job->length, __ATOMIC_RELAXED);
    found->payload = NULL;
    if (found->phase == SAMEMAP_PHASE_FILLING) {
        /* It counts once the ring of its lane names it. */
        uint64_t word = found->lane < at->lanes ? samemap_lane_word(at, body, found->lane, found->number) : 0;
        if (found->number == 0 || samemap_ahead(word, found->number) != 0 || (word & (places - 1)) != place)
            found->number = 0;
    }
    int is_whole = found->phase != SAMEMAP_PHASE_HELD && found->number != 0;
    int is_inside = blocks == 0 ? found->length <= at->cell
                                : blocks <= at->blocks && first <= at->blocks - blocks && found->length <= room;
    if (is_whole && is_inside)
        found->payload = (const uint64_t *)(const void *)(bytes + (blocks == 0 ? at->cells_at + place * (uint64_t)at->cell
                                                                               : at->heap_at + first * at->block_size));
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    uint64_t now = __atomic_load_n(&job->state, __ATOMIC_RELAXED);
    if (samemap_generation(now) != samemap_generation(found->state) || samemap_phase(now) == SAMEMAP_PHASE_FREE)
        return 0;
    /* Whoever frees a job takes its number away first. */
    if (found->number == 0 && found->phase != SAMEMAP_PHASE_FILLING && found->phase != SAMEMAP_PHASE_HELD)
        return 0;
    return is_whole && !is_inside && samemap_phase(now) != SAMEMAP_PHASE_HELD ? -1 : 1;
}

/* Whether a job that was found waits for a consumer: in the first lane, and in nobody's hands. */
static inline int samemap_waits(const struct samemap_found_job *found) {
    return found->lane == 0 && (found->phase == SAMEMAP_PHASE_READY ||
                                (found->phase == SAMEMAP_PHASE_FILLING && found->number != 0));
}

/* How many jobs wait for a consumer. Others may change that at any time, also meanwhile. */
static inline uint32_t samemap_depth(const struct samemap_storage *at, const void *body) {
    struct samemap_found_job found;
    uint32_t depth = 0;
    for (uint32_t place = 0; place < at->jobs; place++)
        depth += samemap_find_job(&found, at, body, place) != 0 && samemap_waits(&found);
    return depth;
}

/* Copies all of a job's message, which has a payload: 1; or 0 when it is done meanwhile, and what was copied may be torn. */
static inline int samemap_copy_job(void *to, const struct samemap_found_job *found) {
    for (uint64_t i = 0; i < found->length; i += 8) {
        /* The end of the last word belongs to the message's place, too. */
        uint64_t word = __atomic_load_n(&found->payload[i / 8], __ATOMIC_RELAXED);
        memcpy((char *)to + i, &word, found->length - i < 8 ? (size_t)(found->length - i) : 8);
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    uint64_t now = __atomic_load_n(&found->job->state, __ATOMIC_RELAXED);
    enum samemap_job_phase phase = samemap_phase(now);
    return samemap_generation(now) == samemap_generation(found->state) && phase != SAMEMAP_PHASE_FREE &&
           phase != SAMEMAP_PHASE_HELD;
}

#endif
