// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// A frame of anything parses to a header and a body that lie within it, or to
// an error.
func FuzzHeader(f *testing.F) {
	f.Add(frame(0, 0, 1, []byte("body"))[4:])
	f.Add(frame(3, 9, 1, []byte("body"))[4:])
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 1, 5, 2, 'x', 'y', 'z'})
	f.Add([]byte{0, 18, 0, 3, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, body, err := parseHeader(b, testKind)
		if err != nil {
			if body != nil {
				t.Fatal("an error with a body")
			}
			return
		}
		if !bytes.HasSuffix(b, body) || len(h.clientID)+len(body)+10 > len(b) {
			t.Fatalf("client id of %d bytes and body of %d in a frame of %d", len(h.clientID), len(body), len(b))
		}
	})
}

// A stream of anything is cut into frames and answered or refused; it neither
// hangs nor panics, and a request before the garbage is answered. cut is where
// the stream is torn into two writes.
func FuzzStream(f *testing.F) {
	good := frame(0, 0, 5, []byte("hello"))
	f.Add(good, uint16(3))
	f.Add(append(append([]byte(nil), good...), good...), uint16(20))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(0))
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 0}, uint16(8))
	f.Add(frame(4, 1, 5, make([]byte, 3000)), uint16(600))
	s := NewServer(Config{Handler: newEcho(), Kind: func(key, version int16) (Kind, bool) {
		return Kind{FlexibleHeader: version > 0, Parks: key == 5}, key == 0 || key == 4 || key == 5
	}, MaxRequestBytes: 1 << 20})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	go func() { _ = s.Serve(l, "PLAINTEXT") }()
	f.Cleanup(func() { _ = s.Close(f.Context()) })
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		n := min(int(cut), len(b))
		go func() {
			_, _ = c.Write(good)
			_, _ = c.Write(b[:n])
			_, _ = c.Write(b[n:])
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		// A client that closes while answers are due may see a reset.
		got, _ := io.ReadAll(c)
		if len(got) >= 13 && binary.BigEndian.Uint32(got[4:]) != 5 {
			t.Fatalf("first answer %x", got[:13])
		}
	})
}
