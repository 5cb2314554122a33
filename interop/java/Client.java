// SPDX-License-Identifier: Apache-2.0

// Client drives org.apache.kafka:kafka-clients through the verbs of
// interop/README.md.
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicReference;
import java.util.zip.CRC32;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.*;

public class Client {
    static Map<String, String> a = new HashMap<>();

    static String arg(String k, String d) { return a.getOrDefault(k, d); }
    static int num(String k, int d) { return Integer.parseInt(arg(k, "" + d)); }
    static boolean yes(String k) { return arg(k, "0").equals("1"); }
    static synchronized void out(String s) { System.out.println(s); System.out.flush(); }

    static byte[] payload(int i, int size) {
        byte[] b = new byte[size];
        byte[] head = (i + "|").getBytes(StandardCharsets.US_ASCII);
        for (int k = 0; k < size; k++) b[k] = k < head.length ? head[k] : (byte) ('a' + k % 26);
        return b;
    }

    static Map<String, Object> base() {
        Map<String, Object> p = new HashMap<>();
        p.put("bootstrap.servers", arg("bootstrap", ""));
        p.put("client.id", "java-interop");
        return p;
    }

    public static void main(String[] args) throws Exception {
        for (int k = 1; k < args.length; k++) {
            int eq = args[k].indexOf('=');
            a.put(args[k].substring(0, eq), args[k].substring(eq + 1));
        }
        switch (args[0]) {
            case "produce": produce(); break;
            case "consume": consume(); break;
            case "group": group(); break;
            case "admin": admin(); break;
            case "copy": copy(); break;
            default: throw new IllegalArgumentException(args[0]);
        }
    }

    static void produce() throws Exception {
        Map<String, Object> p = base();
        p.put("acks", arg("acks", "all"));
        p.put("compression.type", arg("codec", "none"));
        p.put("enable.idempotence", yes("idempotent"));
        p.put("max.request.size", 2 << 20);
        AtomicReference<Exception> failed = new AtomicReference<>();
        try (KafkaProducer<byte[], byte[]> prod = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
            int start = num("start", 0), n = num("n", 1), size = num("size", 100);
            for (int i = start; i < start + n; i++) {
                byte[] key = yes("keyed") ? ("key-" + i % 17).getBytes() : null;
                ProducerRecord<byte[], byte[]> r = new ProducerRecord<>(arg("topic", ""), null, key, payload(i, size));
                if (yes("headers")) r.headers().add("h-" + i, ("v-" + i).getBytes());
                final int at = i;
                prod.send(r, (m, e) -> {
                    if (e != null) failed.set(e);
                    else out("{\"i\":" + at + ",\"p\":" + m.partition() + ",\"o\":" + m.offset() + "}");
                });
            }
            prod.flush();
        }
        if (failed.get() != null) throw failed.get();
        out("{\"done\":true}");
    }

    static void print(ConsumerRecord<byte[], byte[]> r) {
        CRC32 c = new CRC32();
        c.update(r.value());
        String head = new String(r.value(), StandardCharsets.US_ASCII);
        String h = "";
        for (Header x : r.headers()) h += x.key() + "=" + new String(x.value()) + ";";
        out("{\"p\":" + r.partition() + ",\"o\":" + r.offset() + ",\"i\":" + head.substring(0, head.indexOf('|'))
            + ",\"len\":" + r.value().length + ",\"crc\":" + c.getValue()
            + ",\"key\":\"" + (r.key() == null ? "" : new String(r.key())) + "\",\"h\":\"" + h + "\"}");
    }

