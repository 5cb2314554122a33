// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
	"gregor/internal/meta"
)

// maxInflated bounds what one damaged batch can make us unpack.
const maxInflated = 1 << 30

type dumper struct {
	out      *bufio.Writer
	env      *Env
	deep     bool
	contents bool
	noMeta   bool
	verify   bool
	sanity   bool
	maxBytes int64
	maxRec   int
	decode   func(r batch.Record, offset int64) (key, value string, hasKey, hasValue bool)
}

func runDumpLog(_ context.Context, e *Env, args []string) error {
	o := newOptions("Prints what is in the files of a log: .log, .index, .timeindex, .snapshot, .txnindex and .checkpoint.")
	show := o.flag("print-data-log", "Print records with their keys and values; implied by every decoder.")
	verify := o.flag("verify-index-only", "Check indexes against their log and print only what is wrong.")
	sanity := o.flag("index-sanity-check", "Check indexes as a broker does when it starts.")
	files := o.text("files", "file1, file2, ...", "REQUIRED: the files, with commas between.")
	maxMessage := o.integer("max-message-size", "size", "Size of the largest batch.").def("5242880")
	maxBytes := o.integer("max-bytes", "size", "How much of each .log to read.").def("2147483647")
	deep := o.flag("deep-iteration", "Print records, not only batches.")
	valueClass := o.text("value-decoder-class", "", "Decoder of values; only Kafka's own are known.").def("org.apache.kafka.tools.api.StringDecoder").maybe()
	keyClass := o.text("key-decoder-class", "", "Decoder of keys; only Kafka's own are known.").def("org.apache.kafka.tools.api.StringDecoder").maybe()
	offsets := o.flag("offsets-decoder", "The files are of __consumer_offsets.")
	txns := o.flag("transaction-log-decoder", "The files are of __transaction_state.")
	metadata := o.flag("cluster-metadata-decoder", "The files are of __cluster_metadata.")
	remote := o.flag("remote-log-metadata-decoder", "The files are of the remote log metadata topic.")
	share := o.flag("share-group-state-decoder", "The files are of __share_group_state.")
	noMeta := o.flag("skip-record-metadata", "Print records without offsets, times and sizes.")
	if err := o.parse(args); err != nil {
		return failf("%s", err)
	}
	if err := o.maybeHelp(e); err != nil {
		return err
	}
	if err := o.required(files); err != nil {
		return err
	}
	d := &dumper{
		env: e, out: bufio.NewWriterSize(e.Out, 64<<10), noMeta: noMeta.has, verify: verify.has, sanity: sanity.has,
		maxBytes: maxBytes.int(), maxRec: int(maxMessage.int()),
	}
	defer d.out.Flush()
	for _, s := range []*option{show, offsets, txns, metadata, remote, share, valueClass, keyClass} {
		d.contents = d.contents || s.has
	}
	d.deep = deep.has || d.contents
	switch {
	case offsets.has:
		d.decode = decodeOffsets
	case metadata.has:
		d.decode = decodeMetadata
	case txns.has:
		d.decode = decodeTransactions
	case remote.has, share.has:
		return failf("records of this kind are not written by any broker of this release, and so are not decoded")
	default:
		key, err := decoderOf(keyClass.value())
		if err != nil {
			return err
		}
		value, err := decoderOf(valueClass.value())
		if err != nil {
			return err
		}
		d.decode = func(r batch.Record, _ int64) (string, string, bool, bool) {
			return key(r.Key), value(r.Value), r.Key != nil, r.Value != nil
		}
	}
	for _, f := range strings.Split(files.value(), ",") {
		fmt.Fprintf(d.out, "Dumping %s\n", f)
		if err := d.file(f); err != nil {
			d.out.Flush()
			return failf("%s", err)
		}
	}
	return nil
}

