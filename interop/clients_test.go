//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// client is one foreign client program and what its library can do.
type client struct {
	name        string
	argv        []string
	idempotent  bool // has an idempotent producer
	nullKey     bool // tells a null key from none
	acks        bool // reports an offset for each record
	cooperative bool
}

// javaFlags make a short-lived JVM cheap; the class path has Kafka's jars.
var javaFlags = []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx512m",
	"-cp", cache("java") + ":" + cache("java", "libs", "*")}

func clients() []client {
	py := cache("python", "bin", "python")
	return []client{
		{"java", append(append([]string{"java"}, javaFlags...), "Client"), true, true, true, true},
		{"confluent", []string{py, "python/confluent.py"}, true, true, true, true},
		{"kafka-python", []string{py, "python/kpython.py"}, true, true, true, true},
		{"kafkajs", []string{"node", cache("node", "client.js")}, true, true, false, false},
		{"franz-go", []string{cache("go", "franz")}, true, true, true, true},
		{"sarama", []string{cache("go", "sarama")}, true, true, true, false},
		{"segmentio", []string{cache("go", "segmentio")}, false, true, false, false},
	}
}

// only names the one client that the suite's tests go through with, where it
// is not to be all.
var only string

// tested are the clients that each test of what all of them do goes through.
func tested() []client {
	return slices.DeleteFunc(clients(), func(c client) bool { return only != "" && c.name != only })
}

// line is any of the lines that client programs print.
type line struct {
	I, P, O  int
	Len      int
	CRC      uint32
	Key, H   string
	Ready    bool
	Done     bool
	Assigned *[]int
	Step     string
	OK       bool
}

// proc is a running client program.
type proc struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan line
	errs  strings.Builder
	once  sync.Once
	err   error
}

func (c client) start(t *testing.T, verb string, args ...string) *proc {
	t.Helper()
	argv := append(slices.Clone(c.argv), verb, "bootstrap="+bootstrap)
	return launch(t, c.name+" "+verb, append(argv, args...))
}

// launch runs a program that prints lines.
func launch(t *testing.T, name string, argv []string) *proc {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	p := &proc{t: t, name: name, cmd: cmd, lines: make(chan line, 100_000)}
	cmd.Stderr = &p.errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = in
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = p.wait() })
	go p.read(out)
	return p
}

func (p *proc) read(out io.Reader) {
	defer close(p.lines)
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err == nil {
			p.lines <- l
		}
	}
}

func (p *proc) wait() error {
	p.once.Do(func() { p.err = p.cmd.Wait() })
	return p.err
}

// next returns the next line, or fails the test after a while.
func (p *proc) next() (line, bool) {
	p.t.Helper()
	select {
	case l, ok := <-p.lines:
		return l, ok
	case <-time.After(patience):
		p.t.Fatalf("%s: silent for %v; stderr:\n%s", p.name, patience, p.errs.String())
		return line{}, false
	}
}

func (p *proc) ready() {
	p.t.Helper()
	for {
		l, ok := p.next()
		if !ok {
			_ = p.wait()
			p.t.Fatalf("%s ended before it was ready:\n%s", p.name, p.errs.String())
		}
		if l.Ready {
			return
		}
	}
}

// finish collects the lines up to a clean end.
func (p *proc) finish() []line {
	p.t.Helper()
	var all []line
	done := false
	for {
		l, ok := p.next()
		if !ok {
			break
		}
		if l.Done {
			done = true
		} else if !l.Ready {
			all = append(all, l)
		}
	}
	if err := p.wait(); err != nil || !done {
		p.t.Fatalf("%s: %v\n%s", p.name, err, p.errs.String())
	}
	return all
}

func (c client) run(t *testing.T, verb string, args ...string) []line {
	t.Helper()
	return c.start(t, verb, args...).finish()
}

var runID = strconv.FormatInt(time.Now().UnixNano()%1e9, 36)

// name makes a topic or group name of this test that no other run has used.
func name(t *testing.T, more string) string {
	n := strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())
	return fmt.Sprintf("%s-%s%s", n, more, runID)
}

const partitions = 5

// newTopic creates a topic of this test's own.
func newTopic(t *testing.T, more string) string {
	t.Helper()
	topic := name(t, more)
	clients()[4].run(t, "create", "topic="+topic, fmt.Sprintf("partitions=%d", partitions))
	return topic
}

func payload(i, size int) []byte {
	b := make([]byte, size)
	for k := range b {
		b[k] = byte('a' + k%26)
	}
	copy(b, strconv.Itoa(i)+"|")
	return b
}