    static void consume() throws Exception {
        Map<String, Object> p = base();
        p.put("enable.auto.commit", false);
        p.put("auto.offset.reset", "earliest");
        p.put("isolation.level", arg("isolation", "read_uncommitted"));
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> tps = new ArrayList<>();
            for (PartitionInfo i : c.partitionsFor(arg("topic", ""))) tps.add(new TopicPartition(i.topic(), i.partition()));
            c.assign(tps);
            String from = arg("from", "start");
            if (from.equals("start")) c.seekToBeginning(tps);
            else if (from.equals("end")) c.seekToEnd(tps);
            else {
                Map<TopicPartition, Long> q = new HashMap<>();
                for (TopicPartition t : tps) q.put(t, Long.parseLong(from.substring(5)));
                Map<TopicPartition, OffsetAndTimestamp> found = c.offsetsForTimes(q);
                for (TopicPartition t : tps) {
                    if (found.get(t) == null) c.seekToEnd(List.of(t)); else c.seek(t, found.get(t).offset());
                }
            }
            for (TopicPartition t : tps) c.position(t);
            out("{\"ready\":true}");
            int n = num("n", 1), got = 0;
            long until = System.currentTimeMillis() + 1000L * num("timeout", 30);
            while (got < n) {
                if (System.currentTimeMillis() > until) throw new TimeoutException("got " + got + " of " + n);
                for (ConsumerRecord<byte[], byte[]> r : c.poll(Duration.ofMillis(200))) { print(r); got++; }
            }
        }
        out("{\"done\":true}");
    }

    static void group() throws Exception {
        Map<String, Object> p = base();
        p.put("group.id", arg("group", ""));
        p.put("enable.auto.commit", false);
        p.put("auto.offset.reset", "earliest");
        p.put("session.timeout.ms", num("session", 6000));
        p.put("heartbeat.interval.ms", 500);
        p.put("partition.assignment.strategy", arg("strategy", "eager").equals("eager")
            ? "org.apache.kafka.clients.consumer.RangeAssignor" : "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        if (a.containsKey("instance")) p.put("group.instance.id", arg("instance", ""));
        CountDownLatch stop = new CountDownLatch(1);
        Thread t = new Thread(() -> { try { while (System.in.read() >= 0) { } } catch (Exception e) { } stop.countDown(); });
        t.setDaemon(true);
        t.start();
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            ConsumerRebalanceListener l = new ConsumerRebalanceListener() {
                void say() {
                    List<Integer> ps = new ArrayList<>();
                    for (TopicPartition x : c.assignment()) ps.add(x.partition());
                    Collections.sort(ps);
                    out("{\"assigned\":" + ps + "}");
                }
                public void onPartitionsRevoked(Collection<TopicPartition> x) { }
                public void onPartitionsAssigned(Collection<TopicPartition> x) { say(); }
            };
            c.subscribe(List.of(arg("topic", "")), l);
            while (stop.getCount() > 0) {
                boolean some = false;
                for (ConsumerRecord<byte[], byte[]> r : c.poll(Duration.ofMillis(200))) { print(r); some = true; }
                if (some) try { c.commitSync(); } catch (CommitFailedException | org.apache.kafka.common.errors.RebalanceInProgressException e) { }
            }
        }
        out("{\"done\":true}");
    }

    static Map<TopicPartition, OffsetAndMetadata> committed(KafkaConsumer<byte[], byte[]> c) {
        Map<TopicPartition, OffsetAndMetadata> at = new HashMap<>();
        for (TopicPartition t : c.assignment()) at.put(t, new OffsetAndMetadata(c.position(t)));
        return at;
    }

    static void copy() throws Exception {
        Map<String, Object> cp = base(), pp = base();
        cp.put("group.id", arg("group", ""));
        cp.put("enable.auto.commit", false);
        cp.put("auto.offset.reset", "earliest");
        cp.put("isolation.level", "read_committed");
        cp.put("max.poll.records", num("size", 50));
        cp.put("session.timeout.ms", 6000);
        pp.put("transactional.id", arg("id", ""));
        pp.put("transaction.timeout.ms", 20000);
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(cp, new ByteArrayDeserializer(), new ByteArrayDeserializer());
             KafkaProducer<byte[], byte[]> p = new KafkaProducer<>(pp, new ByteArraySerializer(), new ByteArraySerializer())) {
            p.initTransactions();
            c.subscribe(List.of(arg("in", "")));
            out("{\"ready\":true}");
            for (int round = 1; ; ) {
                ConsumerRecords<byte[], byte[]> rs = c.poll(Duration.ofMillis(200));
                if (rs.isEmpty()) continue;
                boolean keep = ++round % num("aborts", 4) != 0;
                try {
                    p.beginTransaction();
                    for (ConsumerRecord<byte[], byte[]> r : rs) p.send(new ProducerRecord<>(arg("out", ""), r.key(), r.value()));
                    if (keep) {
                        p.sendOffsetsToTransaction(committed(c), c.groupMetadata());
                        p.commitTransaction();
                        out("{\"step\":\"commit\",\"ok\":true,\"i\":" + rs.count() + "}");
                        continue;
                    }
                } catch (org.apache.kafka.common.errors.ProducerFencedException | org.apache.kafka.common.errors.OutOfOrderSequenceException e) {
                    throw e;
                } catch (KafkaException e) { System.err.println(e); }
                p.abortTransaction();
                Map<TopicPartition, OffsetAndMetadata> at = c.committed(c.assignment());
                for (TopicPartition t : c.assignment()) {
                    if (at.get(t) == null) c.seekToBeginning(List.of(t)); else c.seek(t, at.get(t).offset());
                }
            }
        }
    }

    /** A change is there at once on the broker that answered, and soon on the others. */
    static void step(String s, Callable<Boolean> holds) throws Exception {
        boolean ok = false;
        for (long until = System.currentTimeMillis() + 20_000; !ok && System.currentTimeMillis() < until; ) {
            try { ok = holds.call(); } catch (ExecutionException | NullPointerException e) { System.err.println(s + ": " + e); }
            if (!ok) Thread.sleep(50);
        }
        out("{\"step\":\"" + s + "\",\"ok\":" + ok + "}");
        if (!ok) System.exit(3);
    }

    static void admin() throws Exception {
        String topic = arg("topic", ""), group = arg("group", "");
        try (Admin ad = Admin.create(base())) {
            NewTopic nt = new NewTopic(topic, 3, (short) -1).configs(Map.of("retention.ms", "3600000"));
            ad.createTopics(List.of(nt)).all().get();
            step("create", () -> ad.listTopics().names().get().contains(topic));
            step("describe", () -> ad.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size() == 3);
            ConfigResource res = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            step("config", () -> ad.describeConfigs(List.of(res)).all().get().get(res).get("retention.ms").value().equals("3600000"));
            ad.incrementalAlterConfigs(Map.of(res, List.of(
                new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND),
                new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE)))).all().get();
            step("alter", () -> {
                Config c = ad.describeConfigs(List.of(res)).all().get().get(res);
                return c.get("cleanup.policy").value().equals("delete,compact") && c.get("retention.ms").value().equals("604800000");
            });
            ad.incrementalAlterConfigs(Map.of(res, List.of(
                new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.SUBTRACT)))).all().get();
            ad.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            step("partitions", () -> ad.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size() == 5);
            try { ad.createTopics(List.of(nt)).all().get(); step("exists", () -> false); }
            catch (ExecutionException e) { step("exists", () -> e.getCause() instanceof org.apache.kafka.common.errors.TopicExistsException); }
            try (KafkaProducer<byte[], byte[]> prod = new KafkaProducer<>(base(), new ByteArraySerializer(), new ByteArraySerializer())) {
                for (int i = 0; i < 10; i++) prod.send(new ProducerRecord<>(topic, 0, null, payload(i, 50))).get();
            }
            TopicPartition tp = new TopicPartition(topic, 0);
            step("end", () -> ad.listOffsets(Map.of(tp, OffsetSpec.latest())).all().get().get(tp).offset() == 10);
            step("max-timestamp", () -> ad.listOffsets(Map.of(tp, OffsetSpec.maxTimestamp())).all().get().get(tp).offset() >= 0);
            step("delete-records", () -> ad.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(4))).all().get() == null);
            step("start", () -> ad.listOffsets(Map.of(tp, OffsetSpec.earliest())).all().get().get(tp).offset() == 4);
            ad.alterConsumerGroupOffsets(group, Map.of(tp, new OffsetAndMetadata(7))).all().get();
            step("commit", () -> ad.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(tp).offset() == 7);
            step("groups", () -> ad.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group)));
            ad.deleteConsumerGroupOffsets(group, Set.of(tp)).all().get();
            step("offset-delete", () -> ad.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(tp) == null);
            ad.alterConsumerGroupOffsets(group, Map.of(tp, new OffsetAndMetadata(7))).all().get();
            ad.deleteConsumerGroups(List.of(group)).all().get();
            step("group-delete", () -> ad.listGroups().all().get().stream().noneMatch(g -> g.groupId().equals(group)));
            step("cluster", () -> ad.describeCluster().nodes().get().size() >= 1);
            step("features", () -> ad.describeFeatures().featureMetadata().get() != null);
            step("log-dirs", () -> !ad.describeLogDirs(List.of(ad.describeCluster().nodes().get().iterator().next().id())).allDescriptions().get().isEmpty());
            step("quorum", () -> ad.describeMetadataQuorum().quorumInfo().get().leaderId() >= 0);
            step("producers", () -> ad.describeProducers(List.of(tp)).all().get().containsKey(tp));
            ad.deleteTopics(List.of(topic)).all().get();
            step("delete", () -> !ad.listTopics().names().get().contains(topic));
        }
        out("{\"done\":true}");
    }
}
