"""Storms: four processes hammer one object and are killed at random; what holds for the living must go on to hold.

The processes are forked from one that has the object open, and every other one opens it by its name.
"""

from __future__ import annotations

import pytest
from isolated import succeed

SEED = 3

#: The parent kills and replaces. Each kind of storm has `Thing`, and `work`, which the children run for ever.
SOURCE = """
import os, random, select, signal, sys, time, traceback, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)
from samemap import *

SECONDS, SEED, CROWD = float(sys.argv[1]), int(sys.argv[2]), 4
# Words of the region, in bytes.
DONE, KILLS, RECOVERIES, FREE = 0, 8, 16, 64
region = Region.create("words", 4096)

def add(at, n=1):
    return region.fetch_add_u64(at, n) + n

def is_gone(pid):
    # It has the lock no more a moment before it is a zombie.
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.001)
    return False

def be_born(place, by_name):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(60)
            os.dup2(write, 2)
            work(open_thing() if by_name else thing, place, random.Random(os.getpid()))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write)
    return pid, read

thing = make_thing()
chance = random.Random(SEED)
children = {place: be_born(place, place % 2) for place in range(CROWD)}
def rage():
    end = time.monotonic() + SECONDS
    kills = 0
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.002, 0.03))
        place = chance.randrange(CROWD)
        pid, errors = children[place]
        add(KILLS)
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        children[place] = be_born(place, chance.randrange(2))
        said = os.read(errors, 10_000).decode()
        os.close(errors)
        assert (status, said) == (signal.SIGKILL, ""), said
        kills += 1
        # However it ended, somebody gets on.
        before, deadline = region.load_u64(DONE), time.monotonic() + 10
        while region.load_u64(DONE) == before:
            assert time.monotonic() < deadline, f"nobody gets on after {kills} kills: {thing} {thing.stats()}"
            time.sleep(0.0005)
    return kills

try:
    kills = rage()
finally:
    ends = []
    for pid, errors in children.values():
        os.kill(pid, signal.SIGKILL)
        ends.append((os.waitpid(pid, 0)[1], os.read(errors, 10_000).decode()))
assert ends == [(signal.SIGKILL, "")] * CROWD, ends
assert kills > 10 * SECONDS, kills
check(kills + CROWD)
for name in "words", "thing":
    os.unlink(os.path.join(os.environ["SAMEMAP_DIR"], name))
assert os.listdir(os.environ["SAMEMAP_DIR"]) == []
"""

LOCK = """
A, B, INSIDE = 128, 192, 256

def make_thing():
    return KIND("thing")

def open_thing():
    return KIND.open("thing")

def work(lock, place, chance):
    while True:
        assert lock.acquire(timeout=30), f"no lock within 30 s: {lock}"
        inside = region.load_u64(INSIDE)
        if inside:
            # Somebody has not come to the end: it must be dead, and I must have been told.
            assert lock.recovered, f"{inside} is inside, and {os.getpid()} too"
            assert is_gone(inside), f"{inside} lives, and was robbed"
        region.store_u64(INSIDE, os.getpid())
        if lock.recovered:
            add(RECOVERIES)
            region.store_u64(B, region.load_u64(A))
        a, b = region.load_u64(A), region.load_u64(B)
        assert a == b, f"{a} and {b} without a word of a death"
        region.store_u64(A, a + 1)
        if chance.randrange(8) == 0:
            time.sleep(0.0002)
        region.store_u64(B, b + 1)
        assert region.load_u64(INSIDE) == os.getpid()
        add(DONE)
        region.store_u64(INSIDE, 0)
        lock.release()

def check(kills):
    told, counted = region.load_u64(RECOVERIES), thing.stats().recoveries
    # One that recovers may be killed before it counts.
    assert 0 < told <= counted <= kills, (told, counted, kills)
    assert thing.acquire(timeout=5)
    assert (region.load_u64(A) == region.load_u64(B)) or thing.recovered
    thing.release()
    thing.close()
"""

SEMAPHORE = """
PERMITS, SEATS = 2, 256

def make_thing():
    return BoundedSemaphore("thing", PERMITS)

def open_thing():
    return BoundedSemaphore.open("thing")

def sit_down():
    # As many seats as permits: who has a permit finds one that is free, or of a dead one.
    for look in (lambda who: who == 0, is_gone):
        for seat in range(SEATS, SEATS + 8 * PERMITS, 8):
            who = region.load_u64(seat)
            if look(who) and region.compare_exchange_u64(seat, who, os.getpid()) == who:
                return seat
    raise AssertionError(f"more than {PERMITS} inside: {[region.load_u64(SEATS + 8 * n) for n in range(PERMITS)]}")

def work(permits, place, chance):
    while True:
        assert permits.acquire(timeout=30), f"no permit within 30 s: {permits.stats()}"
        seat = sit_down()
        if chance.randrange(8) == 0:
            time.sleep(0.0002)
        add(DONE)
        assert region.compare_exchange_u64(seat, os.getpid(), 0) == os.getpid()
        permits.release()

def check(kills):
    assert [thing.acquire(timeout=5) for _ in range(PERMITS)] == [True] * PERMITS, thing.stats()
    assert thing.acquire(blocking=False) is False
    thing.close()
"""

