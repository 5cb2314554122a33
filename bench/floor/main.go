// SPDX-License-Identifier: Apache-2.0

// Command floor is the least that a broker can do, as a peer to measure
// beside: it reads frames, checks each batch's checksum, stamps its offset,
// writes it to the end of a new file, and answers; it serves fetches by
// sendfile. It validates nothing else, keeps no index, recovers nothing and
// has one goroutine a connection. Topics are durable as Gregor's are unless
// made with gregor.durable=false: acks=all then waits for a sync that takes
// along what was written meanwhile, and so do fetches. Three of them make a
// topic of three replicas (follow.go). What a row of Gregor costs more than here
// is Gregor's own.
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	listen    = flag.String("listen", "127.0.0.1:9292", "address to listen on")
	dir       = flag.String("dir", "", "directory for the logs, made anew")
	followers = flag.String("followers", "", "HOST:PORT,... of floors that copy every partition from here")
	leader    = flag.String("leader", "", "HOST:PORT of the floor that this one copies from")
	replica   = flag.Int("replica", 0, "which of the leader's followers this one is")
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func main() {
	flag.Parse()
	debug.SetGCPercent(400)
	check(os.RemoveAll(*dir))
	check(os.MkdirAll(*dir, 0o755))
	root, err := os.Open(*dir)
	check(err)
	f := &floor{topics: map[string]*topic{}, root: root, wake: make(chan struct{}, 1)}
	l, err := net.Listen("tcp", *listen)
	check(err)
	if *followers != "" {
		f.followers = strings.Split(*followers, ",")
	}
	go f.committer()
	go func() {
		for {
			c, err := l.Accept()
			check(err)
			go f.serve(c.(*net.TCPConn))
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	<-stop
	check(os.RemoveAll(*dir))
}

type floor struct {
	mu     sync.Mutex // guards topics
	topics map[string]*topic
	root   *os.File

	followers []string

	commit sync.Mutex // guards dirty and waiting
	dirty  map[*partition]bool
	wait   []chan struct{}
	wake   chan struct{}
}

type topic struct {
	durable bool
	parts   []*partition
}

type partition struct {
	durable bool
	mu      sync.Mutex
	file    *os.File
	size    int64
	next    int64
	visible batchStart // the end of what fetches get
	starts  []batchStart
	moved   chan struct{} // closed, and made anew, when visible or next moves
	copies
}

type batchStart struct{ offset, pos int64 }

// conn is one connection.
type conn struct {
	f    *floor
	nc   *net.TCPConn
	raw  syscall.RawConn
	buf  []byte
	r, w int
	out  []byte
}

func (f *floor) serve(nc *net.TCPConn) {
	defer nc.Close()
	raw, err := nc.SyscallConn()
	check(err)
	c := &conn{f: f, nc: nc, raw: raw, buf: make([]byte, 64<<10)}
	for {
		for c.w-c.r >= 4 {
			n := int(binary.BigEndian.Uint32(c.buf[c.r:]))
			if c.w-c.r < 4+n {
				if len(c.buf)-c.r < 4+n {
					b := c.buf
					if len(b) < 4+n {
						b = make([]byte, 4+n)
					}
					c.w = copy(b, c.buf[c.r:c.w])
					c.buf, c.r = b, 0
				}
				break
			}
			if !c.request(c.buf[c.r+4 : c.r+4+n]) {
				return
			}
			c.r += 4 + n
		}
		if c.r == c.w {
			c.r, c.w = 0, 0
		}
		if len(c.out) > 0 {
			if _, err := nc.Write(c.out); err != nil {
				return
			}
			c.out = c.out[:0]
		}
		if c.w == len(c.buf) {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		}
		n, err := nc.Read(c.buf[c.w:])
		if err != nil {
			return
		}
		c.w += n
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *conn) request(b []byte) bool {
	key, version := int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:]))
	correlation := b[4:8]
	body := b[10+max(0, int(int16(binary.BigEndian.Uint16(b[8:])))):]
	at := len(c.out)
	c.out = append(c.out, 0, 0, 0, 0)
	c.out = append(c.out, correlation...)
	switch key {
	case 0:
		c.produce(body)
	case 1:
		return c.fetch(at, body)
	default:
		if !c.other(key, version, body) {
			return false
		}
	}
	binary.BigEndian.PutUint32(c.out[at:], uint32(len(c.out)-at-4))
	return true
}

