// SPDX-License-Identifier: Apache-2.0

package api

import (
	"container/list"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
)

// Telemetry takes the metrics that clients push (KIP-714).
// GetTelemetrySubscriptions 0, PushTelemetry 0.
//
// Behaviours:
//   - Both keys are served, and told of in ApiVersions, only where there is a
//     receiver for what is pushed.
//   - A client first asks what is wanted of it. It is given an instance id if it
//     has none, the metrics of all client-metrics resources that match it, the
//     shortest of their intervals, and a subscription id that stands for all
//     that: a push under another id gets UNKNOWN_SUBSCRIPTION_ID, upon which
//     the client asks again.
//   - Whoever comes before its interval is over gets THROTTLING_QUOTA_EXCEEDED,
//     but for the first push after asking, a terminating one, and asking again
//     after an error that tells it to.
//   - A push is compressed as the client likes. It is inflated under
//     telemetry.max.bytes and handed to the receiver as OTLP bytes, unread.
//
// Source: ClientMetricsManager.java, ClientMetricsInstance.java.
//
// Concurrency: mu guards clients and recent, and what is in them; no receiver
// is called under it.
type Telemetry struct {
	// Receiver is given what clients push; nil hides telemetry.
	Receiver TelemetryReceiver
	// Subscriptions returns the present ones. A new value means that clients
	// are to ask again: it must stay the same pointer while nothing changes.
	Subscriptions func() *TelemetrySubscriptions
	// MaxBytes bounds a push, compressed and not (telemetry.max.bytes).
	MaxBytes int
	// NewID makes a random UUID.
	NewID func() [16]byte

	mu      sync.Mutex
	clients map[[16]byte]*telemetryClient
	recent  list.List // of *telemetryClient, the one heard of last in front
}

// TelemetryReceiver is where pushed metrics go. It is called by many
// connections at once. An error makes the client give up pushing.
type TelemetryReceiver interface {
	Receive(p TelemetryPush) error
}

// TelemetryPush is one push. Metrics is an OTLP MetricsData message, which the
// receiver may keep.
type TelemetryPush struct {
	ClientInstance [16]byte
	ClientID       string
	Principal      string
	Address        string
	Software       string
	Version        string
	Terminating    bool
	Metrics        []byte
}

// Bounds of what is remembered of clients, as Kafka's: one that is silent for
// three intervals, and a minute at least, is forgotten.
const (
	maxTelemetryClients = 16384
	telemetryMemory     = time.Minute
	telemetryInterval   = 5 * time.Minute // where no subscription says less
)

// Routes are the rows of the table; none without a receiver.
func (t *Telemetry) Routes() []Route {
	if t.Receiver == nil {
		return nil
	}
	return []Route{
		On(kmsg.GetTelemetrySubscriptions, 0, 0, t.subscriptions),
		On(kmsg.PushTelemetry, 0, 0, t.push),
	}
}

// --- Subscriptions

// TelemetrySubscriptions are all client-metrics resources.
type TelemetrySubscriptions struct {
	all []telemetrySubscription
}

type telemetrySubscription struct {
	metrics  []string
	interval time.Duration
	match    map[string]*regexp.Regexp
}

// NewTelemetrySubscriptions reads resources by name, each a map of the keys
// metrics, interval.ms and match. A resource that cannot be read is left out
// and named in the error.
func NewTelemetrySubscriptions(resources map[string]map[string]string) (*TelemetrySubscriptions, error) {
	s := &TelemetrySubscriptions{}
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		values := resources[name]
		if len(values) == 0 {
			continue
		}
		sub := telemetrySubscription{interval: telemetryInterval, metrics: splitList(values["metrics"])}
		if v, ok := values["interval.ms"]; ok {
			ms, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil || ms <= 0 {
				bad = append(bad, fmt.Sprintf("%s: interval.ms %q", name, v))
				continue
			}
			sub.interval = time.Duration(ms) * time.Millisecond
		}
		var err error
		if sub.match, err = telemetryMatch(splitList(values["match"])); err != nil {
			bad = append(bad, name+": "+err.Error())
			continue
		}
		s.all = append(s.all, sub)
	}
	if bad != nil {
		return s, fmt.Errorf("client metrics: %s", strings.Join(bad, "; "))
	}
	return s, nil
}

