// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
)

// TestRefused: only a refusal is one, and one address of a name does not speak
// for the others.
func TestRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	var d net.Dialer
	tcp := func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	if got := knockBy(t.Context(), tcp, addr); got != answers {
		t.Errorf("who listens: %v", got)
	}
	_ = l.Close()
	if got := knockBy(t.Context(), tcp, addr); got != refuses {
		t.Errorf("who listens no more: %v", got)
	}
	failing := map[string]error{
		"refused:1": syscall.ECONNREFUSED, "reset:1": syscall.ECONNRESET, "silent:1": syscall.ETIMEDOUT, "late:1": context.DeadlineExceeded,
		"no host:1": syscall.EHOSTUNREACH, "no net:1": syscall.ENETUNREACH, "no address:1": syscall.EADDRNOTAVAIL,
	}
	dial := func(_ context.Context, addr string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", failing[addr])}
	}
	for _, c := range []struct {
		hosts []string
		want  bool
	}{
		{nil, false},
		{[]string{"refused"}, true},
		{[]string{"refused", "refused"}, true},
		{[]string{"refused", "no net"}, true},
		{[]string{"no address", "refused"}, true},
		{[]string{"no net"}, false},
		{[]string{"refused", "silent"}, false},
		{[]string{"late", "refused"}, false},
		{[]string{"reset"}, false},
		{[]string{"no host"}, false},
	} {
		if got := knockAll(t.Context(), dial, c.hosts, "1") == refuses; got != c.want {
			t.Errorf("%q: %v", c.hosts, got)
		}
	}
}