// take is a cursor over a body that is trusted.
type take struct{ b []byte }

func (t *take) i16() int16  { v := binary.BigEndian.Uint16(t.b); t.b = t.b[2:]; return int16(v) }
func (t *take) i32() int32  { v := binary.BigEndian.Uint32(t.b); t.b = t.b[4:]; return int32(v) }
func (t *take) i64() int64  { v := binary.BigEndian.Uint64(t.b); t.b = t.b[8:]; return int64(v) }
func (t *take) i8() int8    { v := t.b[0]; t.b = t.b[1:]; return int8(v) }
func (t *take) str() []byte { return t.n(int(t.i16())) }
func (t *take) n(n int) []byte {
	n = max(n, 0)
	v := t.b[:n]
	t.b = t.b[n:]
	return v
}

func (f *floor) topic(name []byte) *topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.topics[string(name)]
}

// produce serves versions 3 to 7.
func (c *conn) produce(body []byte) {
	t := take{body}
	t.str()
	acks := t.i16()
	t.i32()
	topics := t.i32()
	b := binary.BigEndian.AppendUint32(c.out, uint32(topics))
	var dirty []*partition
	var ends []int64
	for range topics {
		name := t.str()
		top := c.f.topic(name)
		b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
		b = append(b, name...)
		n := t.i32()
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		for range n {
			i := t.i32()
			batch := t.n(int(t.i32()))
			base, code := int64(-1), uint16(3)
			if top != nil {
				p := top.parts[i]
				base, code = p.append(batch), 0
				if top.durable {
					dirty = append(dirty, p)
					ends = append(ends, base+records(batch))
				}
			}
			b = binary.BigEndian.AppendUint32(b, uint32(i))
			b = binary.BigEndian.AppendUint16(b, code)
			b = binary.BigEndian.AppendUint64(b, uint64(base))
			b = binary.BigEndian.AppendUint64(b, 1<<64-1)
			b = binary.BigEndian.AppendUint64(b, 0)
		}
	}
	c.out = binary.BigEndian.AppendUint32(b, 0)
	if len(dirty) > 0 {
		if done := c.f.synced(dirty); acks == -1 {
			<-done
			for i, p := range dirty {
				p.await(ends[i])
			}
		}
	}
}

func (p *partition) append(batch []byte) int64 {
	verify(batch)
	p.mu.Lock()
	defer p.mu.Unlock()
	binary.BigEndian.PutUint64(batch, uint64(p.next))
	_, err := p.file.WriteAt(batch, p.size)
	check(err)
	p.starts = append(p.starts, batchStart{p.next, p.size})
	base := p.next
	p.size += int64(len(batch))
	p.next += records(batch)
	if !p.durable {
		p.synced = batchStart{p.next, p.size}
	}
	p.show()
	return base
}

func verify(batch []byte) {
	if crc32.Checksum(batch[21:], castagnoli) != binary.BigEndian.Uint32(batch[17:]) {
		check(errors.New("a batch's checksum is wrong"))
	}
}

func records(batch []byte) int64 { return int64(binary.BigEndian.Uint32(batch[23:])) + 1 }

