// SPDX-License-Identifier: Apache-2.0

package batch

import "encoding/binary"

// ControlType is what a control record is about: its key.
//
//	 0         2      4        value of abort and commit: 0         2       6
//	+---------+------+                                   +---------+-------+
//	| version | type |                                   | version | coord.|
//	| i16 = 0 | i16  |                                   | i16 = 0 | epoch |
//	+---------+------+                                   +---------+-------+
type ControlType int16

const (
	Abort          ControlType = 0
	Commit         ControlType = 1
	LeaderChange   ControlType = 2
	SnapshotHeader ControlType = 3
	SnapshotFooter ControlType = 4
	KRaftVersion   ControlType = 5
	KRaftVoters    ControlType = 6
)

// ControlRecord is the decoded content of a control batch's record.
type ControlRecord struct {
	Type             ControlType
	CoordinatorEpoch int32  // of Abort and Commit
	Value            []byte // as stored; borrowed
}

// ParseControl decodes a record of a control batch. Later versions of key and
// value may append fields, and types may be added; both are let through.
func ParseControl(r Record) (ControlRecord, error) {
	if len(r.Key) < 4 || int16(binary.BigEndian.Uint16(r.Key)) < 0 {
		return ControlRecord{}, corrupt("control record key")
	}
	c := ControlRecord{Type: ControlType(binary.BigEndian.Uint16(r.Key[2:])), Value: r.Value}
	if c.Type == Abort || c.Type == Commit {
		if len(r.Value) < 6 || int16(binary.BigEndian.Uint16(r.Value)) < 0 {
			return ControlRecord{}, corrupt("end of transaction marker")
		}
		c.CoordinatorEpoch = int32(binary.BigEndian.Uint32(r.Value[2:]))
	}
	return c, nil
}

// Control decodes the first record of a control batch, which says what the
// batch is. ok is false when compaction emptied it.
func (v View) Control() (c ControlRecord, ok bool, err error) {
	if v.Count() == 0 {
		return ControlRecord{}, false, nil
	}
	body, err := v.Body(nil, 0)
	if err != nil {
		return ControlRecord{}, false, err
	}
	var r Record
	if r.parse(body) < 0 {
		return ControlRecord{}, false, corrupt("malformed record")
	}
	c, err = ParseControl(r)
	return c, err == nil, err
}

// ControlKey is the key of a control record.
func ControlKey(t ControlType) []byte {
	return []byte{0, 0, byte(t >> 8), byte(t)}
}

// EndTxnMarker is a batch that ends producer's transaction, base offset 0.
func EndTxnMarker(t ControlType, ts int64, producer int64, epoch int16, coordinatorEpoch int32) View {
	b := NewBuilder(None)
	b.SetProducer(producer, epoch, NoSequence)
	b.SetTransactional(true)
	b.SetControl(true)
	b.Append(ts, ControlKey(t), binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(coordinatorEpoch)))
	v, err := b.Bytes()
	if err != nil {
		panic("broken invariant: an uncompressed marker is refused: " + err.Error())
	}
	return v
}
