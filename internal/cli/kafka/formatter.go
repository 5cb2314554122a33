// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	formatterPackage      = "org.apache.kafka.tools.consumer."
	defaultFormatterClass = formatterPackage + "DefaultMessageFormatter"
)

// formatter prints one record.
type formatter interface {
	write(w io.Writer, r *kgo.Record) error
}

func newFormatter(e *Env, class string, p props) (formatter, error) {
	name, ok := strings.CutPrefix(class, formatterPackage)
	if !ok {
		return nil, fmt.Errorf("%s", class)
	}
	switch name {
	case "DefaultMessageFormatter":
		return newDefaultFormatter(e, p), nil
	case "LoggingMessageFormatter":
		return &loggingFormatter{newDefaultFormatter(e, p), e}, nil
	case "NoOpMessageFormatter":
		return noFormatter{}, nil
	case "OffsetsMessageFormatter":
		return coordinatorFormatter{offsets: true}, nil
	case "GroupMetadataMessageFormatter":
		return coordinatorFormatter{}, nil
	}
	return nil, fmt.Errorf("%s", class)
}

type noFormatter struct{}

func (noFormatter) write(io.Writer, *kgo.Record) error { return nil }

// defaultFormatter prints the columns asked for with a separator between.
type defaultFormatter struct {
	timestamp, key, value, partition, offset, delivery, epoch, headers bool

	keySep, lineSep, headersSep, null string

	keyText, valueText, headersText deserializer
}

// deserializer gives the text of bytes; nil prints them as they are.
type deserializer func([]byte) (string, error)

func newDefaultFormatter(e *Env, p props) *defaultFormatter {
	yes := func(name string, byDefault bool) bool {
		v, set := p[name]
		if !set {
			return byDefault
		}
		return strings.EqualFold(strings.TrimSpace(v), "true")
	}
	text := func(name, byDefault string) string {
		if v, set := p[name]; set {
			return v
		}
		return byDefault
	}
	class := func(name string) deserializer {
		c, set := p[name]
		if !set {
			return nil
		}
		d, ok := deserializers[c]
		if !ok {
			e.complain("The deserializer %s is not known; bytes are printed as they are.", c)
		}
		return d
	}
	return &defaultFormatter{
		timestamp: yes("print.timestamp", false), key: yes("print.key", false), value: yes("print.value", true),
		partition: yes("print.partition", false), offset: yes("print.offset", false), delivery: yes("print.delivery", false),
		epoch: yes("print.epoch", false), headers: yes("print.headers", false),
		keySep: text("key.separator", "\t"), lineSep: text("line.separator", "\n"),
		headersSep: text("headers.separator", ","), null: text("null.literal", "null"),
		keyText: class("key.deserializer"), valueText: class("value.deserializer"), headersText: class("headers.deserializer"),
	}
}

func (f *defaultFormatter) write(w io.Writer, r *kgo.Record) error {
	text := func(d deserializer, b []byte) (string, error) {
		if b == nil {
			b = []byte(f.null)
		}
		if d == nil {
			return string(b), nil
		}
		return d(b)
	}
	// Each column brings its text; the separator after it depends on whether
	// another column follows.
	columns := []struct {
		on   bool
		text func() (string, error)
	}{
		{f.timestamp, func() (string, error) { return timestampText(r), nil }},
		{f.partition, func() (string, error) { return fmt.Sprintf("Partition:%d", r.Partition), nil }},
		{f.offset, func() (string, error) { return fmt.Sprintf("Offset:%d", r.Offset), nil }},
		// Kafka's console consumer drops both before it prints.
		{f.delivery, func() (string, error) { return "Delivery:NOT_PRESENT", nil }},
		{f.epoch, func() (string, error) { return "Epoch:NOT_PRESENT", nil }},
		{f.headers, func() (string, error) {
			if len(r.Headers) == 0 {
				return "NO_HEADERS", nil
			}
			var words []string
			for _, h := range r.Headers {
				v, err := text(f.headersText, h.Value)
				if err != nil {
					return "", err
				}
				words = append(words, h.Key+":"+v)
			}
			return strings.Join(words, f.headersSep), nil
		}},
		{f.key, func() (string, error) { return text(f.keyText, r.Key) }},
		{f.value, func() (string, error) { return text(f.valueText, r.Value) }},
	}
	last := -1
	for i, c := range columns {
		if c.on {
			last = i
		}
	}
	for i, c := range columns {
		if !c.on {
			continue
		}
		s, err := c.text()
		if err != nil {
			return err
		}
		if i == last {
			s += f.lineSep
		} else {
			s += f.keySep
		}
		_, _ = io.WriteString(w, s) // the next flush sees what failed
	}
	return nil
}

