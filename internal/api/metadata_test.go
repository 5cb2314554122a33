// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// oneImage shows one image for ever.
type oneImage struct{ img *meta.Image }

func (o *oneImage) Image() *meta.Image { return o.img }

// creatorFunc makes topics by a function.
type creatorFunc struct {
	allowed bool
	create  func(names []string) map[string]error
}

func (c creatorFunc) Allowed() bool { return c.allowed }
func (c creatorFunc) Create(_ context.Context, names []string) map[string]error {
	return c.create(names)
}

// metadataImage has brokers 1 (in service), 2 (fenced), 3 (without this
// listener) and the topics a (led by 1), b (led by 2) and c (led by 3).
func metadataImage(t testing.TB) *meta.Image {
	t.Helper()
	rs := []meta.Record{meta.ClusterRecord{ID: "kluster"}}
	for id := int32(1); id <= 3; id++ {
		b := meta.Broker{ID: id, Fenced: id == 2, Endpoints: []meta.Endpoint{{Listener: "OTHER", Host: "elsewhere", Port: 1}}}
		if id != 3 {
			b.Endpoints = append(b.Endpoints, meta.Endpoint{Host: fmt.Sprint("host", id), Port: 9092})
		}
		if id == 1 {
			b.Rack = "r1"
		}
		rs = append(rs, meta.BrokerRecord{Broker: b})
	}
	for i, name := range []string{"a", "b", "c"} {
		id := meta.UUID{15: byte(i + 1)}
		rs = append(rs, meta.TopicRecord{Name: name, ID: id})
		for p := range int32(3) {
			rs = append(rs, meta.PartitionRecord{Topic: id, Index: p, Partition: meta.Partition{
				Replicas: []int32{int32(i + 1), 2}, Dirs: make([]meta.UUID, 2), ISR: []int32{int32(i + 1)}, Leader: int32(i + 1), LeaderEpoch: 7}})
		}
	}
	img, _, err := meta.Empty().With(rs)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func askMetadata(t *testing.T, m *Metadata, version int16, names ...string) *kmsg.MetadataResponse {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = version
	for _, n := range names {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = &n
		req.Topics = append(req.Topics, rt)
	}
	resp, err := m.metadata(t.Context(), &Call{Version: version}, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.MetadataResponse)
}

func TestMetadataShowsTheListener(t *testing.T) {
	t.Parallel()
	m := &Metadata{Images: &oneImage{metadataImage(t)}, NodeID: 1}
	resp := askMetadata(t, m, 12)
	if len(resp.Brokers) != 1 || resp.Brokers[0].Host != "host1" || *resp.Brokers[0].Rack != "r1" || *resp.ClusterID != "kluster" || resp.ControllerID != 1 {
		t.Errorf("%+v", resp.Brokers)
	}
	// One that is fenced, or has no such listener, names another: clients look
	// for the controller among the brokers that they are told of.
	for _, self := range []int32{2, 3} {
		other := &Metadata{Images: &oneImage{metadataImage(t)}, NodeID: self}
		if resp := askMetadata(t, other, 12); resp.ControllerID != 1 {
			t.Errorf("node %d says that the controller is %d", self, resp.ControllerID)
		}
	}
	nobody := &Metadata{Images: &oneImage{meta.Empty()}, NodeID: 1}
	if resp := askMetadata(t, nobody, 12); resp.ControllerID != -1 {
		t.Errorf("with no broker the controller is %d", resp.ControllerID)
	}
	if len(resp.Topics) != 3 {
		t.Fatalf("%d topics", len(resp.Topics))
	}
	for i, want := range []struct {
		code          int16
		leader        int32
		offline       []int32
		offlineBefore int
	}{{0, 1, []int32{2}, 0}, {kerr.LeaderNotAvailable.Code, -1, []int32{2, 2}, 0}, {kerr.ListenerNotFound.Code, -1, []int32{2}, 0}} {
		rt := resp.Topics[i]
		p := rt.Partitions[2]
		if p.ErrorCode != want.code || p.Leader != want.leader || p.LeaderEpoch != 7 || !slices.Equal(p.OfflineReplicas, want.offline) || rt.TopicID != (meta.UUID{15: byte(i + 1)}) {
			t.Errorf("%s: %+v", *rt.Topic, p)
		}
	}
	if old := askMetadata(t, m, 5, "c"); old.Topics[0].Partitions[0].ErrorCode != kerr.LeaderNotAvailable.Code {
		t.Errorf("LISTENER_NOT_FOUND before version 6")
	}
}

// TestMetadataListsOrNames: null asks for all and an empty list for none, but
// version 0 has no null.
func TestMetadataListsOrNames(t *testing.T) {
	t.Parallel()
	m := &Metadata{Images: &oneImage{metadataImage(t)}, NodeID: 1}
	for _, c := range []struct {
		version int16
		topics  []kmsg.MetadataRequestTopic
		want    int
	}{{0, []kmsg.MetadataRequestTopic{}, 3}, {1, []kmsg.MetadataRequestTopic{}, 0}, {1, nil, 3}, {13, []kmsg.MetadataRequestTopic{}, 0}} {
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.Topics = c.version, c.topics
		resp, err := m.metadata(t.Context(), &Call{Version: c.version}, req)
		if err != nil || len(resp.(*kmsg.MetadataResponse).Topics) != c.want {
			t.Errorf("version %d, topics %v: %+v %v", c.version, c.topics, resp, err)
		}
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	req.Topics = []kmsg.MetadataRequestTopic{{TopicID: meta.UUID{15: 2}}, {TopicID: meta.UUID{15: 99}}}
	resp, err := m.metadata(t.Context(), &Call{Version: 12}, req)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.(*kmsg.MetadataResponse).Topics
	if *got[0].Topic != "b" || got[1].ErrorCode != kerr.UnknownTopicID.Code || got[1].TopicID != (meta.UUID{15: 99}) {
		t.Errorf("by id: %+v", got)
	}
	req.Version = 11
	if _, err := m.metadata(t.Context(), &Call{Version: 11}, req); !errors.Is(err, ErrClose) {
		t.Errorf("by id before version 12: %v", err)
	}
}

func TestMetadataCreatesTopics(t *testing.T) {
	t.Parallel()
	images := &oneImage{metadataImage(t)}
	var asked []string
	create := func(names []string) map[string]error {
		asked = append(asked, names...)
		refused := map[string]error{}
		for _, n := range names {
			if n == "refused" {
				refused[n] = fmt.Errorf("x: %w", kerr.InvalidReplicationFactor)
				continue
			}
			images.img, _, _ = images.img.With([]meta.Record{meta.TopicRecord{Name: n, ID: meta.UUID{14: 1}}})
		}
		return refused
	}
	m := &Metadata{Images: images, Creator: creatorFunc{true, create}, NodeID: 1}
	codes := func(resp *kmsg.MetadataResponse) (s []int16) {
		for _, rt := range resp.Topics {
			s = append(s, rt.ErrorCode)
		}
		return s
	}
	ask := func(version int16, allow bool, names ...string) []int16 {
		asked = nil
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.AllowAutoTopicCreation = version, allow
		for _, n := range names {
			req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &n})
		}
		resp, err := m.metadata(t.Context(), &Call{Version: version}, req)
		if err != nil {
			t.Fatal(err)
		}
		return codes(resp.(*kmsg.MetadataResponse))
	}
	if got := ask(9, false, "new"); !slices.Equal(got, []int16{kerr.UnknownTopicOrPartition.Code}) || asked != nil {
		t.Errorf("the client does not allow it: %v, created %v", got, asked)
	}
	if got := ask(9, true, "a", "new", "new", "bad/name", "refused"); !slices.Equal(got, []int16{0, 0, kerr.InvalidTopicException.Code, kerr.InvalidReplicationFactor.Code}) ||
		!slices.Equal(asked, []string{"new", "refused"}) {
		t.Errorf("%v, created %v", got, asked)
	}
	m.Creator = creatorFunc{false, create}
	if got := ask(9, true, "newer"); !slices.Equal(got, []int16{kerr.UnknownTopicOrPartition.Code}) || asked != nil {
		t.Errorf("the broker does not allow it: %v, created %v", got, asked)
	}
}