func splitList(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// telemetrySelectors are what a client can be matched by.
var telemetrySelectors = []string{
	"client_instance_id", "client_id", "client_software_name",
	"client_software_version", "client_source_address", "client_source_port",
}

// telemetryMatch reads "selector=pattern" entries. A pattern must match the
// whole value.
func telemetryMatch(entries []string) (map[string]*regexp.Regexp, error) {
	match := map[string]*regexp.Regexp{}
	for _, e := range entries {
		name, pattern, ok := strings.Cut(e, "=")
		name = strings.TrimSpace(name)
		if !ok || !slices.Contains(telemetrySelectors, name) {
			return nil, fmt.Errorf("match %q", e)
		}
		re, err := regexp.Compile("^(?:" + strings.TrimSpace(pattern) + ")$")
		if err != nil {
			return nil, fmt.Errorf("match %q: %w", e, err)
		}
		match[name] = re
	}
	return match, nil
}

func (s telemetrySubscription) matches(attributes map[string]string) bool {
	for name, re := range s.match {
		if v, ok := attributes[name]; !ok || !re.MatchString(v) {
			return false
		}
	}
	return true
}

// --- Clients

// telemetryClient is one instance of a client, under one set of subscriptions.
type telemetryClient struct {
	id           [16]byte
	from         *TelemetrySubscriptions
	subscription int32
	metrics      []string
	interval     time.Duration

	asked, pushed time.Time
	heard         time.Time
	terminated    bool
	lastError     error
	at            *list.Element
	stop          func() bool // of the watch over its connection
}

// client returns the instance, made anew where it is not known or where
// subscriptions have changed. Callers hold mu.
func (t *Telemetry) client(ctx context.Context, c *Call, id [16]byte, now time.Time) *telemetryClient {
	t.forget(now)
	subs := t.Subscriptions()
	old := t.clients[id]
	if old != nil && old.from == subs {
		old.heard = now
		t.recent.MoveToFront(old.at)
		return old
	}
	if old != nil {
		t.drop(old)
	}
	cl := &telemetryClient{id: id, from: subs, interval: telemetryInterval, heard: now}
	attributes := telemetryAttributes(c, id)
	wanted := map[string]bool{}
	if subs != nil {
		for _, s := range subs.all {
			if s.matches(attributes) {
				for _, m := range s.metrics {
					wanted[m] = true
				}
				cl.interval = min(cl.interval, s.interval)
			}
		}
	}
	cl.metrics = slices.Sorted(maps.Keys(wanted))
	if wanted["*"] {
		cl.metrics = []string{"*"}
	}
	cl.subscription = subscriptionID(cl)
	if t.clients == nil {
		t.clients = map[[16]byte]*telemetryClient{}
	}
	t.clients[id] = cl
	cl.at = t.recent.PushFront(cl)
	// A client that comes back on a new connection begins anew, without waiting.
	cl.stop = context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.clients[id] == cl {
			t.drop(cl)
		}
	})
	return cl
}

// forget drops clients that have been silent for long, and the most silent one
// where there are too many.
func (t *Telemetry) forget(now time.Time) {
	for e := t.recent.Back(); e != nil; e = t.recent.Back() {
		cl := e.Value.(*telemetryClient)
		if t.recent.Len() < maxTelemetryClients && now.Sub(cl.heard) < max(telemetryMemory, 3*cl.interval) {
			return
		}
		t.drop(cl)
	}
}

func (t *Telemetry) drop(cl *telemetryClient) {
	cl.stop()
	delete(t.clients, cl.id)
	t.recent.Remove(cl.at)
}

func telemetryAttributes(c *Call, id [16]byte) map[string]string {
	a := map[string]string{
		"client_instance_id": base64.RawURLEncoding.EncodeToString(id[:]),
		"client_id":          c.ClientID,
	}
	if sw := c.Software(); sw.Name != "" {
		a["client_software_name"], a["client_software_version"] = sw.Name, sw.Version
	}
	if c.Conn != nil && c.Conn.Remote() != nil {
		if host, port, err := net.SplitHostPort(c.Conn.Remote().String()); err == nil {
			a["client_source_address"], a["client_source_port"] = host, port
		}
	}
	return a
}

