// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta/plan"
)

// What a broker asks for its replicas, which Kafka has no request for: new
// leader epochs of partitions that lost the end of their log, and to give up
// seats in in-sync sets. The answers are empty: the metadata tells.
const (
	RaiseEpochsKey int16 = 32003
	LeaveSeatsKey  int16 = 32006
)

// RaiseEpochsRequest and LeaveSeatsRequest have the same body.
type (
	RaiseEpochsRequest struct{ seats }
	LeaveSeatsRequest  struct{ seats }

	RaiseEpochsResponse struct{ empty }
	LeaveSeatsResponse  struct{ empty }
)

func (*RaiseEpochsRequest) Key() int16                  { return RaiseEpochsKey }
func (*RaiseEpochsRequest) ResponseKind() kmsg.Response { return &RaiseEpochsResponse{} }
func (*RaiseEpochsResponse) Key() int16                 { return RaiseEpochsKey }
func (*RaiseEpochsResponse) RequestKind() kmsg.Request  { return &RaiseEpochsRequest{} }
func (*LeaveSeatsRequest) Key() int16                   { return LeaveSeatsKey }
func (*LeaveSeatsRequest) ResponseKind() kmsg.Response  { return &LeaveSeatsResponse{} }
func (*LeaveSeatsResponse) Key() int16                  { return LeaveSeatsKey }
func (*LeaveSeatsResponse) RequestKind() kmsg.Request   { return &LeaveSeatsRequest{} }

// empty is an answer that says nothing.
type empty struct{ unversioned }

func (empty) AppendTo(b []byte) []byte { return b }
func (empty) ReadFrom([]byte) error    { return nil }

// seats is a broker's list of partitions.
//
//	+----------------+--------------+-------------+--------------------------------------------------+
//	| broker varint  | epoch varint | count uvar. | each: topic 16 | partition uvarint | epoch varint |
//	+----------------+--------------+-------------+--------------------------------------------------+
type seats struct {
	unversioned
	Broker      int32
	BrokerEpoch int64
	Asked       []plan.InEpoch
}

func (u *Uplink) seats(asked []plan.InEpoch) seats {
	return seats{Broker: u.cfg.Node, BrokerEpoch: u.epoch.Load(), Asked: asked}
}

func (s *seats) AppendTo(b []byte) []byte {
	b = binary.AppendVarint(b, int64(s.Broker))
	b = binary.AppendVarint(b, s.BrokerEpoch)
	b = binary.AppendUvarint(b, uint64(len(s.Asked)))
	for _, a := range s.Asked {
		b = append(b, a.Topic[:]...)
		b = binary.AppendUvarint(b, uint64(a.Partition))
		b = binary.AppendVarint(b, int64(a.Epoch))
	}
	return b
}

func (s *seats) ReadFrom(b []byte) error {
	in := reader{b: b}
	s.Broker, s.BrokerEpoch = int32(in.varint()), in.varint()
	n := in.uvarint()
	if n > uint64(len(b))/18 {
		return errMessage
	}
	s.Asked = make([]plan.InEpoch, 0, n)
	for range n {
		s.Asked = append(s.Asked, plan.InEpoch{Topic: in.uuid(), Partition: in.int32(), Epoch: int32(in.varint())})
	}
	return in.end()
}

// LeaveSeats gives up seats of replicas that must not be counted on: a log is
// damaged, or a disk does not answer. What the controller leaves as it is, the
// metadata does not show.
func (u *Uplink) LeaveSeats(ctx context.Context, asked []plan.InEpoch) error {
	_, err := u.ask(ctx, u.isr, &LeaveSeatsRequest{seats: u.seats(asked)})
	return err
}
