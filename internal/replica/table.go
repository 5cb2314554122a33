// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
	"gregor/internal/replica/partition"
	"gregor/internal/storage"
)

// Controller is what the table asks of the cluster's controller. No method may
// block or call back; answers come as metadata, through Apply.
type Controller interface {
	// RaiseEpoch asks for a leader epoch above epoch, because the log may have
	// lost records of that epoch which clients have seen. It may come again.
	RaiseEpoch(topic [16]byte, partition, epoch int32)
	// LeaveSeats asks to be taken out of the ISR and the ELR, and no leader in
	// that epoch any more, where somebody else can take over. It may come again.
	LeaveSeats(topic [16]byte, partition, epoch int32)
	// ChangeISR proposes an in-sync set. Refused tells the partition that it
	// was not accepted.
	ChangeISR(topic [16]byte, partition int32, c *partition.ISRChange)
}

// Config is what a Table needs.
type Config struct {
	NodeID     int32
	Controller Controller
	// Topic gives a topic's configuration under an image's metadata. The
	// result is kept and never changed.
	Topic  func(img *meta.Image, name string) *TopicConfig
	MaxLag time.Duration // replica.lag.time.max.ms; 30 s
	Fetch  FetchConfig   // how this node follows
	// RackAware: consumers are sent to the replica of their rack; nil: never.
	RackAware func() bool
	// Events are told of what happens in the directories. The table takes
	// what concerns it first.
	Events storage.Events
	// Cordoned tells whether a directory takes no new logs while others do; nil:
	// none is.
	Cordoned func(d *storage.Dir) bool
	// Stray is told of a log on disk that the metadata does not know. It is
	// left alone: a lost metadata log must not take the data with it.
	Stray func(dir string, n storage.Name)
	// Moves between directories.
	Moves MoveEvents
	// Throttle slows the copying of replicas down.
	Throttle Throttle
	// Now is the clock whose wall time judges and stamps records; nil is
	// time.Now.
	Now func() time.Time
}

// Table is the partitions hosted by this node.
//
// Apply, AddDir and Close belong to one goroutine, that which publishes
// metadata; everything else may be called from any. mu guards the maps only;
// nothing else is taken while it is held.
type Table struct {
	config Config
	dirs   []*storage.Dir
	// found are the logs that directories had after an unclean stop. Until
	// settled a partition that is not among them has lost its log, for new
	// ones are not made yet.
	found    map[storage.Name]bool
	fetchers *fetchers
	hurt     atomic.Bool  // a partition may be damaged
	cuts     atomic.Int64 // numbers truncations, see partition.Life
	brokers  atomic.Pointer[map[int32]knownBroker]
	unclean  map[*storage.Dir]bool
	settled  atomic.Bool

	mu     sync.RWMutex
	topics map[string]*topic
	ids    map[meta.UUID]*topic
	byLog  map[*storage.Log]*Partition

	// applying is held by Apply and while Tick opens what Apply had no room
	// for; before mu. It guards late.
	applying sync.Mutex
	late     map[*Partition]*late

	movers *movers

	failMu  sync.Mutex     // guards closed; a leaf
	closed  bool           // no more of those
	failing sync.WaitGroup // goroutines that take a failed directory's partitions offline
}

// topic holds the partitions hosted here at their index; others are nil. It
// belongs to the table's mutex.
type topic struct {
	name       string
	id         meta.UUID
	partitions []*Partition
	hosted     int // those that are not nil
}

