// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// statusReport is `gregor cluster status --json`.
type statusReport struct {
	Cluster    string         `json:"cluster"`
	Controller int32          `json:"controller"`
	Voters     []int32        `json:"voters"`
	Late       []int32        `json:"late_voters"`
	Brokers    []brokerStatus `json:"brokers"`
	Partitions statusCounts   `json:"partitions"`
	Unwell     []unwell       `json:"unwell"`
	// Trouble says what stands behind the states of nodes, for people.
	Trouble []string `json:"trouble"`
	// Features are those of which a higher level is known than is in force.
	Features []featureStatus `json:"features"`
}

type brokerStatus struct {
	ID       int32  `json:"id"`
	Address  string `json:"address"`
	Rack     string `json:"rack"`
	State    string `json:"state"` // up, down, silent, draining
	Roles    string `json:"roles"`
	Leaders  int    `json:"leaders"`
	Replicas int    `json:"replicas"`
	Behind   int    `json:"behind"` // replicas that are not in sync
	Bytes    int64  `json:"bytes"`
}

type statusCounts struct {
	All        int `json:"all"`
	Leaderless int `json:"leaderless"`
	Under      int `json:"under_replicated"`
	BelowMin   int `json:"below_min_insync"`
	Moving     int `json:"moving"`
	Misled     int `json:"not_led_by_preferred"`
}

// unwell is a partition that is not as it should be.
type unwell struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Leader    int32    `json:"leader"`
	Replicas  []int32  `json:"replicas"`
	InSync    []int32  `json:"in_sync"`
	State     string   `json:"state"`
	Why       []string `json:"why"`
}

// maxUnwell bounds the lines for people; --json has all.
const maxUnwell = 20

