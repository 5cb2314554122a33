// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/group/classic"
)

// rig carries out a shard's results as package coord's loop does, step by step:
// the log is a slice, it is committed when the test says so (or at once), and
// appends fail on demand.
type rig struct {
	t         *testing.T
	s         *Shard
	cfg       Config
	now       time.Time
	log       []coord.Record
	txns      map[int]coord.Result // those places of log that are of transactions
	committed int
	hold      bool  // do not commit by itself
	fail      error // of the next appends
	failed    int   // appends that failed
	waits     []rigWait
	answers   map[coord.Ticket]any
	ticket    coord.Ticket
	ids       int
}

type rigWait struct {
	end     int
	to      coord.Ticket
	reply   any
	settled func(time.Time, bool, error) coord.Result
}

func newRig(t *testing.T) *rig {
	r := &rig{
		t: t, now: time.UnixMilli(1_700_000_000_000), answers: map[coord.Ticket]any{}, txns: map[int]coord.Result{},
		cfg: Config{
			Classic:         classic.Config{InitialRebalanceDelay: 3 * time.Second, MaxSize: 10},
			OffsetRetention: time.Hour, RetentionCheck: 10 * time.Minute, MaxMetadata: 20,
		},
	}
	r.s = New(&r.cfg)
	r.carry(0, r.s.Loaded(r.now))
	return r
}

func (r *rig) carry(t coord.Ticket, res coord.Result) {
	if res.Err != nil {
		r.answers[t] = res.Err
		return
	}
	for _, a := range res.Answers {
		if _, twice := r.answers[a.To]; twice {
			r.t.Errorf("call %d is answered twice, now with %+v", a.To, a.Reply)
		}
		r.answers[a.To] = a.Reply
	}
	if (len(res.Records) > 0 || res.Marker != nil) && r.fail != nil {
		r.failed++
		if res.Reply != nil {
			r.answers[t] = r.fail
		}
		if res.Settled != nil {
			r.carry(0, res.Settled(r.now, false, r.fail))
		}
		return
	}
	records := res.Records
	if res.Marker != nil {
		records = []coord.Record{{}}
	}
	for _, rec := range records {
		r.log = append(r.log, rec)
		if res.Marker != nil || res.Txn != nil {
			r.txns[len(r.log)-1] = res
		}
		if !res.Applied {
			if err := r.feed(r.s, len(r.log)-1); err != nil {
				r.t.Fatalf("replay of what was just written: %v", err)
			}
		}
	}
	r.waits = append(r.waits, rigWait{len(r.log), t, res.Reply, res.Settled})
	if !r.hold {
		r.commit(len(r.log))
	}
}

// feed replays the log's record at i to s.
func (r *rig) feed(s *Shard, i int) error {
	switch x := r.txns[i]; {
	case x.Marker != nil:
		s.ReplayMarker(int64(i), x.Marker.Producer, x.Marker.Commit)
		return nil
	case x.Txn != nil:
		return s.ReplayInTxn(int64(i), x.Txn.Producer, r.log[i])
	}
	return s.Replay(int64(i), r.log[i])
}

// txnCommit commits one offset in the transaction of a producer.
func (r *rig) txnCommit(group, member string, generation int32, producer int64, topic string, partition int32, offset int64) error {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version = 3
	req.Group, req.MemberID, req.Generation, req.ProducerID = group, member, generation, producer
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
	t := r.call(func(coord.Ticket) coord.Result { return r.s.TxnCommit(r.now, req, 0) })
	switch a := r.answers[t].(type) {
	case error:
		return a
	case *kmsg.TxnOffsetCommitResponse:
		return kerr.ErrorForCode(a.Topics[0].Partitions[0].ErrorCode)
	}
	return nil
}

func (r *rig) endTxn(producer int64, commit bool) {
	r.call(func(coord.Ticket) coord.Result {
		return r.s.EndTxn(coord.Marker{Producer: coord.Producer{ID: producer}, Commit: commit})
	})
}

