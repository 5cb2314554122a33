// SPDX-License-Identifier: Apache-2.0

// Goal: the faults happen as they are documented, and what was acknowledged
// with acks=all survives every one of them.
// Method: franz-go against brokers in memory.
package brokertest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/seeds"
)

func client(t *testing.T, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addr()), kgo.AlwaysRetryEOF(), kgo.MetadataMinAge(20 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond })}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// read returns the values of a topic of one partition, and fails on a gap.
func read(t *testing.T, b *Broker, topic string, n int) []string {
	t.Helper()
	ctx := within(t, 20*time.Second)
	c := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	var out []string
	for len(out) < n {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%d of %d: %v", len(out), n, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(len(out)) {
				t.Errorf("offset %d after %d records", r.Offset, len(out))
			}
			out = append(out, string(r.Value))
		})
	}
	return out
}

func TestFaultsOfRequests(t *testing.T) {
	t.Parallel()
	b := Start(t)
	b.Topic("t", 1)
	ctx := within(t, 20*time.Second)
	c := client(t, b, kgo.DefaultProduceTopic("t"), kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
	b.Fail(kmsg.Produce, kerr.MessageTooLarge, 1)
	if err := c.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Fatalf("%v, want MESSAGE_TOO_LARGE", err)
	}
	if err := c.ProduceSync(ctx, kgo.StringRecord("0")).FirstErr(); err != nil {
		t.Fatalf("after the fault: %v", err)
	}
	b.Delay(kmsg.Produce, 50*time.Millisecond)
	began := time.Now()
	if err := c.ProduceSync(ctx, kgo.StringRecord("1")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Fatalf("held up by %v only", took)
	}
	b.Delay(kmsg.Produce, 0)
	retrying := client(t, b, kgo.DefaultProduceTopic("t"))
	b.Drop(kmsg.Produce, 3)
	if err := retrying.ProduceSync(ctx, kgo.StringRecord("2")).FirstErr(); err != nil {
		t.Fatalf("an idempotent producer over dropped connections: %v", err)
	}
	if got := fmt.Sprint(read(t, b, "t", 3)); got != "[0 1 2]" {
		t.Fatal(got)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := Start(t)
	b.Topic("t", 1)
	ctx := within(t, 30*time.Second)
	once := client(t, b, kgo.DefaultProduceTopic("t"), kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
	if err := once.ProduceSync(ctx, kgo.StringRecord("0")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	b.FillDisk()
	if err := once.ProduceSync(ctx, kgo.StringRecord("lost")).FirstErr(); !errors.Is(err, kerr.KafkaStorageError) {
		t.Fatalf("%v, want KAFKA_STORAGE_ERROR", err)
	}
	if got := fmt.Sprint(read(t, b, "t", 1)); got != "[0]" {
		t.Fatalf("reading on a full disk: %s", got)
	}
	patient := client(t, b, kgo.DefaultProduceTopic("t"))
	done := make(chan error, 1)
	go func() { done <- patient.ProduceSync(ctx, kgo.StringRecord("1")).FirstErr() }()
	select {
	case err := <-done:
		t.Fatalf("produced to a full disk: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	b.FreeDisk()
	if err := <-done; err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if got := fmt.Sprint(read(t, b, "t", 2)); got != "[0 1]" {
		t.Fatal(got)
	}
}

// TestSimPowerCut: records acknowledged with acks=all are all there afterwards,
// once and in order, whatever the disk lost of what was not synced.
func TestSimPowerCut(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 4, 20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			b := Start(t, Seed(seed))
			b.Topic("t", 1)
			ctx := within(t, 60*time.Second)
			c := client(t, b, kgo.DefaultProduceTopic("t"), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(20))
			acked := make(chan int, 10_000)
			produced := make(chan struct{})
			const records = 400
			go func() {
				defer close(produced)
				for i := range records {
					c.Produce(ctx, kgo.StringRecord(strconv.Itoa(i)), func(_ *kgo.Record, err error) {
						if err != nil {
							t.Errorf("record %d: %v", i, err)
						}
						acked <- i
					})
				}
				if err := c.Flush(ctx); err != nil {
					t.Error(err)
				}
			}()
			for cut := range 3 {
				for range (cut + 1) * 50 {
					<-acked
				}
				b.CutPower()
				b.Restart()
			}
			<-produced
			for i, v := range read(t, b, "t", records) {
				if v != strconv.Itoa(i) {
					t.Fatalf("record %d is %s", i, v)
				}
			}
		})
	}
}
