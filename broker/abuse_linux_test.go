// SPDX-License-Identifier: Apache-2.0

// Goal: whatever strangers send, they get the right Kafka error or a closed
// connection, the server's memory stays below 200 MiB, and a client that
// behaves notices nothing.
// Method: the real process, whose peak of resident memory the kernel keeps in
// /proc (so Linux only), one attack after the other on raw connections, and
// beside them a producer and a consumer whose every error counts.
package broker_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The race detector keeps up to ten bytes beside each byte of the program's, so
// under it the bound is that much wider.
const rssMax = shadow * 200 << 20

// peak is the most memory that the process has ever had resident.
func (p *process) peak() int64 {
	p.t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib int64
		if _, err := fmt.Sscanf(s.Text(), "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	p.t.Fatal("no VmHWM")
	return 0
}

// stranger is a raw connection.
type stranger struct {
	net.Conn
	t testing.TB
}

func dial(t testing.TB, addr string) *stranger {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil { // so that nothing hangs
		t.Fatal(err)
	}
	return &stranger{c, t}
}

// say sends bytes; the server may have closed the connection before their end.
func (s *stranger) say(b []byte) { _, _ = s.Write(b) }

// closed fails unless the server closes without an answer.
func (s *stranger) closed(what string) {
	s.t.Helper()
	var b [16]byte
	if n, err := s.Read(b[:]); err == nil || n > 0 || os.IsTimeout(err) {
		s.t.Errorf("%s: %d bytes of an answer, error %v; want a closed connection", what, n, err)
	}
}

// answer reads a response's body, or nil when the connection was closed.
func (s *stranger) answer(flexible bool) []byte {
	s.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(s, size[:]); err != nil {
		if os.IsTimeout(err) {
			s.t.Fatal("neither an answer nor a closed connection")
		}
		return nil
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(s, b); err != nil {
		s.t.Fatalf("half an answer: %v", err)
	}
	if flexible {
		return b[5:]
	}
	return b[4:]
}

func frame(req kmsg.Request, version int16) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("stranger")).AppendRequest(nil, req, 1)
}

// ask sends a request and reads its response, nil for a closed connection.
func (s *stranger) ask(req kmsg.Request, version int16) kmsg.Response {
	s.t.Helper()
	s.say(frame(req, version))
	resp := req.ResponseKind()
	resp.SetVersion(version)
	b := s.answer(resp.IsFlexible() && req.Key() != int16(kmsg.ApiVersions))
	if b == nil {
		return nil
	}
	if err := resp.ReadFrom(b); err != nil {
		s.t.Fatalf("%T: %v", resp, err)
	}
	return resp
}

// header is a request's up to its body, of any key and version.
func header(key, version int16, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 1, 0xff, 0xff)
	return append(b, body...)
}

