// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"gregor/internal/sim/load"
)

// txnTrial is clients that work in transactions, and a cluster.
type txnTrial struct {
	*testing.T
	*cluster
	load   *load.Txns
	random *rand.Rand
}

// progress waits until transactions have been committed for a while.
func (o *txnTrial) progress() {
	o.Helper()
	awaitMore(o.T, 5, o.load.Committed)
}

// coordinator is the node that coordinates a transactional id of the load.
func (o *txnTrial) coordinator(id string) *node {
	o.Helper()
	client := o.client()
	defer client.Close()
	found := kadm.NewClient(client).FindTxnCoordinators(o.Context(), id)
	if err := found[id].Err; err != nil {
		o.Fatal(err)
	}
	return o.nodes[found[id].NodeID-1]
}

// leader is the node that leads the first partition of a topic.
func (o *txnTrial) leader(topic string) *node {
	o.Helper()
	if at := o.describe(o.T, topic, 0).Leader; at > 0 {
		return o.nodes[at-1]
	}
	return o.nodes[o.random.IntN(3)]
}

var txnOrdeals = []struct {
	name string
	do   func(o *txnTrial)
}{
	{"Killed", func(o *txnTrial) { // the coordinator, then a leader, then all
		for _, n := range []func() *node{func() *node { return o.coordinator("first-0") }, func() *node { return o.leader("mid") }} {
			gone := n()
			gone.kill()
			o.progress() // with two of three
			gone.start()
			o.awaitBrokers(3)
		}
		for _, n := range o.nodes {
			n.kill()
		}
		for _, n := range o.nodes {
			n.start()
		}
	}},
	{"StoppedAndCut", func(o *txnTrial) { // a coordinator that wakes up late, and one that hears nobody
		n := o.coordinator("second-100")
		n.pause()
		time.Sleep(silence)
		o.progress()
		n.resume()
		o.awaitBrokers(3)
		n = o.coordinator("first-1")
		for _, other := range o.nodes {
			if other != n {
				o.lab.drop(n.id, o.lab.addr(other.id))
			}
		}
		time.Sleep(silence)
		o.lab.heal()
	}},
}

// TestTransactionOrdeals: programs that consume, transform and produce in
// transactions over two stages give each input its outputs exactly once, and
// nothing else is ever seen by who reads committed records.
// Method: real processes and the clients and checks of the simulation: programs
// that abort, crash, are overtaken by their next instance, and take too long.
func TestTransactionOrdeals(t *testing.T) {
	for _, o := range txnOrdeals {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			for i := range rounds(t) {
				t.Run(strconv.Itoa(i), func(t *testing.T) { txnOrdeal(t, o.do) })
			}
		})
	}
}

func txnOrdeal(t *testing.T, do func(o *txnTrial)) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := newCluster(t, 3)
	c.start()
	w, err := load.StartTxns(load.TxnConfig{
		Options: c.options, Seed: seed, Partitions: 3, Replicas: 3, MinISR: 2, Transformers: 2, Pause: 10 * time.Millisecond, Timeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended { // the test gave up
			w.Abandon()
		}
	}()
	o := &txnTrial{T: t, cluster: c, load: w, random: rand.New(rand.NewPCG(seed, 0))}
	c.awaitBrokers(3)
	o.progress()
	do(o)
	c.awaitBrokers(3)
	o.progress()
	w.Finish()
	ended = true
	for _, x := range w.Wrong() {
		t.Error(x)
	}
	t.Log(w)
}
