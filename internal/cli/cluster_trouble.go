// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// dirView is one log directory, as its broker tells it.
type dirView struct {
	path         string
	failed       bool
	cordoned     bool
	total, avail int64 // bytes of the volume, -1: not told
}

// trouble says of nodes what stands behind the states: one line for each thing
// that somebody has to do something about.
func (v *clusterView) trouble(ctx context.Context, cl *kgo.Client) []string {
	var mu sync.Mutex // guards lines
	lines := map[int32][]string{}
	say := func(id int32, format string, args ...any) {
		mu.Lock()
		lines[id] = append(lines[id], fmt.Sprintf("broker %d ", id)+fmt.Sprintf(format, args...))
		mu.Unlock()
	}
	var wg sync.WaitGroup
	for _, b := range v.Brokers {
		switch {
		case b.Fenced:
			wg.Go(func() { say(b.ID, "%s", whyDown(ctx, b.Address)) })
		case v.silent[b.ID] != nil:
			wg.Go(func() { say(b.ID, "%s", whySilent(ctx, cl, b)) })
		}
		for _, d := range v.dirs[b.ID] {
			if what := d.trouble(); what != "" {
				say(b.ID, "%s", what)
			}
		}
	}
	wg.Wait()
	var out []string
	for _, b := range v.Brokers {
		out = append(out, lines[b.ID]...)
	}
	return append(append(out, v.stuckLines()...), v.lostVotes...)
}

// full: no byte is left.
func (d dirView) full() bool { return !d.failed && d.total > 0 && d.avail == 0 }

func (d dirView) trouble() string {
	switch {
	case d.failed:
		return fmt.Sprintf("has lost the log directory %s: the disk failed; the log tells how", d.path)
	case d.full():
		return fmt.Sprintf("has a full disk under %s, and takes no records for what lies there", d.path)
	case d.total > 0 && float64(d.avail) < lowSpace*float64(d.total):
		return fmt.Sprintf("has little room under %s: %s of %s", d.path, sizeText(d.avail), sizeText(d.total))
	case d.cordoned:
		return fmt.Sprintf("takes nothing new into %s: it is cordoned (cordoned.log.dirs)", d.path)
	}
	return ""
}

// whyDown looks at the address of a broker that is out of service.
func whyDown(ctx context.Context, addr string) string {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Sprintf("is down for the controller, but %s takes connections: it starts, hangs, or cannot reach the controllers", addr)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("is stopped: nothing listens at %s", addr)
	}
	return fmt.Sprintf("is not reached at %s: its machine or the way there is down (%v)", addr, err)
}

// whySilent tells a broker that answers nothing from one that only does not
// answer about its logs.
func whySilent(ctx context.Context, cl *kgo.Client, b brokerView) string {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "gregor", "1"
	if _, err := cl.Broker(int(b.ID)).Request(ctx, req); err == nil {
		return "answers, but not about its log directories: a disk hangs"
	}
	return fmt.Sprintf("is in service, but does not answer here: the way from here to %s is cut, or its process hangs", b.Address)
}

// noteLostVotes finds voters that came back with another directory: as voters
// they are missing until their vote is replaced.
func (v *clusterView) noteLostVotes(p kmsg.DescribeQuorumResponseTopicPartition, now time.Time) {
	for _, w := range p.CurrentVoters {
		i := slices.IndexFunc(p.Observers, func(o kmsg.DescribeQuorumResponseTopicPartitionReplicaState) bool {
			return o.ReplicaID == w.ReplicaID && o.ReplicaDirectoryID != w.ReplicaDirectoryID && o.LastFetchTimestamp > now.Add(-voterPatience).UnixMilli()
		})
		if i < 0 {
			continue
		}
		v.lostVotes = append(v.lostVotes, fmt.Sprintf("controller %d runs on another metadata directory than the one that votes: kafka-metadata-quorum remove-controller --controller-id %d --controller-directory-id %s, then add-controller there",
			w.ReplicaID, w.ReplicaID, base64.RawURLEncoding.EncodeToString(w.ReplicaDirectoryID[:])))
	}
}