func decoderOf(class string) (func([]byte) string, error) {
	number := func(n int, text func([]byte) string) func([]byte) string {
		return func(b []byte) string {
			if len(b) != n {
				return ""
			}
			return text(b)
		}
	}
	switch class[strings.LastIndexAny(class, ".$")+1:] {
	case "StringDecoder":
		return func(b []byte) string { return string(b) }, nil
	case "LongDecoder":
		return number(8, func(b []byte) string { return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10) }), nil
	case "IntegerDecoder":
		return number(4, func(b []byte) string { return strconv.Itoa(int(int32(binary.BigEndian.Uint32(b)))) }), nil
	}
	return nil, failf("decoder class %s is not known", class)
}

func (d *dumper) file(path string) error {
	switch filepath.Ext(path) {
	case ".log", ".checkpoint":
		return d.log(path)
	case ".index":
		return d.index(path)
	case ".timeindex":
		return d.timeIndex(path)
	case ".snapshot":
		return d.snapshot(path)
	case ".txnindex":
		return d.txnIndex(path)
	}
	if strings.HasSuffix(path, "-checkpoint") {
		return d.checkpoint(path)
	}
	d.env.complain("Ignoring unknown file %s", path)
	return nil
}

// baseOffset is the number that a segment's files are named after.
func baseOffset(path string) (int64, error) {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	n, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("For input string: %q", name)
	}
	return n, nil
}

// batches walks the whole batches of a .log from position from on; fn ends
// the walk by returning false. It returns where the last whole batch ended.
func batches(path string, from, limit int64, fn func(v batch.View, at int64) bool) (end, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	size = min(st.Size(), from+limit)
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, size-from), 1<<20)
	at := from
	var buf []byte
	for {
		head, err := r.Peek(batch.LogOverhead)
		if err != nil {
			return at, size, nil
		}
		n := int64(binary.BigEndian.Uint32(head[8:])) + batch.LogOverhead
		if n < batch.HeaderSize || n > size-at {
			return at, size, nil
		}
		if int64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if _, err := io.ReadFull(r, buf); err != nil {
			return at, size, err
		}
		v := batch.View(buf)
		if v.Magic() != 2 {
			return at, size, fmt.Errorf("%s: batch at position %d has magic %d: only format 2 is read", path, at, v.Magic())
		}
		if !fn(v, at) {
			return at, size, nil
		}
		at += n
	}
}

const (
	attrLogAppend = 1 << 3
	attrTxn       = 1 << 4
	attrControl   = 1 << 5
)

func timestampType(v batch.View) string {
	if v.Attributes()&attrLogAppend != 0 {
		return "LogAppendTime"
	}
	return "CreateTime"
}