// subscriptionID stands for what the client is asked for. It only ever needs to
// differ when that does.
func subscriptionID(cl *telemetryClient) int32 {
	text := strings.Join(cl.metrics, ",") + " " + cl.interval.String()
	sum := crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))
	hi, lo := binary.BigEndian.Uint64(cl.id[:8]), binary.BigEndian.Uint64(cl.id[8:])
	return int32(sum) ^ int32(hi^hi>>32^lo^lo>>32)
}

// --- Handlers

func (t *Telemetry) subscriptions(ctx context.Context, c *Call, req *kmsg.GetTelemetrySubscriptionsRequest) (kmsg.Response, error) {
	id := req.ClientInstanceID
	if id == [16]byte{} {
		id = t.NewID()
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	cl := t.client(ctx, c, id, now)
	last := cl.asked
	if cl.pushed.After(last) {
		last = cl.pushed
	}
	if now.Sub(last) < cl.interval && !errors.Is(cl.lastError, kerr.UnknownSubscriptionID) && !errors.Is(cl.lastError, kerr.UnsupportedCompressionType) {
		return nil, kerr.ThrottlingQuotaExceeded
	}
	if now.Sub(last) >= cl.interval {
		cl.asked = now
	}
	cl.lastError = nil
	resp := kmsg.NewPtrGetTelemetrySubscriptionsResponse()
	resp.ClientInstanceID = id
	resp.SubscriptionID = cl.subscription
	resp.AcceptedCompressionTypes = []int8{int8(batch.Zstd), int8(batch.LZ4), int8(batch.Gzip), int8(batch.Snappy)}
	resp.PushIntervalMillis = int32(cl.interval.Milliseconds())
	resp.TelemetryMaxBytes = int32(t.MaxBytes)
	resp.DeltaTemporality = true
	resp.RequestedMetrics = cl.metrics
	return resp, nil
}

func (t *Telemetry) push(ctx context.Context, c *Call, req *kmsg.PushTelemetryRequest) (kmsg.Response, error) {
	// The ids 0 and 1 mean no topic and the metadata topic, never a client.
	if id := req.ClientInstanceID; id == [16]byte{} || id == [16]byte{15: 1} {
		return nil, kerr.InvalidRequest
	}
	now := time.Now()
	t.mu.Lock()
	cl := t.client(ctx, c, req.ClientInstanceID, now)
	err := t.checkPush(cl, req, now)
	cl.terminated = req.Terminating
	cl.lastError = err
	t.mu.Unlock()
	if err != nil {
		return nil, err
	}
	resp := kmsg.NewPtrPushTelemetryResponse()
	if len(req.Metrics) == 0 {
		return resp, nil
	}
	metrics, err := batch.Decompress(batch.Codec(req.CompressionType), nil, req.Metrics, t.MaxBytes)
	if err == nil {
		p := TelemetryPush{
			ClientInstance: cl.id, ClientID: c.ClientID, Principal: c.Principal(), Address: c.Host(),
			Software: c.Software().Name, Version: c.Software().Version,
			Terminating: req.Terminating, Metrics: metrics,
		}
		err = t.Receiver.Receive(p)
	}
	if err != nil {
		t.mu.Lock()
		cl.lastError = kerr.InvalidRecord
		t.mu.Unlock()
		return nil, kerr.InvalidRecord
	}
	return resp, nil
}

// checkPush says whether the push is in its time and of the right kind.
// Callers hold mu.
func (t *Telemetry) checkPush(cl *telemetryClient, req *kmsg.PushTelemetryRequest, now time.Time) error {
	if cl.terminated {
		return kerr.InvalidRequest
	}
	inTime := cl.asked.After(cl.pushed) || now.Sub(cl.pushed) >= cl.interval
	if inTime {
		cl.pushed = now
	}
	switch {
	case !inTime && !req.Terminating:
		return kerr.ThrottlingQuotaExceeded
	case req.SubscriptionID != cl.subscription:
		return kerr.UnknownSubscriptionID
	case req.CompressionType < 0 || req.CompressionType > int8(batch.Zstd):
		return kerr.UnsupportedCompressionType
	case len(req.Metrics) > t.MaxBytes:
		return kerr.TelemetryTooLarge
	}
	return nil
}