// commit commits the log up to end and settles who waited.
func (r *rig) commit(end int) {
	r.committed = max(r.committed, end)
	r.s.Committed(int64(r.committed))
	for len(r.waits) > 0 && r.waits[0].end <= r.committed {
		w := r.waits[0]
		r.waits = r.waits[1:]
		if w.reply != nil {
			r.answers[w.to] = w.reply
		}
		if w.settled != nil {
			r.carry(0, w.settled(r.now, true, nil))
		}
	}
}

// timeout ends the oldest wait badly.
func (r *rig) timeout() {
	w := r.waits[0]
	r.waits = r.waits[1:]
	if w.reply != nil {
		r.answers[w.to] = error(kerr.RequestTimedOut)
	}
	if w.settled != nil {
		r.carry(0, w.settled(r.now, true, kerr.RequestTimedOut))
	}
}

// pass lets time go by, firing timers at their times.
func (r *rig) pass(d time.Duration) {
	end := r.now.Add(d)
	for {
		next := r.s.Next()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(r.now) {
			r.now = next
		}
		r.carry(0, r.s.Tick(r.now))
	}
	r.now = end
}

func (r *rig) call(op func(t coord.Ticket) coord.Result) coord.Ticket {
	r.ticket++
	t := r.ticket
	r.carry(t, op(t))
	return t
}

// joinOpt changes a default join.
type joinOpt func(*kmsg.JoinGroupRequest)

func (r *rig) join(group, member string, opts ...joinOpt) coord.Ticket {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version = 9
	req.Group, req.MemberID = group, member
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 30_000
	req.ProtocolType = "consumer"
	req.Protocols = offer("range")
	for _, o := range opts {
		o(req)
	}
	r.ids++
	return r.call(func(t coord.Ticket) coord.Result {
		return r.s.Join(r.now, t, req, classic.Caller{ClientID: "c", Host: "/127.0.0.1", NewID: fmt.Sprint(r.ids)})
	})
}

func offer(names ...string) []kmsg.JoinGroupRequestProtocol {
	var ps []kmsg.JoinGroupRequestProtocol
	for _, n := range names {
		ps = append(ps, kmsg.JoinGroupRequestProtocol{Name: n, Metadata: subscribe("orders")})
	}
	return ps
}

// subscribe is a consumer's metadata, version 0, for topics.
func subscribe(topics ...string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = topics
	return m.AppendTo(nil)
}

func instance(id string) joinOpt { return func(r *kmsg.JoinGroupRequest) { r.InstanceID = &id } }
func version(v int16) joinOpt    { return func(r *kmsg.JoinGroupRequest) { r.Version = v } }
func offers(names ...string) joinOpt {
	return func(r *kmsg.JoinGroupRequest) { r.Protocols = offer(names...) }
}
func ofType(t string) joinOpt { return func(r *kmsg.JoinGroupRequest) { r.ProtocolType = t } }
func timeouts(session, rebalance int32) joinOpt {
	return func(r *kmsg.JoinGroupRequest) {
		r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = session, rebalance
	}
}

// joined returns the answer to a join, which must have been given.
func (r *rig) joined(t coord.Ticket) *kmsg.JoinGroupResponse {
	r.t.Helper()
	a, ok := r.answers[t].(*kmsg.JoinGroupResponse)
	if !ok {
		r.t.Fatalf("join %d: answer is %v", t, r.answers[t])
	}
	return a
}

func (r *rig) waiting(t coord.Ticket) {
	r.t.Helper()
	if a, ok := r.answers[t]; ok {
		r.t.Fatalf("call %d is answered already: %+v", t, a)
	}
}

// newID joins once to be given a member id.
func (r *rig) newID(group string, opts ...joinOpt) string {
	r.t.Helper()
	a := r.joined(r.join(group, "", opts...))
	r.wantCode(a.ErrorCode, kerr.MemberIDRequired)
	return a.MemberID
}

func (r *rig) wantCode(got int16, want error) {
	r.t.Helper()
	if got != coord.Code(want) {
		r.t.Fatalf("error %v, want %v", kerr.ErrorForCode(got), want)
	}
}