// NewTable makes a table without directories. Open those with Events and give
// them to AddDir before the first Apply.
func NewTable(c Config) *Table {
	c.MaxLag = cmp.Or(c.MaxLag, 30*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	t := &Table{
		config: c, fetchers: newFetchers(c.Fetch), found: map[storage.Name]bool{}, unclean: map[*storage.Dir]bool{},
		topics: map[string]*topic{}, ids: map[meta.UUID]*topic{}, byLog: map[*storage.Log]*Partition{},
		late: map[*Partition]*late{},
	}
	t.movers = newMovers(t)
	t.brokers.Store(&map[int32]knownBroker{})
	return t
}

// Events are those to open the table's directories with.
func (t *Table) Events() storage.Events {
	e := t.config.Events
	e.Flushed = func(l *storage.Log, end int64) {
		if p := t.ofLog(l); p != nil && p.log.Load() == l {
			p.flushed()
		}
		if t.config.Events.Flushed != nil {
			t.config.Events.Flushed(l, end)
		}
	}
	e.Corrupt = func(n storage.Name, c *storage.CorruptError) {
		t.aside(func() { t.corrupt(n) })
		if t.config.Events.Corrupt != nil {
			t.config.Events.Corrupt(n, c)
		}
	}
	e.DirFailed = func(dir string, err error) {
		t.aside(func() { t.dirFailed(dir) })
		if t.config.Events.DirFailed != nil {
			t.config.Events.DirFailed(dir, err)
		}
	}
	return e
}

// aside runs f on a goroutine of its own, because the event that asks for it
// may come beneath a log's lock. Close waits for it.
func (t *Table) aside(f func()) {
	t.failMu.Lock()
	defer t.failMu.Unlock()
	if !t.closed {
		t.failing.Go(f)
	}
}

// AddDir adds a directory, which the caller goes on to own and closes after
// the table.
func (t *Table) AddDir(d *storage.Dir) {
	t.dirs = append(t.dirs, d)
	if d.Clean() {
		return
	}
	t.unclean[d] = true
	for _, n := range d.Logs() {
		t.found[n] = true
	}
}

// Dirs are the table's directories.
func (t *Table) Dirs() []*storage.Dir { return t.dirs }

// Get returns a hosted partition, or nil. topic is borrowed.
func (t *Table) Get(topic []byte, index int32) *Partition {
	t.mu.RLock()
	p := t.topics[string(topic)].at(index)
	t.mu.RUnlock()
	return p
}

// Named is Get for a string.
func (t *Table) Named(topic string, index int32) *Partition {
	t.mu.RLock()
	p := t.topics[topic].at(index)
	t.mu.RUnlock()
	return p
}

// ByID returns a hosted partition, or nil.
func (t *Table) ByID(id [16]byte, index int32) *Partition {
	t.mu.RLock()
	p := t.ids[id].at(index)
	t.mu.RUnlock()
	return p
}

// All returns every hosted partition, by topic and index.
func (t *Table) All() []*Partition {
	t.mu.RLock()
	var all []*Partition
	for _, x := range t.topics {
		for _, p := range x.partitions {
			if p != nil {
				all = append(all, p)
			}
		}
	}
	t.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Partition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.index, b.index))
	})
	return all
}

func (x *topic) at(i int32) *Partition {
	if x == nil || i < 0 || int(i) >= len(x.partitions) {
		return nil
	}
	return x.partitions[i]
}

func (t *Table) ofLog(l *storage.Log) *Partition {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byLog[l]
}

