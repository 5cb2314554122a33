// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const lineReaderClass = "org.apache.kafka.tools.LineMessageReader"

func runConsoleProducer(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Sends each line of standard input as a record to a topic.")
	topic := o.text("topic", "topic", "REQUIRED: the topic to send to.")
	server := o.text("bootstrap-server", "server to connect to", "REQUIRED: host:port of a broker, or several with commas between.")
	sync := o.flag("sync", "Wait for each record's acknowledgement before the next is read.")
	codec := o.text("compression-codec", "compression-codec", "none, gzip, snappy, lz4 or zstd; gzip when no value is given.").maybe()
	batch := o.integer("batch-size", "size", "Bytes a batch may grow to (batch.size).").def("16384")
	retries := o.integer("message-send-max-retries", "", "How often a record is sent again (retries).").def("3")
	backoff := o.long("retry-backoff-ms", "", "How long to wait before sending again (retry.backoff.ms).").def("100")
	linger := o.long("timeout", "timeout_ms", "How long a record may wait for its batch to fill (linger.ms).").def("1000")
	acks := o.text("request-required-acks", "request required acks", "Who must have the record: 0, 1 or all (acks).").def("-1")
	reqTimeout := o.integer("request-timeout-ms", "request timeout ms", "How long an acknowledgement may take (request.timeout.ms).").def("1500")
	expiry := o.long("metadata-expiry-ms", "metadata expiration interval", "Age at which metadata is read again (metadata.max.age.ms).").def("300000")
	block := o.long("max-block-ms", "max block on send", "How long sending may block (max.block.ms).").def("60000")
	memory := o.long("max-memory-bytes", "total memory in bytes", "Bytes that may wait to be sent (buffer.memory).").def("33554432")
	oldBatch := o.integer("max-partition-memory-bytes", "memory in bytes per partition", "(Deprecated) old name of --batch-size.").def("16384")
	reader := o.text("line-reader", "reader_class", "The class that turns lines into records; only Kafka's own is known.").def(lineReaderClass)
	socket := o.integer("socket-buffer-size", "size", "Size of the socket's buffer (send.buffer.bytes).").def("102400")
	oldProp := o.text("property", "prop", "(Deprecated) old name of --reader-property.")
	prop := o.text("reader-property", "prop", "How lines are read, as name=value, may be repeated:\n parse.key, parse.headers, ignore.error (true or false)\n key.separator (a tab), headers.delimiter (a tab)\n headers.separator (,), headers.key.separator (:)\n null.marker: text that stands for null")
	propFile := o.text("reader-config", "config file", "File of reader properties; --reader-property wins over it.")
	oldClient := o.text("producer-property", "producer_prop", "(Deprecated) old name of --command-property.")
	client := o.text("command-property", "producer_prop", "A producer configuration, as name=value; may be repeated.")
	oldFile := o.text("producer.config", "config file", "(Deprecated) old name of --command-config.")
	file := o.text("command-config", "config file", "File of producer configurations; --command-property wins over it.")
	if err := o.start(e, args); err != nil {
		return err
	}
	if err := o.required(topic); err != nil {
		return err
	}
	for _, pair := range [][2]*option{{file, oldFile}, {client, oldClient}, {prop, oldProp}} {
		if pair[0].has && pair[1].has {
			return o.usage("Options --%s and --%s cannot be specified together.", pair[0].names[0], pair[1].names[0])
		}
	}
	for _, pair := range [][2]*option{{client, oldClient}, {file, oldFile}, {prop, oldProp}} {
		if pair[1].has {
			e.printf("Warning: --%s is deprecated and will be removed in a future version. Use --%s instead.\n", pair[1].names[0], pair[0].names[0])
			pair[0].values = pair[1].values
		}
	}
	if oldBatch.has {
		e.println("Warning: --max-partition-memory-bytes is deprecated and will be removed in Apache Kafka 5.0. Use --batch-size instead.")
	}
	if err := checkServers(server.value()); err != nil {
		return o.usage("%s", err)
	}
	if reader.value() != lineReaderClass {
		return failf("line reader %s is not known: only %s is", reader.value(), lineReaderClass)
	}
	lines := newLineReader(topic.value())
	lp, err := loadProps(propFile.value())
	if err != nil {
		return err
	}
	if err := lines.configure(lp.merge(keyValues(prop.values))); err != nil {
		return failf("%s", err)
	}
	p, err := loadProps(file.value())
	if err != nil {
		return err
	}
	p.merge(keyValues(client.values))
	p["bootstrap.servers"] = server.value()
	p["compression.type"] = "none"
	if codec.has {
		if p["compression.type"] = codec.value(); codec.value() == "" {
			p["compression.type"] = "gzip"
		}
	}
	if p["client.id"] == "" {
		p["client.id"] = "console-producer"
	}
	for name, s := range map[string]*option{
		"linger.ms": linger, "acks": acks, "request.timeout.ms": reqTimeout, "retries": retries, "retry.backoff.ms": backoff,
		"send.buffer.bytes": socket, "buffer.memory": memory, "batch.size": batch, "metadata.max.age.ms": expiry, "max.block.ms": block,
	} {
		if _, set := p[name]; s.has || !set {
			p[name] = s.value()
		}
	}
	if oldBatch.has {
		p["batch.size"] = oldBatch.value()
	}
	opts, err := p.producerOpts(e)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return failf("%s", err)
	}
	defer cl.Close()
	in := bufio.NewReaderSize(e.In, 64<<10)
	for {
		if e.Prompt {
			e.printf(">")
		}
		rec, err := lines.next(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			_ = cl.Flush(ctx)
			return failf("%s", err)
		}
		if sync.has {
			if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
				return failf("%s", withMessage(err, nil))
			}
			continue
		}
		cl.Produce(ctx, rec, func(r *kgo.Record, err error) {
			if err != nil {
				e.complain("Error when sending message to topic %s with key: %s, value: %d bytes with error: %s",
					r.Topic, sizeText(r.Key), len(r.Value), withMessage(err, nil))
			}
		})
		if ctx.Err() != nil {
			break
		}
	}
	if err := cl.Flush(context.WithoutCancel(ctx)); err != nil {
		return failf("%s", err)
	}
	return nil
}

