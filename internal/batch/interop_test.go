// SPDX-License-Identifier: Apache-2.0

package batch

// Goal: what Kafka's own client writes is read. Method: testdata holds batches
// that Kafka 4.2's MemoryRecords.withRecords made: for each codec in the order
// of its number, one of 1 record and one of 40; record i has key "key-i",
// timestamp 1000000+i and a value of 5 to 64 bytes, zeros where i is odd.

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

func TestKafkasBatches(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/kafka-4.2-client.batches")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; len(b) > 0 || i < 10; i++ {
		v, rest, err := Next(b)
		if err != nil {
			t.Fatal(err)
		}
		b = rest
		if err := v.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		codec, count := codecs[i/2], []int32{1, 40}[i%2]
		if v.Attributes().Codec() != codec || v.Count() != count {
			t.Fatalf("batch %d: %v, %d records", i, v.Attributes().Codec(), v.Count())
		}
		n := int32(0)
		err = v.Each(nil, func(r Record) error {
			zeros := n%2 == 1
			if string(r.Key) != fmt.Sprint("key-", n) || v.Timestamp(r) != 1_000_000+int64(n) || r.OffsetDelta != n ||
				len(r.Value) < 5 || len(r.Value) > 64 || zeros && !bytes.Equal(r.Value, make([]byte, len(r.Value))) {
				return fmt.Errorf("record %d: %+v", n, r)
			}
			n++
			return nil
		})
		if err != nil || n != count {
			t.Fatalf("%v: %d records, %v", codec, n, err)
		}
		rules := anyTime
		rules.InflateAll, rules.Compacted = true, true
		if _, info, err := Validate(v, rules); err != nil || info.Recompressed || info.MaxTimestamp != 1_000_000+int64(count)-1 {
			t.Fatalf("%v: %+v, %v", codec, info, err)
		}
	}
}
