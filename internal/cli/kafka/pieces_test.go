// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The order in which Kafka's tool listed these groups.
func TestHashOrder(t *testing.T) {
	t.Parallel()
	want := []string{"console-consumer-10034", "console-consumer-5030", "console-consumer-26815", "g1", "console-consumer-70888", "console-consumer-78007"}
	got := hashOrder(slices.Sorted(slices.Values(want)), 16, stringHash)
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if h := partitionHash("t1", 0); h != 4606 {
		t.Errorf("hash of t1-0 is %d", h)
	}
}

func TestLineReader(t *testing.T) {
	t.Parallel()
	l := newLineReader("t")
	if err := l.configure(props{"parse.key": "true", "parse.headers": "true", "null.marker": "NULL"}); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(strings.NewReader("h1:v1,h2:\tk\tv\r\nNULL\tNULL\tNULL\rx\ty"))
	r, err := l.next(in)
	if err != nil || string(r.Key) != "k" || string(r.Value) != "v" || len(r.Headers) != 2 || r.Headers[0].Key != "h1" || string(r.Headers[0].Value) != "v1" || r.Headers[1].Value == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = l.next(in); err != nil || r.Key != nil || r.Value != nil || r.Headers != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err = l.next(in); err == nil || !strings.Contains(err.Error(), "on line number 3: 'x\ty'") {
		t.Fatal(err)
	}
	if _, err = l.next(in); err != io.EOF {
		t.Fatal(err)
	}
	if err := newLineReader("t").configure(props{"headers.separator": ":"}); err == nil {
		t.Error("equal separators are taken")
	}
}

func TestDefaultFormatter(t *testing.T) {
	t.Parallel()
	rec := &kgo.Record{Topic: "t", Partition: 3, Offset: 9, Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("b")}, {Key: "c"}}, Timestamp: time.UnixMilli(17)}
	for want, p := range map[string]props{
		"null\n": {},
		"CreateTime:17\tPartition:3\tOffset:9\tEpoch:NOT_PRESENT\ta:b,c:null\tk\tnull\n": {"print.timestamp": "true", "print.partition": "true", "print.offset": "true", "print.epoch": "true", "print.headers": "true", "print.key": "true"},
		"k|":    {"print.key": "true", "print.value": "false", "line.separator": "|"},
		"k=~\n": {"print.key": "true", "key.separator": "=", "null.literal": "~"},
	} {
		var b bytes.Buffer
		if err := newDefaultFormatter(&Env{Err: io.Discard}, p).write(&b, rec); err != nil || b.String() != want {
			t.Errorf("got %q, want %q, %v", b.String(), want, err)
		}
	}
	f := newDefaultFormatter(&Env{}, props{"value.deserializer": serdes + "LongDeserializer"})
	if err := f.write(io.Discard, rec); err == nil {
		t.Error("four bytes are read as a long")
	}
}