func sizeText(b []byte) string {
	if b == nil {
		return "null"
	}
	return strconv.Itoa(len(b)) + " bytes"
}

// checkServers wants host:port words with commas between.
func checkServers(s string) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("Error while validating the bootstrap address\n")
	}
	for _, w := range strings.Split(s, ",") {
		i := strings.LastIndex(w, ":")
		if i < 0 {
			return errors.New("Please provide valid host:port like host1:9091,host2:9092\n")
		}
		if n, err := strconv.ParseUint(w[i+1:], 10, 16); err != nil || n == 0 {
			return errors.New("Please provide valid host:port like host1:9091,host2:9092\n")
		}
	}
	return nil
}

// producerOpts translates producer configurations.
func (p props) producerOpts(e *Env) ([]kgo.Opt, error) {
	opts, err := p.kgoOpts(e)
	if err != nil {
		return nil, err
	}
	bad := func(name string) error {
		return failf("Invalid value %s for configuration %s", p[name], name)
	}
	acks := map[string]kgo.Acks{"": kgo.AllISRAcks(), "all": kgo.AllISRAcks(), "-1": kgo.AllISRAcks(), "1": kgo.LeaderAck(), "0": kgo.NoAck()}
	a, ok := acks[strings.TrimSpace(p["acks"])]
	if !ok {
		return nil, bad("acks")
	}
	opts = append(opts, kgo.RequiredAcks(a), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.UniformBytesPartitioner(64<<10, true, true, nil)))
	txn, idempotent := p["transactional.id"], true
	switch idem := strings.ToLower(p["enable.idempotence"]); {
	case txn != "":
		opts = append(opts, kgo.TransactionalID(txn))
	case idem == "false" || idem == "" && a != kgo.AllISRAcks():
		idempotent = false
		opts = append(opts, kgo.DisableIdempotentWrite())
	case a != kgo.AllISRAcks():
		return nil, failf("Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence.")
	}
	codec, err := compression(p["compression.type"])
	if err != nil {
		return nil, err
	}
	opts = append(opts, kgo.ProducerBatchCompression(codec))
	type number struct {
		name string
		use  func(int64)
	}
	for _, n := range []number{
		{"linger.ms", func(v int64) { opts = append(opts, kgo.ProducerLinger(time.Duration(v)*time.Millisecond)) }},
		{"batch.size", func(v int64) { opts = append(opts, kgo.ProducerBatchMaxBytes(int32(max(v, 1024)))) }},
		{"retries", func(v int64) {
			if txn == "" && v < 1<<30 {
				opts = append(opts, kgo.RecordRetries(int(v)))
			}
		}},
		{"buffer.memory", func(v int64) { opts = append(opts, kgo.MaxBufferedBytes(int(v)), kgo.MaxBufferedRecords(1<<20)) }},
		{"max.block.ms", func(v int64) { opts = append(opts, kgo.UnknownTopicRetries(int(max(4, v/250)))) }},
		{"delivery.timeout.ms", func(v int64) { opts = append(opts, kgo.RecordDeliveryTimeout(time.Duration(v)*time.Millisecond)) }},
		{"request.timeout.ms", func(v int64) {
			opts = append(opts, kgo.ProduceRequestTimeout(max(time.Duration(v)*time.Millisecond, 100*time.Millisecond)))
		}},
		{"max.in.flight.requests.per.connection", func(v int64) {
			if !idempotent { // else five, as Java's producer at most
				opts = append(opts, kgo.MaxProduceRequestsInflightPerBroker(int(v)))
			}
		}},
		{"max.request.size", func(v int64) { opts = append(opts, kgo.BrokerMaxWriteBytes(int32(max(v, 1<<20)+4096))) }},
	} {
		if _, set := p[n.name]; set {
			v, err := p.integer(n.name, 0)
			if err != nil {
				return nil, err
			}
			n.use(v)
		}
	}
	return opts, nil
}