// TestDescribeTopicPartitionsPages: pages of any size show every partition once
// and in order.
func TestDescribeTopicPartitionsPages(t *testing.T) {
	t.Parallel()
	limit := 100
	m := &Metadata{Images: &oneImage{metadataImage(t)}, NodeID: 1, DescribeLimit: func() int { return limit }}
	for page := 1; page <= 10; page++ {
		for _, byServer := range []bool{true, false} {
			var got []string
			req := kmsg.NewPtrDescribeTopicPartitionsRequest()
			req.ResponsePartitionLimit = int32(page)
			if byServer {
				limit, req.ResponsePartitionLimit = page, 1000
			} else {
				limit = 100
			}
			for pages := 0; ; pages++ {
				if pages > 20 {
					t.Fatal("no end")
				}
				r, err := m.describe(t.Context(), &Call{}, req)
				if err != nil {
					t.Fatal(err)
				}
				resp := r.(*kmsg.DescribeTopicPartitionsResponse)
				n := 0
				for _, rt := range resp.Topics {
					for _, p := range rt.Partitions {
						got = append(got, fmt.Sprint(*rt.Topic, p.Partition))
						n++
					}
				}
				if n > page {
					t.Fatalf("%d partitions in a page of %d", n, page)
				}
				if resp.NextCursor == nil {
					break
				}
				req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
			}
			if want := "[a0 a1 a2 b0 b1 b2 c0 c1 c2]"; fmt.Sprint(got) != want {
				t.Errorf("pages of %d: %v", page, got)
			}
		}
	}
	limit = 100
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 100
	for _, n := range []string{"none", "b", "b", "x/y"} {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: n})
	}
	r, err := m.describe(t.Context(), &Call{}, req)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rt := range r.(*kmsg.DescribeTopicPartitionsResponse).Topics {
		got = append(got, fmt.Sprint(*rt.Topic, rt.ErrorCode))
	}
	if fmt.Sprint(got) != "[b0 none3 x/y17]" {
		t.Errorf("named: %v", got)
	}
}

