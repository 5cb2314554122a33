// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta/plan"
)

// LeaveSeatsKey is the private key of LeaveSeatsRequest.
const LeaveSeatsKey int16 = 32006

// LeaveSeatsRequest gives up seats in in-sync sets. Kafka has no such request.
//
//	+----------------+--------------+-------------+--------------------------------------------------+
//	| broker varint  | epoch varint | count uvar. | each: topic 16 | partition uvarint | epoch varint |
//	+----------------+--------------+-------------+--------------------------------------------------+
type LeaveSeatsRequest struct {
	unversioned
	Broker      int32
	BrokerEpoch int64
	Asked       []plan.SeatLoss
}

// LeaveSeatsResponse is empty: the metadata tells.
type LeaveSeatsResponse struct{ unversioned }

func (r *LeaveSeatsRequest) Key() int16                  { return LeaveSeatsKey }
func (r *LeaveSeatsRequest) ResponseKind() kmsg.Response { return &LeaveSeatsResponse{} }

func (r *LeaveSeatsRequest) AppendTo(b []byte) []byte {
	b = binary.AppendVarint(b, int64(r.Broker))
	b = binary.AppendVarint(b, r.BrokerEpoch)
	b = binary.AppendUvarint(b, uint64(len(r.Asked)))
	for _, a := range r.Asked {
		b = append(b, a.Topic[:]...)
		b = binary.AppendUvarint(b, uint64(a.Partition))
		b = binary.AppendVarint(b, int64(a.LeaderEpoch))
	}
	return b
}

func (r *LeaveSeatsRequest) ReadFrom(b []byte) error {
	in := reader{b: b}
	r.Broker, r.BrokerEpoch = int32(in.varint()), in.varint()
	n := in.uvarint()
	if n > uint64(len(b))/18 {
		return errMessage
	}
	r.Asked = make([]plan.SeatLoss, 0, n)
	for range n {
		r.Asked = append(r.Asked, plan.SeatLoss{Topic: in.uuid(), Partition: in.int32(), LeaderEpoch: int32(in.varint())})
	}
	return in.end()
}

func (r *LeaveSeatsResponse) Key() int16                { return LeaveSeatsKey }
func (r *LeaveSeatsResponse) AppendTo(b []byte) []byte  { return b }
func (r *LeaveSeatsResponse) ReadFrom([]byte) error     { return nil }
func (r *LeaveSeatsResponse) RequestKind() kmsg.Request { return &LeaveSeatsRequest{} }

// LeaveSeats gives up seats of replicas that must not be counted on. What the
// controller leaves as it is, the metadata does not show.
func (u *Uplink) LeaveSeats(ctx context.Context, asked []plan.SeatLoss) error {
	_, err := u.ask(ctx, u.isr, &LeaveSeatsRequest{Broker: u.cfg.Node, BrokerEpoch: u.epoch.Load(), Asked: asked})
	return err
}
