// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/wire"
)

// Call is one request on its way through the table, for handlers: who asks,
// over which listener, in which version.
type Call struct {
	Key, Version int16
	Correlation  int32
	ClientID     string // "" when null
	HasClientID  bool
	Conn         *wire.Conn
	Received     time.Time
}

// Principal is who asks, in Kafka's words.
func (c *Call) Principal() string { return "User:ANONYMOUS" }

// Listener is the name of the listener that the request came in by, which
// decides the addresses that the client is told.
func (c *Call) Listener() string {
	if c.Conn == nil {
		return ""
	}
	return c.Conn.Listener()
}

// Host is the client's address without port, as Kafka prints it in group
// descriptions ("/127.0.0.1").
func (c *Call) Host() string {
	if c.Conn == nil || c.Conn.Remote() == nil {
		return "/"
	}
	host, _, err := net.SplitHostPort(c.Conn.Remote().String())
	if err != nil {
		host = c.Conn.Remote().String()
	}
	return "/" + host
}

// Software is what the client said of itself in ApiVersions.
func (c *Call) Software() wire.Software {
	if c.Conn == nil {
		return wire.Software{}
	}
	return c.Conn.Software()
}

// ErrClose, returned (or wrapped) by a handler, closes the connection without
// an answer.
var ErrClose = errors.New("api: close the connection")

// Route is one row of the table: an API key, the versions served and the
// handler. Families return their rows from a method Routes() []Route, and node
// gives them all to New:
//
//	func (t *Topics) Routes() []Route {
//		return []Route{
//			On(kmsg.CreateTopics, 2, 7, t.create),
//			On(kmsg.DeleteTopics, 1, 6, t.delete),
//		}
//	}
//
//	func (t *Topics) create(ctx context.Context, c *Call, req *kmsg.CreateTopicsRequest) (kmsg.Response, error)
//
// A handler may block (ctx ends with the connection); say so with Parks where
// the wait may be long. It returns the response, or an error: a *kerr.Error
// (also wrapped) becomes the response's top-level error code; any other error
// is a bug or a failing disk and becomes UNKNOWN_SERVER_ERROR. A response
// without a top-level code cannot carry an error, so the connection is closed
// then, as it is on ErrClose: such a handler sets the code of each element.
// The response's version is set by the table. Strings and byte slices of the
// request are the handler's to keep.
type Route struct {
	Key      kmsg.Key
	Min, Max int16
	// AdvertiseMin differs from Min for Produce only (KAFKA-18659).
	AdvertiseMin int16
	// ParksLong: serving may wait for long; see Parks.
	ParksLong bool
	// quick: serving waits for nothing, or by a wire.Pending; see wire.Kind.
	quick bool
	// Inner: served only where nodes talk to each other, see Config.Inner.
	Inner bool
	// A raw handler decodes by itself, and keeps neither call nor body; a typed
	// one gets a kmsg request.
	raw   func(ctx context.Context, c *Call, body []byte) (wire.Reply, wire.Pending)
	typed func(ctx context.Context, c *Call, req kmsg.Request) (kmsg.Response, error)
}

// On makes a row for versions from to to, both served.
func On[R kmsg.Request](key kmsg.Key, from, to int16, h func(ctx context.Context, c *Call, req R) (kmsg.Response, error)) Route {
	return Route{Key: key, Min: from, Max: to, AdvertiseMin: from,
		typed: func(ctx context.Context, c *Call, req kmsg.Request) (kmsg.Response, error) {
			return h(ctx, c, req.(R))
		}}
}

// FirstPrivate is the first key that is ours and not Kafka's: nodes of Gregor
// use them among themselves.
const FirstPrivate kmsg.Key = 32000

// Private makes a row for a key of our own, in version 0 with flexible headers.
// ApiVersions does not list it, and only nodes may ask (Inner). The body is
// borrowed, and checked by the handler before it allocates.
func Private(key kmsg.Key, h func(ctx context.Context, c *Call, body []byte) (wire.Reply, wire.Pending)) Route {
	return Route{Key: key, Inner: true, raw: h}
}

// Among marks a row that only nodes may ask (AlterPartition, BrokerHeartbeat).
func (r Route) Among() Route { r.Inner = true; return r }

// Parks marks a row whose handler may wait for long (JoinGroup, SyncGroup).
func (r Route) Parks() Route { r.ParksLong = true; return r }

// once tells what a request asks for for the first time. What can be large is
// told once, however often it is asked for: else a short request could ask for
// an answer of gigabytes.
type once[K comparable] map[K]struct{}

func (o once[K]) first(k K) bool {
	if _, again := o[k]; again {
		return false
	}
	o[k] = struct{}{}
	return true
}
