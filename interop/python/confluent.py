# SPDX-License-Identifier: Apache-2.0
"""librdkafka through confluent-kafka."""
import os
import sys
import time

from args import A, VERB, num, out, payload, record, step, stop_event, yes
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
                                   NewTopic, OffsetSpec)

BASE = {"bootstrap.servers": A["bootstrap"], "client.id": "confluent-interop"}


def produce():
    failed = []
    p = Producer({**BASE, "acks": A.get("acks", "all"), "compression.type": A.get("codec", "none"),
                  "enable.idempotence": yes("idempotent"), "message.max.bytes": 2 << 20, "linger.ms": 5})
    start, n, size = num("start", 0), num("n", 1), num("size", 100)
    for i in range(start, start + n):
        def cb(err, m, i=i):
            if err:
                failed.append(err)
            else:
                out(i=i, p=m.partition(), o=m.offset())
        while True:
            try:
                p.produce(A["topic"], payload(i, size), key=f"key-{i % 17}".encode() if yes("keyed") else None,
                          headers=[(f"h-{i}", f"v-{i}".encode())] if yes("headers") else None, on_delivery=cb)
                break
            except BufferError:
                p.poll(0.1)
        p.poll(0)
    p.flush()
    if failed:
        raise KafkaException(failed[0])
    out(done=True)


def parts(c):
    return [TopicPartition(A["topic"], p) for p in c.list_topics(A["topic"], timeout=10).topics[A["topic"]].partitions]


def consume():
    c = Consumer({**BASE, "group.id": "unused-" + A["topic"], "enable.auto.commit": False,
                  "isolation.level": A.get("isolation", "read_uncommitted")})
    tps = parts(c)
    at = A.get("from", "start")
    if at.startswith("time:"):
        tps = c.offsets_for_times([TopicPartition(t.topic, t.partition, int(at[5:])) for t in tps], timeout=10)
    else:
        for t in tps:
            t.offset = OFFSET_BEGINNING if at == "start" else c.get_watermark_offsets(t, timeout=10)[1]
    c.assign(tps)
    out(ready=True)
    got, until = 0, time.time() + num("timeout", 30)
    while got < num("n", 1):
        if time.time() > until:
            raise SystemExit(f"got {got} of {num('n', 1)}")
        m = c.poll(0.2)
        if m is None:
            continue
        if m.error():
            raise KafkaException(m.error())
        record(m.partition(), m.offset(), m.key(), m.value(), m.headers())
        got += 1
    c.close()
    out(done=True)


def group():
    c = Consumer({**BASE, "group.id": A["group"], "enable.auto.commit": False, "auto.offset.reset": "earliest",
                  "session.timeout.ms": num("session", 6000), "heartbeat.interval.ms": 500,
                  "partition.assignment.strategy": "range" if A["strategy"] == "eager" else "cooperative-sticky",
                  **({"group.instance.id": A["instance"]} if "instance" in A else {})})
    stop = stop_event()

    def say(consumer, _):
        pass

    c.subscribe([A["topic"]], on_assign=say, on_revoke=say)
    last = None
    while not stop.is_set():
        m = c.poll(0.2)
        now = sorted(t.partition for t in c.assignment())
        if now != last:
            out(assigned=now)
            last = now
        if m is None:
            continue
        if m.error():
            continue
        record(m.partition(), m.offset(), m.key(), m.value(), m.headers())
        try:
            c.commit(m, asynchronous=False)
        except KafkaException:
            pass  # a rebalance took the partition: another member reads it again
    c.close()
    out(done=True)


def copy():
    """What goes wrong ends the program at once: whoever started it starts it
    again, and its first step then aborts what is open."""
    try:
        copy_until_trouble()
    except KafkaException as e:
        print(e, file=sys.stderr, flush=True)
        os._exit(1)  # a closing consumer would wait for the broker


