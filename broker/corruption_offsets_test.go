// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// TestDamagedOffsets: a flipped bit in a partition of __consumer_offsets takes
// the groups of that partition away (NOT_COORDINATOR, as Kafka answers when it
// cannot load them), and is named; it is never passed over, which would show an
// older commit as the newest. All other groups, and records, go on; and when the
// file is as it was, so do the groups.
func TestDamagedOffsets(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	dir := filepath.Join(t.TempDir(), "data")
	b, _, err := embedded(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	admin := kadm.NewClient(client(t, b.Addr(), kgo.AllowAutoTopicCreation()))
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	commit := func(admin *kadm.Client, group string, at int64) {
		t.Helper()
		var o kadm.Offsets
		o.AddOffset("t", 0, at, -1)
		if err := admin.CommitAllOffsets(ctx, group, o); err != nil {
			t.Fatal(err)
		}
	}
	for g := range 8 {
		for at := range int64(3) {
			commit(admin, fmt.Sprintf("group-%d", g), at)
		}
	}
	killed := copyOf(t, dir)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	for name, image := range map[string]string{"killed": killed, "stopped": dir} {
		t.Run(name, func(t *testing.T) { damageOffsets(ctx, t, image, commit) })
	}
}

func damageOffsets(ctx context.Context, t *testing.T, dir string, commit func(*kadm.Client, string, int64)) {
	// The groups of each partition.
	groups := map[string][]int{}
	for g := range 8 {
		for _, path := range found(t, dir, "__consumer_offsets-*/*.log") {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, fmt.Appendf(nil, "group-%d", g)) {
				groups[path] = append(groups[path], g)
			}
		}
	}
	if len(groups) < 2 {
		t.Fatalf("all groups are in one partition: %v", groups)
	}
	var path string
	for p := range groups {
		path = p
		break
	}
	away := map[int]bool{}
	for _, g := range groups[path] {
		away[g] = true
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	// Somewhere in the last batch: without it an older commit would be shown.
	pos, bit := info.Size()-1-rand.Int64N(60), rand.IntN(8)
	t.Logf("bit %d of byte %d of %s, %d bytes, groups %v", bit, pos, path, info.Size(), groups[path])
	flip(t, path, pos, bit)
	b, log, err := embedded(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	raw := client(t, b.Addr(), kgo.MaxVersions(kversion.V3_3_0()), kgo.RequestRetries(0))
	for g := range 8 {
		at, err := committed(ctx, raw, fmt.Sprintf("group-%d", g))
		for errors.Is(err, kerr.CoordinatorLoadInProgress) {
			at, err = committed(ctx, raw, fmt.Sprintf("group-%d", g))
		}
		switch {
		case away[g] && !errors.Is(err, kerr.NotCoordinator):
			t.Errorf("group-%d, damaged: at %d, %v", g, at, err)
		case !away[g] && (err != nil || at != 2):
			t.Errorf("group-%d: at %d, %v", g, at, err)
		}
	}
	admin := kadm.NewClient(client(t, b.Addr()))
	for g := range 8 {
		if !away[g] {
			commit(admin, fmt.Sprintf("group-%d", g), 7)
			break
		}
	}
	if r, err := client(t, b.Addr(), kgo.DefaultProduceTopic("t")).ProduceSync(ctx, kgo.StringRecord("x")).First(); err != nil {
		t.Errorf("produce: %+v, %v", r, err)
	}
	await(ctx, t, func() bool {
		return strings.Contains(log.String(), path) && strings.Contains(log.String(), "group coordinator cannot load its partition")
	}, "the lines that name it")
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	flip(t, path, pos, bit)
	if b, _, err = embedded(t, dir); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Stop() }()
	admin = kadm.NewClient(client(t, b.Addr()))
	for g := range away {
		if o, err := admin.FetchOffsets(ctx, fmt.Sprintf("group-%d", g)); err != nil || o["t"][0].At != 2 {
			t.Errorf("group-%d, mended: %+v, %v", g, o, err)
		}
	}
}

// committed asks once for a group's offset.
func committed(ctx context.Context, c *kgo.Client, group string) (int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic, topic.Partitions = "t", []int32{0}
	g.Topics = append(g.Topics, topic)
	req.Groups = append(req.Groups, g)
	resp, err := c.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return -1, err
	}
	r := resp.(*kmsg.OffsetFetchResponse)
	if len(r.Groups) == 0 {
		return -1, kerr.ErrorForCode(r.ErrorCode)
	}
	if err := kerr.ErrorForCode(r.Groups[0].ErrorCode); err != nil {
		return -1, err
	}
	return r.Groups[0].Topics[0].Partitions[0].Offset, nil
}
