// SPDX-License-Identifier: Apache-2.0

// WordCount is a Kafka Streams application with exactly_once_v2: it counts the
// values of a topic, and joins each with the one before of the same key within
// a window. It runs until it is killed.
//   bootstrap= in= counts= joined= id= dir=
import java.time.Duration;
import java.util.*;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;

public class WordCount {
    public static void main(String[] args) throws Exception {
        Map<String, String> a = new HashMap<>();
        for (String w : args) a.put(w.substring(0, w.indexOf('=')), w.substring(w.indexOf('=') + 1));
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
        KStream<String, String> words = b.<String, String>stream(a.get("in"))
            .map((k, v) -> new KeyValue<>(v.substring(v.indexOf('|') + 1), v.substring(0, v.indexOf('|'))));
        words.groupByKey().count().toStream().mapValues(n -> n + "|").to(a.get("counts"));
        words.join(words, (x, y) -> x.equals(y) ? x + "|" : null,
                JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofHours(1)), StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String()))
            .filter((k, v) -> v != null).to(a.get("joined"));
        KafkaStreams s = new KafkaStreams(b.build(), p);
        s.setUncaughtExceptionHandler(e -> { System.err.println(e); return StreamThreadExceptionResponse.REPLACE_THREAD; });
        s.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) { System.out.println("{\"ready\":true}"); System.out.flush(); }
        });
        s.start();
        Thread.sleep(Long.MAX_VALUE);
    }
}
