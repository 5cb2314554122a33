// SPDX-License-Identifier: Apache-2.0

package node

import (
	"github.com/google/uuid"

	"gregor/internal/api"
	"gregor/internal/config"
	"gregor/internal/meta/plan"
)

// buildAPI makes the table of all requests from the families.
func (n *Node) buildAPI() error {
	b := n.live.Broker()
	failed := func(c *api.Call, err error) {
		n.logs.Logger(logAPI).Error("a request failed", "key", c.Key, "version", c.Version, "client_id", c.ClientID, "error", err)
	}
	here := hosted{n.table, &n.image}
	n.sessions = api.NewSessions(b.Fetch.SessionSlots)
	admission, txnRows := n.txnFamilies()
	n.groupAPI = &api.Groups{
		Shards: n.groups, Cluster: n.topics, Topics: n.topics,
		MinSession: b.Groups.MinSession, MaxSession: b.Groups.MaxSession, NewID: uuid.NewString,
		Admission: admission, Logs: here,
	}
	families := [][]api.Route{
		api.NewProduce(api.ProduceConfig{Partitions: here, Metrics: n.metrics, Failed: failed, Errors: n.metrics.Errors, Admission: admission}).Routes(),
		api.NewFetch(api.FetchConfig{
			Partitions: here, Sessions: n.sessions, MaxBytes: b.Fetch.MaxBytes, Metrics: n.metrics, Failed: failed, Errors: n.metrics.Errors,
			Flushed: n.table, Inner: n.inner,
		}).Routes(),
		(&api.Offsets{Partitions: here}).Routes(),
		(&api.Records{Partitions: here, Internal: config.IsInternal}).Routes(),
		(&api.Producers{Partitions: here, ValidName: plan.CheckName}).Routes(),
		(&api.LogDirs{Partitions: here, Hosted: n.table, Cordoned: n.cordoned}).Routes(),
		(&api.Elections{Controller: n.uplink}).Routes(),
		(&api.Metadata{
			Images: n, Creator: n.topics, NodeID: b.NodeID,
			DescribeLimit: func() int { return n.live.Broker().MaxPartitionsDescribed },
		}).Routes(),
		(&api.Topics{Controller: n.uplink, DeleteEnabled: func() bool { return n.live.Broker().Creation.DeleteEnabled }}).Routes(),
		(&api.Cluster{Images: n, Controller: n.uplink, Quorum: n, NodeID: b.NodeID}).Routes(),
		(&api.Configs{Live: n.live, Image: n.Image, Controller: n.uplink, Loggers: n.logs}).Routes(),
		n.groupAPI.Routes(),
		(&api.Telemetry{
			Receiver: telemetryLog{n.logs.Logger(logClients)}, Subscriptions: n.telemetry.Load,
			MaxBytes: b.TelemetryMaxBytes, NewID: newID,
		}).Routes(),
		(&api.Brokers{Desk: desk{n.desk}}).Routes(),
		(&api.Voters{Quorum: n}).Routes(),
		n.quorumRoutes(),
	}
	families = append(families, txnRows...)
	cfg := api.Config{Memory: n.memory, Failed: failed, Errors: n.metrics.Errors, Inner: n.inner, Features: features{n.supported(), &n.image}}
	controllers, err := api.New(cfg, ofControllers(families)...)
	if err != nil {
		return err
	}
	n.api = controllers
	if b.IsBroker {
		if n.api, err = api.New(cfg, families...); err != nil {
			return err
		}
	}
	n.front.build(n.api, controllers)
	return nil
}
