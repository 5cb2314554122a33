//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// streamInput is what two topics are given and what comes of it.
type streamInput struct {
	left, right []*kgo.Record
	flush       []*kgo.Record
	words       map[string]int
	pairs       []string // "i|j", and "i|-" of what has no partner
}

const (
	joinWindow = 3 * time.Second
	joinGrace  = time.Hour
)

// newStreamInput makes n records for each side. The input's times are its own,
// so that the outcome is; the flush comes when every window has closed.
func newStreamInput(left, right string, n int) streamInput {
	in := streamInput{words: map[string]int{}}
	base := time.Now().Add(-2 * joinGrace)
	record := func(topic string, i, key, ms int) *kgo.Record {
		return &kgo.Record{Topic: topic, Partition: int32(key % partitions), Key: fmt.Appendf(nil, "key-%d", key),
			Value: fmt.Appendf(nil, "%d|word-%d", i, i%7), Timestamp: base.Add(time.Duration(ms) * time.Millisecond)}
	}
	for i := range n {
		l := record(left, i, i%17, i*100)
		r := record(right, i, i*i%19, i*100+i*i%3000)
		in.left, in.right = append(in.left, l), append(in.right, r)
		in.words[fmt.Sprintf("word-%d", i%7)]++
	}
	for i, l := range in.left {
		alone := true
		for j, r := range in.right {
			if string(l.Key) == string(r.Key) && l.Timestamp.Sub(r.Timestamp).Abs() <= joinWindow {
				in.pairs = append(in.pairs, fmt.Sprintf("%d|%d", i, j))
				alone = false
			}
		}
		if alone {
			in.pairs = append(in.pairs, fmt.Sprintf("%d|-", i))
		}
	}
	slices.Sort(in.pairs)
	for p := range partitions {
		for _, topic := range []string{left, right} {
			in.flush = append(in.flush, &kgo.Record{Topic: topic, Partition: int32(p), Key: []byte("flush"), Value: []byte("0|flush"),
				Timestamp: base.Add(2 * joinGrace)})
		}
	}
	return in
}

// TestStreams: a Kafka Streams application counts words and joins two topics in
// a window, exactly once, while brokers and it are killed with -9: each word's
// counts go up by one from one to the truth, and the join has each pair once,
// and once each record of the left that has no partner.
func TestStreams(t *testing.T) {
	n, shares := 1000*rounds(), 4*rounds()
	brokers := ownCluster(t, number("INTEROP_NODES", 1))
	if brokers == nil {
		return
	}
	left, right, counts, joined := newTopic(t, "left"), newTopic(t, "right"), newTopic(t, "counts"), newTopic(t, "joined")
	in := newStreamInput(left, right, n)
	cl := clientOf(t, bootstrap, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	produce := func(rs ...*kgo.Record) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		for _, r := range rs {
			r.Context = ctx // of a record sent again, too
		}
		if err := cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	var p *proc
	start := func() {
		p = launch(t, "streams", append(append([]string{"java"}, javaFlags...), "WordCount", "bootstrap="+bootstrap,
			"left="+left, "right="+right, "counts="+counts, "joined="+joined, "id="+name(t, "app"), "dir="+dir,
			fmt.Sprintf("window=%d", joinWindow.Milliseconds()), fmt.Sprintf("grace=%d", joinGrace.Milliseconds())))
		p.ready()
	}
	start()
	for i := range shares {
		from, to := i*n/shares, (i+1)*n/shares
		produce(append(slices.Clone(in.left[from:to]), in.right[from:to]...)...)
		switch {
		case i == shares-1: // what there is, is worked off in peace
		case i%2 == 0:
			brokers.kill()
		default:
			_ = p.cmd.Process.Kill()
			_ = p.wait()
			start()
		}
	}
	alone := 0
	for _, pair := range in.pairs {
		if strings.HasSuffix(pair, "|-") {
			alone++
		}
	}
	if alone == 0 || alone > len(in.pairs)/2 {
		t.Fatalf("%d of %d pairs are alone: that shows little", alone, len(in.pairs))
	}
	read := func(what, topic string, n int) (rs []*kgo.Record) {
		t.Helper()
		eventually(t, what, func() (bool, string) {
			var err error
			rs, err = committed(t, topic)
			return err == nil && len(rs) >= n, fmt.Sprintf("%d of %d, %v; %.500s", len(rs), n, err, p.errs.String())
		})
		return rs
	}
	read("every pair", joined, len(in.pairs)-alone)
	next := map[string]int{}
	for _, r := range read("every count", counts, n) {
		word := string(r.Key)
		if next[word]++; string(r.Value) != fmt.Sprintf("%d|", next[word]) {
			t.Fatalf("count %s of %s comes where %d is due", r.Value, word, next[word])
		}
	}
	for word, times := range in.words {
		if next[word] != times {
			t.Errorf("%s is counted %d times, want %d", word, next[word], times)
		}
	}
	var got []string
	eventually(t, "windows close", func() (bool, string) {
		// The application tells of what is alone at most once a second, when
		// something comes in.
		produce(in.flush...)
		rs, err := committed(t, joined)
		got = nil
		for _, r := range rs {
			got = append(got, string(r.Value))
		}
		return err == nil && len(rs) >= len(in.pairs), fmt.Sprintf("%d of %d, %v", len(rs), len(in.pairs), err)
	})
	slices.Sort(got)
	if !slices.Equal(got, in.pairs) {
		t.Errorf("the join has %d records, want %d: %s", len(got), len(in.pairs), firstDifference(strings.Join(got, "\n"), strings.Join(in.pairs, "\n")))
	}
	if extra := len(read("the counts at the end", counts, n)); extra != n {
		t.Errorf("%d counts, want %d", extra, n)
	}
	t.Logf("%d records a side, %d pairs, %d alone on %d nodes, %d kills", n, len(in.pairs)-alone, alone, len(brokers.nodes), shares-1)
}
