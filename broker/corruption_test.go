// SPDX-License-Identifier: Apache-2.0

// Goal: one flipped bit, in any file of a log directory, is found and named, is
// never served, and harms nothing else: a damaged batch answers CORRUPT_MESSAGE
// and every other one comes back byte for byte; derived files are made anew;
// damaged metadata is refused at start with file and position.
// Method: two images of one directory are taken, of a running broker (what a
// kill leaves) and after a clean stop. Each case starts a broker on a copy with
// bits flipped at random (FLIPS times for each kind of file, SEED to see a
// failure again), and compares all that a client can ask for.
package broker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"gregor/broker"
)

const (
	bitBatches = 280 // of one record each, in three segments
	bitValue   = 10_000
)

// images are what the cases start from.
type images struct {
	killed, stopped string
	batches         [][]byte // of topic t, by offset
	began           int64    // the first record's timestamp; one each second
}

// embedded runs a broker of this process on dir.
func embedded(t testing.TB, dir string) (*broker.Broker, *lines, error) {
	log := &lines{}
	b, err := broker.New(broker.Config{
		Overrides: []string{"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "gregor.http.listener=none"},
		Log:       slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b, log, b.Start(within(t, 30*time.Second))
}

func takeImages(ctx context.Context, t *testing.T) images {
	t.Helper()
	root := t.TempDir()
	im := images{stopped: filepath.Join(root, "stopped"), began: time.Now().UnixMilli() - bitBatches*1000}
	b, _, err := embedded(t, im.stopped)
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, b.Addr(), kgo.ProducerBatchMaxBytes(bitValue+1000), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DefaultProduceTopic("t"))
	admin := kadm.NewClient(c)
	segment := "1048576"
	if _, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{"segment.bytes": &segment}, "t"); err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{7})
	for i := range bitBatches {
		v := make([]byte, bitValue)
		_, _ = random.Read(v)
		c.Produce(ctx, &kgo.Record{Value: v, Timestamp: time.UnixMilli(im.began + int64(i)*1000)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	var commit kadm.Offsets
	commit.AddOffset("t", 0, 42, -1)
	if err := admin.CommitAllOffsets(ctx, "g", commit); err != nil {
		t.Fatal(err)
	}
	raw := rawClient(t, b.Addr())
	for o := range int64(bitBatches) {
		got, err := fetchOne(ctx, t, raw, o)
		if err != nil || len(got) < bitValue {
			t.Fatalf("offset %d: %d bytes, %v", o, len(got), err)
		}
		im.batches = append(im.batches, got)
	}
	await(ctx, t, func() bool { // sealed segments get their files in the background
		snapshots, _ := filepath.Glob(filepath.Join(im.stopped, "t-0", "*.snapshot"))
		return len(snapshots) == 2
	}, "sealed segments")
	im.killed = copyOf(t, im.stopped)
	c.Close()
	raw.Close()
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	return im
}

// rawClient speaks Fetch by topic name, and tries nothing twice.
func rawClient(t testing.TB, addr string) *kgo.Client {
	return client(t, addr, kgo.MaxVersions(kversion.V2_7_0()), kgo.RequestRetries(0))
}

// fetchOne returns the batch that holds an offset.
func fetchOne(ctx context.Context, t testing.TB, c *kgo.Client, offset int64) ([]byte, error) {
	t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.MinBytes, req.MaxWaitMillis, req.SessionEpoch = 1, 1, 10_000, -1
	part := kmsg.NewFetchRequestTopicPartition()
	part.FetchOffset, part.PartitionMaxBytes = offset, 1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.Partitions = "t", append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := c.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	r := resp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		return nil, err
	}
	p := r.Topics[0].Partitions[0]
	return p.RecordBatches, kerr.ErrorForCode(p.ErrorCode)
}

// flip turns one bit of a file over.
func flip(t testing.TB, path string, pos int64, bit int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b [1]byte
	if _, err := f.ReadAt(b[:], pos); err != nil {
		t.Fatalf("%s at %d: %v", path, pos, err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b[:], pos); err != nil {
		t.Fatal(err)
	}
}

// written is the size of a file without the zeroes that are kept ahead of a
// log (storage/segment): a bit among these belongs to no record.
func written(t testing.TB, path string) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(bytes.TrimRight(b, "\x00")))
}

// copyOf makes a directory of the case's own from an image. That may be in use:
// where a file goes while it is copied, another copy is made.
func copyOf(t testing.TB, image string) string {
	t.Helper()
	for {
		dir := filepath.Join(t.TempDir(), "data")
		err := os.CopyFS(dir, os.DirFS(image))
		switch {
		case err == nil:
			return dir
		case !errors.Is(err, fs.ErrNotExist):
			t.Fatal(err)
		}
	}
}

// found returns the files of a pattern, and fails when there are none that
// hold anything.
func found(t testing.TB, dir, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, pattern))
	all = slices.DeleteFunc(all, func(p string) bool {
		info, err := os.Stat(p)
		return err != nil || info.Size() == 0
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	return all
}

// checkAll asks a broker for everything. damaged are the offsets that must
// answer CORRUPT_MESSAGE.
func (im images) checkAll(ctx context.Context, t *testing.T, b *broker.Broker, damaged map[int64]bool) {
	t.Helper()
	raw := rawClient(t, b.Addr())
	for o := range int64(bitBatches) {
		got, err := fetchOne(ctx, t, raw, o)
		switch {
		case damaged[o] && !errors.Is(err, kerr.CorruptMessage):
			t.Fatalf("damaged offset %d: %d bytes, error %v", o, len(got), err)
		case damaged[o]:
		case err != nil:
			t.Fatalf("offset %d: %v", o, err)
		case !bytes.Equal(got, im.batches[o]):
			t.Fatalf("offset %d: %d other bytes were served: %.16x", o, len(got), got)
		}
	}
	admin := kadm.NewClient(client(t, b.Addr()))
	if s, err := admin.ListStartOffsets(ctx, "t"); err != nil || s["t"][0].Offset != 0 || s["t"][0].Err != nil {
		t.Fatalf("start %+v, %v", s, err)
	}
	if e, err := admin.ListEndOffsets(ctx, "t"); err != nil || e["t"][0].Offset != bitBatches || e["t"][0].Err != nil {
		t.Fatalf("end %+v, %v", e, err)
	}
	if len(damaged) == 0 {
		for o := int64(0); o < bitBatches; o += 5 {
			l, err := admin.ListOffsetsAfterMilli(ctx, im.began+o*1000, "t")
			if err != nil || l["t"][0].Offset != o || l["t"][0].Err != nil {
				t.Fatalf("by time %d: %+v, %v", o, l["t"][0], err)
			}
		}
	}
	if g, err := admin.FetchOffsets(ctx, "g"); err != nil || g["t"][0].At != 42 {
		t.Fatalf("group at %+v, %v", g, err)
	}
	im.checkDedup(ctx, t, raw)
	// It can be written to, and what is written can be read.
	w := client(t, b.Addr(), kgo.DefaultProduceTopic("t"))
	r, err := w.ProduceSync(ctx, kgo.StringRecord("after")).First()
	if err != nil || r.Offset != bitBatches {
		t.Fatalf("write: offset %d, %v", r.Offset, err)
	}
	if got, err := fetchOne(ctx, t, raw, bitBatches); err != nil || !bytes.Contains(got, []byte("after")) {
		t.Fatalf("read what was written: %d bytes, %v", len(got), err)
	}
}

// checkDedup sends the last batch again as its producer would: it is known.
func (im images) checkDedup(ctx context.Context, t *testing.T, c *kgo.Client) {
	t.Helper()
	again := slices.Clone(im.batches[bitBatches-1])
	binary.BigEndian.PutUint64(again, 0)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = again
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = "t", append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := c.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	p := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.BaseOffset != bitBatches-1 {
		t.Fatalf("a batch sent twice: offset %d, %v; want its first offset %d", p.BaseOffset, kerr.ErrorForCode(p.ErrorCode), bitBatches-1)
	}
}

// headerBytes are places in a batch: every byte that the checksum does not
// cover, each field that it does, and the body.
var headerBytes = func() (at []int64) {
	for pos := range int64(17) { // base offset, length, leader epoch, magic
		at = append(at, pos)
	}
	// crc, attributes, last offset delta, timestamps, producer id, epoch,
	// sequence, count, records
	return append(at, 17, 22, 26, 30, 38, 46, 52, 56, 60, 70, 5000)
}()

func TestFlippedBits(t *testing.T) {
	t.Parallel()
	ctx := within(t, 3*time.Minute)
	im := takeImages(ctx, t)
	seed := rand.Uint64() >> 1
	if one, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = one
	}
	t.Logf("SEED=%d", seed)
	for name, image := range map[string]string{"killed": im.killed, "stopped": im.stopped} {
		t.Run(name, func(t *testing.T) { im.flipAll(ctx, t, image, seed) })
	}
}

