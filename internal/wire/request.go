// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"io"
	"time"
)

// Request is one request frame, parsed up to and with its header.
//
// Body is borrowed: it is valid until Serve returns, and so is the Request
// itself. A Pending that needs any of it later keeps a copy of its own.
type Request struct {
	Key, Version int16
	Correlation  int32
	ClientID     string // "" when null
	HasClientID  bool
	Body         []byte // what follows the header
	Size         int    // of the whole frame, without its length field
	Conn         *Conn
	Received     time.Time // when the frame was complete
}

// Handler serves requests. Serve is called on the connection's reader
// goroutine, one request of a connection at a time; it may block, and then
// nothing more is read from this connection, as with Kafka's muted channel.
// ctx ends when the connection or the server is closed for good.
//
// When Pending is nil the Reply is the answer. Otherwise the Reply is ignored.
type Handler interface {
	Serve(ctx context.Context, r *Request) (Reply, Pending)
}

// Reply is an answer, without frame and header, which wire adds. It must not
// alias the request's Body.
type Reply struct {
	// Body follows the response header; Parts follow Body, in order.
	Body  []byte
	Parts []Part
	// Flexible asks for response header v1 (with a tag section).
	Flexible bool
	// None: no answer is sent (Produce with acks=0).
	None bool
	// Close closes the connection, after earlier replies and, unless None is
	// set, this one are written. Why is for the log.
	Close bool
	Why   string
	// Owner is released when Body and Parts are no longer needed; may be nil.
	Owner Releaser
}

// Releaser takes memory and files back.
type Releaser interface{ Release() }

// Part is a piece of a reply: Bytes, or N bytes of File from Off.
type Part struct {
	Bytes []byte
	File  File
	Off   int64
	N     int
}

// File is a file to send from. SysFd gives a descriptor for sendfile, or false
// where there is none (in memory); it must stay open until the reply's Owner
// is released.
type File interface {
	io.ReaderAt
	SysFd() (fd uintptr, ok bool)
}

// Pending is an answer that is not there yet.
type Pending interface {
	// Done is closed when Reply may be called. The Pending keeps its own
	// deadline.
	Done() <-chan struct{}
	// Reply gives the answer; called once, after Done, unless Cancel was.
	Reply() Reply
	// ReadOn lets the connection read on while this waits. Only Produce with
	// acks=all may say so; replies stay in the order of their requests.
	ReadOn() bool
	// Cancel: the connection has died and nobody will ask for the Reply.
	Cancel()
}

// Kind says how wire treats requests of one key and version.
type Kind struct {
	// FlexibleHeader: request header v2 (with a tag section).
	FlexibleHeader bool
	// Parks: serving may wait for long (a join, a long poll), so the request
	// is moved to a buffer of its size first.
	Parks bool
	// Quick: serving waits for nothing, or by a Pending. Answers of pipelined
	// requests are written together; before one that is not quick they go out.
	Quick bool
}

// Software is what a client said of itself (KIP-511).
type Software struct{ Name, Version string }
