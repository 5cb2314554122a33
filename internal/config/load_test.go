// SPDX-License-Identifier: Apache-2.0

// Goal: the layers win in the documented order, wrong input is refused with
// its key, value and range, and what the typed view says is what Kafka would
// make of the same file. Method: small files written to a temporary directory.
package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, file string, o Options) (*Settings, error) {
	t.Helper()
	if file != "" {
		o.File = filepath.Join(t.TempDir(), "server.properties")
		if err := os.WriteFile(o.File, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o.Hostname = "box"
	return Load(o)
}

func mustLoad(t *testing.T, file string, o Options) *Settings {
	t.Helper()
	s, err := load(t, file, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNoFileIsOneNodeForThisMachine(t *testing.T) {
	t.Parallel()
	b := mustLoad(t, "", Options{}).Broker()
	if got := b.Listeners[0].Addr(); got != "127.0.0.1:9092" {
		t.Errorf("listens on %s", got)
	}
	if got := b.Advertised[0].String(); got != "PLAINTEXT://127.0.0.1:9092" {
		t.Errorf("advertises %s", got)
	}
	if b.NodeID != 1 || !b.IsBroker || !b.IsController || b.Offsets.TopicReplication != 1 || b.Txn.TopicMinISR != 1 {
		t.Errorf("single-node values are missing: %+v", b)
	}
	if !slices.Equal(b.LogDirs, []string{"./gregor-data"}) || b.MetadataLogDir != "./gregor-data" {
		t.Errorf("directories %v, %s", b.LogDirs, b.MetadataLogDir)
	}
	if b.HTTP.Addr != "127.0.0.1:9644" || b.HTTP.Asked {
		t.Errorf("http %+v", b.HTTP)
	}
	if !b.TopicDefaults.Durable || !b.TopicDefaults.Delete || b.TopicDefaults.Compact || b.TopicDefaults.RetentionMs != 7*24*3600*1000 {
		t.Errorf("topic defaults %+v", b.TopicDefaults)
	}
}

func TestAFileTurnsKafkasDefaultsOn(t *testing.T) {
	t.Parallel()
	b := mustLoad(t, "node.id=0\n", Options{}).Broker()
	if b.NodeID != 0 || b.Offsets.TopicReplication != 3 || b.Groups.InitialRebalanceDelay != 3*time.Second {
		t.Errorf("got %+v", b)
	}
	if !slices.Equal(b.LogDirs, []string{"/tmp/kafka-logs"}) {
		t.Errorf("directories %v", b.LogDirs)
	}
	if got := b.Advertised[0].String(); got != "PLAINTEXT://box:9092" {
		t.Errorf("an empty host is advertised as %s", got)
	}
}

// The settings of the file that Kafka 4.2 ships as config/server.properties.
const shippedByKafka = `
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
`

func TestTheFileThatKafkaShips(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, shippedByKafka, Options{})
	b := s.Broker()
	if len(b.Listeners) != 2 || b.Listeners[0].Controller || !b.Listeners[1].Controller {
		t.Errorf("listeners %+v", b.Listeners)
	}
	if len(b.Advertised) != 1 || b.Advertised[0].Addr() != "localhost:9092" || b.InterBrokerListener != "PLAINTEXT" {
		t.Errorf("advertised %v, between brokers %s", b.Advertised, b.InterBrokerListener)
	}
	if len(s.Warnings()) != 0 {
		t.Errorf("warnings: %q", s.Warnings())
	}
}

func TestLayersWinInOrder(t *testing.T) {
	t.Parallel()
	const file = "num.partitions=2\nlog.dirs=/a\nlog.retention.hours=1\nlog.cleaner.threads=2\n"
	s := mustLoad(t, file, Options{
		Environ:   []string{"GREGOR_LOG_DIRS=/b,/c", "GREGOR_NUM_PARTITIONS=3", "GREGOR_DURABLE=false", "HOME=/"},
		Overrides: []string{"num.partitions=4", "num.partitions=5"},
	})
	b := s.Broker()
	if b.Creation.NumPartitions != 5 || !slices.Equal(b.LogDirs, []string{"/b", "/c"}) || b.TopicDefaults.Durable {
		t.Errorf("static layers: %d, %v, %v", b.Creation.NumPartitions, b.LogDirs, b.TopicDefaults.Durable)
	}
	if b.TopicDefaults.RetentionMs != 3600_000 {
		t.Errorf("log.retention.hours=1 makes retention.ms=%d", b.TopicDefaults.RetentionMs)
	}
	s, problems := s.WithDynamic(
		map[string]string{"log.retention.ms": "7000", "log.cleaner.threads": "3"},
		map[string]string{"log.cleaner.threads": "4", "log.retention.bytes": "many"})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "log.retention.bytes") {
		t.Errorf("problems: %v", problems)
	}
	b = s.Broker()
	if b.TopicDefaults.RetentionMs != 7000 || b.Cleaner.Threads != 4 || b.TopicDefaults.RetentionBytes != -1 {
		t.Errorf("dynamic layers: %+v %+v", b.TopicDefaults, b.Cleaner)
	}
	for _, x := range s.Explain() {
		switch x.Name {
		case "num.partitions":
			if x.Value != "5" || x.Source != FromOverride || x.Where != "--override" {
				t.Errorf("explained: %+v", x)
			}
		case "log.dirs":
			if x.Source != FromEnvironment || x.Where != "GREGOR_LOG_DIRS" {
				t.Errorf("explained: %+v", x)
			}
		case "log.retention.minutes":
			if x.Set || x.Note != "decided by log.retention.ms" {
				t.Errorf("explained: %+v", x)
			}
		}
	}
}

func TestNodeIDAndItsOldName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file      string
		overrides []string
		want      int32
	}{
		{"node.id=0\n", nil, 0}, {"broker.id=7\n", nil, 7}, {"broker.id=7\nnode.id=7\n", nil, 7},
		{"", []string{"broker.id=5"}, 5}, {"", []string{"node.id=6"}, 6}, {"num.partitions=1\n", nil, 1},
	} {
		if got := mustLoad(t, c.file, Options{Overrides: c.overrides}).Broker().NodeID; got != c.want {
			t.Errorf("%q %v: node %d, want %d", c.file, c.overrides, got, c.want)
		}
	}
}