// rawBatch makes a batch of one record with a right checksum around records.
func rawBatch(attributes int16, producer int64, epoch int16, sequence int32, records []byte) []byte {
	b := make([]byte, 61, 61+len(records))
	be := binary.BigEndian
	be.PutUint32(b[8:], uint32(49+len(records)))
	be.PutUint32(b[12:], 0xffffffff)
	b[16] = 2
	be.PutUint16(b[21:], uint16(attributes))
	now := uint64(time.Now().UnixMilli())
	be.PutUint64(b[27:], now)
	be.PutUint64(b[35:], now)
	be.PutUint64(b[43:], uint64(producer))
	be.PutUint16(b[51:], uint16(epoch))
	be.PutUint32(b[53:], uint32(sequence))
	be.PutUint32(b[57:], 1)
	b = append(b, records...)
	be.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// oneRecord has the key k and the value v.
var oneRecord = []byte{16, 0, 0, 0, 2, 'k', 2, 'v', 0}

func produceRequest(topic string, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
	return req
}

// produced sends a batch and returns the partition's error; fatal when the
// connection was closed.
func (s *stranger) produced(topic string, records []byte) error {
	s.t.Helper()
	resp, _ := s.ask(produceRequest(topic, records), 8).(*kmsg.ProduceResponse)
	if resp == nil {
		s.t.Fatalf("the connection was closed")
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}

// bystander produces and consumes all the while.
type bystander struct {
	stop     chan struct{}
	group    sync.WaitGroup
	produced int
}

func startBystander(ctx context.Context, t *testing.T, addr string) *bystander {
	b := &bystander{stop: make(chan struct{})}
	w := client(t, addr, kgo.DefaultProduceTopic("good"), kgo.RequestRetries(0), kgo.RecordRetries(0), kgo.ProducerLinger(0))
	r := client(t, addr, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"good": {0: kgo.NewOffset().At(0)}}), kgo.KeepRetryableFetchErrors())
	b.group.Go(func() {
		for consumed := 0; ; {
			select {
			case <-b.stop:
				return
			default:
			}
			if err := w.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
				t.Errorf("a client that behaves, produce: %v", err)
				return
			}
			b.produced++
			for consumed < b.produced {
				f := r.PollFetches(ctx)
				if err := f.Err(); err != nil {
					t.Errorf("a client that behaves, consume: %v", err)
					return
				}
				consumed += f.NumRecords()
			}
		}
	})
	return b
}

func TestAbuse(t *testing.T) {
	t.Parallel()
	ctx := within(t, 4*time.Minute)
	p := newProcess(t)
	p.start()
	admin := kadm.NewClient(client(t, p.addr))
	compact := "compact"
	for topic, configs := range map[string]map[string]*string{"good": nil, "bulk": nil, "compacted": {"cleanup.policy": &compact}} {
		if _, err := admin.CreateTopic(ctx, 1, 1, configs, topic); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("at the start %d MiB", p.peak()>>20)
	b := startBystander(ctx, t, p.addr)
	for _, attack := range []struct {
		name string
		run  func(*testing.T, *process)
	}{
		{"garbage", garbage}, {"half frames", halfFrames}, {"lengths", lengths}, {"unknown requests", unknownRequests},
		{"counts without elements", emptyCounts}, {"a million elements", millions}, {"bombs", bombs}, {"bad batches", badBatches},
		{"topic names", topicNames}, {"slow readers", slowReaders}, {"idle connections", idleConnections},
	} {
		t.Run(attack.name, func(t *testing.T) { attack.run(t, p) })
		if now := p.peak(); now > rssMax {
			t.Fatalf("%s: %d MiB resident", attack.name, now>>20)
		}
		t.Logf("%s: %d MiB", attack.name, p.peak()>>20)
	}
	close(b.stop)
	b.group.Wait()
	if b.produced == 0 {
		t.Error("the client that behaves did nothing")
	}
	t.Logf("the client that behaves did %d rounds", b.produced)
}

func garbage(t *testing.T, p *process) {
	random := rand.NewChaCha8([32]byte{1})
	for range 100 {
		b := make([]byte, 1000)
		_, _ = random.Read(b)
		s := dial(t, p.addr)
		b[0] |= 0x40 // a length beyond all bounds
		s.say(b)
		s.closed("garbage")
		s = dial(t, p.addr)
		copy(b, []byte{0, 0, 3, 0xe4}) // a right length, and garbage in it
		b[4] |= 0x80
		s.say(b)
		s.closed("a frame of garbage")
	}
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "SSH-2.0-OpenSSH_9.6\r\n"} {
		s := dial(t, p.addr)
		s.say([]byte(text))
		s.closed(text)
	}
}

// halfFrames stay open, each with a part of a large frame, until the test ends.
func halfFrames(t *testing.T, p *process) {
	part := make([]byte, 64<<10)
	binary.BigEndian.PutUint32(part, 90<<20)
	copy(part[4:], header(int16(kmsg.Produce), 8, nil)[4:])
	for range 300 {
		dial(t, p.addr).say(part)
		s := dial(t, p.addr)
		s.say(part[:2])
		_ = s.Close()
	}
}

