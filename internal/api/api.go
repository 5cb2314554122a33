// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sort"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// Config is what the table itself needs.
type Config struct {
	// Features are told to clients in ApiVersions; nil: none.
	Features Features
	// Failed is told of handler errors that are no answer of Kafka's: bugs and
	// failing disks. May be nil.
	Failed func(c *Call, err error)
	// Errors counts the errors in answers but those of Produce and Fetch, which
	// count their own. May be nil.
	Errors func(key, code int16, n int)
	// Memory bounds what requests take; nil: one of its own.
	Memory *Memory
	// Inner tells whether nodes talk to each other over a listener: those of
	// brokers and of controllers. nil: over every one.
	Inner func(listener string) bool
}

// API is the table from key to versions and handler, and a wire.Handler.
//
// Concurrency: immutable after New, but for pools and Memory.
type API struct {
	cfg     Config
	routes  [maxKey + 1]*Route
	private [maxPrivate]*Route // by key - FirstPrivate
	schemas [maxKey + 1]*schema
	tally   tally
	replies sync.Pool // of *body
	calls   sync.Pool // of *Call, for handlers that do not keep it
}

// maxKey bounds the table; kmsg knows keys up to kmsg.MaxKey.
const maxKey = 127

// maxPrivate bounds the number of our own keys.
const maxPrivate = 32

// New makes the table of all families' routes. A key given twice, or versions
// outside Kafka 4.2's, is an error.
func New(cfg Config, families ...[]Route) (*API, error) {
	if cfg.Memory == nil {
		cfg.Memory = NewMemory(0)
	}
	a := &API{cfg: cfg}
	a.tally.told = cfg.Errors
	families = append(families, a.versionRoutes())
	for _, family := range families {
		for i := range family {
			r := &family[i]
			if r.Key >= FirstPrivate {
				if err := a.addPrivate(r); err != nil {
					return nil, err
				}
				continue
			}
			req := kmsg.RequestForKey(int16(r.Key))
			if r.Key < 0 || int(r.Key) > maxKey || req == nil {
				return nil, fmt.Errorf("api: key %d is unknown", r.Key)
			}
			if a.routes[r.Key] != nil {
				return nil, fmt.Errorf("api: two handlers for %s", r.Key.Name())
			}
			if l := layouts[r.Key]; r.Min > r.Max || r.Min < l.min || r.Max > l.max || r.Max > req.MaxVersion() {
				return nil, fmt.Errorf("api: %s cannot have versions %d to %d", r.Key.Name(), r.Min, r.Max)
			}
			a.routes[r.Key] = r
			if r.typed != nil {
				s, err := schemaOf(int16(r.Key))
				if err != nil {
					return nil, err
				}
				a.schemas[r.Key] = s
			}
		}
	}
	return a, nil
}

func (a *API) addPrivate(r *Route) error {
	i := r.Key - FirstPrivate
	if i >= maxPrivate {
		return fmt.Errorf("api: private key %d is above %d", r.Key, FirstPrivate+maxPrivate-1)
	}
	if a.private[i] != nil {
		return fmt.Errorf("api: two handlers for private key %d", r.Key)
	}
	a.private[i] = r
	return nil
}

// Range is one row of what is served.
type Range struct {
	Key      kmsg.Key
	Min, Max int16
}