func (r *rig) sync(group, member string, generation int32, assign map[string]string) coord.Ticket {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version = 5
	req.Group, req.MemberID, req.Generation = group, member, generation
	for id, a := range assign {
		req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: []byte(a)})
	}
	return r.call(func(t coord.Ticket) coord.Result { return r.s.Sync(r.now, t, req) })
}

func (r *rig) synced(t coord.Ticket) *kmsg.SyncGroupResponse {
	r.t.Helper()
	a, ok := r.answers[t].(*kmsg.SyncGroupResponse)
	if !ok {
		r.t.Fatalf("sync %d: answer is %v", t, r.answers[t])
	}
	return a
}

func (r *rig) heartbeat(group, member string, generation int32) error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	t := r.call(func(coord.Ticket) coord.Result { return r.s.Heartbeat(r.now, req) })
	switch a := r.answers[t].(type) {
	case error:
		return a
	case *kmsg.HeartbeatResponse:
		return kerr.ErrorForCode(a.ErrorCode)
	}
	return nil
}

func (r *rig) leave(group string, members ...kmsg.LeaveGroupRequestMember) []error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.Members = group, members
	t := r.call(func(coord.Ticket) coord.Result { return r.s.Leave(r.now, req) })
	var errs []error
	for _, m := range r.answers[t].(*kmsg.LeaveGroupResponse).Members {
		errs = append(errs, kerr.ErrorForCode(m.ErrorCode))
	}
	return errs
}

// commitOffset commits one offset; generation -1 for no member.
func (r *rig) commitOffset(group, member string, generation int32, topic string, partition int32, offset int64, opts ...func(*kmsg.OffsetCommitRequest)) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version = 9
	req.Group, req.MemberID, req.Generation = group, member, generation
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	for _, o := range opts {
		o(req)
	}
	t := r.call(func(coord.Ticket) coord.Result { return r.s.Commit(r.now, req) })
	switch a := r.answers[t].(type) {
	case error:
		return a
	case *kmsg.OffsetCommitResponse:
		return kerr.ErrorForCode(a.Topics[0].Partitions[0].ErrorCode)
	}
	return nil
}

func (r *rig) fetch(v View, group, topic string, partition int32) int64 {
	if o := r.s.Fetch(v, group, topic, [16]byte{}, partition); o != nil {
		return o.Offset
	}
	return -1
}

func (r *rig) state(group string) string {
	if g := r.s.group(group); g != nil {
		return g.State().String()
	}
	return "-"
}

// stable brings up a group of n members and returns their ids, the leader
// first.
func (r *rig) stable(group string, n int, opts ...joinOpt) []string {
	r.t.Helper()
	var ids []string
	var joins []coord.Ticket
	for range n {
		ids = append(ids, r.newID(group, opts...))
	}
	for _, id := range ids {
		joins = append(joins, r.join(group, id, opts...))
	}
	r.pass(7 * time.Second)
	gen := int32(-1)
	assign := map[string]string{}
	for i, j := range joins {
		a := r.joined(j)
		r.wantCode(a.ErrorCode, nil)
		gen = a.Generation
		assign[ids[i]] = "for " + ids[i]
	}
	var syncs []coord.Ticket
	for i := len(ids) - 1; i >= 0; i-- {
		if i > 0 {
			syncs = append(syncs, r.sync(group, ids[i], gen, nil))
			r.waiting(syncs[len(syncs)-1])
		} else {
			syncs = append(syncs, r.sync(group, ids[0], gen, assign))
		}
	}
	for i, s := range syncs {
		a := r.synced(s)
		r.wantCode(a.ErrorCode, nil)
		if want := "for " + ids[len(ids)-1-i]; string(a.MemberAssignment) != want {
			r.t.Fatalf("assignment is %q, want %q", a.MemberAssignment, want)
		}
	}
	if s := r.state(group); s != "Stable" {
		r.t.Fatalf("group is %s", s)
	}
	return ids
}
