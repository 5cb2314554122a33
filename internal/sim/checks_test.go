// SPDX-License-Identifier: Apache-2.0

// Goal: each checker sees the violation of its invariant, and nothing where
// there is none. Method: observations by hand.
package sim

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
	"gregor/internal/coord"
	"gregor/internal/coord/txn"
	"gregor/internal/meta"
	"gregor/internal/storage"
)

var key = partitionKey{meta.UUID{1}, 0, "t"}

// expect wants an error that contains want, or none where want is "".
func expect(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	c := newImages()
	img, _, err := meta.Empty().With([]meta.Record{meta.ClusterRecord{ID: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := meta.Empty().With([]meta.Record{meta.ClusterRecord{ID: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, c.observe(1, img), "")
	expect(t, c.observe(2, img), "")
	expect(t, c.observe(3, other), "images differ: version 1 on node 3 is not what node 1 had")
}

func TestLeaders(t *testing.T) {
	t.Parallel()
	c := newLeaders()
	expect(t, c.recorded(key, 1, 1), "")
	expect(t, c.leads(key, 1, 1), "")
	expect(t, c.recorded(key, 2, 2), "")
	expect(t, c.leads(key, 2, 1), "the metadata name 2")
	expect(t, c.recorded(key, 2, 3), "two leaders")
	expect(t, c.leads(key, 9, 1), "")
	expect(t, c.leads(key, 9, 3), "two leaders")
}

func TestWatermarks(t *testing.T) {
	t.Parallel()
	c := newWatermarks()
	expect(t, c.moved(key, 1, 5), "")
	expect(t, c.moved(key, 1, 5), "")
	expect(t, c.moved(key, 2, 3), "") // a new leader may know less at first
	expect(t, c.moved(key, 1, 4), "fell")
	expect(t, c.covered(key, 1, 5, 2, 5), "")
	expect(t, c.covered(key, 1, 5, 2, 4), "uncovered")
}

// stack is a log made of batches.
type stack struct{ b []byte }

// batches makes a stack; shape is the epoch and the number of records of each.
func batches(t *testing.T, base int64, value string, shape ...int32) stack {
	t.Helper()
	var r stack
	for i := 0; i < len(shape); i += 2 {
		b := batch.NewBuilder(batch.None)
		b.SetBaseOffset(base)
		b.SetLeaderEpoch(shape[i])
		for range shape[i+1] {
			b.Append(0, nil, []byte(value))
		}
		v, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		base = v.NextOffset()
		r.b = append(r.b, v...)
	}
	return r
}

func (stack) Start() int64 { return 0 }

func (r stack) Read(from, _ int64, _ int, _ bool) (storage.Slice, error) {
	rest := r.b
	for len(rest) > 0 {
		v, after, err := batch.Next(rest)
		if err != nil {
			return storage.Slice{}, err
		}
		if v.NextOffset() > from {
			break
		}
		rest = after
	}
	return storage.Slice{Bytes: append([]byte{}, rest...)}, nil
}

func TestLogs(t *testing.T) {
	t.Parallel()
	good := batches(t, 0, "x", 1, 2, 1, 3, 2, 1) // [0,2) [2,5) of epoch 1, [5,6) of epoch 2
	for name, c := range map[string]struct {
		log  source
		hw   int64
		want string
	}{
		"same":               {good, 6, ""},
		"shorter":            {batches(t, 0, "x", 1, 2), 2, ""},
		"differs above":      {batches(t, 0, "x", 1, 2, 9, 9), 2, ""},
		"other bytes":        {batches(t, 0, "y", 1, 2), 2, "logs differ"},
		"other epoch":        {batches(t, 0, "x", 1, 2, 2, 3), 5, "logs differ"},
		"other size":         {batches(t, 0, "x", 1, 1, 1, 1), 2, "logs differ"},
		"missing":            {batches(t, 0, "x", 1, 2), 5, "has nothing at offset 2"},
		"gap":                {stack{append(bytes.Clone(batches(t, 0, "x", 1, 2).b), batches(t, 3, "x", 1, 2).b...)}, 5, "not dense"},
		"an epoch that fell": {batches(t, 6, "x", 1, 1), 7, "of epoch 1, after one of epoch 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := newLogs()
			expect(t, all.read(key, reader{id: 1}, good, 6), "")
			r := reader{id: 2}
			if name == "an epoch that fell" {
				r.id = 1 // goes on after 6
			}
			expect(t, all.read(key, r, c.log, c.hw), c.want)
		})
	}
}

func TestChecksAreKeptOnce(t *testing.T) {
	t.Parallel()
	c := newChecks()
	for i := range 100 {
		c.add(fmt.Errorf("violation %d", i%50))
	}
	if got := c.violations(); len(got) != mostFound || got[1] != "violation 1" {
		t.Fatal(got)
	}
}

func TestProducers(t *testing.T) {
	t.Parallel()
	marker := func(epoch int16, coordinator int32) batch.View {
		return batch.EndTxnMarker(batch.Commit, 1, 7, epoch, coordinator)
	}
	c := newProducers()
	expect(t, c.batch(key, marker(1, 3)), "")
	expect(t, c.batch(key, marker(2, 3)), "")
	expect(t, c.batch(key, marker(1, 3)), "a producer goes back")
	expect(t, c.batch(key, marker(2, 2)), "a coordinator goes back")
	other := key
	other.index = 1
	expect(t, c.batch(other, marker(0, 0)), "")
}

func TestCoordinators(t *testing.T) {
	t.Parallel()
	state := func(id string, s int8, epoch int16) coord.Record {
		k := kmsg.TxnMetadataKey{TransactionalID: id}
		v := kmsg.NewTxnMetadataValue()
		v.ProducerID, v.ProducerEpoch, v.State = 7, epoch, kmsg.TransactionState(s)
		return coord.Record{Key: k.AppendTo(nil), Value: v.AppendTo(nil)}
	}
	c := newCoordinators()
	expect(t, c.record(state("x", 0, 0)), "")
	expect(t, c.record(state("x", 1, 0)), "")
	expect(t, c.record(state("x", 2, 0)), "")
	expect(t, c.record(state("x", 3, 0)), "cannot be")
	c = newCoordinators()
	expect(t, c.record(state("x", 1, 4)), "")
	expect(t, c.record(state("x", 1, 3)), "cannot be")
	c = newCoordinators()
	expect(t, c.record(state("x", 4, 4)), "")
	lived := map[string]*txn.Txn{"x": c.last["x"]}
	expect(t, c.same(lived), "")
	expect(t, c.same(map[string]*txn.Txn{"x": c.last["x"], "y": c.last["x"]}), "differs")
	expect(t, c.same(nil), "differs")
	expect(t, c.record(state("x", 0, 5)), "")
	expect(t, c.same(lived), "differs")
}
