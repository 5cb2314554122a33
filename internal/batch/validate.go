// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// Rules are what a topic asks of the batches that clients append to it.
type Rules struct {
	Now int64 // ms
	// LogAppendTime has the broker's clock stamped on every record
	// (message.timestamp.type).
	LogAppendTime bool
	// BeforeMax and AfterMax are how far, in ms, a record's own timestamp may
	// lie from Now; math.MaxInt64 is any distance.
	BeforeMax, AfterMax int64
	// Compacted topics take no record without a key.
	Compacted bool
	// Recompress brings every batch to Codec and Level. Off, producers choose
	// (compression.type=producer).
	Recompress bool
	Codec      Codec
	Level      int
	// InflateAll opens compressed batches even where nothing else asks for
	// it, so that their records are checked as those of others are.
	InflateAll bool
	// MaxInflated bounds an inflated body; 0 = DefaultMaxInflated.
	MaxInflated int
}

// Info is what an appender has to know of a valid batch.
type Info struct {
	// MaxTimestamp is the largest timestamp, OffsetOfMaxTimestamp the first
	// record's that has it, counted from the batch's base offset. Of a
	// compressed batch that was not opened they are what the header says and
	// the last offset.
	MaxTimestamp         int64
	OffsetOfMaxTimestamp int32
	// Recompressed says that the batch has new bytes.
	Recompressed bool
}

// RecordErrors says that a batch is well-formed but not acceptable:
// INVALID_TIMESTAMP if Timestamp is set, else INVALID_RECORD.
type RecordErrors struct {
	Timestamp bool
	Message   string
	Records   []RecordError // empty when the batch as a whole is at fault
}

// RecordError is the fault of the record with an index in the batch.
type RecordError struct {
	Index   int32
	Message string
}

func (e *RecordErrors) Error() string        { return "batch: refused: " + e.Message }
func (e *RecordErrors) Is(target error) bool { return target == ErrInvalid }

func refuse(format string, args ...any) error {
	return &RecordErrors{Message: fmt.Sprintf(format, args...)}
}

// maxRecordErrors bounds the list that a client gets for one batch.
const maxRecordErrors = 1000

// Validate judges a batch from a client as Kafka's leader does, after
// CheckCRC, and makes it ready to be stamped with offsets: the timestamp type
// and the largest timestamp are put right in place (and the checksum with
// them), or the batch is built anew when the topic wants another codec.
//
// It does not allocate for an uncompressed batch that stays so. Errors are
// *RecordErrors (INVALID_RECORD, INVALID_TIMESTAMP), *CorruptError
// (CORRUPT_MESSAGE) or ErrTooLarge.
//
// Differs from Kafka: a compressed batch is only opened where the outcome may
// depend on its records: on compacted topics, to recompress, or by InflateAll.
// Kafka opens all, which costs several times the rest of an append. What a
// client can gain by lying in the header of an unopened batch is a wrong
// timestamp or count for its own records; timestamps in the header must lie
// within the bounds all the same.
// Differs from Kafka: records of an uncompressed batch must number their
// offsets 0, 1, 2, ...; Kafka appends what comes, and consumers see offsets
// twice or never. The delete horizon is not for clients to set.
func Validate(v View, r Rules) (View, Info, error) {
	if err := checkHeader(v); err != nil {
		return nil, Info{}, err
	}
	source := v.Attributes().Codec()
	target := source
	if r.Recompress {
		target = r.Codec
	}
	if source == None {
		w, err := walk(v.Records(), v.Count(), v.BaseTimestamp(), &r)
		switch {
		case err != nil:
			return nil, Info{}, err
		case !w.numbered:
			return nil, Info{}, refuse("offsets of the records do not count up from 0")
		case target != None:
			return rebuild(v, v.Records(), target, &r, w)
		}
		return v, stamp(v, &r, w), nil
	}
	if source == target && !r.Compacted && !r.InflateAll {
		w, err := trustHeader(v, &r)
		if err != nil {
			return nil, Info{}, err
		}
		return v, stamp(v, &r, w), nil
	}
	buf := inflated.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxPooled {
			inflated.Put(buf)
		}
	}()
	body, err := v.Body(*buf, bodyMax(r.MaxInflated))
	if errors.Is(err, ErrTooLarge) && (r.MaxInflated <= 0 || r.MaxInflated > maxPooled) {
		return validateLarge(v, target, &r)
	}
	if err != nil {
		return nil, Info{}, err
	}
	*buf = body
	w, err := walk(body, v.Count(), v.BaseTimestamp(), &r)
	if err != nil {
		return nil, Info{}, err
	}
	// Old clients miscount inside compressed batches; Kafka mends those.
	if source != target || !w.numbered {
		return rebuild(v, body, target, &r, w)
	}
	return v, stamp(v, &r, w), nil
}