func lengths(t *testing.T, p *process) {
	for _, n := range []int32{-1, -1 << 31, 1<<31 - 1, 104857601, 0, 1, 7} {
		s := dial(t, p.addr)
		b := binary.BigEndian.AppendUint32(nil, uint32(n))
		s.say(append(b, make([]byte, 7)...))
		s.closed(fmt.Sprintf("a frame of %d bytes", n))
	}
}

func unknownRequests(t *testing.T, p *process) {
	for _, r := range []struct{ key, version int16 }{{999, 0}, {-1, 0}, {93, 0}, {3, 99}, {3, -1}, {0, 2}, {1, 3}, {4, 0}, {11, 100}, {7, 3}} {
		s := dial(t, p.addr)
		s.say(header(r.key, r.version, make([]byte, 10)))
		s.closed(fmt.Sprintf("key %d version %d", r.key, r.version))
	}
	s := dial(t, p.addr)
	s.say(header(int16(kmsg.ApiVersions), 99, make([]byte, 10)))
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := resp.ReadFrom(s.answer(false)); err != nil || resp.ErrorCode != kerr.UnsupportedVersion.Code || len(resp.ApiKeys) == 0 {
		t.Errorf("ApiVersions 99: %+v, %v", resp, err)
	}
}

// emptyCounts claim elements that are not there.
func emptyCounts(t *testing.T, p *process) {
	for _, n := range []uint32{1 << 20, 1<<31 - 1, 1 << 31, 0xfffffffe} {
		count := binary.BigEndian.AppendUint32(nil, n)
		for _, r := range []struct {
			key, version int16
			before       []byte
		}{
			{3, 1, nil}, {2, 1, []byte{0, 0, 0, 0}}, {1, 4, make([]byte, 17)}, {0, 3, make([]byte, 8)}, {19, 2, nil}, {20, 1, nil}, {15, 0, nil},
			{42, 0, nil}, {32, 1, nil}, {9, 1, []byte{0, 1, 'g'}}, {8, 2, make([]byte, 16)}, {23, 2, nil}, {37, 0, nil}, {21, 0, nil},
		} {
			s := dial(t, p.addr)
			s.say(header(r.key, r.version, append(bytes.Clone(r.before), count...)))
			s.closed(fmt.Sprintf("key %d version %d with %d elements", r.key, r.version, n))
		}
	}
	for _, key := range []int16{3, 19, 20, 42, 15, 75} { // flexible versions, a varint of five bytes
		s := dial(t, p.addr)
		version := map[int16]int16{3: 12, 19: 7, 20: 6, 42: 2, 15: 5, 75: 0}[key]
		s.say(header(key, version, []byte{0, 0xff, 0xff, 0xff, 0xff, 0x0f}))
		s.closed(fmt.Sprintf("key %d version %d with 2^32 elements", key, version))
	}
}