func (d *dumper) log(path string) error {
	switch name := filepath.Base(path); {
	case strings.HasSuffix(name, ".log"):
		base, err := baseOffset(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(d.out, "Log starting offset: %d\n", base)
	case name == "bootstrap.checkpoint":
		fmt.Fprintln(d.out, "KRaft bootstrap snapshot")
	default:
		offset, epoch, ok := strings.Cut(strings.TrimSuffix(name, ".checkpoint"), "-")
		end, err1 := strconv.ParseInt(offset, 10, 64)
		ep, err2 := strconv.ParseInt(epoch, 10, 32)
		if !ok || err1 != nil || err2 != nil {
			return d.checkpoint(path)
		}
		fmt.Fprintf(d.out, "Snapshot end offset: %d, epoch: %d\n", end, ep)
	}
	var inner error
	last := int64(-1)
	var gaps []string
	valid, size, err := batches(path, 0, d.maxBytes, func(v batch.View, at int64) bool {
		d.batch(v, at)
		if d.deep {
			inner = d.records(v, &last, &gaps)
		}
		return inner == nil
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return err
	}
	if size > valid && d.maxBytes == math.MaxInt32 {
		fmt.Fprintf(d.out, "Found %d invalid bytes at the end of %s\n", size-valid, filepath.Base(path))
	}
	if len(gaps) > 0 {
		d.out.Flush()
		d.env.complain("Non-consecutive offsets in %s\n%s", path, strings.Join(gaps, "\n"))
	}
	return nil
}

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

func (d *dumper) batch(v batch.View, at int64) {
	horizon := "OptionalLong.empty"
	if ms, ok := v.DeleteHorizon(); ok {
		horizon = fmt.Sprintf("OptionalLong[%d]", ms)
	}
	a := v.Attributes()
	fmt.Fprintf(d.out, "baseOffset: %d lastOffset: %d count: %d baseSequence: %d lastSequence: %d producerId: %d producerEpoch: %d partitionLeaderEpoch: %d isTransactional: %t isControl: %t deleteHorizonMs: %s",
		v.BaseOffset(), v.LastOffset(), v.Count(), v.BaseSequence(), v.LastSequence(), v.ProducerID(), v.ProducerEpoch(), v.LeaderEpoch(), a&attrTxn != 0, a&attrControl != 0, horizon)
	fmt.Fprintf(d.out, " position: %d %s: %d size: %d magic: %d compresscodec: %s crc: %d isvalid: %t\n",
		at, timestampType(v), v.MaxTimestamp(), v.Size(), v.Magic(), batch.Codec(a&7), v.CRC(), v.CheckCRC() == nil)
}

func (d *dumper) records(v batch.View, last *int64, gaps *[]string) error {
	body, err := v.Body(nil, maxInflated)
	if err != nil {
		return fmt.Errorf("batch at offset %d: %w", v.BaseOffset(), err)
	}
	control := v.Attributes()&attrControl != 0
	r := batch.NewReader(body, v.Count())
	for {
		rec, ok, err := r.Next()
		if err != nil {
			return fmt.Errorf("batch at offset %d: %w", v.BaseOffset(), err)
		}
		if !ok {
			return nil
		}
		offset := v.BaseOffset() + int64(rec.OffsetDelta)
		if *last >= 0 && offset != *last+1 {
			*gaps = append(*gaps, fmt.Sprintf("  %d is followed by %d", *last, offset))
		}
		*last = offset
		prefix := "| "
		if !d.noMeta {
			seq := v.BaseSequence()
			if seq >= 0 {
				seq = batch.AddSequence(seq, rec.OffsetDelta)
			}
			var names []string
			for k := range rec.Headers() {
				names = append(names, string(k))
			}
			ts := v.Timestamp(rec)
			fmt.Fprintf(d.out, "| offset: %d %s: %d keySize: %d valueSize: %d sequence: %d headerKeys: [%s]",
				offset, timestampType(v), ts, sizeOf(rec.Key), sizeOf(rec.Value), seq, strings.Join(names, ","))
			prefix = " "
			if control {
				d.control(rec)
			}
		}
		if d.contents && !control {
			key, value, hasKey, hasValue := d.decode(rec, offset)
			if hasKey {
				fmt.Fprintf(d.out, "%skey: %s", prefix, key)
			}
			if hasValue {
				fmt.Fprintf(d.out, " payload: %s", value)
			}
		}
		fmt.Fprintln(d.out)
	}
}

func sizeOf(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

func (d *dumper) control(rec batch.Record) {
	c, err := batch.ParseControl(rec)
	switch {
	case err != nil:
		fmt.Fprintf(d.out, " controlType: UNKNOWN(%s)", err)
	case c.Type == batch.Abort:
		fmt.Fprintf(d.out, " endTxnMarker: ABORT coordinatorEpoch: %d", c.CoordinatorEpoch)
	case c.Type == batch.Commit:
		fmt.Fprintf(d.out, " endTxnMarker: COMMIT coordinatorEpoch: %d", c.CoordinatorEpoch)
	default:
		fmt.Fprintf(d.out, " controlType: %d", c.Type)
	}
}

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

// decodeOffsets shows a record of __consumer_offsets as two JSON objects.
func decodeOffsets(r batch.Record, offset int64) (key, value string, hasKey, hasValue bool) {
	if r.Key == nil {
		return fmt.Sprintf("Error at offset %d, skipping. message had a missing key", offset), "", true, false
	}
	kind := (&kbin.Reader{Src: r.Key}).Int16()
	var k, v any
	var err error
	switch kind {
	case 0, 1:
		m := kmsg.NewOffsetCommitKey()
		if err = m.ReadFrom(r.Key); err == nil {
			k = ordered{{"group", m.Group}, {"topic", m.Topic}, {"partition", m.Partition}}
			v, err = offsetValue(r.Value)
		}
	case 2:
		m := kmsg.NewGroupMetadataKey()
		if err = m.ReadFrom(r.Key); err == nil {
			k = ordered{{"group", m.Group}}
			if v, err = groupValue(r.Value); v != nil {
				v = unpackMembers(v.(ordered))
			}
		}
	default:
		return fmt.Sprintf("Unknown record type %d at offset %d, skipping.", kind, offset), "", true, false
	}
	if err != nil {
		return fmt.Sprintf("Error at offset %d, skipping. %s", offset, err), "", true, false
	}
	raw, _ := plainJSON(ordered{{"type", strconv.Itoa(int(kind))}, {"data", k}})
	if r.Value == nil {
		return string(raw), "<DELETE>", true, true
	}
	version := (&kbin.Reader{Src: r.Value}).Int16()
	val, _ := plainJSON(ordered{{"version", strconv.Itoa(int(version))}, {"data", v}})
	return string(raw), string(val), true, true
}

// decodeTransactions shows a record of __transaction_state as two JSON objects.
func decodeTransactions(r batch.Record, offset int64) (key, value string, hasKey, hasValue bool) {
	if r.Key == nil {
		return fmt.Sprintf("Error at offset %d, skipping. message had a missing key", offset), "", true, false
	}
	kind := (&kbin.Reader{Src: r.Key}).Int16()
	if kind != 0 {
		return fmt.Sprintf("Unknown record type %d at offset %d, skipping.", kind, offset), "", true, false
	}
	k := kmsg.NewTxnMetadataKey()
	if err := k.ReadFrom(r.Key); err != nil {
		return fmt.Sprintf("Error at offset %d, skipping. %s", offset, err), "", true, false
	}
	raw, _ := plainJSON(ordered{{"type", "0"}, {"data", ordered{{"transactionalId", k.TransactionalID}}}})
	if r.Value == nil {
		return string(raw), "<DELETE>", true, true
	}
	v := kmsg.NewTxnMetadataValue()
	if err := v.ReadFrom(r.Value); err != nil {
		return fmt.Sprintf("Error at offset %d, skipping. %s", offset, err), "", true, false
	}
	data := ordered{{"producerId", v.ProducerID}}
	if v.PreviousProducerID != -1 {
		data = append(data, member{"previousProducerId", v.PreviousProducerID})
	}
	if v.NextProducerID != -1 {
		data = append(data, member{"nextProducerId", v.NextProducerID})
	}
	data = append(data, member{"producerEpoch", v.ProducerEpoch})
	if v.NextProducerEpoch != -1 {
		data = append(data, member{"nextProducerEpoch", v.NextProducerEpoch})
	}
	var parts any
	if v.Topics != nil {
		list := []any{}
		for _, t := range v.Topics {
			list = append(list, ordered{{"topic", t.Topic}, {"partitionIds", t.Partitions}})
		}
		parts = list
	}
	data = append(data, member{"transactionTimeoutMs", v.TimeoutMillis}, member{"transactionStatus", int8(v.State)},
		member{"transactionPartitions", parts}, member{"transactionLastUpdateTimestampMs", v.LastUpdateTimestamp},
		member{"transactionStartTimestampMs", v.StartTimestamp})
	if v.ClientTransactionVersion != 0 {
		data = append(data, member{"clientTransactionVersion", v.ClientTransactionVersion})
	}
	val, _ := plainJSON(ordered{{"version", strconv.Itoa(int(v.Version))}, {"data", data}})
	return string(raw), string(val), true, true
}

// unpackMembers replaces the base64 of subscriptions and assignments of
// consumers by what they say.
func unpackMembers(group ordered) ordered {
	if group[0].value != "consumer" {
		return group
	}
	members := group[len(group)-1].value.([]any)
	for _, m := range members {
		for i, f := range m.(ordered) {
			raw, ok := f.value.(string)
			if !ok {
				continue
			}
			b, err := base64.StdEncoding.DecodeString(raw)
			if err != nil {
				continue
			}
			switch f.name {
			case "subscription":
				if v, ok := subscription(b); ok {
					m.(ordered)[i].value = v
				}
			case "assignment":
				if v, ok := assignment(b); ok {
					m.(ordered)[i].value = v
				}
			}
		}
	}
	return group
}

func assignedList[T any](list []T, at func(T) (string, []int32)) []any {
	out := []any{}
	for _, t := range list {
		topic, ps := at(t)
		if ps == nil {
			ps = []int32{}
		}
		out = append(out, ordered{{"topic", topic}, {"partitions", ps}})
	}
	return out
}

func userData(b []byte) any {
	if b == nil {
		return nil
	}
	return base64.StdEncoding.EncodeToString(b)
}

func subscription(b []byte) (any, bool) {
	s := kmsg.NewConsumerMemberMetadata()
	if len(b) < 2 || s.ReadFrom(b) != nil {
		return nil, false
	}
	if s.Topics == nil {
		s.Topics = []string{}
	}
	o := ordered{{"topics", s.Topics}, {"userData", userData(s.UserData)}}
	if s.Version >= 1 {
		o = append(o, member{"ownedPartitions", assignedList(s.OwnedPartitions, func(p kmsg.ConsumerMemberMetadataOwnedPartition) (string, []int32) { return p.Topic, p.Partitions })})
	}
	if s.Version >= 2 {
		o = append(o, member{"generationId", s.Generation})
	}
	if s.Version >= 3 {
		o = append(o, member{"rackId", s.Rack})
	}
	return o, true
}

func assignment(b []byte) (any, bool) {
	a := kmsg.NewConsumerMemberAssignment()
	if len(b) < 2 || a.ReadFrom(b) != nil {
		return nil, false
	}
	return ordered{
		{"assignedPartitions", assignedList(a.Topics, func(p kmsg.ConsumerMemberAssignmentTopic) (string, []int32) { return p.Topic, p.Partitions })},
		{"userData", userData(a.UserData)},
	}, true
}

// decodeMetadata shows a value of the metadata log. The log's records are
// gregor's own; see decodeRecord.
func decodeMetadata(r batch.Record, offset int64) (key, value string, hasKey, hasValue bool) {
	text, err := metadataText(r.Value)
	if err != nil {
		text = fmt.Sprintf("Error at %d, skipping. %s", offset, err)
	}
	return "", text, false, true
}

// metadataText prints the records of a value, one JSON object each: type and
// fields as docs/formats/metadata.md names them.
func metadataText(b []byte) (string, error) {
	if len(b) == 0 {
		return "", errShort
	}
	var out []string
	for len(b) > 0 {
		r, rest, err := meta.DecodeRecord(b)
		if err != nil {
			return "", err
		}
		kind := strings.TrimPrefix(fmt.Sprintf("%T", r), "meta.")
		line, err := plainJSON(ordered{{"type", kind}, {"data", r}})
		if err != nil {
			return "", err
		}
		out, b = append(out, string(line)), rest
	}
	return strings.Join(out, " "), nil
}
