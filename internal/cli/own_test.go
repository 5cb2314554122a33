// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const segmentOfKafka = "kafka/testdata/log/00000000000000000000.log"

func TestVerifyFindsFlippedBit(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(segmentOfKafka)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "00000000000000000000.log")
	check := func(b []byte) []damage {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		bad, err := verifyDir(&Env{Err: io.Discard}, dir)
		if err != nil {
			t.Fatal(err)
		}
		return bad
	}
	if bad := check(raw); len(bad) != 0 {
		t.Fatalf("a sound file: %v", bad)
	}
	if bad := check(raw[:len(raw)-3]); len(bad) != 0 {
		t.Fatalf("a torn tail of the newest segment: %v", bad)
	}
	long := bytes.Clone(raw)
	long[8] ^= 0x40 // the first batch says it has a gigabyte
	if bad := check(long); len(bad) != 1 || bad[0].Position != 0 {
		t.Fatalf("a flipped bit in a length, sound batches behind: %v", bad)
	}
	flipped := bytes.Clone(raw)
	flipped[len(flipped)-5] ^= 1
	if bad := check(flipped); len(bad) != 1 || bad[0].Position == 0 || bad[0].File != path {
		t.Fatalf("a flipped bit: %v", bad)
	}
	if f := (&client{env: &Env{Err: io.Discard}}).segments(dir); f.State != problem || f.Do == "" {
		t.Errorf("doctor: %+v", f)
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		f     finding
		state string
	}{
		{clockFinding(now.Add(-time.Hour).UnixMilli(), now), sound},
		{clockFinding(now.Add(time.Hour).UnixMilli(), now), problem},
		{clockFinding(0, time.Unix(0, 0)), problem},
		{diskFinding("d", 1, 100), problem},
		{diskFinding("d", 5, 100), warning},
		{diskFinding("d", 50, 100), sound},
		{fileLimitFinding(1024), warning},
		{fileLimitFinding(65536), sound},
	} {
		if c.f.State != c.state || (c.state == sound) != (c.f.Do == "") {
			t.Errorf("%+v: want %s", c.f, c.state)
		}
	}
}

func TestFactorThatCannotBe(t *testing.T) {
	t.Parallel()
	if f, bad := factorFinding("__consumer_offsets", "offsets.topic.replication.factor", "3", 1); !bad || f.State != warning || f.Do == "" {
		t.Errorf("three replicas on one broker: %+v", f)
	}
	if f, bad := factorFinding("__consumer_offsets", "offsets.topic.replication.factor", "3", 3); bad {
		t.Errorf("three replicas on three brokers: %+v", f)
	}
}

func TestFileFromTheFuture(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	path := filepath.Join(dir, "00000000000000000000.log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := written(dir, now); f.State != sound {
		t.Errorf("a file of now: %+v", f)
	}
	if f := written(dir, now.Add(-time.Hour)); f.State != problem || !strings.Contains(f.Found, path) {
		t.Errorf("a file an hour ahead: %+v", f)
	}
}

func TestParseFrom(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"start", "end", "12", "10m", "2026-01-02T15:04:05Z"} {
		if _, err := parseFrom(s, time.Now()); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "-5", "yesterday", "-10m"} {
		if _, err := parseFrom(s, time.Now()); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestPrintRecord(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{Topic: "t", Partition: 1, Offset: 2, Key: []byte("k"), Value: []byte{0xff}, Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("b")}}, Timestamp: time.UnixMilli(0)}
	for format, want := range map[string]string{`%t-%p@%o %k %h\n`: "t-1@2 k a=b\n", `%T\t%x%`: "1970-01-01T00:00:00Z\t%x%"} {
		var b bytes.Buffer
		w := bufio.NewWriter(&b)
		printRecord(w, r, false, format)
		w.Flush()
		if b.String() != want {
			t.Errorf("got %q, want %q", b.String(), want)
		}
	}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	printRecord(w, r, true, "")
	w.Flush()
	if !strings.Contains(b.String(), `"value":"/w=="`) {
		t.Error(b.String())
	}
}

func TestMain_statuses(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]int{"gregor version": 0, "gregor topic bogus": 2, "gregor --bogus": 2, "gregor kafka-topics": 1, "bin/kafka-topics.sh --version": 0, "gregor kafka-topics.sh --version": 0} {
		e := &Env{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}
		if got := Main(context.Background(), strings.Fields(line), e); got != want {
			t.Errorf("%s: status %d, want %d", line, got, want)
		}
	}
}

func TestInstallTools(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "gregor")
	if err := os.WriteFile(program, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again over the first links
		if n, err := installTools(dir, program); err != nil || n == 0 {
			t.Fatal(n, err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "config", "server.properties"))
	if err != nil || !strings.Contains(string(raw), "\nlog.dirs=/tmp/kraft-combined-logs\n") {
		t.Errorf("%s, %v", raw, err)
	}
}