// millions really send a million elements.
func millions(t *testing.T, p *process) {
	const n = 1_000_000
	name := func(i int) string { return fmt.Sprintf("t%d", i) }
	for _, r := range []struct {
		version int16
		make    func() kmsg.Request
	}{
		{1, func() kmsg.Request {
			r := kmsg.NewPtrMetadataRequest()
			r.Topics = make([]kmsg.MetadataRequestTopic, n)
			for i := range r.Topics {
				r.Topics[i].Topic = kmsg.StringPtr(name(i))
			}
			return r
		}},
		{12, func() kmsg.Request {
			r := kmsg.NewPtrMetadataRequest()
			r.Topics = make([]kmsg.MetadataRequestTopic, n)
			for i := range r.Topics {
				r.Topics[i].Topic = kmsg.StringPtr("good")
			}
			return r
		}},
		{1, func() kmsg.Request {
			r := kmsg.NewPtrListOffsetsRequest()
			r.ReplicaID = -1
			r.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "good", Partitions: make([]kmsg.ListOffsetsRequestTopicPartition, n)}}
			return r
		}},
		{4, func() kmsg.Request {
			r := kmsg.NewPtrFetchRequest()
			r.Topics = []kmsg.FetchRequestTopic{{Topic: "good", Partitions: make([]kmsg.FetchRequestTopicPartition, n)}}
			return r
		}},
		{12, func() kmsg.Request { // a session of a million
			r := kmsg.NewPtrFetchRequest()
			r.ReplicaID, r.MaxWaitMillis, r.MinBytes = -1, 100, 1
			r.Topics = []kmsg.FetchRequestTopic{{Topic: "good", Partitions: make([]kmsg.FetchRequestTopicPartition, n)}}
			for i := range r.Topics[0].Partitions {
				r.Topics[0].Partitions[i].Partition = int32(i)
			}
			return r
		}},
		{8, func() kmsg.Request {
			r := kmsg.NewPtrProduceRequest()
			r.Acks = -1
			r.Topics = []kmsg.ProduceRequestTopic{{Topic: "good", Partitions: make([]kmsg.ProduceRequestTopicPartition, n)}}
			return r
		}},
		{2, func() kmsg.Request {
			r := kmsg.NewPtrCreateTopicsRequest()
			r.Topics = make([]kmsg.CreateTopicsRequestTopic, n)
			for i := range r.Topics {
				r.Topics[i] = kmsg.CreateTopicsRequestTopic{Topic: name(i), NumPartitions: 1, ReplicationFactor: 7}
			}
			return r
		}},
		{2, func() kmsg.Request {
			r := kmsg.NewPtrCreateTopicsRequest()
			r.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "huge", NumPartitions: 1<<31 - 1, ReplicationFactor: 1}}
			return r
		}},
		{1, func() kmsg.Request {
			r := kmsg.NewPtrDeleteTopicsRequest()
			r.TopicNames = make([]string, n)
			for i := range r.TopicNames {
				r.TopicNames[i] = name(i)
			}
			return r
		}},
		{3, func() kmsg.Request {
			r := kmsg.NewPtrOffsetFetchRequest()
			r.Group = "g"
			r.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "good", Partitions: make([]int32, n)}}
			return r
		}},
		{2, func() kmsg.Request {
			r := kmsg.NewPtrOffsetCommitRequest()
			r.Group, r.Generation = "g", -1
			r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "good", Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, n)}}
			return r
		}},
		{1, func() kmsg.Request {
			r := kmsg.NewPtrDescribeConfigsRequest()
			r.Resources = make([]kmsg.DescribeConfigsRequestResource, n)
			for i := range r.Resources {
				r.Resources[i] = kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "good"}
			}
			return r
		}},
		{0, func() kmsg.Request {
			r := kmsg.NewPtrDescribeGroupsRequest()
			r.Groups = make([]string, n)
			return r
		}},
		{0, func() kmsg.Request {
			r := kmsg.NewPtrDeleteGroupsRequest()
			r.Groups = make([]string, n)
			return r
		}},
		{5, func() kmsg.Request {
			r := kmsg.NewPtrJoinGroupRequest()
			r.Group, r.ProtocolType, r.SessionTimeoutMillis = "g", "consumer", 10_000
			r.Protocols = make([]kmsg.JoinGroupRequestProtocol, n)
			return r
		}},
	} {
		req := r.make()
		b := frame(req, r.version)
		s := dial(t, p.addr)
		s.say(b)
		got := "closed"
		var size [4]byte
		if _, err := io.ReadFull(s, size[:]); err == nil {
			k, err := io.CopyN(io.Discard, s, int64(binary.BigEndian.Uint32(size[:])))
			if err != nil {
				t.Errorf("%T %d: half an answer: %v", req, r.version, err)
			}
			got = fmt.Sprintf("%d bytes", k)
		} else if os.IsTimeout(err) {
			t.Errorf("%T %d: neither an answer nor a closed connection", req, r.version)
		}
		_ = s.Close()
		t.Logf("%T %d of %d bytes: %s, peak %d MiB", req, r.version, len(b), got, p.peak()>>20)
		if now := p.peak(); now > rssMax {
			t.Fatalf("%T %d: %d MiB resident", req, r.version, now>>20)
		}
	}
}

