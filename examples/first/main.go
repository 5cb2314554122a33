// SPDX-License-Identifier: Apache-2.0

// Command first is a first program against Gregor: it sends every line of the
// Go distribution's own sources (over a million), keyed by file, lets a group
// of three consumers read them, and compares each file byte for byte.
//
//	go run ./cmd/gregor server        # in one terminal
//	go run ./examples/first           # in another
//
// A key always goes to one partition, and a partition keeps its order: that is
// all that is needed to put each file together again, however the three
// consumers share the partitions.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// longest is room for the longest line: the time zones are one string of more
// than a megabyte, beyond what producers and topics allow by default.
const longest = 4 << 20

func main() {
	broker := flag.String("broker", "127.0.0.1:9092", "where Gregor (or any Kafka) listens")
	dir := flag.String("dir", "", "send every .go file below this folder (the Go distribution's when left out)")
	flag.Parse()
	if *dir == "" {
		root, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			log.Fatal(err)
		}
		*dir = filepath.Join(strings.TrimSpace(string(root)), "src")
	}
	if err := run(context.Background(), *broker, *dir); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, broker, dir string) error {
	topic := fmt.Sprintf("lines-%d", time.Now().Unix())
	producer, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(longest))
	if err != nil {
		return err
	}
	defer producer.Close()
	if _, err := kadm.NewClient(producer).CreateTopic(ctx, 6, 1, map[string]*string{"max.message.bytes": kadm.StringPtr(strconv.Itoa(longest))}, topic); err != nil {
		return fmt.Errorf("create topic %s at %s: %w", topic, broker, err)
	}

	start := time.Now()
	lines, files, err := produce(ctx, producer, dir)
	if err != nil {
		return err
	}
	fmt.Printf("sent %d lines of %d files in %v\n", lines, files, time.Since(start).Round(time.Millisecond))

	start = time.Now()
	got, shares, err := consume(ctx, broker, topic, lines)
	if err != nil {
		return err
	}
	fmt.Printf("three consumers read %v of them in %v\n", shares, time.Since(start).Round(time.Millisecond))
	return compare(dir, got, files)
}

// produce sends every line (with its newline) of every Go file below dir.
func produce(ctx context.Context, c *kgo.Client, dir string) (lines, files int, err error) {
	var failed atomic.Pointer[error]
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for line := range bytes.Lines(content) {
			lines++
			c.Produce(ctx, &kgo.Record{Key: []byte(path), Value: line}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
		}
		return nil
	})
	if err == nil {
		err = c.Flush(ctx)
	}
	if e := failed.Load(); e != nil && err == nil {
		err = *e
	}
	return lines, files, err
}

// consume reads want lines with a group of three and joins them by file. The
// shares are how many lines each consumer got.
func consume(ctx context.Context, broker, topic string, want int) (map[string]*bytes.Buffer, [3]int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var (
		mu     sync.Mutex
		files  = map[string]*bytes.Buffer{}
		shares [3]int
		total  int
		group  sync.WaitGroup
		errs   = make(chan error, 3)
	)
	// All three join before the first reads, so that nobody's partitions move
	// while records are on their way: a moved partition is read again from its
	// last commit, which is right but would show lines twice here.
	var members [3]*kgo.Client
	assigned := make(chan struct{}, 100)
	for i := range members {
		c, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(kgo.RangeBalancer()),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) {
				if len(p[topic]) == 2 {
					assigned <- struct{}{}
				}
			}))
		if err != nil {
			return nil, shares, err
		}
		defer c.Close()
		members[i] = c
	}
	for range members {
		select {
		case <-assigned:
		case <-ctx.Done():
			return nil, shares, fmt.Errorf("the group did not form: %w", ctx.Err())
		}
	}
	for i, c := range members {
		group.Go(func() {
			for {
				fetches := c.PollFetches(ctx)
				mu.Lock()
				fetches.EachRecord(func(r *kgo.Record) {
					b := files[string(r.Key)]
					if b == nil {
						b = &bytes.Buffer{}
						files[string(r.Key)] = b
					}
					b.Write(r.Value)
					shares[i]++
					total++
				})
				done := total >= want
				mu.Unlock()
				if done {
					cancel()
					return
				}
				if err := fetches.Err(); err != nil {
					if ctx.Err() != context.Canceled {
						errs <- err
					}
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		return nil, shares, err
	default:
		return files, shares, nil
	}
}

func compare(dir string, got map[string]*bytes.Buffer, files int) error {
	for path, b := range got {
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(want, b.Bytes()) {
			return fmt.Errorf("%s came back different: %d bytes, want %d", path, b.Len(), len(want))
		}
	}
	empty := 0 // files without a line send nothing
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") && got[path] == nil {
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.Size() > 0 {
				return fmt.Errorf("%s never came back", path)
			}
			empty++
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(got)+empty != files {
		return fmt.Errorf("%d files came back, %d were sent", len(got), files-empty)
	}
	fmt.Printf("all %d files are the same, byte for byte\n", files)
	return nil
}
