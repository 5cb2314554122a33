// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// Images gives the metadata that this node has published.
type Images interface{ Image() *meta.Image }

// Controller carries a request to the active controller, here or elsewhere,
// and gives its answer once what it changed is committed and published on this
// node. Errors are kerr's: NOT_CONTROLLER and REQUEST_TIMED_OUT among them.
// uplink.Uplink meets it.
type Controller interface {
	Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
}

// ask is Do with the type of the answer.
func ask[R kmsg.Response](ctx context.Context, c Controller, req kmsg.Request) (resp R, err error) {
	r, err := c.Do(ctx, req)
	if err != nil {
		return resp, err
	}
	resp, ok := r.(R)
	if !ok {
		return resp, fmt.Errorf("the controller answered %T with %T", req, r)
	}
	return resp, nil
}

// Operations that Kafka's resources know, as the bits of "authorized
// operations" (AclOperation.java, AclEntry.supportedOperations). Without an
// authorizer everybody may do all of them.
const (
	opsNotAsked = -1 << 31
	topicOps    = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOps  = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

func opsIf(asked bool, ops int32) int32 {
	if asked {
		return ops
	}
	return opsNotAsked
}

// codeAndText splits an error for an answer. What is none of Kafka's errors
// becomes UNKNOWN_SERVER_ERROR.
func codeAndText(err error) (int16, *string) {
	if err == nil {
		return 0, nil
	}
	text := err.Error()
	var k *kerr.Error
	switch {
	case errors.As(err, &k):
		return k.Code, &text
	case errors.Is(err, context.DeadlineExceeded):
		return kerr.RequestTimedOut.Code, &text
	}
	return kerr.UnknownServerError.Code, &text
}