// Served lists keys and versions as ApiVersions tells them, by key.
func (a *API) Served() []Range {
	var out []Range
	for key, r := range a.routes {
		if r != nil {
			out = append(out, Range{kmsg.Key(key), r.AdvertiseMin, r.Max})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out
}

func (a *API) route(key int16) *Route {
	if i := int(key) - int(FirstPrivate); i >= 0 && i < maxPrivate {
		return a.private[i]
	}
	if key < 0 || key > maxKey {
		return nil
	}
	return a.routes[key]
}

// Kind tells wire how to read a request's header; false for what is not
// served. ApiVersions is known in every version, to answer in version 0.
func (a *API) Kind(key, version int16) (wire.Kind, bool) {
	r := a.route(key)
	if r == nil {
		return wire.Kind{}, false
	}
	if r.Key == kmsg.ApiVersions {
		return wire.Kind{FlexibleHeader: version >= 3, Quick: true}, true
	}
	if version < r.Min || version > r.Max {
		return wire.Kind{}, false
	}
	if r.Key >= FirstPrivate {
		return wire.Kind{FlexibleHeader: true, Parks: r.ParksLong, Quick: r.quick}, true
	}
	return wire.Kind{FlexibleHeader: version >= flexibleFrom[key], Parks: r.ParksLong, Quick: r.quick}, true
}

// Serve decodes a request, calls its handler and encodes the response.
func (a *API) Serve(ctx context.Context, q *wire.Request) (wire.Reply, wire.Pending) {
	r := a.route(q.Key)
	if r.Inner && a.cfg.Inner != nil && q.Conn != nil && !a.cfg.Inner(q.Conn.Listener()) {
		return wire.Reply{None: true, Close: true, Why: fmt.Sprintf("api key %d is not served on listener %s", q.Key, q.Conn.Listener())}, nil
	}
	if r.raw != nil {
		c, ok := a.calls.Get().(*Call)
		if !ok {
			c = new(Call)
		}
		*c = callOf(q)
		defer a.calls.Put(c)
		return r.raw(ctx, c, q.Body)
	}
	c := callOf(q)
	return a.serveTyped(ctx, r, &c, q.Body), nil
}

func callOf(q *wire.Request) Call {
	return Call{Key: q.Key, Version: q.Version, Correlation: q.Correlation, ClientID: q.ClientID,
		HasClientID: q.HasClientID, Conn: q.Conn, Received: q.Received}
}

func (a *API) serveTyped(ctx context.Context, r *Route, c *Call, raw []byte) wire.Reply {
	held, err := a.admit(ctx, r, c.Version, raw)
	if err != nil {
		return wire.Reply{None: true, Close: true, Why: err.Error()}
	}
	defer func() { a.cfg.Memory.release(held) }()
	req := kmsg.RequestForKey(c.Key)
	req.SetVersion(c.Version)
	// The copy makes byte fields the handler's own; strings are copied anyway.
	if err := req.ReadFrom(append([]byte(nil), raw...)); err != nil {
		return wire.Reply{None: true, Close: true, Why: fmt.Sprintf("decode %s: %v", r.Key.Name(), err)}
	}
	if r.ParksLong {
		// A parked request holds what it holds, but keeps nobody waiting.
		a.cfg.Memory.release(held)
		held = 0
	}
	resp, err := r.typed(context.WithValue(ctx, callKey{}, c), c, req)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrClose) {
			return wire.Reply{None: true, Close: true, Why: err.Error()}
		}
		if resp = a.errorResponse(c, req, err); resp == nil {
			return wire.Reply{None: true, Close: true, Why: err.Error()}
		}
	}
	reply := a.encode(c, resp)
	// The claim stands for the response too, until it is written.
	reply.Owner.(*body).held, held = held, 0
	return reply
}

// encode makes the reply of a response, in a pooled buffer.
func (a *API) encode(c *Call, resp kmsg.Response) wire.Reply {
	if a.cfg.Errors != nil {
		a.tally.count(c.Key, resp)
	}
	resp.SetVersion(c.Version)
	b := a.body()
	b.b = resp.AppendTo(b.b)
	return wire.Reply{Body: b.b, Flexible: resp.IsFlexible() && c.Key != int16(kmsg.ApiVersions), Owner: b}
}

// errorResponse answers with an error in the response's top-level code; nil
// where there is none.
func (a *API) errorResponse(c *Call, req kmsg.Request, err error) kmsg.Response {
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		if a.cfg.Failed != nil {
			a.cfg.Failed(c, err)
		}
		ke = kerr.UnknownServerError
	}
	resp := req.ResponseKind()
	v := reflect.ValueOf(resp).Elem()
	code := v.FieldByName("ErrorCode")
	if !code.IsValid() || code.Kind() != reflect.Int16 {
		return nil
	}
	code.SetInt(int64(ke.Code))
	if m := v.FieldByName("ErrorMessage"); m.IsValid() && m.Type() == reflect.TypeFor[*string]() {
		text := err.Error()
		m.Set(reflect.ValueOf(&text))
	}
	return resp
}

// body is a pooled response body.
type body struct {
	a    *API
	b    []byte
	held int64 // of Memory
}

// maxPooledBody bounds what a pooled body may hold on to.
const maxPooledBody = 64 << 10

func (a *API) body() *body {
	if b, ok := a.replies.Get().(*body); ok {
		b.b = b.b[:0]
		return b
	}
	return &body{a: a}
}

// Release takes the body back.
func (b *body) Release() {
	b.a.cfg.Memory.release(b.held)
	b.held = 0
	if cap(b.b) <= maxPooledBody {
		b.a.replies.Put(b)
	}
}