// inflated lends buffers to Validate. Larger ones are left to the collector.
var inflated = sync.Pool{New: func() any { return new([]byte) }}

const maxPooled = 4 << 20

// bodyMax is what is inflated in memory; the rest streams by.
func bodyMax(inflated int) int {
	if inflated <= 0 || inflated > maxPooled {
		return maxPooled
	}
	return inflated
}

func checkHeader(v View) error {
	a := v.Attributes()
	switch {
	case a.Codec() > Zstd:
		return &CorruptError{Reason: a.Codec().String(), Cause: ErrUnknownCodec}
	case v.BaseOffset() != 0:
		return refuse("base offset is %d, not 0", v.BaseOffset())
	case v.LastOffsetDelta() < 0:
		return refuse("last offset delta is %d", v.LastOffsetDelta())
	case v.Count() <= 0:
		return refuse("record count is %d", v.Count())
	case int64(v.Count()) != int64(v.LastOffsetDelta())+1:
		return refuse("%d records, but the last offset delta is %d", v.Count(), v.LastOffsetDelta())
	case a.Control():
		return refuse("control batches are not for clients to write")
	case a.HasDeleteHorizon():
		return refuse("a delete horizon is not for clients to set")
	case v.HasProducerID() && v.BaseSequence() < 0:
		return refuse("base sequence is %d in a batch of producer %d", v.BaseSequence(), v.ProducerID())
	case v.HasProducerID() && v.ProducerEpoch() < 0:
		return refuse("epoch is %d in a batch of producer %d", v.ProducerEpoch(), v.ProducerID())
	case a.Transactional() && !v.HasProducerID():
		return refuse("transactional batch without a producer id")
	case a.LogAppendTime():
		const message = "timestamps are of type LogAppendTime, which only a broker sets"
		return &RecordErrors{Timestamp: true, Message: message, Records: []RecordError{{0, message}}}
	}
	return nil
}

// walked is what the records of a batch say.
type walked struct {
	maxTimestamp int64
	maxAt        int32 // the first record that has it
	numbered     bool  // offset deltas are 0, 1, 2, ...
}

// walk checks every record's form, key and timestamp. It is the hot loop of
// an append: one pass, nothing allocated unless a record is at fault.
func walk(body []byte, count int32, base int64, r *Rules) (walked, error) {
	low, high := r.timeRange()
	w := walked{maxTimestamp: NoTimestamp, numbered: true}
	var faults *RecordErrors
	at := 0
	for k := range count {
		length, i := readVarint(body, at)
		if i < 0 || length < 1 || int(length) > len(body)-i {
			return w, malformed(k)
		}
		end := i + int(length)
		b := body[:end]
		delta, i := readVarlong(b, i+1)
		offset, i := readVarint(b, i)
		key, i := readVarint(b, i)
		if i < 0 || int(key) > end-i {
			return w, malformed(k)
		}
		value, i := readVarint(b, i+max(0, int(key)))
		if i < 0 || int(value) > end-i {
			return w, malformed(k)
		}
		headers, i := readVarint(b, i+max(0, int(value)))
		if i < 0 || headers < 0 || int(headers) > end-i {
			return w, malformed(k)
		}
		if headers > 0 {
			i = skipHeaders(b, i, headers)
		}
		if i != end {
			return w, malformed(k)
		}
		at = end
		if offset != k {
			w.numbered = false
		}
		ts := base + delta
		if ts > w.maxTimestamp {
			w.maxTimestamp, w.maxAt = ts, k
		}
		if noKey := key < 0 && r.Compacted; noKey || ts < low || ts > high {
			faults = judge(faults, k, noKey, ts, low, high)
		}
	}
	if at != len(body) {
		return w, refuse("bytes after the last record")
	}
	if faults != nil {
		faults.conclude()
		return w, faults
	}
	return w, nil
}

