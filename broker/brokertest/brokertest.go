// SPDX-License-Identifier: Apache-2.0

// Package brokertest gives a Go test a broker in one line: the real one, over
// a real socket, with its data in memory unless asked otherwise, and with
// faults on demand.
//
//	func TestOrders(t *testing.T) {
//		b := brokertest.Start(t)
//		client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
//		...
//		b.Fail(kmsg.Produce, kerr.NotEnoughReplicas, 2) // the next two
//		b.CutPower()                                    // what was not synced is lost
//		b.Restart()
//	}
//
// StartCluster gives a whole cluster, see Cluster.
//
// The broker stops when the test ends. The address stays the same across
// restarts. Methods fail the test when they cannot do what they say; they may
// be called from any goroutine but for CutPower, Kill and Restart, which
// belong to one.
package brokertest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/config"
	"gregor/internal/freeport"
	"gregor/internal/node"
	"gregor/internal/vfs"
)

// Option changes how a broker is started.
type Option func(*options)

type options struct {
	disk      string
	overrides []string
	seed      uint64
	log       io.Writer
}

// OnDisk keeps the data in files, in a directory of the test's own.
func OnDisk(t testing.TB) Option { return func(o *options) { o.disk = t.TempDir() } }

// Override sets a property, as key=value.
func Override(kv string) Option { return func(o *options) { o.overrides = append(o.overrides, kv) } }

// Seed decides what power cuts leave behind; without it every cut is drawn
// anew and the seed is logged.
func Seed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// Log writes the broker's lines to w instead of the test's output.
func Log(w io.Writer) Option { return func(o *options) { o.log = w } }

// Broker is a broker under test.
type Broker struct {
	t      testing.TB
	o      options
	id     int32
	member []string // the properties of a cluster's member
	gate   *gate    // nil outside of clusters
	addr   string
	mem    *vfs.Mem // nil on disk
	disk   *vfs.Faulty
	node   *node.Node // nil while it is down
	faults *faults
	random *rand.Rand
}

// Start starts a broker and has it stopped when the test ends.
func Start(t testing.TB, opts ...Option) *Broker {
	t.Helper()
	o := options{seed: rand.Uint64(), log: t.Output()}
	for _, f := range opts {
		f(&o)
	}
	b := newBroker(t, o, 1)
	t.Logf("brokertest: seed %d", o.seed)
	b.start()
	t.Cleanup(func() {
		if b.node != nil {
			b.Stop()
		}
	})
	return b
}

func newBroker(t testing.TB, o options, id int32) *Broker {
	b := &Broker{t: t, o: o, id: id, faults: newFaults(), random: rand.New(rand.NewPCG(o.seed, uint64(id-1))), addr: freeAddr(t)}
	if o.disk == "" {
		b.mem = vfs.NewMem()
	}
	return b
}

// freeAddr finds a port that the broker keeps across restarts.
func freeAddr(t testing.TB) string {
	addr, err := freeport.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func (b *Broker) start() {
	b.t.Helper()
	if err := b.boot(); err != nil {
		b.t.Fatalf("start broker %d: %v", b.id, err)
	}
}

// startWithin bounds a start that waits for others who do not come.
const startWithin = 30 * time.Second

func (b *Broker) boot() error {
	below := vfs.OS()
	dir := filepath.Join(b.o.disk, "data")
	if b.member != nil {
		dir = filepath.Join(b.o.disk, fmt.Sprintf("data-%d", b.id))
	}
	if b.mem != nil {
		below, dir = b.mem, "/data"
	}
	b.disk = vfs.NewFaulty(below)
	overrides := append([]string{"listeners=PLAINTEXT://" + b.addr, "log.dirs=" + dir, "gregor.http.listener=none"}, b.member...)
	s, err := config.Load(config.Options{SingleNode: true, Overrides: append(overrides, b.o.overrides...)})
	if err != nil {
		return err
	}
	c := node.Config{
		Settings: s, FS: b.disk, Log: slog.NewTextHandler(b.o.log, &slog.HandlerOptions{Level: slog.LevelDebug}), Around: b.faults.around,
	}
	if b.gate != nil {
		c.Listen, c.Dial = b.gate.listen, b.gate.dial
	}
	n := node.New(c)
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		return err
	}
	b.node = n
	return nil
}

// ID is the broker's node.id.
func (b *Broker) ID() int32 { return b.id }

// Addr is where clients connect to, as host:port.
func (b *Broker) Addr() string { return b.addr }

// Stop stops the broker cleanly; Restart starts it again.
func (b *Broker) Stop() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n := b.node
	b.node = nil
	if err := n.Close(ctx); err != nil {
		b.t.Errorf("stop the broker: %v", err)
	}
}

// Restart starts the broker after Stop, Kill or CutPower, or stops it first.
func (b *Broker) Restart() {
	b.t.Helper()
	if b.node != nil {
		b.Stop()
	}
	b.start()
}

// Kill ends the broker as kill -9 would: what was written stays written.
func (b *Broker) Kill() {
	n := b.node
	b.node = nil
	if b.mem != nil {
		b.mem.Kill()
	}
	n.Kill()
}

// CutPower ends the broker as a power cut would: of what was not synced, a
// random part is lost or torn. Only in memory.
func (b *Broker) CutPower() {
	b.t.Helper()
	if b.mem == nil {
		b.t.Fatal("brokertest: power can be cut in memory only")
	}
	b.mem.Kill() // first: what is acknowledged from now on would not be in the clone
	left := b.mem.CrashClone(b.random.Int64N)
	b.Kill()
	b.mem = left
}

// FillDisk leaves no room on the disk; FreeDisk gives it back.
func (b *Broker) FillDisk() { b.disk.Limit(0) }

// FreeDisk undoes FillDisk.
func (b *Broker) FreeDisk() { b.disk.Limit(-1) }

// Disk is the file system that the running broker uses, for faults of other
// kinds. A restart makes it anew.
func (b *Broker) Disk() *vfs.Faulty { return b.disk }

// Failed is closed when the running broker cannot go on; Kill it then.
func (b *Broker) Failed() <-chan struct{} { return b.node.Failed() }

// Err tells why Failed was closed.
func (b *Broker) Err() error { return b.node.Err() }

// Delay holds every request of a key up by d; 0 ends it.
func (b *Broker) Delay(key kmsg.Key, d time.Duration) { b.faults.delay(int16(key), d) }

// Fail answers the next times requests of a key with an error, in every place
// of the answer that has a code; times < 0: all, until Fail with 0 times.
func (b *Broker) Fail(key kmsg.Key, err *kerr.Error, times int) {
	b.faults.fail(int16(key), err, times)
}

// Drop closes the connection instead of serving the next times requests of a
// key; times < 0: all, until Drop with 0 times.
func (b *Broker) Drop(key kmsg.Key, times int) { b.faults.fail(int16(key), nil, times) }

// Topic creates a topic.
func (b *Broker) Topic(name string, partitions int32, configs ...string) {
	b.t.Helper()
	if err := createTopic([]string{b.addr}, name, partitions, 1, configs); err != nil {
		b.t.Fatalf("create topic %s: %v", name, err)
	}
}