// zeros is so many bytes of nothing.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// bombs inflate to a gigabyte (a quarter in the short form), at once and from many connections.
func bombs(t *testing.T, p *process) {
	// A record with the key k and a value of n zeros; and nothing but zeros.
	bomb := func(n int64) io.Reader {
		value := binary.AppendVarint(nil, n)
		head := append(binary.AppendVarint(nil, n+int64(len(value))+6), 0, 0, 0, 2, 'k')
		return io.MultiReader(bytes.NewReader(append(head, value...)), zeros(n+1))
	}
	squeeze := func(w io.WriteCloser, in io.Reader) {
		t.Helper()
		if _, err := io.Copy(w, in); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	size := int64(1 << 30)
	if testing.Short() { // squeezing takes minutes under the race detector
		size = 256 << 20
	}
	var z, g, nothing bytes.Buffer
	for b, in := range map[*bytes.Buffer]io.Reader{&z: bomb(size), &nothing: zeros(size)} {
		w, err := zstd.NewWriter(b, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		squeeze(w, in)
	}
	squeeze(gzip.NewWriter(&g), bomb(size/2))
	for name, b := range map[string][]byte{
		"zstd": rawBatch(4, -1, -1, -1, z.Bytes()), "gzip": rawBatch(1, -1, -1, -1, g.Bytes()), "zeros": rawBatch(4, -1, -1, -1, nothing.Bytes()),
	} {
		var all sync.WaitGroup
		for range 8 {
			s := dial(t, p.addr)
			all.Go(func() {
				resp, _ := s.ask(produceRequest("compacted", b), 8).(*kmsg.ProduceResponse)
				if resp == nil || resp.Topics[0].Partitions[0].ErrorCode == 0 {
					t.Errorf("a %s bomb of %d bytes: %+v", name, len(b), resp)
					return
				}
			})
		}
		all.Wait()
	}
}

func badBatches(t *testing.T, p *process) {
	s := dial(t, p.addr)
	expect := func(what string, records []byte, want *kerr.Error) {
		t.Helper()
		if got := s.produced("bulk", records); got != error(want) && (want != nil || got != nil) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	good := rawBatch(0, -1, -1, -1, oneRecord)
	expect("a good one", good, nil)
	wrong := bytes.Clone(good)
	wrong[17]++
	expect("wrong checksum", wrong, kerr.CorruptMessage)
	expect("a bit of the record", append(bytes.Clone(good[:len(good)-1]), 1), kerr.CorruptMessage)
	expect("half a batch", good[:50], kerr.InvalidRecord)
	expect("half a record", rawBatch(0, -1, -1, -1, oneRecord[:5]), kerr.InvalidRecord)
	expect("bytes behind the record", rawBatch(0, -1, -1, -1, append(bytes.Clone(oneRecord), 0)), kerr.InvalidRecord)
	expect("a control batch", rawBatch(0x20, -1, -1, -1, oneRecord), kerr.InvalidRecord)
	expect("an unknown codec", rawBatch(7, -1, -1, -1, oneRecord), kerr.CorruptMessage)
	init := kmsg.NewPtrInitProducerIDRequest()
	init.TransactionTimeoutMillis = 1000
	id, _ := s.ask(init, 1).(*kmsg.InitProducerIDResponse)
	if id == nil || id.ErrorCode != 0 {
		t.Fatalf("%+v", id)
	}
	pid, epoch := id.ProducerID, id.ProducerEpoch
	expect("sequence 0", rawBatch(0, pid, epoch, 0, oneRecord), nil)
	expect("sequence 5", rawBatch(0, pid, epoch, 5, oneRecord), kerr.OutOfOrderSequenceNumber)
	expect("sequence 1", rawBatch(0, pid, epoch, 1, oneRecord), nil)
	expect("a new epoch that begins with 3", rawBatch(0, pid, epoch+1, 3, oneRecord), kerr.OutOfOrderSequenceNumber)
	expect("a new epoch", rawBatch(0, pid, epoch+1, 0, oneRecord), nil)
	expect("the old epoch", rawBatch(0, pid, epoch, 2, oneRecord), kerr.InvalidProducerEpoch)
	if err := s.produced("compacted", rawBatch(0, -1, -1, -1, []byte{14, 0, 0, 0, 1, 2, 'v', 0})); err != error(kerr.InvalidRecord) {
		t.Errorf("no key in a compacted topic: %v", err)
	}
}

func topicNames(t *testing.T, p *process) {
	s := dial(t, p.addr)
	for _, name := range []string{"", ".", "..", "a/b", "../../etc", "a b", "a\x00b", "ü", strings.Repeat("a", 250)} {
		create := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
		create.TimeoutMillis, create.Topics = 10_000, append(create.Topics, topic)
		c, _ := s.ask(create, 4).(*kmsg.CreateTopicsResponse)
		if c == nil || c.Topics[0].ErrorCode != kerr.InvalidTopicException.Code {
			t.Errorf("create %q: %+v", name, c)
		}
		meta := kmsg.NewPtrMetadataRequest()
		meta.AllowAutoTopicCreation = true
		mt := kmsg.NewMetadataRequestTopic()
		mt.Topic = kmsg.StringPtr(name)
		meta.Topics = append(meta.Topics, mt)
		m, _ := s.ask(meta, 4).(*kmsg.MetadataResponse)
		if m == nil || m.Topics[0].ErrorCode != kerr.InvalidTopicException.Code {
			t.Errorf("metadata of %q: %+v", name, m)
		}
		if err := s.produced(name, rawBatch(0, -1, -1, -1, oneRecord)); err != error(kerr.UnknownTopicOrPartition) && err != error(kerr.InvalidTopicException) {
			t.Errorf("produce to %q: %v", name, err)
		}
	}
}

// slowReaders ask for much and read nothing, until the test ends.
func slowReaders(t *testing.T, p *process) {
	w := client(t, p.addr, kgo.DefaultProduceTopic("bulk"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 20 {
		w.Produce(context.Background(), &kgo.Record{Value: make([]byte, 900_000)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := w.Flush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	fetch := kmsg.NewPtrFetchRequest()
	fetch.ReplicaID, fetch.MaxBytes, fetch.SessionEpoch = -1, 50<<20, -1
	part := kmsg.NewFetchRequestTopicPartition()
	part.PartitionMaxBytes = 50 << 20
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.Partitions = "bulk", append(topic.Partitions, part)
	fetch.Topics = append(fetch.Topics, topic)
	b := frame(fetch, 11)
	described := kmsg.NewPtrDescribeConfigsRequest()
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeBroker, "1"
	described.Resources, described.IncludeDocumentation = append(described.Resources, resource), true
	d := frame(described, 4)
	for range 100 {
		s := dial(t, p.addr)
		s.say(bytes.Repeat(b, 20))
		s = dial(t, p.addr)
		if err := s.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		s.say(bytes.Repeat(d, 500)) // the server stops reading when nobody reads its answers
	}
}

// idleConnections say hello and then nothing.
func idleConnections(t *testing.T, p *process) {
	hello := kmsg.NewPtrApiVersionsRequest()
	hello.ClientSoftwareName, hello.ClientSoftwareVersion = "idle", "1"
	for i := range 3000 {
		s := dial(t, p.addr)
		if i%3 > 0 {
			if v, _ := s.ask(hello, int16(i%4)).(*kmsg.ApiVersionsResponse); v == nil || v.ErrorCode != 0 {
				t.Fatalf("connection %d: %+v", i, v)
			}
		}
	}
}
