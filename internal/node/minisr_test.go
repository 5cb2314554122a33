// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"gregor/internal/vfs"
)

// TestLeadersGoByTheClustersMinISR: a broker whose file says something else than
// the cluster's founder's leads by the cluster's, as the controller does when it
// decides who may lead without loss.
func TestLeadersGoByTheClustersMinISR(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	n := start(t, mem, "/data", "min.insync.replicas=2")
	if _, err := kadm.NewClient(client(t, n)).CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	n = start(t, mem, "/data", "min.insync.replicas=1")
	defer stop(t, n)
	if got := n.topicConfig(n.Image(), "t").MinISR; got != 2 {
		t.Errorf("the leader goes by %d", got)
	}
}