READ_WRITE = """
A, B, WRITER, READERS = 128, 192, 256, 320

def make_thing():
    return ReadWriteLock("thing")

def open_thing():
    return ReadWriteLock.open("thing")

def check_nobody_writes(lock):
    writer = region.load_u64(WRITER)
    if writer:
        assert lock.recovered, f"{writer} writes"
        assert is_gone(writer), f"{writer} lives, and was robbed"

def read(lock, place):
    assert lock.acquire_read(timeout=30), f"not to be read within 30 s: {lock.stats()}"
    region.store_u64(READERS + 8 * place, os.getpid())
    check_nobody_writes(lock)
    a, b = region.load_u64(A), region.load_u64(B)
    assert a == b or lock.recovered, f"{a} and {b} without a word of a death"
    add(DONE)
    region.store_u64(READERS + 8 * place, 0)
    lock.release_read()

def write(lock, place):
    assert lock.acquire_write(timeout=30), f"not to be written within 30 s: {lock.stats()}"
    check_nobody_writes(lock)
    for other in range(CROWD):
        reader = region.load_u64(READERS + 8 * other)
        assert reader in (0, os.getpid()) or is_gone(reader), f"{reader} reads"
    region.store_u64(WRITER, os.getpid())
    if lock.recovered:
        add(RECOVERIES)
        region.store_u64(B, region.load_u64(A))
    a, b = region.load_u64(A), region.load_u64(B)
    assert a == b, f"{a} and {b} without a word of a death"
    region.store_u64(A, a + 1)
    region.store_u64(B, b + 1)
    add(DONE)
    region.store_u64(WRITER, 0)
    lock.release_write()

def work(lock, place, chance):
    region.store_u64(READERS + 8 * place, 0)
    while True:
        (write if chance.randrange(3) == 0 else read)(lock, place)

def check(kills):
    assert 0 < region.load_u64(RECOVERIES) <= kills
    assert thing.acquire_write(timeout=5)
    thing.release_write()
    assert thing.readers() == []
    thing.close()
"""

COUNTER = """
OWN = 256

def make_thing():
    return Counter("thing")

def open_thing():
    return Counter.open("thing")

def work(counter, place, chance):
    while True:
        value = counter.add()
        region.fetch_add_u64(OWN, 1)
        if chance.randrange(16) == 0:
            assert counter.wait_until(value + 2, timeout=30) >= value + 2
            add(OWN + 8)
        add(DONE)

def check(kills):
    # One that is killed between the two has counted in the first place only.
    difference = thing.value - region.load_u64(OWN)
    assert 0 <= difference <= kills, (thing.value, region.load_u64(OWN), kills)
    assert region.load_u64(OWN + 8) > 0
    thing.close()
"""

CONDITION = """
ITEMS, TAKEN = 128, 192

def make_thing():
    return Condition("thing")

def open_thing():
    return Condition.open("thing")

def work(news, place, chance):
    while True:
        with news:
            if place % 2:
                region.store_u64(ITEMS, region.load_u64(ITEMS) + 1)
                news.notify()
            else:
                assert news.wait_for(lambda: region.load_u64(ITEMS), timeout=30), f"no news within 30 s: {news.stats()}"
                region.store_u64(ITEMS, region.load_u64(ITEMS) - 1)
                add(TAKEN)
                add(DONE)

def check(kills):
    assert region.load_u64(TAKEN) > 100
    assert thing.acquire(timeout=5)
    thing.notify_all()
    thing.release()
    assert thing.stats().waiting == 0
    thing.close()
"""

STORMS = {
    "Lock": (LOCK.replace("KIND", "Lock"), 6),
    "RLock": (LOCK.replace("KIND", "RLock"), 2),
    "Semaphore": (SEMAPHORE, 3),
    "ReadWriteLock": (READ_WRITE, 3),
    "Counter": (COUNTER, 2),
    "Condition": (CONDITION, 3),
}


@pytest.mark.parametrize(("work", "seconds"), STORMS.values(), ids=STORMS)
def test_the_living_get_on(work: str, seconds: float) -> None:
    start, _, rest = SOURCE.partition("thing = make_thing()")
    succeed(start + work + "\nthing = make_thing()" + rest, seconds, SEED)