// show lets fetches see what is durable here and at the followers; mu is held.
func (p *partition) show() {
	p.visible = p.everywhere()
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// synced gives a channel that is closed when what was written is durable.
func (f *floor) synced(ps []*partition) <-chan struct{} {
	done := make(chan struct{})
	f.commit.Lock()
	if f.dirty == nil {
		f.dirty = map[*partition]bool{}
	}
	for _, p := range ps {
		f.dirty[p] = true
	}
	f.wait = append(f.wait, done)
	f.commit.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return done
}

func (f *floor) committer() {
	for range f.wake {
		f.commit.Lock()
		dirty, wait := f.dirty, f.wait
		f.dirty, f.wait = nil, nil
		f.commit.Unlock()
		ends := make(map[*partition]batchStart, len(dirty))
		for p := range dirty {
			p.mu.Lock()
			ends[p] = batchStart{p.next, p.size}
			p.mu.Unlock()
		}
		if len(dirty) == 1 {
			for p := range dirty {
				check(syscall.Fdatasync(int(p.file.Fd())))
			}
		} else if len(dirty) > 1 {
			_, _, e := syscall.Syscall(306, f.root.Fd(), 0, 0) // syncfs on amd64
			if e != 0 {
				check(e)
			}
		}
		for p, end := range ends {
			p.mu.Lock()
			p.synced = end
			p.show()
			p.mu.Unlock()
		}
		for _, w := range wait {
			close(w)
		}
	}
}

// fetch serves versions 4 to 11, for one partition a request.
func (c *conn) fetch(at int, body []byte) bool {
	t := take{body}
	replica := t.i32()
	wait := time.Duration(t.i32()) * time.Millisecond
	t.i32()
	t.i32()
	t.i8()
	t.i32()
	t.i32()
	if t.i32() == 0 {
		return false
	}
	name := t.str()
	t.i32()
	index := t.i32()
	t.i32()
	from := t.i64()
	t.i64()
	most := int64(t.i32())
	top := c.f.topic(name)
	if top == nil {
		return false // deleted
	}
	p := top.parts[index]
	pos, n, end := p.find(replica, from, most, wait)
	b := c.out
	b = append(b, make([]byte, 4+2+4)...)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(index))
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	b = append(b, make([]byte, 8)...)
	b = append(b, 255, 255, 255, 255, 255, 255, 255, 255)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4+int(n)))
	c.out = b[:0]
	err := c.raw.Write(func(fd uintptr) bool {
		for len(b) > 0 {
			k, err := syscall.SendmsgN(int(fd), b, nil, nil, 0x8000) // MSG_MORE
			if err != nil {
				return !errors.Is(err, syscall.EAGAIN)
			}
			b = b[k:]
		}
		for n > 0 {
			k, err := syscall.Sendfile(int(fd), int(p.file.Fd()), &pos, int(n))
			if err != nil {
				return !errors.Is(err, syscall.EAGAIN)
			}
			n -= int64(k)
		}
		return true
	})
	return err == nil
}

// find gives the whole batches from the one that holds offset on: of what
// consumers may see, or, for a replica, of all.
func (p *partition) find(replica int32, from, most int64, wait time.Duration) (pos, n, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.copied(replica, from)
	for until := time.Now().Add(wait); from >= p.endFor(replica).offset; {
		if left := time.Until(until); left <= 0 || !p.wait(left) {
			return 0, 0, p.endFor(replica).offset
		}
	}
	visible := p.endFor(replica)
	i := sort.Search(len(p.starts), func(i int) bool { return p.starts[i].offset > from }) - 1
	pos = p.starts[i].pos
	last := visible.pos
	if last-pos > most {
		j := sort.Search(len(p.starts), func(i int) bool { return p.starts[i].pos > pos+most }) - 1
		last = p.starts[max(j, i+1)].pos
	}
	return pos, last - pos, visible.offset
}

// served are the versions answered, none of them flexible.
var served = map[int16][2]int16{0: {3, 7}, 1: {4, 11}, 2: {1, 5}, 3: {1, 8}, 18: {0, 2}, 19: {0, 4}, 20: {0, 3}, 22: {0, 1}}

