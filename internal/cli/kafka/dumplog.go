// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gregor/internal/batch"
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
