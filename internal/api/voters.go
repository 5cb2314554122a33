// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Voters changes who votes on metadata.
//
//	AddRaftVoter 80     0 to 1: 1 ack when committed (KIP-1186)
//	RemoveRaftVoter 81  0 (KIP-853)
//	UpdateRaftVoter 82  0 (KIP-853), among controllers
//
// Any node may be asked; the request is carried out by the controller that
// leads.
type Voters struct {
	Quorum VoterChanges
}

// VoterChanges carries a request out at the controller that leads. Errors are
// kerr's.
type VoterChanges interface {
	ChangeVoters(ctx context.Context, req kmsg.Request) error
}

// Routes are the family's rows.
func (f *Voters) Routes() []Route {
	return []Route{
		On(kmsg.AddRaftVoter, 0, 1, f.add).Parks(),
		On(kmsg.RemoveRaftVoter, 0, 0, f.remove).Parks(),
		On(kmsg.UpdateRaftVoter, 0, 0, f.update).Parks().Among(),
	}
}

func (f *Voters) add(ctx context.Context, _ *Call, req *kmsg.AddRaftVoterRequest) (kmsg.Response, error) {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrAddRaftVoterResponse()
	if err := f.Quorum.ChangeVoters(ctx, req); err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeAndText(err)
	}
	return resp, nil
}

func (f *Voters) remove(ctx context.Context, _ *Call, req *kmsg.RemoveRaftVoterRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrRemoveRaftVoterResponse()
	if err := f.Quorum.ChangeVoters(ctx, req); err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeAndText(err)
	}
	return resp, nil
}

func (f *Voters) update(ctx context.Context, _ *Call, req *kmsg.UpdateRaftVoterRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrUpdateRaftVoterResponse()
	if err := f.Quorum.ChangeVoters(ctx, req); err != nil {
		resp.ErrorCode, _ = codeAndText(err)
	}
	return resp, nil
}