// Apply carries out what metadata says: it creates, deletes and configures
// partitions and begins or ends leading them. A partition whose log cannot be
// opened is hosted offline; where only room was missing, Tick tries again. The
// error joins what went wrong; everything else was done all the same.
func (t *Table) Apply(d *meta.Delta) error {
	t.applying.Lock()
	defer t.applying.Unlock()
	now := time.Now()
	var errs []error
	t.learnBrokers(d, now)
	// What goes, goes first: a topic made anew needs the name on disk.
	for c := range d.TopicChanges() {
		gone := c.New == nil || c.Recreated()
		for i, pc := range c.Partitions() {
			if pc.Old == nil || !pc.Old.HasReplica(t.config.NodeID) {
				continue
			}
			if gone || pc.New == nil || !pc.New.HasReplica(t.config.NodeID) {
				refusal := kerr.NotLeaderForPartition
				if gone {
					refusal = kerr.UnknownTopicOrPartition
				}
				if err := t.drop(c.Old, i, refusal); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}
	opened := t.openAll(d)
	for c := range d.TopicChanges() {
		if c.New == nil {
			continue
		}
		for i, pc := range c.Partitions() {
			if pc.New == nil || !pc.New.HasReplica(t.config.NodeID) {
				continue
			}
			p := t.ByID(c.New.ID, i)
			if p == nil {
				o := opened[place{c.New.ID, i}]
				p = t.host(c.New, i, pc.New, o)
				if o.err != nil {
					errs = append(errs, o.err)
				}
			}
			if l := t.late[p]; l != nil {
				l.meta = pc.New
			}
			if err := p.become(pc.New, t.config.NodeID, now); err != nil {
				errs = append(errs, err)
			}
			t.askForEpoch(p, pc.New)
		}
	}
	t.configure(d, now)
	return errors.Join(errs...)
}

// knownBroker is what partitions want to know of a broker.
type knownBroker struct {
	epoch int64 // partition.NoBroker: gone, fenced or stopping
	rack  string
}

// learnBrokers takes note of who is alive, and tells the partitions led here.
func (t *Table) learnBrokers(d *meta.Delta, now time.Time) {
	if len(d.Brokers) == 0 {
		return
	}
	known := maps.Clone(*t.brokers.Load())
	changed := false
	for _, id := range d.Brokers {
		now := knownBroker{epoch: partition.NoBroker}
		if b := d.New.Broker(id); b != nil {
			now.rack = b.Rack
			if b.Active() {
				now.epoch = b.Epoch
			}
		}
		if was, ok := known[id]; !ok || was != now {
			known[id], changed = now, true
		}
	}
	if !changed {
		return
	}
	t.brokers.Store(&known)
	for _, p := range t.All() {
		p.mu.Lock()
		if p.leader != nil {
			p.knowBrokers(now)
			p.publish()
		}
		p.mu.Unlock()
	}
}

// brokerEpoch is the epoch of a broker that is alive, else partition.NoBroker.
func (t *Table) brokerEpoch(id int32) int64 {
	if b, ok := (*t.brokers.Load())[id]; ok {
		return b.epoch
	}
	return partition.NoBroker
}

// Registered tells the epoch under which this node is registered. Before that
// it does not fetch: no leader would know what to make of it.
func (t *Table) Registered(epoch int64) { t.fetchers.registered(epoch) }

// configure passes on changed settings: a topic's to that topic, the broker's
// to all.
func (t *Table) configure(d *meta.Delta, now time.Time) {
	names := map[string]bool{}
	for _, r := range d.Configs {
		switch r.Type {
		case meta.TopicResource:
			names[r.Name] = true
		case meta.BrokerResource:
			for n := range t.topics {
				names[n] = true
			}
		}
	}
	for n := range names {
		if d.New.Topic(n) == nil {
			continue
		}
		// Only this goroutine changes the maps, so it may read them bare.
		x := t.topics[n]
		if x == nil {
			continue
		}
		config := t.config.Topic(d.New, n)
		for _, p := range x.partitions {
			if p != nil {
				p.configure(config, now)
			}
		}
	}
}

// place is a partition by the id of its topic.
type place struct {
	topic meta.UUID
	index int32
}

// opening is a log to be opened or made, and what came of it.
type opening struct {
	place  place
	name   storage.Name
	dir    *storage.Dir // nil: none is online
	config *TopicConfig

	log *storage.Log
	err error
}

// openers is how many logs are opened at a time: after an unclean stop each is
// read and checked, and making one waits for the disk.
var openers = max(2, runtime.GOMAXPROCS(0))

// openAll opens the logs of the partitions that d places here for the first
// time.
func (t *Table) openAll(d *meta.Delta) map[place]*opening {
	jobs := map[place]*opening{}
	var queue []*opening
	var where *layout
	for c := range d.TopicChanges() {
		if c.New == nil {
			continue
		}
		var config *TopicConfig
		for i, pc := range c.Partitions() {
			if pc.New == nil || !pc.New.HasReplica(t.config.NodeID) || t.ByID(c.New.ID, i) != nil {
				continue
			}
			if config == nil {
				config = t.config.Topic(d.New, c.Name)
			}
			if where == nil {
				where = t.layout()
			}
			o := &opening{place: place{c.New.ID, i}, name: storage.Name{Topic: c.Name, Partition: i}, config: config}
			o.dir = where.choose(o.name, c.New.ID, pc.New.Dir(t.config.NodeID))
			jobs[o.place] = o
			queue = append(queue, o)
		}
	}
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(queue) {
				return
			}
			queue[i].open()
		}
	}
	var helpers sync.WaitGroup
	for range min(openers, len(queue)) - 1 {
		helpers.Go(work)
	}
	work()
	helpers.Wait()
	return jobs
}

