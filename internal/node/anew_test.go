// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gregor/internal/vfs"
)

// TestTopicMadeAnewOutlivesAKill: a node that was killed follows the metadata
// from some time ago on. What it meets on the way (a topic that was there, and
// its deletion) must not touch what has the same name now.
func TestTopicMadeAnewOutlivesAKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	mem := vfs.NewMem()
	n := start(t, mem, "/data")
	c := client(t, n, kgo.DefaultProduceTopic("t"))
	admin := kadm.NewClient(c)
	const lives = 3
	for i := range lives {
		if _, err := admin.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
			t.Fatal(err)
		}
		c.PurgeTopicsFromClient("t") // it remembers the topic of before
		for range 10 + i {
			if err := c.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if i == lives-1 {
			break
		}
		if _, err := admin.DeleteTopic(ctx, "t"); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	mem.Kill()
	n.Kill()
	n = start(t, mem, "/data")
	if p := n.table.Named("t", 0); p == nil || p.LogEnd() != 10+lives-1 {
		t.Errorf("not all records are there: %+v", p.Status())
	}
	stop(t, n)
}
