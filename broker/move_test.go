// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestMoveBetweenDirectories: a compacted topic and its records move to another
// log directory by AlterReplicaLogDirs, with their place in the cleaner's
// checkpoint, while they are produced to; and are there after a restart.
func TestMoveBetweenDirectories(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	root := t.TempDir()
	dirs := []string{filepath.Join(root, "a"), filepath.Join(root, "b")}
	b, log, err := embedded(t, dirs[0]+","+dirs[1])
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, b.Addr(), kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin := kadm.NewClient(c)
	compact, segment, ratio := "compact", "1048576", "0.01"
	if _, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{"cleanup.policy": &compact, "segment.bytes": &segment, "min.cleanable.dirty.ratio": &ratio}, "t"); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 100_000)
	for i := range 40 {
		if err := c.ProduceSync(ctx, &kgo.Record{Key: []byte{byte(i % 3)}, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	checkpointed := func(dir string) bool {
		b, err := os.ReadFile(filepath.Join(dir, "cleaner-offset-checkpoint"))
		return err == nil && strings.Contains(string(b), "\nt 0 ")
	}
	backoff := "10" // it is 15 s
	if _, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.cleaner.backoff.ms", Value: &backoff}}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, func() bool { return checkpointed(dirs[0]) || checkpointed(dirs[1]) }, "the first cleaning")
	from, to := dirs[0], dirs[1]
	if checkpointed(to) {
		from, to = to, from
	}
	req := kadm.AlterReplicaLogDirsReq{}
	req.Add(to, kadm.TopicsSet{"t": {0: {}}})
	moved, err := admin.AlterAllReplicaLogDirs(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	moved.Each(func(r kadm.AlterReplicaLogDirsResponse) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	})
	n := 40
	in := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "t-0"))
		return err == nil
	}
	await(ctx, t, func() bool {
		if r, err := c.ProduceSync(ctx, &kgo.Record{Key: []byte{byte(n % 3)}, Value: value}).First(); err != nil || r.Offset != int64(n) {
			t.Fatalf("while it moves: offset %d, want %d, %v", r.Offset, n, err)
		}
		n++
		return in(to) && !in(from)
	}, "the move")
	await(ctx, t, func() bool { return checkpointed(to) && !checkpointed(from) }, "the cleaner's checkpoint")
	c.Close()
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if b, _, err = embedded(t, dirs[0]+","+dirs[1]); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Stop() }()
	admin = kadm.NewClient(client(t, b.Addr()))
	described, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := described[1].Lookup(to, "t", 0)
	if !ok || p.IsFuture || p.Size == 0 {
		t.Errorf("after a restart: %+v, %v", p, ok)
	}
	if e, err := admin.ListEndOffsets(ctx, "t"); err != nil || e["t"][0].Offset != int64(n) {
		t.Errorf("after a restart: end %+v, %v", e, err)
	}
	if !strings.Contains(log.String(), "log moved") {
		t.Error("no line tells of the move")
	}
}
