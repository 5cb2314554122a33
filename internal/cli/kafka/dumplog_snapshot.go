// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"

	"github.com/twmb/franz-go/pkg/kbin"
)

// checkpoint prints the lines of a text checkpoint (recovery points, leader
// epochs). Differs from Kafka: its tool reads no such file.
func (d *dumper) checkpoint(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, err = d.out.Write(raw)
	return err
}

var errShort = errors.New("the file is too short")

// snapshot prints a producer state snapshot:
//
//	+------------+---------+-----------+----------------------------------+
//	| version 1  | crc32c  | count     | count entries of 52 bytes        |
//	| (i16)      | (u32)   | (i32)     | id, epoch, seq, offset, delta... |
//	+------------+---------+-----------+----------------------------------+
//
// The CRC covers all that follows it.
func (d *dumper) snapshot(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	bad := func(why error) error {
		d.out.Flush()
		d.env.complain("Snapshot %s is corrupt: %s", path, why)
		return nil
	}
	if len(raw) < 10 {
		return bad(errShort)
	}
	if v := binary.BigEndian.Uint16(raw); v != 1 {
		return bad(fmt.Errorf("unknown version %d", v))
	}
	if crc32.Checksum(raw[6:], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(raw[2:]) {
		return bad(errors.New("the checksum is wrong (the file is corrupted)"))
	}
	r := kbin.Reader{Src: raw[6:]}
	for range r.ArrayLen() {
		id, epoch, seq, offset, delta := r.Int64(), r.Int16(), r.Int32(), r.Int64(), r.Int32()
		ts, coordinator, first := r.Int64(), r.Int32(), r.Int64()
		if r.Complete() != nil {
			break
		}
		open := "OptionalLong.empty"
		if first >= 0 {
			open = fmt.Sprintf("OptionalLong[%d]", first)
		}
		fmt.Fprintf(d.out, "producerId: %d producerEpoch: %d coordinatorEpoch: %d currentTxnFirstOffset: %s lastTimestamp: %d ", id, epoch, coordinator, open, ts)
		if offset >= 0 {
			fmt.Fprintf(d.out, "firstSequence: %d lastSequence: %d lastOffset: %d offsetDelta: %d timestamp: %d", firstSequence(seq, delta), seq, offset, delta, ts)
		}
		fmt.Fprintln(d.out)
	}
	if err := r.Complete(); err != nil {
		return bad(err)
	}
	return nil
}

// firstSequence goes delta back from the last sequence of a batch; sequences
// wrap from the largest int32 to zero.
func firstSequence(last, delta int32) int32 {
	if last < delta {
		return math.MaxInt32 - (delta - last) + 1
	}
	return last - delta
}
