// SPDX-License-Identifier: Apache-2.0

// Goal: a node starts from nothing, serves, stops and starts again with what
// it had. Method: a real node on a file system in memory and on disk, driven
// over TCP by franz-go.
package node

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/config"
	"gregor/internal/vfs"
)

// start brings up a node over fs with data in dir.
func start(t *testing.T, fs vfs.FS, dir string, more ...string) *Node {
	t.Helper()
	s, err := config.Load(config.Options{SingleNode: true, Overrides: append([]string{
		"listeners=PLAINTEXT://127.0.0.1:0", "log.dirs=" + dir, "gregor.http.listener=none"}, more...)})
	if err != nil {
		t.Fatal(err)
	}
	n := New(Config{Settings: s, FS: fs, Log: slog.NewTextHandler(t.Output(), nil)})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

func client(t *testing.T, n *Node, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.Addr("")), kgo.MetadataMinAge(20 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func stop(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestStartServeStopStart(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for _, where := range []string{"memory", "disk"} {
		t.Run(where, func(t *testing.T) {
			fs := vfs.OS()
			dir := t.TempDir()
			if where == "memory" {
				fs, dir = vfs.NewMem(), "/data"
			}
			for round := range 3 {
				n := start(t, fs, dir)
				c := client(t, n, kgo.DefaultProduceTopic("t"), kgo.ConsumeTopics("t"), kgo.ConsumerGroup("g"),
					kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
				if round == 0 {
					if _, err := kadm.NewClient(c).CreateTopic(ctx, 3, 1, nil, "t"); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 100 {
					c.Produce(ctx, kgo.StringRecord(fmt.Sprint(round, " ", i)), func(_ *kgo.Record, err error) {
						if err != nil {
							t.Error(err)
						}
					})
				}
				if err := c.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				seen := map[string]bool{}
				for len(seen) < 100 {
					f := c.PollFetches(ctx)
					if err := f.Err(); err != nil {
						t.Fatal(err)
					}
					f.EachRecord(func(r *kgo.Record) {
						if seen[string(r.Value)] || string(r.Value[:1]) != fmt.Sprint(round) {
							t.Errorf("round %d reads %q again", round, r.Value)
						}
						seen[string(r.Value)] = true
					})
				}
				if err := c.CommitUncommittedOffsets(ctx); err != nil {
					t.Fatal(err)
				}
				c.Close()
				stop(t, n)
			}
		})
	}
}

// TestHighWatermarksAfterKill: the first client after a kill finds high
// watermarks at the ends of the logs, though nothing says that they are
// durable and the disk is slow.
func TestHighWatermarksAfterKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	mem := vfs.NewMem()
	n := start(t, mem, "/data", "metadata.log.dir=/meta")
	c := client(t, n, kgo.DefaultProduceTopic("t"))
	if _, err := kadm.NewClient(c).CreateTopic(ctx, 3, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := c.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	mem.Kill()
	n.Kill()
	if err := mem.Remove("/data/gregor-durable-points"); err != nil {
		t.Fatal(err)
	}
	slow := vfs.NewFaulty(mem)
	for _, path := range []string{"/data", "/data/*/*"} { // the metadata's disk is fast, so nothing else waits
		slow.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Path: path, Before: func(vfs.Call) { time.Sleep(100 * time.Millisecond) }})
	}
	n = start(t, slow, "/data", "metadata.log.dir=/meta")
	records := int64(0)
	for _, p := range n.table.All() {
		if hw, end := p.HighWatermark(), p.LogEnd(); hw != end {
			t.Errorf("%s-%d: high watermark %d, log end %d", p.Topic(), p.Index(), hw, end)
		}
		records += p.LogEnd()
	}
	if records < 10 {
		t.Errorf("%d records", records)
	}
	stop(t, n)
}
