// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

type listedGroup struct{ id, kind, state string }

// consumerGroups lists groups of consumers, in the order Java's map has.
func (t *groupsTool) consumerGroups(ctx context.Context, states, kinds []string) ([]listedGroup, error) {
	req := kmsg.NewPtrListGroupsRequest()
	req.StatesFilter, req.TypesFilter = states, kinds
	if len(kinds) == 0 {
		req.TypesFilter = []string{"Classic", "Consumer"}
	}
	seen := map[string]bool{}
	var out []listedGroup
	for _, shard := range t.cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, javaError(timedOut(shard.Err, "listGroups"))
		}
		resp := shard.Resp.(*kmsg.ListGroupsResponse)
		if err := codeError(resp.ErrorCode, nil); err != nil {
			return nil, javaError(err)
		}
		for _, g := range resp.Groups {
			if (g.ProtocolType == "" || g.ProtocolType == "consumer") && !seen[g.Group] {
				seen[g.Group] = true
				kind := g.GroupType
				if kind == "" {
					kind = "Unknown"
				} else {
					kind = strings.ToUpper(kind[:1]) + strings.ToLower(kind[1:])
				}
				out = append(out, listedGroup{g.Group, kind, g.GroupState})
			}
		}
	}
	return hashOrder(out, 16, func(g listedGroup) int32 { return stringHash(g.id) }), nil
}

var groupStates = map[string]string{
	"preparingrebalance": "PreparingRebalance", "completingrebalance": "CompletingRebalance", "stable": "Stable",
	"dead": "Dead", "empty": "Empty", "assigning": "Assigning", "reconciling": "Reconciling",
}

func (t *groupsTool) doList(ctx context.Context) error {
	split := func(o *option, known map[string]string, what string) (out []string, err error) {
		if o.value() == "" {
			return nil, nil
		}
		for _, w := range strings.Split(o.value(), ",") {
			v, ok := known[strings.ToLower(strings.TrimSpace(w))]
			if !ok {
				return nil, t.o.usage("Invalid %s list '%s'. Valid %ss are: %s", what, o.value(), what, strings.Join(slices.Sorted(maps.Values(known)), ", "))
			}
			out = append(out, v)
		}
		return out, nil
	}
	states, err := split(t.state, groupStates, "state")
	if err != nil {
		return err
	}
	kinds, err := split(t.kind, map[string]string{"classic": "Classic", "consumer": "Consumer"}, "type")
	if err != nil {
		return err
	}
	groups, err := t.consumerGroups(ctx, states, kinds)
	if err != nil {
		return err
	}
	if !t.state.has && !t.kind.has {
		for _, g := range groups {
			t.env.println(g.id)
		}
		return nil
	}
	width := 15
	for _, g := range groups {
		width = max(width, len(g.id))
	}
	row := func(id, kind, state string) {
		t.env.printf("%-*s", width+10, id)
		if t.kind.has {
			t.env.printf(" %-20s", kind)
		}
		if t.state.has {
			t.env.printf(" %-20s", state)
		}
		t.env.printf("\n")
	}
	row("GROUP", "TYPE", "STATE")
	for _, g := range groups {
		row(g.id, g.kind, g.state)
	}
	return nil
}
