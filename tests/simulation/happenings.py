"""What the kinds of events do to the broker, its topic and the clock."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.broker import TOMBSTONES_KEPT, TOPIC, Partition

if TYPE_CHECKING:
    from tests.simulation.world import World


def produce(world: World, random: Random, count: int) -> None:
    """Append records to the topic."""
    partitions = [p for p in world.broker.partitions() if _may_grow(world, p)]
    for _ in range(count if partitions else 0):
        world.workload.append(random, partitions, world.clock.passed, world.clock.time())


def _may_grow(world: World, partition: Partition) -> bool:
    """Whether records may come without hiding a loss that nobody could see any more.

    Two losses show only in that the log ends below a reader's position: a topic made anew, and a
    truncation below where a reader has begun, of which no leader's epoch tells. It does not grow
    past that before it has been seen, because streamlsh does not promise to notice then.
    """
    topic, process = world.broker.topic, world.process
    assert topic is not None
    if process is not None and process.identity not in (None, topic.identity):
        return process.must_know(topic.identity)
    stored = world.ledger.model.positions.get((TOPIC, partition.number))
    ahead = [process.reached(partition.number)] if process is not None else []
    if stored is not None and stored.identity == topic.identity:
        ahead.append(stored.offset)
    return all(offset <= partition.end or offset in partition.read for offset in ahead)


def _transact(world: World, random: Random) -> None:
    """End a partition's transaction, or begin one and perhaps leave it open."""
    for partition in _one(world, random):
        ends = partition.open_at is not None
        if not ends and _may_grow(world, partition):
            partition.open_at = partition.end
            for _ in range(random.randint(1, 5)):
                world.workload.append(random, [partition], world.clock.passed, world.clock.time())
            ends = random.random() < 0.7
        if ends:
            partition.end_transaction(world.clock.passed, abort=random.random() < 0.4)


def _one(world: World, random: Random) -> list[Partition]:
    """One of the topic's partitions, if there is a topic."""
    partitions = world.broker.partitions()
    return [random.choice(partitions)] if partitions else []


def _compact(world: World, random: Random) -> None:
    for partition in _one(world, random):
        partition.compact(world.clock.passed)


def _forget_deletes(world: World, _random: Random) -> None:
    """So much time passes that compaction removes tombstones, too."""
    world.clock.advance(2 * TOMBSTONES_KEPT)
    for partition in world.broker.partitions():
        partition.compact(world.clock.passed)


def _expire(world: World, random: Random) -> None:
    everything = random.random() < 0.4
    for partition in _one(world, random):
        partition.expire(partition.stable if everything else random.randint(0, partition.stable))


def _truncate(world: World, random: Random) -> None:
    for partition in _one(world, random):
        partition.truncate(random.randint(partition.end // 2, partition.end))


def _add_partition(world: World, _random: Random) -> None:
    if world.broker.topic is not None:
        partitions = world.broker.topic.partitions
        partitions.append(Partition(len(partitions)))


def _delete_topic(world: World, _random: Random) -> None:
    world.broker.topic = None


def _recreate_topic(world: World, random: Random) -> None:
    world.workload.forget()
    world.broker.recreate(random.randint(1, 3))


def _leave(world: World, _random: Random) -> None:
    world.broker.away = True


def _come_back(world: World, _random: Random) -> None:
    world.broker.away = False
    for partition in world.broker.partitions():
        partition.epoch += 1


def _refuse_letters(world: World, random: Random) -> None:
    world.broker.refuses_letters, world.broker.keeps_refused = True, random.random() < 0.5


def _take_letters(world: World, _random: Random) -> None:
    world.broker.refuses_letters = False


def _stall(world: World, random: Random) -> None:
    world.broker.silence(random)


def _jump(world: World, random: Random) -> None:
    world.clock.jumped += random.choice([-1, 1]) * random.choice([5, 3600, 86_400 * 30])


def _wait(world: World, random: Random) -> None:
    world.clock.advance(random.choice([10, 100, TOMBSTONES_KEPT]))


HAPPENINGS: dict[str, Callable[[World, Random], None]] = {
    "produce": lambda world, random: produce(world, random, random.randint(1, 10)),
    "transaction": _transact,
    "compact": _compact,
    "deletes forgotten": _forget_deletes,
    "retention": _expire,
    "truncate": _truncate,
    "add partition": _add_partition,
    "delete topic": _delete_topic,
    "recreate topic": _recreate_topic,
    "broker away": _leave,
    "broker back": _come_back,
    "letters refused": _refuse_letters,
    "letters taken": _take_letters,
    "stall": _stall,
    "clock jump": _jump,
    "time passes": _wait,
}
"""What happens to the world, by the kind of event. The others happen to a process."""