func (c *conn) other(key, version int16, body []byte) bool {
	if key == 18 {
		r := kmsg.NewPtrApiVersionsResponse()
		if version > 2 {
			r.ErrorCode, version = 35, 0
		}
		r.Version = version
		for k, v := range served {
			a := kmsg.NewApiVersionsResponseApiKey()
			a.ApiKey, a.MinVersion, a.MaxVersion = k, v[0], v[1]
			r.ApiKeys = append(r.ApiKeys, a)
		}
		c.out = r.AppendTo(c.out)
		return true
	}
	q := kmsg.RequestForKey(key)
	if q == nil {
		return false
	}
	q.SetVersion(version)
	if q.ReadFrom(body) != nil {
		return false
	}
	s := q.ResponseKind()
	s.SetVersion(version)
	switch q := q.(type) {
	case *kmsg.MetadataRequest:
		c.f.metadata(q, s.(*kmsg.MetadataResponse))
	case *kmsg.CreateTopicsRequest:
		c.f.create(q, s.(*kmsg.CreateTopicsResponse))
	case *kmsg.DeleteTopicsRequest:
		c.f.remove(q, s.(*kmsg.DeleteTopicsResponse))
	case *kmsg.ListOffsetsRequest:
		c.f.offsets(q, s.(*kmsg.ListOffsetsResponse))
	case *kmsg.InitProducerIDRequest:
		s.(*kmsg.InitProducerIDResponse).ProducerID = time.Now().UnixNano()
	default:
		return false
	}
	c.out = s.AppendTo(c.out)
	return true
}

func (f *floor) metadata(q *kmsg.MetadataRequest, s *kmsg.MetadataResponse) {
	host, port, err := net.SplitHostPort(*listen)
	check(err)
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host = 1, host
	_, err = fmt.Sscan(port, &b.Port)
	check(err)
	s.Brokers, s.ControllerID = append(s.Brokers, b), 1
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, want := range q.Topics {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.ErrorCode = want.Topic, 3
		if have := f.topics[*want.Topic]; have != nil {
			t.ErrorCode = 0
			for i := range have.parts {
				p := kmsg.NewMetadataResponseTopicPartition()
				p.Partition, p.Leader, p.Replicas, p.ISR = int32(i), 1, []int32{1}, []int32{1}
				t.Partitions = append(t.Partitions, p)
			}
		}
		s.Topics = append(s.Topics, t)
	}
}

func (f *floor) create(q *kmsg.CreateTopicsRequest, s *kmsg.CreateTopicsResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, want := range q.Topics {
		t := &topic{durable: true}
		for _, c := range want.Configs {
			if c.Name == "gregor.durable" {
				t.durable = *c.Value != "false"
			}
		}
		for i := range want.NumPartitions {
			d := filepath.Join(*dir, fmt.Sprintf("%s-%d", want.Topic, i))
			check(os.Mkdir(d, 0o755))
			file, err := os.Create(filepath.Join(d, "log"))
			check(err)
			p := &partition{file: file, durable: t.durable}
			p.flushed = make([]int64, len(f.followers))
			t.parts = append(t.parts, p)
			if *leader != "" {
				go p.follow(want.Topic, i)
			}
		}
		f.topics[want.Topic] = t
		f.forward(q)
		r := kmsg.NewCreateTopicsResponseTopic()
		r.Topic = want.Topic
		s.Topics = append(s.Topics, r)
	}
	if _, _, e := syscall.Syscall(306, f.root.Fd(), 0, 0); e != 0 {
		check(e)
	}
}

func (f *floor) remove(q *kmsg.DeleteTopicsRequest, s *kmsg.DeleteTopicsResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forward(q)
	for _, name := range q.TopicNames {
		t := f.topics[name]
		delete(f.topics, name)
		for i, p := range t.parts {
			check(errors.Join(p.file.Close(), os.RemoveAll(filepath.Join(*dir, fmt.Sprintf("%s-%d", name, i)))))
		}
		r := kmsg.NewDeleteTopicsResponseTopic()
		r.Topic = &name
		s.Topics = append(s.Topics, r)
	}
}

func (f *floor) offsets(q *kmsg.ListOffsetsRequest, s *kmsg.ListOffsetsResponse) {
	for _, want := range q.Topics {
		t := kmsg.NewListOffsetsResponseTopic()
		t.Topic = want.Topic
		for _, wp := range want.Partitions {
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.Offset = wp.Partition, 0
			if wp.Timestamp == -1 {
				have := f.topic([]byte(want.Topic)).parts[wp.Partition]
				have.mu.Lock()
				p.Offset = have.visible.offset
				have.mu.Unlock()
			}
			t.Partitions = append(t.Partitions, p)
		}
		s.Topics = append(s.Topics, t)
	}
}
