// SPDX-License-Identifier: Apache-2.0

// Numbers is a source connector for Kafka Connect that supports exactly once:
// its tasks share the numbers 0..n-1 among them, each one takes every so many.
// A task's source offset is the next number it will give.
//   topic= n= batch= (of one poll) pause= (ms before each poll)
import java.util.*;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.source.*;

public class Numbers extends SourceConnector {
    private Map<String, String> conf;

    @Override public void start(Map<String, String> conf) { this.conf = conf; }
    @Override public void stop() { }
    @Override public String version() { return "1"; }
    @Override public Class<? extends Task> taskClass() { return Share.class; }
    @Override public ExactlyOnceSupport exactlyOnceSupport(Map<String, String> conf) { return ExactlyOnceSupport.SUPPORTED; }

    @Override public List<Map<String, String>> taskConfigs(int max) {
        List<Map<String, String>> all = new ArrayList<>();
        for (int k = 0; k < max; k++) {
            Map<String, String> c = new HashMap<>(conf);
            c.put("share", "" + k);
            c.put("shares", "" + max);
            all.add(c);
        }
        return all;
    }

    @Override public ConfigDef config() {
        return new ConfigDef()
            .define("topic", ConfigDef.Type.STRING, ConfigDef.Importance.HIGH, "where to")
            .define("n", ConfigDef.Type.INT, ConfigDef.Importance.HIGH, "how many")
            .define("batch", ConfigDef.Type.INT, 20, ConfigDef.Importance.LOW, "records of one poll")
            .define("pause", ConfigDef.Type.LONG, 10, ConfigDef.Importance.LOW, "milliseconds before each poll");
    }

    public static class Share extends SourceTask {
        private String topic;
        private Map<String, String> partition;
        private long next, n, shares, pause;
        private int batch;

        @Override public String version() { return "1"; }
        @Override public void stop() { }

        @Override public void start(Map<String, String> conf) {
            topic = conf.get("topic");
            n = Long.parseLong(conf.get("n"));
            batch = Integer.parseInt(conf.getOrDefault("batch", "20"));
            pause = Long.parseLong(conf.getOrDefault("pause", "10"));
            shares = Long.parseLong(conf.get("shares"));
            partition = Map.of("share", conf.get("share"));
            Map<String, Object> at = context.offsetStorageReader().offset(partition);
            next = at == null ? Long.parseLong(conf.get("share")) : (Long) at.get("next");
        }

        @Override public List<SourceRecord> poll() throws InterruptedException {
            Thread.sleep(pause);
            List<SourceRecord> rs = new ArrayList<>();
            for (; next < n && rs.size() < batch; next += shares) {
                rs.add(new SourceRecord(partition, Map.of("next", next + shares), topic, null,
                    Schema.STRING_SCHEMA, "key-" + next % 17, Schema.STRING_SCHEMA, "" + next));
            }
            return rs.isEmpty() ? null : rs;
        }
    }
}
