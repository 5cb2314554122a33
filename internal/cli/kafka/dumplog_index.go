// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"

	"gregor/internal/batch"
)

// index prints a sparse offset index: 8 bytes an entry, the offset less the
// file's base and the position, and checks each against the log beside it.
func (d *dumper) index(path string) error {
	base, err := baseOffset(path)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	log := strings.TrimSuffix(path, ".index") + ".log"
	if _, err := os.Stat(log); err != nil {
		return err
	}
	n := len(raw) / 8
	if n == 0 {
		fmt.Fprintf(d.out, "%s is empty.\n", path)
		return nil
	}
	entry := func(i int) (int64, int64) {
		b := raw[i*8:]
		return base + int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	}
	if d.sanity {
		last, _ := entry(n - 1)
		if last < base || len(raw)%8 != 0 {
			return fmt.Errorf("Corrupt index found, index file (%s) has non-zero size but the last offset is %d which is less than the base offset %d, or a size that is no multiple of 8", path, last, base)
		}
		fmt.Fprintf(d.out, "%s passed sanity check.\n", path)
		return nil
	}
	var wrong []string
	for i := range n {
		offset, at := entry(i)
		if offset == base && i > 0 {
			break // zeroes of an index that was not trimmed
		}
		found := int64(-1)
		if _, _, err := batches(log, at, int64(d.maxRec), func(v batch.View, _ int64) bool { found = v.LastOffset(); return false }); err != nil {
			return err
		}
		if found != offset {
			wrong = append(wrong, fmt.Sprintf("  Index offset: %d, log offset: %d", offset, found))
		}
		if !d.verify {
			fmt.Fprintf(d.out, "offset: %d position: %d\n", offset, at)
		}
	}
	if len(wrong) > 0 {
		d.out.Flush()
		d.env.complain("Mismatches in :%s\n%s", path, strings.Join(wrong, "\n"))
	}
	return nil
}

// timeIndex prints 12 bytes an entry: a timestamp and an offset less the base.
func (d *dumper) timeIndex(path string) error {
	base, err := baseOffset(path)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	log := strings.TrimSuffix(path, ".timeindex") + ".log"
	n := len(raw) / 12
	entry := func(i int) (int64, int64) {
		b := raw[i*12:]
		return int64(binary.BigEndian.Uint64(b)), base + int64(binary.BigEndian.Uint32(b[8:]))
	}
	if d.sanity {
		if len(raw)%12 != 0 {
			return fmt.Errorf("Corrupt time index file (%s): its size is no multiple of 12", path)
		}
		for i := 1; i < n; i++ {
			ts, offset := entry(i)
			before, _ := entry(i - 1)
			if ts < before || offset < base {
				return fmt.Errorf("Corrupt time index found, time index file (%s) goes back at entry %d", path, i)
			}
		}
		fmt.Fprintf(d.out, "%s passed sanity check.\n", path)
		return nil
	}
	if n == 0 {
		return nil
	}
	// One walk of the log gives the newest timestamp of each batch.
	newest := map[int64]int64{}
	if _, _, err := batches(log, 0, math.MaxInt64/2, func(v batch.View, _ int64) bool {
		newest[v.LastOffset()] = v.MaxTimestamp()
		return true
	}); err != nil {
		return err
	}
	before := int64(-1)
	var wrong []string
	for i := range n {
		ts, offset := entry(i)
		if offset == base && i > 0 {
			break
		}
		switch seen, ok := newest[offset]; {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("The indexed offset %d is not found in the log.", offset))
		case seen != ts:
			wrong = append(wrong, fmt.Sprintf("Found timestamp mismatch in :%s\n  Index timestamp: %d, log timestamp: %d", path, ts, seen))
		case before >= ts:
			wrong = append(wrong, fmt.Sprintf("Found out of order timestamp in :%s\n  Index timestamp: %d, Previously indexed timestamp: %d", path, ts, before))
		}
		if !d.verify {
			fmt.Fprintf(d.out, "timestamp: %d offset: %d\n", ts, offset)
		}
		before = ts
	}
	if len(wrong) > 0 {
		d.out.Flush()
		d.env.complain("%s", strings.Join(wrong, "\n"))
	}
	return nil
}

// txnIndex prints 34 bytes an aborted transaction.
func (d *dumper) txnIndex(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for r := (kbin.Reader{Src: raw}); len(r.Src) >= 34; {
		fmt.Fprintf(d.out, "version: %d producerId: %d firstOffset: %d lastOffset: %d lastStableOffset: %d\n", r.Int16(), r.Int64(), r.Int64(), r.Int64(), r.Int64())
	}
	return nil
}