func TestJavaNumbers(t *testing.T) {
	t.Parallel()
	for f, want := range map[float64]string{0: "0.0", 10: "10.0", 4.37956204379562: "4.37956204379562", 1e7: "1.0E7", 1234567890: "1.23456789E9", 0.0005: "5.0E-4", 0.001: "0.001"} {
		if got := javaFloat(f, 64); got != want {
			t.Errorf("%g: got %s, want %s", f, got, want)
		}
	}
	for s, want := range map[string]time.Duration{"PT0S": 0, "P1DT2H": 26 * time.Hour, "PT1.5S": 1500 * time.Millisecond, "-PT1M": -time.Minute} {
		if got, err := parseISODuration(s); err != nil || got != want {
			t.Errorf("%s: got %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "P", "PT", "1h", "P1H"} {
		if d, err := parseISODuration(s); err == nil {
			t.Errorf("%q is read as %s", s, d)
		}
	}
	if ms, err := parseDateTime("1970-01-01T00:00:01.000"); err != nil || ms != 1000 {
		t.Error(ms, err)
	}
	if ms, err := parseDateTime("1970-01-01T01:00:01.000+01:00"); err != nil || ms != 1000 {
		t.Error(ms, err)
	}
	at := time.Date(2026, 11, 21, 8, 16, 6, 484e6, time.UTC)
	if got := javaDate("yyyy-MM-dd HH:mm:ss:SSS 'at'")(at); got != "2026-11-21 08:16:06:484 at" {
		t.Error(got)
	}
}

func TestExceptionText(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.":    kerr.GroupIDNotFound,
		"org.apache.kafka.common.errors.TopicExistsException: Topic 't1' already exists.":          &brokerError{kerr.TopicAlreadyExists, "Topic 't1' already exists."},
		"org.apache.kafka.common.errors.GroupNotEmptyException: " + kerr.NonEmptyGroup.Description: kerr.NonEmptyGroup,
	} {
		if got := exceptionText(err); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestConfigWords(t *testing.T) {
	t.Parallel()
	if got := splitConfigs("a=1,b=[x,y],c="); !slices.Equal(got, []string{"a=1", "b=[x,y]", "c="}) {
		t.Errorf("%q", got)
	}
	e := &Env{Out: io.Discard, Err: io.Discard}
	tool := newConfigsTool(e)
	if err := tool.o.parse([]string{"--add-config", "a=1,b=[x,y], c ="}); err != nil {
		t.Fatal(err)
	}
	m, err := tool.toAdd()
	if err != nil || len(m) != 3 || m["b"] != "x,y" || m["c"] != "" {
		t.Errorf("%v, %v", m, err)
	}
	if rules, err := parsePartitionRule("t.*:2-4"); err != nil || !rules.matches("tx", 3) || rules.matches("tx", 4) || rules.matches("x", 3) {
		t.Errorf("%v, %v", rules, err)
	}
	if _, err := parseAssignment("1:2,1"); err == nil {
		t.Error("unequal replica lists are taken")
	}
	if _, _, err := parseDeletions([]byte(`{"partitions":[{"topic":"a","partition":0,"offset":1},{"topic":"a","partition":0,"offset":2}]}`)); err == nil || !strings.Contains(err.Error(), "duplicate") {
		t.Error(err)
	}
}

func TestServers(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"/usr/bin/gregor server": true, "gregor kafka-server-start a.properties": true, "bin/kafka-server-start.sh a.properties": true,
		"gregor topic list": false, "vim server.properties": false, "gregor": false,
	} {
		if got := isServer(strings.Fields(line)); got != want {
			t.Errorf("%s: %t", line, got)
		}
	}
	s, err := parseServerArgs(&Env{Out: io.Discard}, []string{"-daemon", "a.properties", "--override", "a=b", "--override", "c=d"})
	if err != nil || !s.daemon || s.file != "a.properties" || !slices.Equal(s.overrides, []string{"a=b", "c=d"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

// FuzzDump gives the readers of files any bytes: none may panic, and damage is
// an error or a complaint.
func FuzzDump(f *testing.F) {
	for i, path := range []string{"testdata/log/00000000000000000000.log", "testdata/offsets/00000000000000000000.log", "testdata/snapshot/00000000000000000028.snapshot"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), raw)
	}
	ends := []string{".log", ".index", ".timeindex", ".snapshot", ".txnindex"}
	f.Fuzz(func(t *testing.T, kind uint8, raw []byte) {
		path := filepath.Join(t.TempDir(), "00000000000000000000")
		for _, end := range []string{".log", ends[int(kind)%len(ends)]} {
			if err := os.WriteFile(path+end, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		e := &Env{Out: io.Discard, Err: io.Discard}
		err := runDumpLog(t.Context(), e, []string{"--offsets-decoder", "--files", path + ends[int(kind)%len(ends)]})
		if quit := (*exit)(nil); err != nil && !errors.As(err, &quit) {
			t.Fatal(err)
		}
	})
}