// judge adds what is wrong with a well-formed record.
func judge(faults *RecordErrors, k int32, noKey bool, ts, low, high int64) *RecordErrors {
	switch {
	case noKey:
		return faults.add(k, false, "no key, which records of a compacted topic must have")
	case (ts < low || ts > high) && ts != NoTimestamp:
		return faults.add(k, true, fmt.Sprintf("timestamp %d is not within [%d, %d]", ts, low, high))
	}
	return faults
}

// malformed is INVALID_RECORD, as in Kafka: the checksum was right, so the
// client sent it so.
func malformed(k int32) error { return refuse("record %d is malformed", k) }

func (e *RecordErrors) add(k int32, timestamp bool, message string) *RecordErrors {
	if e == nil {
		e = &RecordErrors{}
	}
	e.Timestamp = e.Timestamp || timestamp
	if len(e.Records) < maxRecordErrors {
		e.Records = append(e.Records, RecordError{k, message})
	}
	return e
}

func (e *RecordErrors) conclude() {
	first := e.Records[0]
	e.Message = fmt.Sprintf("%d records are at fault, the first is %d: %s", len(e.Records), first.Index, first.Message)
}

// timeRange is where a record's own timestamp may lie.
func (r *Rules) timeRange() (low, high int64) {
	if r.LogAppendTime {
		return math.MinInt64, math.MaxInt64
	}
	low, high = r.Now-r.BeforeMax, r.Now+r.AfterMax
	if low > r.Now {
		low = math.MinInt64
	}
	if high < r.Now {
		high = math.MaxInt64
	}
	return low, high
}

// trustHeader stands in for walk where a compressed batch stays closed. By
// convention the base timestamp is the first record's.
func trustHeader(v View, r *Rules) (walked, error) {
	low, high := r.timeRange()
	var faults *RecordErrors
	for _, ts := range [...]int64{v.BaseTimestamp(), v.MaxTimestamp()} {
		if (ts < low || ts > high) && ts != NoTimestamp && faults == nil {
			faults = faults.add(0, true, fmt.Sprintf("timestamp %d is not within [%d, %d]", ts, low, high))
		}
	}
	if faults != nil {
		faults.conclude()
		return walked{}, faults
	}
	return walked{maxTimestamp: v.MaxTimestamp(), maxAt: v.LastOffsetDelta(), numbered: true}, nil
}

// stamp puts right in place what the header says of timestamps.
func stamp(v View, r *Rules, w walked) Info {
	info := Info{MaxTimestamp: w.maxTimestamp, OffsetOfMaxTimestamp: w.maxAt}
	if r.LogAppendTime {
		info.MaxTimestamp, info.OffsetOfMaxTimestamp = r.Now, 0
	}
	if r.LogAppendTime || v.MaxTimestamp() != info.MaxTimestamp {
		v.SetMaxTimestamp(info.MaxTimestamp, r.LogAppendTime)
		v.UpdateCRC()
	}
	return info
}

// rebuild makes a batch of the same records, numbered from 0, in another
// codec. body is well-formed.
func rebuild(v View, body []byte, codec Codec, r *Rules, w walked) (View, Info, error) {
	b := NewBuilder(codec)
	if r.Recompress {
		b.SetCodec(codec, r.Level)
	}
	b.SetLeaderEpoch(v.LeaderEpoch())
	b.SetProducer(v.ProducerID(), v.ProducerEpoch(), v.BaseSequence())
	b.SetTransactional(v.Attributes().Transactional())
	if r.LogAppendTime {
		b.SetLogAppendTime(r.Now)
	}
	records := NewReader(body, v.Count())
	for k := int64(0); ; k++ {
		rec, ok, err := records.Next()
		if err != nil {
			return nil, Info{}, err
		}
		if !ok {
			break
		}
		b.AppendRecord(k, v.BaseTimestamp()+rec.TimestampDelta, rec)
	}
	out, err := b.Bytes()
	if err != nil {
		return nil, Info{}, err
	}
	info := Info{MaxTimestamp: w.maxTimestamp, OffsetOfMaxTimestamp: w.maxAt, Recompressed: true}
	if r.LogAppendTime {
		info.MaxTimestamp, info.OffsetOfMaxTimestamp = r.Now, 0
	}
	return out, info, nil
}