func TestEnvironmentNames(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{
		"GREGOR_LOG_DIRS":                        "log.dirs",
		"GREGOR_A__B_C":                          "a_b.c",
		"GREGOR_A___B":                           "a-b",
		"GREGOR_HTTP_LISTENER":                   "gregor.http.listener",
		"GREGOR_GREGOR_HTTP_LISTENER":            "gregor.http.listener",
		"GREGOR_LISTENER_NAME_X_MAX_CONNECTIONS": "listener.name.x.max.connections",
	} {
		if _, ok := environment([]string{variable + "=1"})[want]; !ok {
			t.Errorf("%s is not %s but %v", variable, want, environment([]string{variable + "=1"}))
		}
	}
}

// Each case is refused, and the error names what a person needs to mend it.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, want string }{
		{"num.io.threads=0", "Invalid value 0 for configuration num.io.threads: Value must be at least 1"},
		{"num.io.threads=many", "Not a number of type INT"},
		{"auto.create.topics.enable=yes", "Expected value to be either true or false"},
		{"log.segment.bytes=1024", "Value must be at least 1048576"},
		{"compression.type=brotli", "uncompressed, zstd, lz4, snappy, gzip, producer"},
		{"compression.gzip.level=0", "between 1 and 9 or equal to -1"},
		{"log.cleanup.policy=delete,delete", "without duplicates"},
		{"log.cleanup.policy=shred", "compact, delete"},
		{"log.dirs=/a,,/b", "none empty"},
		{"log.retention.ms=0", "must be -1 (for ever) or at least 1"},
		{"node.id=-1", "Value must be at least 0"},
		{"node.id=2\nbroker.id=3", "must be the same as node.id, which is 2"},
		{"process.roles=zookeeper", "broker, controller"},
		{"process.roles=broker", "must say where the controllers are"},
		{"controller.quorum.voters=7@a:9093", "must be among the voters"},
		{"listeners=SASL_SSL://:9092", "SASL_SSL, which is not built yet"},
		{"listeners=PLAINTEXT://:9092,PLAINTEXT://:9093", "different name"},
		{"listeners=PLAINTEXT://:9092,A://:9092\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,A:PLAINTEXT", "different port"},
		{"listeners=OUTSIDE://:9092", "listener.security.protocol.map"},
		{"listeners=PLAINTEXT://:99999", "port between 0 and 65535"},
		{"listeners=localhost:9092", "name://host:port"},
		{"listeners=PLAINTEXT://::1:9092", "IPv6 address stands in brackets"},
		{"listeners=PLAINTEXT://0.0.0.0:9092", "set advertised.listeners"},
		{"advertised.listeners=PLAINTEXT://0.0.0.0:9092", "clients cannot connect to 0.0.0.0"},
		{"advertised.listeners=SSL://a:1", "does not appear in listeners"},
		{"controller.listener.names=PLAINTEXT", "at least one listener for clients"},
		{"controller.listener.names=CONTROLLER", "must only contain names that appear in listeners"},
		{"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "not built yet"},
		{"super.users=User:admin", "the authorizer, which Gregor does not have"},
		{"sasl.enabled.mechanisms=PLAIN", "not built yet"},
		{"ssl.keystore.password=secret", "Invalid value [hidden] for configuration ssl.keystore.password"},
		{"listener.name.plaintext.ssl.keystore.location=/k", "listener.name.plaintext.ssl.keystore.location"},
		{"remote.log.storage.system.enable=true", "not built yet"},
		{"create.topic.policy.class.name=com.x.Policy", "not built yet"},
		{"zookeeper.connect=a:2181", "ZooKeeper, which Gregor does not have"},
		{"inter.broker.listener.name=X", "must be the name of an advertised listener"},
		{"max.connections.per.ip.overrides=a", "is not address:limit"},
		{"gregor.http.listener=nonsense", "want host:port"},
		{"gregor.validate.records=some", "compacted, all"},
		{"group.coordinator.rebalance.protocols=consumer", "classic protocol"},
		{"log.cleaner.min.compaction.lag.ms=10\nlog.cleaner.max.compaction.lag.ms=5", "min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"},
	} {
		s, err := load(t, c.file+"\n", Options{})
		if err == nil {
			t.Errorf("%q was accepted; warnings %v", c.file, s.Warnings())
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v\nwant: %s", c.file, err, c.want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: a password shows in %v", c.file, err)
		}
	}
}

func TestAllThatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	_, err := load(t, "num.io.threads=0\nnum.partitions=0\n", Options{})
	if err == nil || !strings.Contains(err.Error(), "num.io.threads") || !strings.Contains(err.Error(), "num.partitions") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(err.Error(), "server.properties:2: ") {
		t.Errorf("the file is not named: %v", err)
	}
}

func TestUnknownNamesAreWarnedAbout(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "log.dir.s=/x\nlogs.dirs=/x\nsome.plugin.setting=1\ninter.broker.protocol.version=3.9\nnum.io.threads=16\nmetric.reporters=\nssl.client.auth=none\n", Options{})
	all := strings.Join(s.Warnings(), "\n")
	for _, want := range []string{
		"logs.dirs", "did you mean log.dirs?", "removed in Kafka 4.0", "num.io.threads=16", "has no effect", "some.plugin.setting",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning has %q:\n%s", want, all)
		}
	}
}

func TestProviders(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rack"), []byte("r7"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "more.properties"), []byte("parts=9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GREGOR_TEST_SEGMENT", "2097152")
	s := mustLoad(t, "config.providers=env,file,dir\n"+
		"config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\n"+
		"config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider\n"+
		"config.providers.dir.class=org.apache.kafka.common.config.provider.DirectoryConfigProvider\n"+
		"config.providers.dir.param.allowed.paths="+dir+"\n"+
		"log.segment.bytes=${env:GREGOR_TEST_SEGMENT}\n"+
		"num.partitions=${file:"+dir+"/more.properties:parts}\n"+
		"broker.rack=${dir:"+dir+":rack}-${other:x}\n", Options{})
	b := s.Broker()
	if b.TopicDefaults.SegmentBytes != 2097152 || b.Creation.NumPartitions != 9 || b.Rack != "r7-${other:x}" {
		t.Errorf("got %d, %d, %q", b.TopicDefaults.SegmentBytes, b.Creation.NumPartitions, b.Rack)
	}
	for _, bad := range []string{"broker.rack=${dir:/etc:hostname}", "broker.rack=${file:" + dir + "/more.properties:none}", "broker.rack=${env:GREGOR_TEST_NOT_SET}"} {
		_, err := load(t, "config.providers=env,file,dir\nconfig.providers.env.class=EnvVarConfigProvider\nconfig.providers.file.class=FileConfigProvider\nconfig.providers.dir.class=DirectoryConfigProvider\n"+
			"config.providers.dir.param.allowed.paths="+dir+"\n"+bad+"\n", Options{})
		if err == nil || !strings.Contains(err.Error(), "broker.rack") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPropertiesForm(t *testing.T) {
	t.Parallel()
	all, err := ParseProperties([]byte("# c\\\n! c\n a = 1 \nb:two\\\r\n   lines\rc three\nd=\\u00e9${x}\na=last\nempty\ne\\ k\\:=v\\\\\nf=\\q\\\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := last(all)
	for k, want := range map[string]string{"b": "twolines", "c": "three", "d": "é${x}", "a": "last", "empty": "", "e k:": `v\`, "f": "q"} {
		if got[k] != want {
			t.Errorf("%s = %q, want %q", k, got[k], want)
		}
	}
}

func TestPropertiesOfOldAndBrokenFiles(t *testing.T) {
	t.Parallel()
	all, err := ParseProperties([]byte("a=caf\xe9\n"))
	if err != nil || all[0].Value != "café" {
		t.Errorf("ISO 8859-1: %v, %v", all, err)
	}
	for _, bad := range []string{"x=1\na=\\u12", "x=1\na=\\u12G4"} {
		if _, err := ParseProperties([]byte(bad)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if all, _ := ParseProperties([]byte("\n\na=1\\\n2\nb=3")); all[0].Line != 3 || all[1].Line != 5 {
		t.Errorf("lines: %+v", all)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := Brokers.Names()
	for typo, want := range map[string]string{
		"log.retention.hour": "log.retention.hours", "advertised.listener": "advertised.listeners",
		"num.partition": "num.partitions", "qqqqqqqq": "",
	} {
		if got := Nearest(typo, names); got != want {
			t.Errorf("%s: %q, want %q", typo, got, want)
		}
	}
}
