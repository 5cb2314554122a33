// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// Brokers is what brokers ask the active controller, on listeners of their own:
//
//	AlterPartition (56, 2 to 3)            2 topic ids (KIP-841); 3 broker epochs of
//	                                       the ISR's members (KIP-903)
//	Envelope (58, 0)                       a client's request with its caller (KIP-590)
//	BrokerRegistration (62, 0 to 4)        1 migration (unused), 2 log directories
//	                                       (KIP-858), 3 previous broker epoch (KIP-966),
//	                                       4 features from level 0 on
//	BrokerHeartbeat (63, 0 to 1)           1 offline log directories
//	AllocateProducerIds (67, 0)
//	ControllerRegistration (70, 0)         KIP-919
//	AssignReplicasToDirs (73, 0)           KIP-858
//	32005                                  our own: any of these, a request for leader
//	                                       epochs (32003), and clients' requests
//
// Gregor's brokers use 32005 for all of them, because its answer tells the
// version of the metadata that holds what was changed.
type Brokers struct{ Desk Desk }

// Desk is where the active controller is asked, if it is this node: otherwise
// the answer is NOT_CONTROLLER. uplink.Desk meets it through node.
type Desk interface {
	// Serve answers a request of Kafka's protocol.
	Serve(ctx context.Context, c *Call, req kmsg.Request) (kmsg.Response, error)
	// Forward answers a forwarded request; body is borrowed. life ends with the
	// connection.
	Forward(life context.Context, c *Call, body []byte) []byte
	// Envelope answers a request in an envelope.
	Envelope(life context.Context, c *Call, req *kmsg.EnvelopeRequest) (*kmsg.EnvelopeResponse, error)
}

// keyForward is uplink.ForwardKey.
const keyForward = FirstPrivate + 5

// Routes are the family's rows.
func (f *Brokers) Routes() []Route {
	return []Route{
		On(kmsg.AlterPartition, 2, 3, f.serve).Among(),
		On(kmsg.Envelope, 0, 0, func(ctx context.Context, c *Call, r *kmsg.EnvelopeRequest) (kmsg.Response, error) {
			return f.Desk.Envelope(ctx, c, r)
		}).Among(),
		On(kmsg.BrokerRegistration, 0, 4, f.serve).Among(),
		On(kmsg.BrokerHeartbeat, 0, 1, f.serve).Among(),
		On(kmsg.AllocateProducerIDs, 0, 0, f.serve).Among(),
		On(kmsg.ControllerRegistration, 0, 0, f.serve).Among(),
		On(kmsg.AssignReplicasToDirs, 0, 0, f.serve).Among(),
		Private(keyForward, f.forward),
	}
}

// serve gives a request of Kafka's protocol to the Desk.
func (f *Brokers) serve(ctx context.Context, c *Call, r kmsg.Request) (kmsg.Response, error) {
	return f.Desk.Serve(ctx, c, r)
}

func (f *Brokers) forward(ctx context.Context, c *Call, body []byte) (wire.Reply, wire.Pending) {
	return wire.Reply{Body: f.Desk.Forward(ctx, c, body), Flexible: true}, nil
}

// callKey is where a request's context holds its Call.
type callKey struct{}

// CallerOf tells on whose behalf a handler's context is.
func CallerOf(ctx context.Context) (principal, host string) {
	if c, ok := ctx.Value(callKey{}).(*Call); ok {
		return c.Principal(), c.Host()
	}
	return "", ""
}