// wantRecords checks that got holds records start..start+n-1 exactly once
// each, whole, with dense offsets in each partition.
func wantRecords(t *testing.T, got []line, start, n, size int, keyed, headers bool) {
	t.Helper()
	seen := map[int]bool{}
	next := map[int]int{}
	for _, l := range got {
		if l.I < start || l.I >= start+n || seen[l.I] {
			t.Fatalf("record %d twice or unexpected (want %d..%d)", l.I, start, start+n-1)
		}
		seen[l.I] = true
		if l.Len != size || l.CRC != crc32.ChecksumIEEE(payload(l.I, size)) {
			t.Fatalf("record %d: %d bytes, crc %08x: not what was sent", l.I, l.Len, l.CRC)
		}
		if want := fmt.Sprintf("key-%d", l.I%17); keyed && l.Key != want {
			t.Fatalf("record %d: key %q, want %q", l.I, l.Key, want)
		}
		if want := fmt.Sprintf("h-%d=v-%d;", l.I, l.I); headers && l.H != want {
			t.Fatalf("record %d: headers %q, want %q", l.I, l.H, want)
		}
		if o, ok := next[l.P]; ok && l.O != o {
			t.Fatalf("partition %d: offset %d after %d", l.P, l.O, o-1)
		}
		next[l.P] = l.O + 1
	}
	if len(seen) != n {
		t.Fatalf("%d records of %d", len(seen), n)
	}
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// TestCodecs: every client's records in every codec, keyed, with headers,
// idempotent where the client can; read by itself and by another client.
func TestCodecs(t *testing.T) {
	all := clients()
	for n, c := range tested() {
		t.Run(c.name, func(t *testing.T) {
			for k, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
				t.Run(codec, func(t *testing.T) {
					t.Parallel()
					topic := newTopic(t, "")
					acks := c.run(t, "produce", "topic="+topic, "n=100", "size=300", "codec="+codec,
						"keyed=1", "headers=1", "idempotent="+flag(c.idempotent))
					if c.acks && len(acks) != 100 {
						t.Fatalf("%d acknowledgements of 100", len(acks))
					}
					other := all[(n+k+1)%len(all)]
					wantRecords(t, c.run(t, "consume", "topic="+topic, "n=100"), 0, 100, 300, true, true)
					wantRecords(t, other.run(t, "consume", "topic="+topic, "n=100"), 0, 100, 300, true, true)
				})
			}
		})
	}
}

// TestLarge: records of 1 MB.
func TestLarge(t *testing.T) {
	for _, c := range tested() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			topic := newTopic(t, "")
			c.run(t, "produce", "topic="+topic, "n=5", "size=1000000", "idempotent="+flag(c.idempotent))
			wantRecords(t, c.run(t, "consume", "topic="+topic, "n=5"), 0, 5, 1000000, false, false)
		})
	}
}

// TestPositions: consuming from the end sees only what comes after, and from
// a time only what is as late.
func TestPositions(t *testing.T) {
	for _, c := range tested() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			topic := newTopic(t, "")
			c.run(t, "produce", "topic="+topic, "n=50", "acks=1")
			// acks=1 comes before the record may be read: the end is where
			// readers have got to.
			clients()[4].run(t, "consume", "topic="+topic, "n=50")
			time.Sleep(20 * time.Millisecond) // so that the second half has later timestamps
			now := time.Now().UnixMilli()
			time.Sleep(20 * time.Millisecond)
			end := c.start(t, "consume", "topic="+topic, "from=end", "n=50")
			end.ready()
			c.run(t, "produce", "topic="+topic, "n=50", "start=50")
			wantRecords(t, end.finish(), 50, 50, 100, false, false)
			wantRecords(t, c.run(t, "consume", "topic="+topic, fmt.Sprintf("from=time:%d", now), "n=50"), 50, 50, 100, false, false)
		})
	}
}

// TestAdmin: what each library's admin client can do to topics, configs,
// groups and offsets.
func TestAdmin(t *testing.T) {
	for _, c := range tested() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, l := range c.run(t, "admin", "topic="+name(t, ""), "group="+name(t, "g")) {
				if !l.OK {
					t.Errorf("step %s failed", l.Step)
				}
			}
		})
	}
}

// TestIdentical: one client's batches reach another byte for byte in order.
func TestIdentical(t *testing.T) {
	producer := clients()[0]
	topic := newTopic(t, "")
	producer.run(t, "produce", "topic="+topic, "n=1000", "size=200", "keyed=1", "codec=zstd", "idempotent=1")
	for _, c := range tested() {
		wantRecords(t, c.run(t, "consume", "topic="+topic, "n=1000"), 0, 1000, 200, true, false)
	}
}
