// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net"
	"strings"
	"testing"
)

// TestFilesOfTheServer: the limit that counts is the server's, not the shell's.
func TestFilesOfTheServer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ page, state, found string }{
		{"HTTP/1.0 200 OK\r\n\r\nprocess_max_fds 1024\nprocess_open_fds 12\n", warning, "1024 files may be open in the server"},
		{"HTTP/1.0 200 OK\r\n\r\nprocess_max_fds 100000\nprocess_open_fds 12\n", sound, "12 are"},
		{"HTTP/1.0 200 OK\r\n\r\nprocess_max_fds 1e+05\nprocess_open_fds 99000\n", problem, "99000 are"},
		{"SSH-2.0\r\n", "", "in this shell"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if conn, err := l.Accept(); err == nil {
				_, _ = conn.Read(make([]byte, 1000))
				_, _ = conn.Write([]byte(c.page))
				_ = conn.Close()
			}
		}()
		f := filesOf(t.Context(), l.Addr().String())
		if c.state != "" && f.State != c.state || !strings.Contains(f.Found, c.found) {
			t.Errorf("%q: %+v", c.page, f)
		}
		_ = l.Close()
	}
}
