// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Goal: a cluster in one line, whose brokers come and go in every way, and keep
// what was acknowledged.
// Method: one record after the other, each of which must be taken whatever was
// just done to the leader of its partition; then all are read.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	c.Topic("t", 1)
	ctx := within(t, 2*time.Minute)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...), kgo.DefaultProduceTopic("t"), kgo.AlwaysRetryEOF(),
		kgo.MetadataMinAge(20*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.RequestTimeoutOverhead(time.Second), kgo.ProduceRequestTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	sent := 0
	send := func() {
		t.Helper()
		if err := client.ProduceSync(ctx, kgo.StringRecord(strconv.Itoa(sent))).FirstErr(); err != nil {
			t.Fatalf("record %d: %v", sent, err)
		}
		sent++
	}
	send()
	for _, gone := range []func(*Broker){(*Broker).Kill, (*Broker).CutPower, (*Broker).Stop} {
		gone(c.Leader("t", 0))
		send()
		c.Restart()
		c.Await()
	}
	paused := c.Leader("t", 0)
	paused.Pause()
	send()
	if l := c.Leader("t", 0); l == paused {
		t.Fatalf("broker %d is paused and leads", l.ID())
	}
	paused.Resume()
	c.Await()
	for _, b := range c.Brokers() {
		b.CutPower()
	}
	c.Restart()
	c.Await()
	send()
	for i, v := range read(t, c.Broker(1), "t", sent) {
		if v != strconv.Itoa(i) {
			t.Fatalf("record %d is %s", i, v)
		}
	}
}

func TestClusterOnDisk(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 2, OnDisk(t))
	c.Topic("t", 1)
	c.Broker(1).Kill()
	c.Broker(2).Kill()
	c.Restart()
	c.Await()
}
