// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/config"
	"gregor/internal/vfs"
)

// TestDynamicSettingsTakeEffect walks the table of properties: each one that
// may change while the broker runs and that is not documented to be without
// effect is changed as a client does, and what reads it must then see another
// value. A property without a row here fails the test.
func TestDynamicSettingsTakeEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	n := start(t, vfs.NewMem(), "/data")
	defer stop(t, n)
	admin := kadm.NewClient(client(t, n))
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	// What a topic without settings of its own is hosted with.
	topic := func() string {
		n.table.Named("t", 0) // it is hosted
		c := n.topicConfig(n.Image(), "t")
		return fmt.Sprintf("%+v %+v %d %d", n.table.Named("t", 0).Log().Config(), c.Rules, c.MaxMessageBytes, c.MinISR)
	}
	cleaner := func() string { return fmt.Sprintf("%+v", *n.compaction.Load().started.Load()) }
	rate := func() string {
		p := n.compaction.Load().pace
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Sprint(p.perSecond)
	}
	limits := func() string { return fmt.Sprintf("%+v", connectionLimits(n.live.Broker())) }
	// Read at each use: the reader is named.
	live := func(read func(b *config.Broker) any) func() string {
		return func() string { return fmt.Sprint(read(n.live.Broker())) }
	}
	rows := map[string]struct {
		to    string
		probe func() string
	}{
		"compression.gzip.level": {"", nil}, // with compression.type, below
		"compression.lz4.level":  {"", nil},
		"compression.zstd.level": {"", nil},
		"compression.type":       {"zstd", topic},
		"config.providers":       {"", nil}, // resolves other values as they are read

		"gregor.balance.enable":           {"true", live(func(b *config.Broker) any { return b.Balance })}, // the controller's round
		"gregor.balance.batch":            {"7", live(func(b *config.Broker) any { return b.Balance })},
		"gregor.balance.bytes.per.second": {"12345", live(func(b *config.Broker) any { return b.Balance })},
		"gregor.balance.interval.ms":      {"60001", live(func(b *config.Broker) any { return b.Balance })},
		"gregor.balance.slack.percent":    {"33", live(func(b *config.Broker) any { return b.Balance })},
		"gregor.broker.drain":             {"", nil}, // read from the image by the controller
		"gregor.durable":                  {"false", topic},
		"gregor.scrub.bytes.per.second":   {"77", func() string { return fmt.Sprint(n.dirs[0].ScrubRate()) }},
		"gregor.validate.records":         {"all", topic},

		"cordoned.log.dirs":              {"", nil}, // TestCordonedDirectory
		"listeners":                      {"", nil}, // TestListenersComeAndGo
		"listener.security.protocol.map": {"", nil},

		"log.cleaner.backoff.ms":              {"1234", cleaner},
		"log.cleaner.dedupe.buffer.size":      {"3000000", cleaner},
		"log.cleaner.delete.retention.ms":     {"1234", topic},
		"log.cleaner.io.buffer.load.factor":   {"0.5", cleaner},
		"log.cleaner.io.buffer.size":          {"70000", cleaner},
		"log.cleaner.io.max.bytes.per.second": {"123456", rate},
		"log.cleaner.max.compaction.lag.ms":   {"12345", topic},
		"log.cleaner.min.cleanable.ratio":     {"0.25", topic},
		"log.cleaner.min.compaction.lag.ms":   {"12345", topic},
		"log.cleaner.threads":                 {"2", cleaner},
		"log.cleanup.policy":                  {"compact", topic},
		"log.flush.interval.messages":         {"1234", topic},
		"log.flush.interval.ms":               {"12345", topic},
		"log.index.interval.bytes":            {"1234", topic},
		"log.index.size.max.bytes":            {"123456", topic},
		"log.message.timestamp.after.max.ms":  {"12345", topic},
		"log.message.timestamp.before.max.ms": {"12345", topic},
		"log.message.timestamp.type":          {"LogAppendTime", topic},
		"log.preallocate":                     {"true", topic},
		"log.retention.bytes":                 {"123456789", topic},
		"log.retention.ms":                    {"12345678", topic},
		"log.roll.jitter.ms":                  {"1234", topic},
		"log.roll.ms":                         {"12345678", topic},
		"log.segment.bytes":                   {"12345678", topic},
		"log.segment.delete.delay.ms":         {"1234", topic},
		"message.max.bytes":                   {"123456", topic},
		"min.insync.replicas":                 {"2", topic},
		"producer.id.expiration.ms":           {"1234567", topic},

		"max.connection.creation.rate":     {"1000", limits},
		"max.connections":                  {"1000", limits},
		"max.connections.per.ip":           {"1000", limits},
		"max.connections.per.ip.overrides": {"10.1.2.3:5", limits},

		"num.replica.fetchers":                           {"2", live(func(b *config.Broker) any { return b.Replica.Fetchers })}, // fetchConfig.Lanes
		"replica.alter.log.dirs.io.max.bytes.per.second": {"1234", func() string { return fmt.Sprint(n.moveEvents().BytesPerSecond()) }},
		"transaction.partition.verification.enable":      {"false", live(func(b *config.Broker) any { return b.Txn.VerifyPartitions })}, // Node.verifies
		"unclean.leader.election.enable":                 {"", nil},                                                                     // read from the image by the controller
		"follower.replication.throttled.rate":            {"1234", live(func(b *config.Broker) any { return b.Replica })},
		"leader.replication.throttled.rate":              {"1234", live(func(b *config.Broker) any { return b.Replica })},
	}
	for _, p := range config.Brokers.All() {
		if p.Mode == config.ReadOnly || p.Standing == config.NoEffect || p.Standing == config.Kept || p.Standing == config.NotBuilt {
			continue
		}
		row, ok := rows[p.Name]
		if !ok {
			t.Errorf("%s may change while the broker runs: say here who sees it", p.Name)
			continue
		}
		if row.probe == nil {
			continue
		}
		before := row.probe()
		altered, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: p.Name, Value: &row.to}})
		if err != nil || altered[0].Err != nil {
			t.Errorf("%s=%s: %v %+v", p.Name, row.to, err, altered)
			continue
		}
		for deadline := time.Now().Add(10 * time.Second); row.probe() == before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s=%s: nothing has changed: %s", p.Name, row.to, before)
				break
			}
		}
		if p.Name == "min.insync.replicas" {
			continue // the cluster always has one: no broker goes by its file
		}
		altered, err = admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: p.Name}})
		if err != nil || altered[0].Err != nil {
			t.Errorf("back from %s: %v %+v", p.Name, err, altered)
		}
	}
	for name := range rows {
		if config.Brokers.Lookup(name) == nil {
			t.Errorf("%s is no property", name)
		}
	}
}

