// SPDX-License-Identifier: Apache-2.0

package node

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"gregor/internal/config"
	"gregor/internal/vfs"
)

// TestLostMetadataLog: a node that is its whole quorum does not begin anew, as
// if nothing had been there, because its metadata log is gone.
func TestLostMetadataLog(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	n := start(t, mem, "/data")
	if _, err := kadm.NewClient(client(t, n)).CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	if err := mem.RemoveAll("/data/__cluster_metadata-0"); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(config.Options{SingleNode: true, Overrides: []string{"listeners=PLAINTEXT://127.0.0.1:0", "log.dirs=/data", "gregor.http.listener=none"}})
	if err != nil {
		t.Fatal(err)
	}
	n = New(Config{Settings: s, FS: mem, Log: slog.NewTextHandler(t.Output(), nil)})
	if err := n.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "the metadata log in /data/__cluster_metadata-0 is gone, but /data/t-0 holds") {
		t.Errorf("it starts: %v", err)
	}
	// With nothing to lose it begins anew.
	if err := mem.RemoveAll("/data/t-0"); err != nil {
		t.Fatal(err)
	}
	stop(t, start(t, mem, "/data"))
}
