//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fileTopics are what the log's files must be readable after.
var fileTopics = map[string]map[string]string{
	"files-plain":      {"segment.bytes": "1048576"},
	"files-zstd":       {"segment.bytes": "1048576", "compression.type": "zstd"},
	"files-appendtime": {"segment.bytes": "1048576", "message.timestamp.type": "LogAppendTime"},
	"files-deleted":    {"segment.bytes": "1048576", "file.delete.delay.ms": "0"},
	"files-compacted": {"segment.bytes": "1048576", "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01",
		"delete.retention.ms": "0", "file.delete.delay.ms": "0"},
	"files-empty": {},
}

// dumped is a record as the dump tools print it and a consumer sees it.
type dumped struct {
	offset, timestamp int64
	key, value        string
}

func produceFiles(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	adm := kadm.NewClient(clientOf(t, addr))
	for _, topic := range slices.Sorted(maps.Keys(fileTopics)) {
		conf := map[string]*string{}
		for k, v := range fileTopics[topic] {
			conf[k] = &v
		}
		if _, err := adm.CreateTopic(ctx, 2, 1, conf, topic); err != nil {
			t.Fatal(err)
		}
	}
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	noise := bytes.Repeat([]byte("0123456789abcdef"), 64)
	state := uint64(88172645463325252)
	for n, codec := range append(codecs, codecs...) {
		opts := []kgo.Opt{kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(64 << 10)}
		if n%5 == 3 {
			opts = append(opts, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
		}
		cl := clientOf(t, addr, opts...)
		for i := range 600 {
			for k := range noise { // xorshift: letters that do not compress to nothing
				state ^= state << 13
				state ^= state >> 7
				state ^= state << 17
				noise[k] = 'a' + byte(state%26)
			}
			for topic := range fileTopics {
				if topic == "files-empty" {
					continue
				}
				r := &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "key-%d", i%40), Value: fmt.Appendf(nil, "%d-%d-%s", n, i, noise),
					Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}}
				if i%40 == 39 {
					r.Value = nil // a tombstone
				}
				cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("%s: %v", topic, err)
					}
				})
			}
		}
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		cl.Close()
	}
	var to kadm.Offsets
	to.AddOffset("files-deleted", 0, 1500, -1)
	to.AddOffset("files-deleted", 1, 700, -1)
	if r, err := adm.DeleteRecords(ctx, to); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
	var commit kadm.Offsets
	for topic := range fileTopics {
		commit.AddOffset(topic, 0, 3, 0)
	}
	if err := adm.CommitAllOffsets(ctx, "files-group", commit); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cleaner compacts", func() (bool, string) {
		n := 0
		for _, rs := range readTopics(t, addr, "files-compacted") {
			n += len(rs)
		}
		return n < 4000, fmt.Sprintf("%d records", n)
	})
}

func clientOf(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(addr, ",")...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// readTopics reads the topics whole: topic-partition → records.
func readTopics(t *testing.T, addr string, topics ...string) map[string][]dumped {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(clientOf(t, addr)).ListEndOffsets(ctx, topics...)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]int64{}
	got := map[string][]dumped{}
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			t.Fatalf("%s-%d: %v", o.Topic, o.Partition, o.Err)
		}
		name := fmt.Sprintf("%s-%d", o.Topic, o.Partition)
		got[name] = nil
		if o.Offset > 0 {
			left[name] = o.Offset
			if from[o.Topic] == nil {
				from[o.Topic] = map[int32]kgo.Offset{}
			}
			from[o.Topic][o.Partition] = kgo.NewOffset().AtStart()
		}
	})
	cl := clientOf(t, addr, kgo.ConsumePartitions(from), kgo.KeepControlRecords())
	defer cl.Close()
	for len(left) > 0 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%v; left: %v", err, left)
		}
		f.EachRecord(func(r *kgo.Record) {
			name := fmt.Sprintf("%s-%d", r.Topic, r.Partition)
			got[name] = append(got[name], dumped{r.Offset, r.Timestamp.UnixMilli(), string(r.Key), string(r.Value)})
			if r.Offset+1 >= left[name] {
				delete(left, name)
			}
		})
	}
	return got
}

