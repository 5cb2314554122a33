// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// featureStatus is a feature of which a broker knows a higher level than the
// one in force.
type featureStatus struct {
	Name    string `json:"name"`
	Level   int16  `json:"level"`
	Highest int16  `json:"highest"`
	// HeldBack are the brokers in service that do not know Highest; Why is what
	// the controller says against it, when these do not explain it.
	HeldBack []int32 `json:"held_back_by"`
	Why      string  `json:"why"`
}

// featureView is what brokers know of one feature.
type featureView struct {
	level int16
	known map[int32]int16 // the highest level by broker
}

// askFeatures learns which levels are in force, and who knows which.
func (v *clusterView) askFeatures(ctx context.Context, cl *kgo.Client) {
	views := map[string]*featureView{}
	var asked []int32
	var mu sync.Mutex // guards views and asked
	var wg sync.WaitGroup
	for _, b := range v.Brokers {
		if b.Fenced || v.silent[b.ID] != nil {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, brokerPatience)
			defer cancel()
			req := kmsg.NewPtrApiVersionsRequest()
			req.ClientSoftwareName, req.ClientSoftwareVersion = "gregor", "1"
			raw, err := cl.Broker(int(b.ID)).Request(ctx, req)
			if err != nil {
				return // told as silent where it matters
			}
			resp := raw.(*kmsg.ApiVersionsResponse)
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, b.ID)
			for _, f := range resp.SupportedFeatures {
				if views[f.Name] == nil {
					views[f.Name] = &featureView{known: map[int32]int16{}}
				}
				views[f.Name].known[b.ID] = f.MaxVersion
			}
			for _, f := range resp.FinalizedFeatures {
				if x := views[f.Name]; x != nil {
					x.level = max(x.level, f.MaxVersionLevel)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(asked)
	for _, name := range slices.Sorted(maps.Keys(views)) {
		f := views[name]
		s := featureStatus{Name: name, Level: f.level, Highest: slices.Max(slices.Collect(maps.Values(f.known))), HeldBack: []int32{}}
		if s.Highest <= s.Level {
			continue
		}
		for _, id := range asked {
			if f.known[id] < s.Highest {
				s.HeldBack = append(s.HeldBack, id)
			}
		}
		if len(s.HeldBack) == 0 {
			s.Why = refusedLevel(ctx, cl, s)
		}
		v.Features = append(v.Features, s)
	}
}

// refusedLevel asks the controller whether a level could be put in force, and
// gives what stands against it: brokers that are down, and controllers, are
// known to nobody else.
func refusedLevel(ctx context.Context, cl *kgo.Client, s featureStatus) string {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.ValidateOnly, req.TimeoutMillis = true, int32(brokerPatience.Milliseconds())
	u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	u.Feature, u.MaxVersionLevel, u.UpgradeType = s.Name, s.Highest, 1
	req.FeatureUpdates = append(req.FeatureUpdates, u)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil || kerr.ErrorForCode(resp.ErrorCode) == nil {
		return ""
	}
	_, why, cut := strings.Cut(deref(resp.ErrorMessage), s.Name+". ")
	if !cut {
		return deref(resp.ErrorMessage)
	}
	return why
}

func (s featureStatus) text() string {
	at := fmt.Sprintf("%s is at level %d", s.Name, s.Level)
	switch {
	case len(s.HeldBack) == 1:
		return fmt.Sprintf("%s; broker %d, whose program is older, holds level %d back", at, s.HeldBack[0], s.Highest)
	case len(s.HeldBack) > 1:
		return fmt.Sprintf("%s; brokers %s, whose program is older, hold level %d back", at, joinIDs(s.HeldBack), s.Highest)
	case s.Why != "":
		return fmt.Sprintf("%s; level %d is held back: %s", at, s.Highest, s.Why)
	}
	return fmt.Sprintf("%s; every node knows level %d: kafka-features upgrade --feature %s=%d", at, s.Highest, s.Name, s.Highest)
}