func (o *opening) open() {
	if o.dir == nil {
		o.err = fmt.Errorf("open %s: %w", o.name, storage.ErrDirFailed)
		return
	}
	c := o.config.Log
	c.Create = true
	log, err := o.dir.Open(o.name, o.place.topic, c)
	if errors.Is(err, storage.ErrWrongTopicID) {
		// What is on disk is the topic that had the name before, deleted while
		// this node was away.
		if err = o.dir.Delete(o.name); err == nil {
			log, err = o.dir.Open(o.name, o.place.topic, c)
		}
	}
	if err != nil {
		o.err = fmt.Errorf("open %s in %s: %w", o.name, o.dir.Path(), err)
		return
	}
	o.log = log
}

// host adds a partition to the table. Without a log it is there, offline.
func (t *Table) host(mt *meta.Topic, i int32, m *meta.Partition, o *opening) *Partition {
	p := &Partition{table: t, topic: mt.Name, id: mt.ID, index: i, lostTail: -1}
	p.config.Store(o.config)
	p.role.Store(&role{epoch: -1, refusal: kerr.NotLeaderForPartition})
	// A log that must have been there and is made anew has lost its tail.
	gone := o.dir != nil && !t.settled.Load() && t.unclean[o.dir] && !t.found[o.name]
	if log := o.log; log == nil {
		p.offline = true
		p.role.Store(&role{epoch: -1, refusal: kerr.KafkaStorageError})
		if errors.Is(o.err, storage.ErrNoSpace) {
			t.late[p] = &late{o, m, gone}
		}
	} else {
		p.attach(log, m, gone)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.ids[mt.ID]
	if x == nil {
		x = &topic{name: mt.Name, id: mt.ID}
		t.topics[mt.Name], t.ids[mt.ID] = x, x
	}
	for int(i) >= len(x.partitions) {
		x.partitions = append(x.partitions, nil)
	}
	x.partitions[i] = p
	x.hosted++
	if o.log != nil {
		t.byLog[o.log] = p
	}
	return p
}

// late is a partition whose log could not be made, because the disk was full.
type late struct {
	opening *opening
	meta    *meta.Partition // as it is now
	gone    bool
}

// openLate makes the logs for which there was no room.
func (t *Table) openLate(now time.Time) {
	t.applying.Lock()
	defer t.applying.Unlock()
	for p, l := range t.late {
		o := l.opening
		o.config, o.err = p.config.Load(), nil
		o.open()
		if errors.Is(o.err, storage.ErrNoSpace) {
			continue
		}
		delete(t.late, p)
		if o.err != nil {
			continue // the directory has failed, which its event told
		}
		t.mu.Lock()
		t.byLog[o.log] = p
		t.mu.Unlock()
		p.mu.Lock()
		p.attach(o.log, l.meta, l.gone)
		p.offline = false
		p.mu.Unlock()
		if err := p.become(l.meta, t.config.NodeID, now); err != nil {
			p.failed(err)
		}
		t.askForEpoch(p, l.meta)
	}
}

// attach gives the partition its log, before anybody can ask for it.
func (p *Partition) attach(log *storage.Log, m *meta.Partition, gone bool) {
	p.log.Store(log)
	p.anew = gone
	p.promised = gone && log.Promised()
	if len(log.Recovery().Damage) > 0 {
		p.damage()
	}
	if gone || log.Recovery().LostTail {
		p.lostTail = max(log.LatestEpoch(), m.LeaderEpoch)
	}
}

// drop ends the hosting of a partition and removes its log.
func (t *Table) drop(mt *meta.Topic, i int32, refusal *kerr.Error) error {
	t.mu.Lock()
	x := t.ids[mt.ID]
	p := x.at(i)
	if p == nil {
		t.mu.Unlock()
		return nil
	}
	x.partitions[i] = nil
	if x.hosted--; x.hosted == 0 {
		delete(t.topics, mt.Name)
		delete(t.ids, mt.ID)
	}
	t.mu.Unlock()
	delete(t.late, p)

	t.movers.leave(p)
	p.close(refusal)
	log := p.log.Load() // it moves no more
	t.mu.Lock()
	delete(t.byLog, log)
	t.mu.Unlock()
	if log == nil {
		return nil
	}
	if err := log.Dir().Delete(storage.Name{Topic: p.topic, Partition: p.index}); err != nil && !errors.Is(err, storage.ErrDirFailed) {
		return fmt.Errorf("delete %s-%d: %w", p.topic, p.index, err)
	}
	return nil
}

// askForEpoch: a log that may have lost its tail is led in a newer epoch only.
func (t *Table) askForEpoch(p *Partition, m *meta.Partition) {
	ask := m.Leader == t.config.NodeID && m.LeaderEpoch <= p.lostTail && p.log.Load() != nil
	p.mu.Lock()
	p.waitsForEpoch = ask
	p.mu.Unlock()
	if ask {
		t.config.Controller.RaiseEpoch(p.id, p.index, m.LeaderEpoch)
	}
}

// Strays tells Config.Stray of the logs on disk that img does not place here.
// Call it once img is what the cluster has committed, before any topic can be
// made anew.
func (t *Table) Strays(img *meta.Image, except ...storage.Name) {
	t.settled.Store(true)
	if t.config.Stray == nil {
		return
	}
	for _, d := range t.dirs {
		for _, n := range d.Logs() {
			if img.Partition(n.Topic, n.Partition) == nil && !slices.Contains(except, n) {
				t.config.Stray(d.Path(), n)
			}
		}
	}
}

// Tick proposes to drop replicas that lag, asks again for leader epochs that
// have not come, and makes logs for which there was no room. Call it every half
// of Config.MaxLag.
func (t *Table) Tick(now time.Time) {
	t.openLate(now)
	for _, p := range t.All() {
		p.mu.Lock()
		if p.leader != nil {
			p.settle(p.leader.Tick(now))
			p.publish()
		}
		ask := p.waitsForEpoch && !p.closed && !p.offline
		p.mu.Unlock()
		if ask {
			t.config.Controller.RaiseEpoch(p.id, p.index, p.role.Load().epoch)
		}
	}
}

// Refused tells that the controller did not accept an in-sync set.
func (t *Table) Refused(id [16]byte, index int32, c *partition.ISRChange) {
	if p := t.ByID(id, index); p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.leader != nil {
			p.settle(p.leader.Refused(c, time.Now()))
		}
	}
}

func (t *Table) dirFailed(dir string) {
	for _, p := range t.All() {
		if l := p.log.Load(); l != nil && l.Dir().Path() == dir {
			p.goOffline()
		}
	}
}

// Close ends all hosting: appends and reads are refused and everybody who
// waits is told. The directories are the caller's to close, afterwards.
func (t *Table) Close() {
	t.movers.close()
	t.fetchers.close()
	for _, p := range t.All() {
		p.close(kerr.NotLeaderForPartition)
	}
	t.failMu.Lock()
	t.closed = true
	t.failMu.Unlock()
	t.failing.Wait()
}