func newClusterStatus(c *client) *cobra.Command {
	check := false
	cmd := &cobra.Command{
		Use: "status", Short: "show who is in, who leads, and what is under-replicated and why", Args: cobra.NoArgs,
		Long: "Show the brokers of a cluster, up or down, with what each leads and holds; the\n" +
			"controllers; and every partition that lacks a leader or replicas, with the reason.\n\n" +
			"With --check the status is 1 unless every partition has its leader and all its\n" +
			"replicas and every broker is up.",
		Example: "  gregor cluster status\n  gregor cluster status -b broker1:9092 --check",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r statusReport
			err := c.connected(cmd.Context(), func(ctx context.Context, cl *kgo.Client, adm *kadm.Client) error {
				v, err := viewCluster(ctx, cl, adm)
				if err != nil {
					return err
				}
				v.askFeatures(ctx, cl)
				v.askStuck(ctx, cl)
				topics := map[string]bool{}
				for _, p := range v.Partitions {
					if len(p.ISR) < len(p.Replicas) {
						topics[p.Topic] = true
					}
				}
				r = v.report(minInSync(ctx, adm, topics))
				r.Trouble = append(r.Trouble, v.trouble(ctx, cl)...)
				return nil
			})
			if err != nil {
				return err
			}
			if c.json {
				err = printJSON(c.env.Out, r)
			} else {
				err = r.print(c)
			}
			if err == nil && check && !r.well() {
				return exitStatus(1)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "end with status 1 unless all is well")
	return cmd
}

func (v *clusterView) report(minimum map[string]int) statusReport {
	r := statusReport{Cluster: v.ID, Controller: v.Controller, Voters: v.Voters, Late: append([]int32{}, v.Late...), Brokers: []brokerStatus{}, Unwell: []unwell{}, Trouble: []string{}, Features: append([]featureStatus{}, v.Features...)}
	for _, b := range v.Brokers {
		s := brokerStatus{ID: b.ID, Address: b.Address, Rack: b.Rack, State: "up"}
		switch {
		case b.Fenced:
			s.State = "down"
		case v.silent[b.ID] != nil:
			s.State = "silent"
		case v.draining[b.ID]:
			s.State = "draining"
		}
		var roles []string
		if b.ID == v.Controller {
			roles = append(roles, "controller")
		} else if slices.Contains(v.Voters, b.ID) {
			roles = append(roles, "voter")
		}
		s.Roles = strings.Join(roles, ",")
		for _, l := range v.logs {
			s.Bytes += l[b.ID].bytes
		}
		r.Brokers = append(r.Brokers, s)
	}
	of := func(id int32) *brokerStatus {
		i := slices.IndexFunc(r.Brokers, func(b brokerStatus) bool { return b.ID == id })
		if i < 0 {
			return &brokerStatus{} // counts for nobody
		}
		return &r.Brokers[i]
	}
	for _, p := range v.Partitions {
		r.Partitions.All++
		if p.Leader >= 0 {
			of(p.Leader).Leaders++
		}
		for _, b := range p.Replicas {
			of(b).Replicas++
		}
		for _, b := range missing(p) {
			of(b).Behind++
		}
		_, moving := v.Moving[p.tp]
		if moving {
			r.Partitions.Moving++
		}
		if p.Leader >= 0 && len(p.Replicas) > 0 && p.Leader != p.Replicas[0] {
			r.Partitions.Misled++
		}
		if u, bad := v.judge(p, minimum); bad {
			switch u.State {
			case noLeader:
				r.Partitions.Leaderless++
			case belowMin:
				r.Partitions.BelowMin++
			}
			if len(p.ISR) < v.factor(p) {
				r.Partitions.Under++
			}
			r.Unwell = append(r.Unwell, u)
		}
	}
	// What hurts most comes first.
	slices.SortStableFunc(r.Unwell, func(a, b unwell) int {
		return slices.Index(states, a.State) - slices.Index(states, b.State)
	})
	return r
}

// The states of a partition that is not well, the worst first.
var states = []string{noLeader, belowMin, under}

const (
	noLeader = "no leader"
	belowMin = "below min.insync.replicas"
	under    = "under-replicated"
)

// judge says what is wrong with a partition, if anything is. One that only
// grows is well.
func (v *clusterView) judge(p partitionView, minimum map[string]int) (unwell, bool) {
	u := unwell{Topic: p.Topic, Partition: p.Index, Leader: p.Leader, Replicas: p.Replicas, InSync: p.ISR, Why: []string{}}
	least := min(minimum[p.Topic], v.factor(p)) // as Kafka counts it
	switch {
	case p.Leader < 0:
		u.State = noLeader
	case len(p.ISR) < least:
		u.State = belowMin
	case len(p.ISR) < v.factor(p):
		u.State = under
	default:
		return u, false
	}
	for _, r := range missing(p) {
		u.Why = append(u.Why, v.whyBehind(p, r))
	}
	if p.Leader < 0 {
		u.Why = append(u.Why, whoMustReturn(p))
	}
	return u, true
}

// whoMustReturn says what a partition without a leader waits for.
func whoMustReturn(p partitionView) string {
	list := p.ISR
	if len(list) == 0 {
		list = p.Eligible
	}
	switch len(list) {
	case 0:
		return "nobody who is known to have every record is left: see kafka-leader-election --election-type unclean"
	case 1:
		return fmt.Sprintf("broker %d, which has every record, must come back", list[0])
	}
	return fmt.Sprintf("one of brokers %s, which have every record, must come back", joinIDs(list))
}

func (r *statusReport) well() bool {
	for _, b := range r.Brokers {
		if b.State != "up" && b.State != "draining" {
			return false
		}
	}
	return len(r.Unwell)+len(r.Late) == 0
}

func (r *statusReport) print(c *client) error {
	fmt.Fprintf(c.env.Out, "cluster %s\n", r.Cluster)
	if len(r.Voters) > 0 {
		late := ""
		if len(r.Late) > 0 {
			late = "; behind with the metadata: " + joinIDs(r.Late)
		}
		fmt.Fprintf(c.env.Out, "controller %d, of voters %s%s\n", r.Controller, joinIDs(r.Voters), late)
	} else {
		fmt.Fprintf(c.env.Out, "controller %d\n", r.Controller)
	}
	fmt.Fprintln(c.env.Out)
	var rows [][]any
	for _, b := range r.Brokers {
		rows = append(rows, []any{b.ID, b.Address, b.Rack, b.State, b.Roles, b.Leaders, b.Replicas, b.Behind, sizeText(b.Bytes)})
	}
	if err := c.show(nil, []string{"id", "address", "rack", "state", "role", "leaders", "replicas", "behind", "on disk"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(c.env.Out, "\n%s\n", r.Partitions.text())
	for _, line := range r.Trouble {
		fmt.Fprintln(c.env.Out, line)
	}
	for _, f := range r.Features {
		fmt.Fprintf(c.env.Out, "%s\n", f.text())
	}
	if len(r.Unwell) == 0 {
		return nil
	}
	fmt.Fprintln(c.env.Out)
	return printUnwell(c, r.Unwell)
}

func (n statusCounts) text() string {
	parts := []string{fmt.Sprintf("%d partitions", n.All)}
	for _, x := range []struct {
		n    int
		what string
	}{
		{n.Leaderless, "without a leader"}, {n.BelowMin, "below min.insync.replicas"}, {n.Under, "under-replicated"},
		{n.Moving, "being moved"}, {n.Misled, "not led by the first replica"},
	} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	if n.Leaderless+n.BelowMin+n.Under == 0 {
		parts = append(parts, "every replica is in sync")
	}
	return strings.Join(parts, ", ")
}

func printUnwell(c *client, list []unwell) error {
	var rows [][]any
	for i, u := range list {
		if i == maxUnwell {
			break
		}
		leader := "none"
		if u.Leader >= 0 {
			leader = fmt.Sprint(u.Leader)
		}
		rows = append(rows, []any{tp{u.Topic, u.Partition}.String(), u.State, leader, joinIDs(u.Replicas), joinIDs(u.InSync), strings.Join(u.Why, "; ")})
	}
	if err := c.show(nil, []string{"partition", "state", "leader", "replicas", "in sync", "why"}, rows); err != nil {
		return err
	}
	if len(list) > maxUnwell {
		_, err := io.WriteString(c.env.Out, fmt.Sprintf("... and %d more (--json shows all)\n", len(list)-maxUnwell))
		return err
	}
	return nil
}