// TestListenersComeAndGo: a listener that is added serves; one that is taken
// away serves no more, and its clients are let go; the advertised one stays.
func TestListenersComeAndGo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	fs := vfs.NewMem()
	fixed := []string{"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,EXTRA:PLAINTEXT", "inter.broker.listener.name=PLAINTEXT"}
	main := "PLAINTEXT://" + freePort(t)
	fixed = append(fixed, "listeners="+main, "advertised.listeners="+main)
	n := start(t, fs, "/data", fixed...)
	admin := kadm.NewClient(client(t, n))
	set := func(listeners string) error {
		altered, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "listeners", Value: &listeners}}, 1)
		if err == nil {
			err = altered[0].Err
		}
		return err
	}
	extra := "EXTRA://" + freePort(t)
	if err := set(main + "," + extra); err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimPrefix(extra, "EXTRA://")
	dial := func() (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	for n.Addr("EXTRA") == "" {
		time.Sleep(time.Millisecond)
	}
	ping := func() error {
		c, err := kgo.NewClient(kgo.SeedBrokers(addr))
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Ping(ctx)
	}
	if err := ping(); err != nil {
		t.Errorf("a listener that was added: %v", err)
	}
	if err := set(extra); err == nil {
		t.Error("the advertised listener was taken away")
	}
	if err := set(main + ",EXTRA://127.0.0.1:1"); err == nil {
		t.Error("a listener moved")
	}
	// It is there again after a restart.
	admin.Close()
	stop(t, n)
	n = start(t, fs, "/data", fixed...)
	defer stop(t, n)
	admin = kadm.NewClient(client(t, n))
	if !slices.ContainsFunc(n.Listening(), func(s string) bool { return s == extra }) {
		t.Fatalf("after a restart: %v", n.Listening())
	}
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := ping(); err != nil { // so that the connection before is accepted
		t.Error(err)
	}
	if err := set(main); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a client of a listener that is gone: %v", err)
	}
	if c, err := dial(); err == nil {
		_ = c.Close()
		t.Error("a listener that is gone was reached")
	}
}