func TestDescribeCluster(t *testing.T) {
	t.Parallel()
	images := &oneImage{metadataImage(t)}
	f := &Cluster{Images: images, NodeID: 1}
	ask := func(version int16, kind int8, fenced bool) (*kmsg.DescribeClusterResponse, error) {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.EndpointType, req.IncludeFencedBrokers = kind, fenced
		r, err := f.describe(t.Context(), &Call{Version: version}, req)
		if err != nil {
			return nil, err
		}
		return r.(*kmsg.DescribeClusterResponse), nil
	}
	if r, err := ask(0, 0, false); err != nil || len(r.Brokers) != 1 || r.ClusterID != "kluster" {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := ask(2, 1, true); err != nil || len(r.Brokers) != 2 || !r.Brokers[1].IsFenced {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := ask(1, 2, false); !errors.Is(err, kerr.MismatchedEndpointType) {
		t.Errorf("controllers where there are none: %v", err)
	}
	if _, err := ask(1, 3, false); !errors.Is(err, kerr.UnsupportedEndpointType) {
		t.Errorf("an unknown type: %v", err)
	}
	images.img, _, _ = images.img.With([]meta.Record{meta.ControllerRecord{Controller: meta.Controller{ID: 1, Endpoints: []meta.Endpoint{{Host: "ctl", Port: 9093}}}}})
	if r, err := ask(1, 2, false); err != nil || len(r.Brokers) != 1 || r.Brokers[0].Host != "ctl" {
		t.Errorf("controllers: %+v %v", r, err)
	}
}

func BenchmarkMetadata(b *testing.B) {
	for _, topics := range []int{1, 1000, 10_000} {
		b.Run(fmt.Sprint(topics), func(b *testing.B) {
			l := meta.NewLoader(1)
			add := func(r meta.Record) {
				if err := l.Add(r); err != nil {
					b.Fatal(err)
				}
			}
			for id := range int32(3) {
				add(meta.BrokerRecord{Broker: meta.Broker{ID: id, Endpoints: []meta.Endpoint{{Host: "h", Port: 9092}}}})
			}
			for i := range topics {
				id := meta.UUID{0: byte(i), 1: byte(i >> 8), 2: 1}
				add(meta.TopicRecord{Name: fmt.Sprint("topic-", i), ID: id})
				for p := range int32(10) {
					add(meta.PartitionRecord{Topic: id, Index: p, Partition: meta.Partition{Replicas: []int32{0, 1, 2}, Dirs: make([]meta.UUID, 3), ISR: []int32{0, 1, 2}}})
				}
			}
			m := &Metadata{Images: &oneImage{l.Image()}}
			req := kmsg.NewPtrMetadataRequest()
			req.Version = 12
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				resp, err := m.metadata(context.Background(), &Call{Version: 12}, req)
				if err != nil {
					b.Fatal(err)
				}
				resp.SetVersion(12)
				buf = resp.AppendTo(buf[:0])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(topics*10), "ns/partition")
			b.ReportMetric(float64(len(buf)), "bytes")
		})
	}
}

// What is asked for twice is told once: a request must not make an answer
// thousands of times its size.
func TestMetadataTellsATopicOnce(t *testing.T) {
	t.Parallel()
	m := &Metadata{Images: &oneImage{metadataImage(t)}, NodeID: 1}
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for range 1000 {
		for _, name := range []string{"a", "none", "b"} {
			req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr(name)})
		}
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{TopicID: [16]byte{15: 3}})
	}
	resp, err := m.metadata(t.Context(), &Call{Version: 12}, req)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rt := range resp.(*kmsg.MetadataResponse).Topics {
		got = append(got, *rt.Topic)
	}
	if fmt.Sprint(got) != "[a none b c]" {
		t.Errorf("%d topics: %.80q", len(got), got)
	}
}
