// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ElectLeaders: 0-2
//
// Behaviours:
//   - Topics null: every partition, and those that need no election are left
//     out. Named ones answer ELECTION_NOT_NEEDED, which is no failure.
//
// Versions:
//
//	0: KIP-183, preferred elections
//	1: election type (KIP-460), top-level error code
//	2: flexible

// ListPartitionReassignments: 0
//
// Behaviours:
//   - Topics null: all that are being moved (KIP-455). What is not being moved
//     is left out of the answer, also when it was asked for. The controller
//     answers: it is the first to know.

// AlterPartitionReassignments: 0-1
//
// Behaviours:
//   - Replicas null cancels; NO_REASSIGNMENT_IN_PROGRESS where none is.
//   - A target that only reorders or takes away is reached at once, any other
//     when all its replicas are in the ISR.
//   - Empty, unregistered or repeated brokers: INVALID_REPLICA_ASSIGNMENT.
//
// Versions:
//
//	0: KIP-455
//	1: the replication factor may be kept from changing (KIP-860)

// Elections answers who leads, and where replicas shall be.
type Elections struct {
	Controller Controller
}

// Routes are the family's rows of the table.
func (e *Elections) Routes() []Route {
	return []Route{
		On(kmsg.ElectLeaders, 0, 2, e.elect),
		On(kmsg.AlterPartitionAssignments, 0, 1, e.assign),
		On(kmsg.ListPartitionReassignments, 0, 0, e.list),
	}
}

func (e *Elections) elect(ctx context.Context, c *Call, req *kmsg.ElectLeadersRequest) (kmsg.Response, error) {
	if c.Version == 0 {
		req.ElectionType = 0
	}
	resp, err := ask[*kmsg.ElectLeadersResponse](ctx, e.Controller, req)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (e *Elections) list(ctx context.Context, _ *Call, req *kmsg.ListPartitionReassignmentsRequest) (kmsg.Response, error) {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp, err := ask[*kmsg.ListPartitionReassignmentsResponse](ctx, e.Controller, req)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (e *Elections) assign(ctx context.Context, _ *Call, req *kmsg.AlterPartitionAssignmentsRequest) (kmsg.Response, error) {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp, err := ask[*kmsg.AlterPartitionAssignmentsResponse](ctx, e.Controller, req)
	if err != nil {
		return nil, err
	}
	return resp, nil
}
