// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newCluster(e *Env) *cobra.Command {
	c := &client{env: e}
	cmd := c.on(parent("cluster", "see how a cluster is, spread its load, run one for development"))
	cmd.AddCommand(&cobra.Command{
		Use: "show", Short: "show the cluster's id, brokers, leaders and disk use", Args: cobra.NoArgs,
		Example: "  gregor cluster show\n  gregor cluster show -b broker1:9092 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.admin(cmd.Context(), func(ctx context.Context, a *kadm.Client) error {
				meta, err := a.Metadata(ctx)
				if err != nil {
					return err
				}
				dirs, _ := a.DescribeAllLogDirs(ctx, nil)
				type row struct {
					ID         int32   `json:"id"`
					Address    string  `json:"address"`
					Rack       *string `json:"rack"`
					Controller bool    `json:"controller"`
					Leaders    int     `json:"leaders"`
					Replicas   int     `json:"replicas"`
					Bytes      int64   `json:"bytes"`
				}
				list, rows := []row{}, [][]any{}
				for _, b := range meta.Brokers {
					r := row{ID: b.NodeID, Address: fmt.Sprintf("%s:%d", b.Host, b.Port), Rack: b.Rack, Controller: b.NodeID == meta.Controller}
					meta.Topics.EachPartition(func(p kadm.PartitionDetail) {
						if p.Leader == b.NodeID {
							r.Leaders++
						}
						for _, n := range p.Replicas {
							if n == b.NodeID {
								r.Replicas++
							}
						}
					})
					for _, d := range dirs[b.NodeID] {
						r.Bytes += d.Size()
					}
					role := ""
					if r.Controller {
						role = "controller"
					}
					list = append(list, r)
					rows = append(rows, []any{r.ID, r.Address, role, r.Leaders, r.Replicas, sizeText(r.Bytes)})
				}
				if !c.json {
					fmt.Fprintf(c.env.Out, "cluster %s\n\n", meta.Cluster)
				}
				return c.show(map[string]any{"cluster": meta.Cluster, "brokers": list}, []string{"id", "address", "role", "leaders", "replicas", "on disk"}, rows)
			})
		},
	})
	cmd.AddCommand(newClusterStatus(c), newClusterBalance(c), newClusterDev(e))
	return cmd
}