func (im images) flipAll(ctx context.Context, t *testing.T, image string, seed uint64) {
	killed := image == im.killed
	size := int64(len(im.batches[0]))
	logs := found(t, image, "t-0/*.log")
	base := func(path string) (o int64) {
		_, err := fmt.Sscanf(filepath.Base(path), "%d.log", &o)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, which := range []string{"first", "active"} {
		t.Run(which+" segment", func(t *testing.T) {
			path := logs[0]
			if which == "active" {
				path = logs[len(logs)-1]
			}
			t.Parallel()
			dir := copyOf(t, image)
			path = filepath.Join(dir, "t-0", filepath.Base(path))
			random := rand.New(rand.NewPCG(seed, 1))
			damaged := map[int64]bool{}
			for i, pos := range headerBytes { // every other batch, so that each has good neighbours
				n := int64(2*i + 1)
				flip(t, path, n*size+pos, random.IntN(8))
				damaged[base(path)+n] = true
			}
			b, log, err := embedded(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Stop() }()
			im.checkAll(ctx, t, b, damaged)
			for o := range damaged {
				place := fmt.Sprintf("position=%d ", (o-base(path))*size)
				if said := log.String(); !strings.Contains(said, path) || !strings.Contains(said, place) {
					t.Errorf("nothing names %s, %s", path, place)
				}
			}
		})
	}
	// The leader epoch is a field that nothing in the format covers: it is
	// compared with the log's list and with its neighbours.
	for _, n := range []int64{0, base(logs[1]) - 1, base(logs[2]), bitBatches - 1} {
		t.Run(fmt.Sprintf("leader epoch of offset %d", n), func(t *testing.T) {
			t.Parallel()
			dir := copyOf(t, image)
			segment := logs[0]
			for _, l := range logs {
				if base(l) <= n {
					segment = l
				}
			}
			random := rand.New(rand.NewPCG(seed, uint64(n)))
			path := filepath.Join(dir, "t-0", filepath.Base(segment))
			flip(t, path, (n-base(segment))*size+12+random.Int64N(4), random.IntN(8))
			b, log, err := embedded(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Stop() }()
			im.checkAll(ctx, t, b, map[int64]bool{n: true})
			place := fmt.Sprintf("position=%d ", (n-base(segment))*size)
			if said := log.String(); !strings.Contains(said, path) || !strings.Contains(said, place) {
				t.Errorf("nothing names %s, %s", path, place)
			}
			if t.Failed() {
				t.Log(log)
			}
		})
	}
	// Files that are derived from others, or have a copy: all goes on.
	derived := []string{"t-0/*.index", "t-0/*.timeindex", "t-0/*.snapshot", "t-0/leader-epoch-checkpoint", "t-0/partition.metadata",
		"recovery-point-offset-checkpoint", "replication-offset-checkpoint", "gregor-durable-points"}
	if !killed {
		derived = append(derived, "gregor-catalogue")
	}
	for _, pattern := range derived {
		if matches, _ := filepath.Glob(filepath.Join(image, pattern)); len(matches) == 0 {
			t.Logf("%s: not there yet", pattern)
			continue
		}
		for round := range fromEnv("FLIPS", 1) {
			t.Run(fmt.Sprintf("%s %d", pattern, round), func(t *testing.T) {
				t.Parallel()
				dir := copyOf(t, image)
				random := rand.New(rand.NewPCG(seed, 2+uint64(round)))
				for _, path := range found(t, dir, pattern) {
					info, err := os.Stat(path)
					if err != nil {
						t.Fatal(err)
					}
					pos, bit := random.Int64N(info.Size()), random.IntN(8)
					t.Logf("bit %d of byte %d of %s, %d bytes", bit, pos, path, info.Size())
					flip(t, path, pos, bit)
				}
				b, log, err := embedded(t, dir)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = b.Stop() }()
				im.checkAll(ctx, t, b, nil)
				if t.Failed() {
					t.Log(log)
				}
			})
		}
	}
	t.Run("metadata log", func(t *testing.T) {
		t.Parallel()
		random := rand.New(rand.NewPCG(seed, 3))
		for round := range fromEnv("FLIPS", 2) {
			dir := copyOf(t, image)
			logs := found(t, dir, "__cluster_metadata-0/*.log")
			size := written(t, logs[0])
			pos, bit := random.Int64N(size), random.IntN(8)
			if round == 0 {
				pos = 61 + 12 + random.Int64N(20) // near the second batch's leader epoch, which no checksum covers
			}
			flip(t, logs[0], pos, bit)
			im.refused(t, dir, logs[0], fmt.Sprintf("bit %d of byte %d of %d", bit, pos, size))
		}
	})
	t.Run("quorum state", func(t *testing.T) {
		t.Parallel()
		dir := copyOf(t, image)
		path := found(t, dir, "__cluster_metadata-0/gregor-quorum-state")[0]
		flip(t, path, 20, 3)
		b, log, err := embedded(t, dir)
		if err != nil {
			t.Fatalf("one of two copies is damaged: %v", err)
		}
		if !strings.Contains(log.String(), filepath.Base(path)) {
			t.Errorf("nothing names %s:\n%s", path, log)
		}
		im.checkAll(ctx, t, b, nil)
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
		flip(t, path, 20, 3)
		flip(t, path, 4096+21, 3)
		im.refused(t, dir, path, "both copies")
	})
}

// refused starts a broker that must not start, and must say why.
func (im images) refused(t *testing.T, dir, path, what string) {
	t.Helper()
	b, log, err := embedded(t, dir)
	if err == nil {
		_ = b.Stop()
		t.Fatalf("started with %s of %s damaged:\n%s", what, path, log)
	}
	if !strings.Contains(err.Error(), filepath.Base(path)) || !strings.ContainsAny(err.Error(), "0123456789") {
		t.Fatalf("%s: the refusal does not name %s: %v", what, path, err)
	}
	t.Logf("%s: %v", what, err)
}
