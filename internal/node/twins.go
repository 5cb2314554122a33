// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/meta"
	"gregor/internal/quorum"
	"gregor/internal/quorum/founding"
)

// Two processes on copies of one disk have the same node.id and the same
// directory ids, so neither id tells them apart; the incarnation does, which
// each process draws anew (ADR 0209). Brokers are told apart where they
// register. A voter's copy is dangerous once messages reach both: what the copy
// says it has, the other has not.

// twinEvery is how many looks of a seat there are between two for a twin.
const twinEvery = 10

// greeting is how this node introduces itself once it is of a cluster.
func (n *Node) greeting() founding.Greeting {
	return founding.Greeting{Node: n.live.Broker().NodeID, Directory: n.metaDir.ID(), Incarnation: n.identity.incarnation,
		Cluster: n.identity.cluster, Founded: true}
}

// lookForTwin asks who sits where others reach this voter. If it is another
// process with a copy of the same directory, this one ends: the other is the one
// that is listened to.
func (n *Node) lookForTwin(ctx context.Context) bool {
	self, ok := n.quorum.Membership().ByID(n.live.Broker().NodeID)
	if !ok || self.Directory != n.metaDir.ID() {
		return false
	}
	addr, err := n.voterAddr(self)
	if err != nil {
		return false
	}
	g, ok := n.whoIsAt(ctx, addr)
	if !ok || g.Node != self.ID || g.Directory != self.Directory || g.Incarnation == n.identity.incarnation {
		return false
	}
	n.fail(fmt.Errorf("another process runs as node %d at %s with a copy of this metadata directory (id %s): give one of them directories of its own",
		self.ID, addr, meta.FormatUUID(self.Directory)))
	return true
}

// whoIsAt asks an address for its greeting.
func (n *Node) whoIsAt(ctx context.Context, addr string) (founding.Greeting, bool) {
	ctx, cancel := context.WithTimeout(ctx, n.live.Broker().Quorum.RequestTimeout)
	defer cancel()
	g, err := n.greet(ctx, addr, n.greeting())
	return g, err == nil
}

// checkMove refuses to reach a voter elsewhere while the process that votes
// under its id still answers where it was.
func (n *Node) checkMove(ctx context.Context, v quorum.Voter) error {
	listener := controllerListener(n.live.Broker())
	old, known := n.quorum.Membership().ByID(v.ID)
	from, okFrom := old.Endpoint(listener)
	to, okTo := v.Endpoint(listener)
	if !known || !okFrom || !okTo || from == to || old.Directory != v.Directory {
		return nil
	}
	addr := func(e meta.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) }
	a, there := n.whoIsAt(ctx, addr(from))
	if !there || a.Node != v.ID || a.Directory != v.Directory {
		return nil
	}
	b, here := n.whoIsAt(ctx, addr(to))
	if here && b.Incarnation == a.Incarnation {
		return nil
	}
	return says(kerr.InvalidRequest, "%s still answers at %s: another process has a copy of its directory", v, addr(from))
}