func timestampText(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 0:
		return "CreateTime:" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
	case 1:
		return "LogAppendTime:" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
	}
	return "NO_TIMESTAMP"
}

// loggingFormatter prints as the default one and says the same to the log,
// which for a tool is standard error.
type loggingFormatter struct {
	*defaultFormatter
	env *Env
}

func (f *loggingFormatter) write(w io.Writer, r *kgo.Record) error {
	if err := f.defaultFormatter.write(w, r); err != nil {
		return err
	}
	key, value := "null ", "null"
	if r.Key != nil {
		key = string(r.Key) + ", "
	}
	if r.Value != nil {
		value = string(r.Value)
	}
	f.env.complain("%s, key:%svalue:%s", timestampText(r), key, value)
	return nil
}

const serdes = "org.apache.kafka.common.serialization."

// deserializers are Kafka's own, by class.
var deserializers = map[string]deserializer{
	serdes + "StringDeserializer":    func(b []byte) (string, error) { return string(b), nil },
	serdes + "ByteArrayDeserializer": func(b []byte) (string, error) { return string(b), nil },
	serdes + "BytesDeserializer":     func(b []byte) (string, error) { return javaBytes(b), nil },
	serdes + "ByteBufferDeserializer": func(b []byte) (string, error) {
		return fmt.Sprintf("java.nio.HeapByteBuffer[pos=0 lim=%d cap=%d]", len(b), len(b)), nil
	},
	serdes + "ShortDeserializer": sized(2, func(b []byte) string { return strconv.Itoa(int(int16(binary.BigEndian.Uint16(b)))) }),
	serdes + "IntegerDeserializer": sized(4, func(b []byte) string {
		return strconv.Itoa(int(int32(binary.BigEndian.Uint32(b))))
	}),
	serdes + "LongDeserializer": sized(8, func(b []byte) string {
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10)
	}),
	serdes + "FloatDeserializer": sized(4, func(b []byte) string {
		return javaFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(b))), 32)
	}),
	serdes + "DoubleDeserializer": sized(8, func(b []byte) string {
		return javaFloat(math.Float64frombits(binary.BigEndian.Uint64(b)), 64)
	}),
	serdes + "BooleanDeserializer": func(b []byte) (string, error) {
		if len(b) != 1 || b[0] > 1 {
			return "", fmt.Errorf("Size of data received by BooleanDeserializer is not 1, or it is neither 0 nor 1")
		}
		return strconv.FormatBool(b[0] == 1), nil
	},
	serdes + "UUIDDeserializer": func(b []byte) (string, error) { return strings.ToLower(string(b)), nil },
}

func sized(n int, text func([]byte) string) deserializer {
	return func(b []byte) (string, error) {
		if len(b) != n {
			return "", fmt.Errorf("Size of data received by deserializer is not %d", n)
		}
		return text(b), nil
	}
}

// javaBytes is the text of Kafka's Bytes: printable ASCII, the rest as \x.
func javaBytes(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c >= ' ' && c <= '~' && c != '\\' {
			s.WriteByte(c)
		} else {
			s.WriteString(`\x` + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return s.String()
}

// javaFloat is Double.toString: plain between 0.001 and ten million with at
// least one digit after the point, else 1.0E10.
func javaFloat(f float64, bits int) string {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case abs == 0 || abs >= 1e-3 && abs < 1e7:
		s := strconv.FormatFloat(f, 'f', -1, bits)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exp, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, bits), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exp)
	return mantissa + "E" + strconv.Itoa(n)
}

