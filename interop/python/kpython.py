# SPDX-License-Identifier: Apache-2.0
"""kafka-python, pure Python."""
import time

from args import A, VERB, num, out, payload, record, step, stop_event, yes
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import CommitFailedError, TopicAlreadyExistsError

BASE = {"bootstrap_servers": A["bootstrap"], "client_id": "kafka-python-interop"}


def produce():
    codec = A.get("codec", "none")
    p = KafkaProducer(**BASE, acks="all" if A.get("acks", "all") == "all" else 1, enable_idempotence=yes("idempotent"),
                      compression_type=None if codec == "none" else codec, max_request_size=2 << 20, linger_ms=5)
    start, n, size = num("start", 0), num("n", 1), num("size", 100)
    sent = []
    for i in range(start, start + n):
        sent.append((i, p.send(A["topic"], payload(i, size), key=f"key-{i % 17}".encode() if yes("keyed") else None,
                               headers=[(f"h-{i}", f"v-{i}".encode())] if yes("headers") else None)))
    p.flush()
    for i, f in sent:
        m = f.get(timeout=30)
        out(i=i, p=m.partition, o=m.offset)
    p.close()
    out(done=True)


def show(m):
    record(m.partition, m.offset, m.key, m.value, m.headers)


def consume():
    c = KafkaConsumer(**BASE, enable_auto_commit=False, consumer_timeout_ms=1000 * num("timeout", 30))
    tps = [TopicPartition(A["topic"], p) for p in c.partitions_for_topic(A["topic"])]
    c.assign(tps)
    at = A.get("from", "start")
    if at == "start":
        c.seek_to_beginning(*tps)
    elif at == "end":
        c.seek_to_end(*tps)
    else:
        ends = c.end_offsets(tps)
        for t, o in c.offsets_for_times({t: int(at[5:]) for t in tps}).items():
            c.seek(t, ends[t] if o is None else o.offset)
    for t in tps:
        c.position(t)
    out(ready=True)
    got = 0
    for m in c:
        show(m)
        got += 1
        if got == num("n", 1):
            break
    if got < num("n", 1):
        raise SystemExit(f"got {got} of {num('n', 1)}")
    c.close()
    out(done=True)


def group():
    if A["strategy"] == "eager":
        strategy = [RangePartitionAssignor]
    else:
        from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
        strategy = [CooperativeStickyAssignor]
    c = KafkaConsumer(A["topic"], **BASE, group_id=A["group"], enable_auto_commit=False, auto_offset_reset="earliest",
                      session_timeout_ms=6000, heartbeat_interval_ms=500, partition_assignment_strategy=strategy)
    stop = stop_event()
    last = None
    while not stop.is_set():
        polled = c.poll(timeout_ms=200)
        now = sorted(t.partition for t in c.assignment())
        if now != last:
            out(assigned=now)
            last = now
        for ms in polled.values():
            for m in ms:
                show(m)
        if polled:
            try:
                c.commit()
            except CommitFailedError:
                pass  # a rebalance took the partition: another member reads it again
    c.close()
    out(done=True)


def admin():
    topic, grp = A["topic"], A["group"]
    ad = KafkaAdminClient(**BASE)
    ad.create_topics([NewTopic(topic, 3, -1, topic_configs={"retention.ms": "3600000"})])
    step("create", lambda: topic in ad.list_topics())
    step("describe", lambda: len(ad.describe_topics([topic])[0]["partitions"]) == 3)
    step("config", lambda: "3600000" in str(ad.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])))
    ad.create_partitions({topic: NewPartitions(5)})
    step("partitions", lambda: len(ad.describe_topics([topic])[0]["partitions"]) == 5)
    try:
        ad.create_topics([NewTopic(topic, 3, -1)])
        step("exists", False)
    except TopicAlreadyExistsError:
        step("exists", True)
    p = KafkaProducer(**BASE, acks="all")
    for i in range(10):
        p.send(topic, payload(i, 50), partition=0)
    p.flush()
    p.close()
    tp = TopicPartition(topic, 0)
    ad.delete_records({tp: 4})
    c = KafkaConsumer(**BASE, group_id=grp, enable_auto_commit=False)
    step("offsets", lambda: c.beginning_offsets([tp])[tp] == 4 and c.end_offsets([tp])[tp] == 10)
    c.assign([tp])
    c.seek(tp, 7)
    c.commit()
    step("commit", lambda: c.committed(tp) == 7)
    c.close()
    step("groups", lambda: grp in str(ad.list_groups() if hasattr(ad, "list_groups") else ad.list_consumer_groups()))
    (ad.delete_groups if hasattr(ad, "delete_groups") else ad.delete_consumer_groups)([grp])
    ad.delete_topics([topic])
    until = time.time() + 10
    while topic in ad.list_topics() and time.time() < until:
        time.sleep(0.1)
    step("delete", lambda: topic not in ad.list_topics())
    out(done=True)


{"produce": produce, "consume": consume, "group": group, "admin": admin}[VERB]()
