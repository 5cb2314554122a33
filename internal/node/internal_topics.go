// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/api"
	"gregor/internal/config"
	"gregor/internal/meta"
)

// creator makes topics that clients use before anybody created them: the
// brokers' own with their settings, others with the broker's defaults.
// Source: DefaultAutoTopicCreationManager.
type creator struct {
	live       *config.Live
	controller api.Controller
	image      *atomic.Pointer[meta.Image]
	log        *slog.Logger

	// background creations: begin under mu, waited for by close.
	mu      sync.Mutex
	pending map[string]bool
	told    map[string]string // the last reason why not, that was logged
	closed  bool
	wg      sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
}

var (
	_ api.Creator      = (*creator)(nil)
	_ api.GroupCluster = (*creator)(nil)
	_ api.GroupTopics  = (*creator)(nil)
)

func newCreator(live *config.Live, c api.Controller, image *atomic.Pointer[meta.Image], log *slog.Logger) *creator {
	ctx, cancel := context.WithCancel(context.Background())
	return &creator{live: live, controller: c, image: image, log: log, pending: map[string]bool{}, told: map[string]string{},
		ctx: ctx, cancel: cancel}
}

func (c *creator) Allowed() bool { return c.live.Broker().Creation.Auto }

// spec is what to ask the controller for.
func (c *creator) spec(name string) kmsg.CreateTopicsRequestTopic {
	b := c.live.Broker()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, b.Creation.NumPartitions, b.Creation.ReplicationFactor
	if name == config.OffsetsTopic {
		// Source: GroupCoordinatorService.groupMetadataTopicConfigs.
		t.NumPartitions, t.ReplicationFactor = b.Offsets.TopicPartitions, b.Offsets.TopicReplication
		t.Configs = settings([][2]string{
			{"cleanup.policy", "compact"}, {"compression.type", "producer"},
			{"segment.bytes", strconv.Itoa(int(b.Offsets.TopicSegmentBytes))},
		})
	}
	if name == config.TxnTopic {
		// Source: TransactionStateManager.transactionTopicConfigs.
		t.NumPartitions, t.ReplicationFactor = b.Txn.TopicPartitions, b.Txn.TopicReplication
		t.Configs = settings([][2]string{
			{"unclean.leader.election.enable", "false"}, {"compression.type", "uncompressed"}, {"cleanup.policy", "compact"},
			{minISR, strconv.Itoa(b.Txn.TopicMinISR)},
			{"segment.bytes", strconv.Itoa(int(b.Txn.TopicSegmentBytes))},
		})
	}
	return t
}

func settings(pairs [][2]string) []kmsg.CreateTopicsRequestTopicConfig {
	var out []kmsg.CreateTopicsRequestTopicConfig
	for i := range pairs {
		s := kmsg.NewCreateTopicsRequestTopicConfig()
		s.Name, s.Value = pairs[i][0], &pairs[i][1]
		out = append(out, s)
	}
	return out
}

func (c *creator) Create(ctx context.Context, names []string) map[string]error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, int32(c.live.Broker().RequestTimeout/time.Millisecond)
	for _, name := range names {
		req.Topics = append(req.Topics, c.spec(name))
	}
	failed := map[string]error{}
	resp, err := c.controller.Do(ctx, req)
	created, ok := resp.(*kmsg.CreateTopicsResponse)
	if err == nil && !ok {
		err = fmt.Errorf("create topics: answer %T", resp)
	}
	if err != nil {
		for _, name := range names {
			failed[name] = err
		}
		return failed
	}
	for _, t := range created.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			if t.ErrorMessage != nil {
				err = fmt.Errorf("%w (%s)", err, *t.ErrorMessage)
			}
			failed[t.Topic] = err
		}
	}
	return failed
}

// InternalPartitions and the methods below meet api.GroupCluster.
func (c *creator) InternalPartitions(topic string) int32 {
	if t := c.image.Load().Topic(topic); t != nil {
		return int32(t.Len())
	}
	return 0
}

func (c *creator) CreateInternal(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.pending[topic] {
		return
	}
	c.pending[topic] = true
	c.wg.Go(func() {
		defer func() {
			c.mu.Lock()
			delete(c.pending, topic)
			c.mu.Unlock()
		}()
		ctx, cancel := context.WithTimeout(c.ctx, c.live.Broker().RequestTimeout)
		defer cancel()
		// Who asked tries again until the topic is there, and sees
		// COORDINATOR_NOT_AVAILABLE meanwhile; why it is not there, only the
		// operator can be told.
		c.tell(topic, c.Create(ctx, []string{topic})[topic])
	})
}

// tell logs why an internal topic could not be made, each reason once in a row.
func (c *creator) tell(topic string, err error) {
	if errors.Is(err, kerr.TopicAlreadyExists) || c.ctx.Err() != nil {
		err = nil
	}
	why := ""
	if err != nil {
		why = err.Error()
	}
	c.mu.Lock()
	before := c.told[topic]
	c.told[topic] = why
	c.mu.Unlock()
	if why != "" && why != before {
		c.log.Warn("an internal topic cannot be created: clients that need it wait", "topic", topic,
			"replicas", c.spec(topic).ReplicationFactor, "error", why)
	}
}

func (c *creator) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

func (c *creator) Coordinator(topic string, index int32, listener string) (node int32, host string, port int32, ok bool) {
	img := c.image.Load()
	p := img.Partition(topic, index)
	if p == nil {
		return 0, "", 0, false
	}
	b := img.Broker(p.Leader)
	if b == nil || !b.Active() {
		return 0, "", 0, false
	}
	e, ok := b.Endpoint(listener)
	return b.ID, e.Host, int32(e.Port), ok
}

func (c *creator) Leads(topic string, index int32) (int32, bool) {
	p := c.image.Load().Partition(topic, index)
	if p == nil || p.Leader < 0 {
		return 0, false
	}
	return p.Leader, true
}

// HasPartition and the methods below meet api.GroupTopics.
func (c *creator) HasPartition(topic string, index int32) bool {
	return c.image.Load().Partition(topic, index) != nil
}

func (c *creator) NameOf(id [16]byte) string {
	if t := c.image.Load().TopicByID(id); t != nil {
		return t.Name
	}
	return ""
}

func (c *creator) IDOf(topic string) [16]byte {
	if t := c.image.Load().Topic(topic); t != nil {
		return t.ID
	}
	return [16]byte{}
}