def copy_until_trouble():
    c = Consumer({**BASE, "group.id": A["group"], "enable.auto.commit": False, "auto.offset.reset": "earliest",
                  "isolation.level": "read_committed", "session.timeout.ms": 6000})
    # When all brokers are away librdkafka looks for its cluster anew and may wait
    # for ever for the group's coordinator that it knew before (librdkafka issue
    # 5511, open in September 2026): so it is told not to.
    p = Producer({**BASE, "transactional.id": A["id"], "transaction.timeout.ms": 20000,
                  "metadata.recovery.strategy": "none"})
    p.init_transactions(30)
    c.subscribe([A["in"]])
    out(ready=True)
    turn = 1
    while True:
        ms = [m for m in c.consume(num("size", 50), 0.2) if not m.error()]
        if not ms:
            continue
        turn += 1
        p.begin_transaction()
        for m in ms:
            p.produce(A["out"], m.value(), m.key())
        if turn % num("aborts", 4):
            p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 5)
            p.commit_transaction(10)
            out(step="commit", ok=True, i=len(ms))
            continue
        p.abort_transaction(30)
        for t in c.committed(c.assignment(), 30):
            if t.offset < 0:
                t.offset = OFFSET_BEGINNING
            c.seek(t)


def done(futures):
    return [f.result() for f in futures.values()]


def admin():
    topic, grp = A["topic"], A["group"]
    ad = AdminClient(BASE)
    done(ad.create_topics([NewTopic(topic, 3, -1, config={"retention.ms": "3600000"})]))
    step("create", lambda: topic in ad.list_topics(timeout=10).topics)
    step("describe", lambda: len(ad.list_topics(topic, timeout=10).topics[topic].partitions) == 3)
    res = ConfigResource(ConfigResource.Type.TOPIC, topic)
    step("config", lambda: done(ad.describe_configs([res]))[0]["retention.ms"].value == "3600000")
    done(ad.incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND),
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE)])]))
    c = done(ad.describe_configs([res]))[0]
    step("alter", lambda: c["cleanup.policy"].value == "delete,compact" and c["retention.ms"].value == "604800000")
    done(ad.incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SUBTRACT)])]))
    done(ad.create_partitions([NewPartitions(topic, 5)]))
    step("partitions", lambda: len(ad.list_topics(topic, timeout=10).topics[topic].partitions) == 5)
    try:
        done(ad.create_topics([NewTopic(topic, 3, -1)]))
        step("exists", False)
    except KafkaException as e:
        step("exists", lambda: e.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS)
    p = Producer({**BASE, "linger.ms": 0})
    for i in range(10):
        p.produce(topic, payload(i, 50), partition=0)
    p.flush()
    tp = TopicPartition(topic, 0)
    step("end", lambda: done(ad.list_offsets({tp: OffsetSpec.latest()}))[0].offset == 10)
    step("delete-records", lambda: done(ad.delete_records([TopicPartition(topic, 0, 4)])) is not None)
    step("start", lambda: done(ad.list_offsets({tp: OffsetSpec.earliest()}))[0].offset == 4)
    done(ad.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(grp, [TopicPartition(topic, 0, 7)])]))
    got = done(ad.list_consumer_group_offsets([ConsumerGroupTopicPartitions(grp, [tp])]))[0]
    step("commit", lambda: got.topic_partitions[0].offset == 7)
    step("groups", lambda: any(g.group_id == grp for g in ad.list_consumer_groups().result().valid))
    step("group-describe", lambda: done(ad.describe_consumer_groups([grp]))[0].group_id == grp)
    done(ad.delete_consumer_groups([grp]))
    step("group-delete", lambda: all(g.group_id != grp for g in ad.list_consumer_groups().result().valid))
    step("cluster", lambda: len(ad.describe_cluster().result().nodes) >= 1)
    done(ad.delete_topics([topic]))
    step("delete", lambda: topic not in ad.list_topics(timeout=10).topics)
    out(done=True)


{"produce": produce, "consume": consume, "group": group, "admin": admin, "copy": copy}[VERB]()