func compression(name string) (kgo.CompressionCodec, error) {
	switch strings.ToLower(name) {
	case "", "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.NoCompression(), failf("Invalid value %s for configuration compression.type: String must be one of: none, gzip, snappy, lz4, zstd", name)
}

// lineReader turns lines into records as Kafka's LineMessageReader:
//
//	[headers <headers.delimiter>] [key <key.separator>] value
//
// Differs from Kafka: bytes that are no UTF-8 pass unchanged, where Java would
// put a replacement character.
type lineReader struct {
	topic                           string
	parseKey, parseHeaders, lenient bool
	keySep, headersDelim            string
	headersSep                      *regexp.Regexp
	headerKeySep                    string
	null                            string
	hasNull                         bool
	line                            int
}

func newLineReader(topic string) *lineReader {
	return &lineReader{topic: topic, keySep: "\t", headersDelim: "\t", headersSep: regexp.MustCompile(","), headerKeySep: ":"}
}

func (l *lineReader) configure(p props) error {
	yes := func(name string) bool { return strings.EqualFold(strings.TrimSpace(p[name]), "true") }
	set := func(to *string, name string) {
		if v, ok := p[name]; ok {
			*to = v
		}
	}
	l.parseKey, l.parseHeaders, l.lenient = yes("parse.key"), yes("parse.headers"), yes("ignore.error")
	sep := ","
	set(&l.keySep, "key.separator")
	set(&l.headersDelim, "headers.delimiter")
	set(&sep, "headers.separator")
	set(&l.headerKeySep, "headers.key.separator")
	l.null, l.hasNull = p["null.marker"]
	re, err := regexp.Compile(sep)
	if err != nil {
		return fmt.Errorf("headers.separator %q is not a regular expression: %w", sep, err)
	}
	l.headersSep = re
	type clash struct{ a, b, an, bn string }
	clashes := []clash{
		{l.headersDelim, sep, "headers.delimiter", "headers.separator"},
		{l.headersDelim, l.headerKeySep, "headers.delimiter", "headers.key.separator"},
		{sep, l.headerKeySep, "headers.separator", "headers.key.separator"},
	}
	if l.hasNull {
		clashes = append(clashes,
			clash{l.null, l.keySep, "null.marker", "key.separator"},
			clash{l.null, sep, "null.marker", "headers.separator"},
			clash{l.null, l.headersDelim, "null.marker", "headers.delimiter"},
			clash{l.null, l.headerKeySep, "null.marker", "headers.key.separator"})
	}
	for _, c := range clashes {
		if c.a == c.b {
			return fmt.Errorf("%s and %s may not be equal", c.an, c.bn)
		}
	}
	return nil
}

// readLine ends lines at \n, \r or \r\n, as Java's BufferedReader.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		b, err := r.ReadByte()
		switch {
		case err == io.EOF && len(line) > 0:
			return line, nil
		case err != nil:
			return nil, err
		case b == '\n':
			return line, nil
		case b == '\r':
			if next, err := r.Peek(1); err == nil && next[0] == '\n' {
				_, _ = r.Discard(1)
			}
			return line, nil
		}
		if line = append(line, b); r.Buffered() > 0 {
			// Take what is there up to the next end of line at once.
			rest, _ := r.Peek(r.Buffered())
			n := bytes.IndexAny(rest, "\r\n")
			if n < 0 {
				n = len(rest)
			}
			line = append(line, rest[:n]...)
			_, _ = r.Discard(n)
		}
	}
}

