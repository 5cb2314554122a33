// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateTopics (key 19), DeleteTopics (20) and CreatePartitions (37): what
// they mean is decided by the controller (meta/plan); here they are sent there
// and waited for, up to the request's own time-out.
//
// CreateTopics, versions 2 to 7:
//
//	4  -1 partitions and replicas mean the broker's defaults (KIP-464)
//	5  the answer holds settings and counts (KIP-525); flexible
//	6  THROTTLING_QUOTA_EXCEEDED may come (KIP-599)
//	7  topic ids (KIP-516)
//
// DeleteTopics, versions 1 to 6:
//
//	3  TOPIC_DELETION_DISABLED (KIP-322)
//	4  flexible; 5 error messages; 6 by id (KIP-516)
//
// CreatePartitions, versions 0 to 3: 2 flexible, 3 throttling (KIP-599).
type Topics struct {
	Controller Controller
	// DeleteEnabled is delete.topic.enable.
	DeleteEnabled func() bool
}

// Routes are the family's rows.
func (t *Topics) Routes() []Route {
	return []Route{
		On(kmsg.CreateTopics, 2, 7, t.create),
		On(kmsg.DeleteTopics, 1, 6, t.delete),
		On(kmsg.CreatePartitions, 0, 3, t.grow),
	}
}

// within bounds ctx by a request's time-out; Kafka lets 0 and less mean "do
// not wait", where we still give the controller a moment.
func within(ctx context.Context, ms int32) (context.Context, context.CancelFunc) {
	d := time.Duration(ms) * time.Millisecond
	return context.WithTimeout(ctx, max(d, time.Second))
}

func (t *Topics) create(ctx context.Context, _ *Call, req *kmsg.CreateTopicsRequest) (kmsg.Response, error) {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp, err := t.Controller.Do(ctx, req)
	if err == nil {
		return resp, nil
	}
	out := kmsg.NewPtrCreateTopicsResponse()
	for _, q := range req.Topics {
		r := kmsg.NewCreateTopicsResponseTopic()
		r.Topic = q.Topic
		r.ErrorCode, r.ErrorMessage = codeAndText(err)
		out.Topics = append(out.Topics, r)
	}
	return out, nil
}

func (t *Topics) delete(ctx context.Context, c *Call, req *kmsg.DeleteTopicsRequest) (kmsg.Response, error) {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	var resp kmsg.Response
	err := error(kerr.TopicDeletionDisabled)
	if t.DeleteEnabled() {
		resp, err = t.Controller.Do(ctx, req)
	} else if c.Version < 3 {
		err = kerr.InvalidRequest
	}
	if err == nil {
		return resp, nil
	}
	out := kmsg.NewPtrDeleteTopicsResponse()
	refuse := func(name *string, id [16]byte) {
		r := kmsg.NewDeleteTopicsResponseTopic()
		r.Topic, r.TopicID = name, id
		r.ErrorCode, r.ErrorMessage = codeAndText(err)
		out.Topics = append(out.Topics, r)
	}
	for i := range req.TopicNames {
		refuse(&req.TopicNames[i], [16]byte{})
	}
	for _, q := range req.Topics {
		refuse(q.Topic, q.TopicID)
	}
	return out, nil
}

func (t *Topics) grow(ctx context.Context, _ *Call, req *kmsg.CreatePartitionsRequest) (kmsg.Response, error) {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp, err := t.Controller.Do(ctx, req)
	if err == nil {
		return resp, nil
	}
	out := kmsg.NewPtrCreatePartitionsResponse()
	for _, q := range req.Topics {
		r := kmsg.NewCreatePartitionsResponseTopic()
		r.Topic = q.Topic
		r.ErrorCode, r.ErrorMessage = codeAndText(err)
		out.Topics = append(out.Topics, r)
	}
	return out, nil
}