// coordinatorFormatter prints records of __consumer_offsets as one JSON object
// each, without a line end, as Kafka does.
type coordinatorFormatter struct {
	offsets bool // committed offsets, else group metadata
}

func (f coordinatorFormatter) write(w io.Writer, r *kgo.Record) error {
	if r.Key == nil {
		return nil
	}
	kind := (&kbin.Reader{Src: r.Key}).Int16()
	var key, value any
	var err error
	switch {
	case f.offsets && (kind == 0 || kind == 1):
		k := kmsg.NewOffsetCommitKey()
		if err = k.ReadFrom(r.Key); err == nil {
			key = ordered{{"group", k.Group}, {"topic", k.Topic}, {"partition", k.Partition}}
			value, err = offsetValue(r.Value)
		}
	case !f.offsets && kind == 2:
		k := kmsg.NewGroupMetadataKey()
		if err = k.ReadFrom(r.Key); err == nil {
			key = ordered{{"group", k.Group}}
			value, err = groupValue(r.Value)
		}
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("Could not read record at offset %d due to: %w", r.Offset, err)
	}
	line := ordered{{"key", ordered{{"type", kind}, {"data", key}}}, {"value", nil}}
	if r.Value != nil {
		version := (&kbin.Reader{Src: r.Value}).Int16()
		line[1].value = ordered{{"version", version}, {"data", value}}
	}
	raw, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, _ = w.Write(raw)
	return nil
}

func offsetValue(b []byte) (any, error) {
	if b == nil {
		return nil, nil
	}
	v := kmsg.NewOffsetCommitValue()
	if err := v.ReadFrom(b); err != nil {
		return nil, err
	}
	o := ordered{{"offset", v.Offset}}
	if v.Version >= 3 {
		o = append(o, member{"leaderEpoch", v.LeaderEpoch})
	}
	o = append(o, member{"metadata", v.Metadata}, member{"commitTimestamp", v.CommitTimestamp})
	if v.Version == 1 {
		o = append(o, member{"expireTimestamp", v.ExpireTimestamp})
	}
	if v.Version >= 4 && v.TopicID != [16]byte{} { // a tagged field: left out when it is zero
		o = append(o, member{"topicId", uuidText(v.TopicID)})
	}
	return o, nil
}

func groupValue(b []byte) (any, error) {
	if b == nil {
		return nil, nil
	}
	v := kmsg.NewGroupMetadataValue()
	if err := v.ReadFrom(b); err != nil {
		return nil, err
	}
	o := ordered{{"protocolType", v.ProtocolType}, {"generation", v.Generation}, {"protocol", v.Protocol}, {"leader", v.Leader}}
	if v.Version >= 2 {
		o = append(o, member{"currentStateTimestamp", v.CurrentStateTimestamp})
	}
	members := []any{}
	for _, m := range v.Members {
		x := ordered{{"memberId", m.MemberID}}
		if v.Version >= 3 {
			x = append(x, member{"groupInstanceId", m.InstanceID})
		}
		x = append(x, member{"clientId", m.ClientID}, member{"clientHost", m.ClientHost})
		if v.Version >= 1 {
			x = append(x, member{"rebalanceTimeout", m.RebalanceTimeoutMillis})
		}
		x = append(x, member{"sessionTimeout", m.SessionTimeoutMillis},
			member{"subscription", base64.StdEncoding.EncodeToString(m.Subscription)},
			member{"assignment", base64.StdEncoding.EncodeToString(m.Assignment)})
		members = append(members, x)
	}
	return append(o, member{"members", members}), nil
}

// ordered is a JSON object that keeps the order of its members.
type ordered []member

type member struct {
	name  string
	value any
}

func (o ordered) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			out = append(out, ',')
		}
		name, _ := json.Marshal(m.name)
		value, err := plainJSON(m.value)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

// plainJSON marshals without escaping <, > and &, as Java's Jackson writes.
func plainJSON(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}