func (l *lineReader) next(r *bufio.Reader) (*kgo.Record, error) {
	l.line++
	raw, err := readLine(r)
	if err != nil {
		return nil, err
	}
	line := string(raw)
	rec := &kgo.Record{Topic: l.topic}
	headers, rest, has, err := l.cut(l.parseHeaders, line, line, l.headersDelim, "headers delimiter")
	if err != nil {
		return nil, err
	}
	withHeaders := has && !l.isNull(headers)
	key, rest, has, err := l.cut(l.parseKey, line, rest, l.keySep, "key separator")
	if err != nil {
		return nil, err
	}
	if withHeaders {
		if rec.Headers, err = l.headers(headers); err != nil {
			return nil, err
		}
	}
	if has && !l.isNull(key) {
		rec.Key = []byte(key)
	}
	if !l.isNull(rest) {
		rec.Value = []byte(rest)
	}
	return rec, nil
}

func (l *lineReader) isNull(s string) bool { return l.hasNull && s == l.null }

func (l *lineReader) cut(on bool, line, s, sep, what string) (head, rest string, has bool, err error) {
	if !on {
		return "", s, false, nil
	}
	head, rest, has = strings.Cut(s, sep)
	if !has && !l.lenient {
		return "", "", false, fmt.Errorf("No %s found on line number %d: '%s'", what, l.line, line)
	}
	if !has {
		return "", s, false, nil
	}
	return head, rest, true, nil
}

func (l *lineReader) headers(s string) ([]kgo.RecordHeader, error) {
	var out []kgo.RecordHeader
	pairs := l.headersSep.Split(s, -1)
	for len(pairs) > 1 && pairs[len(pairs)-1] == "" {
		pairs = pairs[:len(pairs)-1] // as Java's split drops trailing empties
	}
	for _, pair := range pairs {
		k, v, has := strings.Cut(pair, l.headerKeySep)
		switch {
		case !has && l.lenient:
			out = append(out, kgo.RecordHeader{Key: pair})
			continue
		case !has:
			return nil, fmt.Errorf("No header key separator found in pair '%s' on line number %d", pair, l.line)
		case l.isNull(k):
			return nil, fmt.Errorf("Header keys should not be equal to the null marker '%s' as they can't be null", l.null)
		}
		h := kgo.RecordHeader{Key: k}
		if !l.isNull(v) {
			h.Value = []byte(v)
		}
		out = append(out, h)
	}
	return out, nil
}
