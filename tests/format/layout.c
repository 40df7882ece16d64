/* Prints what the compiler makes of include/samemap.h: structures, fields, constants, kinds and other numbers. Also valid C++. */
#include <inttypes.h>
#include <samemap.h>
#include <stdio.h>

#define STRUCTURE(structure, bytes, alignment)                                        \
    printf("structure samemap_%s %zu %zu\n", #structure, sizeof(struct samemap_##structure), \
           SAMEMAP_ALIGNMENT(struct samemap_##structure));
#define FIELD(structure, field, from, bytes)                                                             \
    printf("field samemap_%s %s %zu %zu\n", #structure, #field, offsetof(struct samemap_##structure, field), \
           sizeof(((struct samemap_##structure *)0)->field));
#define CONSTANT(name) printf("constant %s %" PRIu64 "\n", #name, (uint64_t)SAMEMAP_##name);
#define KIND(name) printf("kind %s %d\n", #name, (int)SAMEMAP_KIND_##name);
#define POLICY(name) printf("policy %s %d\n", #name, (int)SAMEMAP_POLICY_##name);
#define PHASE(name) printf("phase %s %d\n", #name, (int)SAMEMAP_PHASE_##name);
#define FLAG(name) printf("flag %s %d\n", #name, (int)SAMEMAP_FLAG_##name);

int main(void) {
    SAMEMAP_LAYOUT(STRUCTURE, FIELD)
    CONSTANT(MAGIC)
    CONSTANT(VERSION)
    CONSTANT(FEATURES)
    CONSTANT(FINGERPRINT)
    CONSTANT(HEADER_SPACE)
    CONSTANT(LONGEST_SCHEMA)
    CONSTANT(MOST_PARTICIPANTS)
    CONSTANT(LOCK_OFFSET)
    CONSTANT(SERVER_OFFSET)
    CONSTANT(MOST_PIDS)
    CONSTANT(INDEX_BITS)
    CONSTANT(EPOCH_BITS)
    CONSTANT(MARK)
    CONSTANT(SECOND_MARK)
    CONSTANT(PRESENT)
    CONSTANT(LEFT)
    CONSTANT(SLOT_BITS)
    CONSTANT(MOST_SLOTS)
    CONSTANT(MOST_PINS)
    CONSTANT(ATTEMPT_SHIFT)
    CONSTANT(GENERATION_SHIFT)
    CONSTANT(MOST_ATTEMPTS)
    CONSTANT(TO_KEEPER)
    CONSTANT(MOST_JOBS)
    CONSTANT(REPLIES)
    CONSTANT(MOST_CALLS)
    KIND(LOCK)
    KIND(RLOCK)
    KIND(SEMAPHORE)
    KIND(EVENT)
    KIND(CONDITION)
    KIND(BARRIER)
    KIND(COUNTER)
    KIND(READ_WRITE_LOCK)
    KIND(NAMESPACE)
    KIND(TOPIC)
    KIND(LATEST)
    KIND(QUEUE)
    KIND(SERVICE)
    POLICY(LATEST)
    POLICY(DROP)
    POLICY(BLOCK)
    POLICY(ENDED)
    PHASE(FREE)
    PHASE(FILLING)
    PHASE(READY)
    PHASE(LEASED)
    PHASE(HELD)
    PHASE(DEAD)
    FLAG(PLAIN)
    FLAG(RAW)
    return 0;
}