var dumpLine = regexp.MustCompile(`^\| offset: (\d+) (?:CreateTime|LogAppendTime): (\d+) .*? key: (\S*)(?: payload: (\S*))?$`)

// TestFiles: after a clean stop Kafka's own dump tool reads every file that
// gregor wrote, finds its indexes right, and sees the records that consumers
// see; and gregor's dump tool prints what Kafka's prints.
func TestFiles(t *testing.T) {
	s := startGregor("log.cleaner.backoff.ms=200", "log.retention.check.interval.ms=500", "log.initial.task.delay.ms=0",
		"offsets.topic.num.partitions=3")
	t.Cleanup(s.remove)
	produceFiles(t, s.addr)
	s.stop()

	data := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(data, os.DirFS(filepath.Join(s.dir, "data"))); err != nil {
		t.Fatal(err)
	}
	s.start("log.cleaner.enable=false")
	want := readTopics(t, s.addr, slices.Collect(maps.Keys(fileTopics))...)
	s.stop()

	var logs, groups, indexes, snapshots []string
	segments := map[string]int{}
	err := filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		part := filepath.Base(filepath.Dir(path))
		switch filepath.Ext(path) {
		case ".log":
			if strings.HasPrefix(part, "__consumer_offsets-") {
				groups = append(groups, path)
			} else if part != "__cluster_metadata-0" {
				logs = append(logs, path)
				segments[part]++
			}
		case ".index", ".timeindex":
			indexes = append(indexes, path)
		case ".txnindex", ".snapshot":
			snapshots = append(snapshots, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for topic := range fileTopics {
		if n := segments[topic+"-0"] + segments[topic+"-1"]; topic != "files-empty" && n < 4 {
			t.Errorf("%s has %d segments: too few to show anything", topic, n)
		}
	}
	if len(groups) == 0 || len(snapshots) == 0 {
		t.Errorf("%d logs of groups, %d snapshots", len(groups), len(snapshots))
	}
	dump := func(files []string, more ...string) ended {
		t.Helper()
		args := append([]string{"--files", strings.Join(files, ",")}, more...)
		kafka := javaTool(t, "", "kafka.tools.DumpLogSegments", args...)
		ours := tool(t, "", cache("gregor"), append([]string{"kafka-dump-log"}, args...)...)
		if kafka.status != 0 || ours.status != 0 {
			t.Fatalf("%v: Kafka's status %d, gregor's %d\n%s\n%s", more, kafka.status, ours.status, kafka.errs, ours.errs)
		}
		if kafka.out != ours.out {
			t.Errorf("%v: gregor's dump is not Kafka's: %s", more, firstDifference(kafka.out, ours.out))
		}
		return kafka
	}

	t.Run("logs", func(t *testing.T) {
		e := dump(logs, "--deep-iteration", "--print-data-log")
		for l := range strings.SplitSeq(e.errs, "\n") {
			// Compaction leaves gaps; nothing else may be said.
			if _, file, gap := strings.Cut(l, "Non-consecutive offsets in "); gap && !strings.Contains(file, "files-compacted-") {
				t.Errorf("Kafka's dump tool: %s", l)
			} else if !gap && strings.TrimSpace(l) != "" && !strings.Contains(l, " is followed by ") {
				t.Errorf("Kafka's dump tool: %s", l)
			}
		}
		got := map[string][]dumped{}
		part := ""
		for l := range strings.SplitSeq(e.out, "\n") {
			if file, ok := strings.CutPrefix(l, "Dumping "); ok {
				part = filepath.Base(filepath.Dir(file))
			} else if strings.Contains(l, "isvalid: false") || strings.Contains(l, "invalid bytes") {
				t.Errorf("%s: %s", part, l)
			} else if strings.HasPrefix(l, "|") {
				m := dumpLine.FindStringSubmatch(l)
				if m == nil {
					t.Fatalf("%s: not understood: %.200s", part, l)
				}
				o, _ := strconv.ParseInt(m[1], 10, 64)
				ts, _ := strconv.ParseInt(m[2], 10, 64)
				got[part] = append(got[part], dumped{o, ts, m[3], m[4]})
			}
		}
		for part, rs := range want {
			slices.SortFunc(got[part], func(a, b dumped) int { return cmp.Compare(a.offset, b.offset) })
			seen := got[part]
			for len(seen) > 0 && len(rs) > 0 && seen[0].offset < rs[0].offset {
				seen = seen[1:] // deleted, in a segment that still holds others
			}
			if !slices.Equal(seen, rs) {
				t.Errorf("%s: Kafka's dump has %d records, a consumer %d", part, len(seen), len(rs))
			}
		}
	})
	t.Run("kafka", func(t *testing.T) {
		// Apache Kafka opens the directories, serves what gregor served and has
		// nothing to repair.
		k := newKafka(t)
		k.adopt(t, data, fileTopics)
		k.start(t)
		got := readTopics(t, k.addr, slices.Collect(maps.Keys(fileTopics))...)
		k.stop(t)
		for part, rs := range want {
			if !slices.Equal(got[part], rs) {
				t.Errorf("%s: Kafka serves %d records, gregor %d", part, len(got[part]), len(rs))
			}
		}
		for _, path := range slices.Concat(logs, indexes) {
			part := filepath.Base(filepath.Dir(path))
			if _, ours := want[part]; !ours {
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if now, err := os.ReadFile(filepath.Join(k.data(), part, filepath.Base(path))); err != nil || !bytes.Equal(b, now) {
				t.Errorf("Kafka changed %s/%s: %d bytes, were %d; %v", part, filepath.Base(path), len(now), len(b), err)
			}
		}
	})
	t.Run("groups", func(t *testing.T) {
		e := dump(groups, "--offsets-decoder")
		if e.errs != "" {
			t.Errorf("Kafka's dump tool: %s", e.errs)
		}
		if !strings.Contains(e.out, `"group":"files-group"`) || !strings.Contains(e.out, `"topic":"files-plain"`) {
			t.Errorf("the commits are not in the dump:\n%.2000s", e.out)
		}
	})
	t.Run("indexes", func(t *testing.T) {
		part := ""
		for l := range strings.SplitSeq(dump(indexes).errs, "\n") {
			// A batch that compaction emptied stays while it is its producer's
			// last and keeps its time, in Kafka too; the dump tool looks for the
			// records' times.
			if _, file, ok := strings.Cut(l, "Found timestamp mismatch in :"); ok {
				part = file
			}
			if l != "" && (!strings.Contains(part, "files-compacted-") || !strings.HasPrefix(l, "Found timestamp") && !strings.HasSuffix(l, "log timestamp: -1")) {
				t.Errorf("Kafka's dump tool: %s", l)
			}
		}
		e := dump(indexes, "--index-sanity-check")
		passed := strings.Count(e.out, "passed sanity check") + strings.Count(e.out, " is empty.")
		if e.errs != "" || passed != len(indexes) {
			t.Errorf("%d of %d indexes passed: %s", passed, len(indexes), e.errs)
		}
	})
	t.Run("snapshots", func(t *testing.T) {
		e := dump(snapshots)
		if e.errs != "" || !strings.Contains(e.out, "producerId: ") {
			t.Errorf("Kafka's dump tool: %s\n%.1000s", e.errs, e.out)
		}
	})
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d of %d and %d:\n%.300s\n%.300s", i+1, len(x), len(y), x[i], y[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(x), len(y))
}
