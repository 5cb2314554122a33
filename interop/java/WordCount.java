// SPDX-License-Identifier: Apache-2.0

// WordCount is a Kafka Streams application with exactly_once_v2. It counts the
// words of the topic left, whose values are "number|word", and joins left with
// the topic right by key within a window: a record of left that has no partner
// is told of once the window has closed. What has a key that begins with
// "flush" only moves the time. It runs until it is killed.
//   bootstrap= left= right= counts= joined= window= (ms) grace= (ms) id= dir=
import java.time.Duration;
import java.util.*;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;

public class WordCount {
    static String number(String v) { return v == null ? "-" : v.substring(0, v.indexOf('|')); }
    static String word(String v) { return v.substring(v.indexOf('|') + 1); }
    static boolean told(String key) { return !key.startsWith("flush"); }

    public static void main(String[] args) throws Exception {
        Map<String, String> a = new HashMap<>();
        for (String w : args) if (w.indexOf('=') > 0) a.put(w.substring(0, w.indexOf('=')), w.substring(w.indexOf('=') + 1));
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, a.get("id"));
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, a.get("bootstrap"));
        p.put(StreamsConfig.STATE_DIR_CONFIG, a.get("dir"));
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.String().getClass());
        p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.String().getClass());
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 200);
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0); // every count is seen
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        p.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        p.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 6000);
        p.put(StreamsConfig.consumerPrefix("heartbeat.interval.ms"), 1000);
        p.put(StreamsConfig.producerPrefix("transaction.timeout.ms"), 20000);

        StreamsBuilder b = new StreamsBuilder();
        KStream<String, String> left = b.stream(a.get("left")), right = b.stream(a.get("right"));
        left.filter((k, v) -> told(k)).map((k, v) -> new KeyValue<>(word(v), v))
            .groupByKey().count().toStream().mapValues(n -> n + "|").to(a.get("counts"));
        JoinWindows within = JoinWindows.ofTimeDifferenceAndGrace(
            Duration.ofMillis(Long.parseLong(a.get("window"))), Duration.ofMillis(Long.parseLong(a.get("grace"))));
        left.leftJoin(right, (x, y) -> number(x) + "|" + number(y), within,
                StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String()))
            .filter((k, v) -> told(k)).to(a.get("joined"));

        KafkaStreams s = new KafkaStreams(b.build(), p);
        s.setUncaughtExceptionHandler(e -> { System.err.println(e); return StreamThreadExceptionResponse.REPLACE_THREAD; });
        s.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) { System.out.println("{\"ready\":true}"); System.out.flush(); }
        });
        s.start();
        Thread.sleep(Long.MAX_VALUE);
    }
}
