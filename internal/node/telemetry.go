// SPDX-License-Identifier: Apache-2.0

package node

import (
	"log/slog"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"gregor/internal/api"
	"gregor/internal/meta"
)

// telemetryLog is the receiver of what clients push (KIP-714): one line a
// push. Nothing is pushed before an operator subscribes to something.
type telemetryLog struct{ log *slog.Logger }

func (t telemetryLog) Receive(p api.TelemetryPush) error {
	var data metricspb.MetricsData
	if err := proto.Unmarshal(p.Metrics, &data); err != nil {
		return err
	}
	var names []string
	for _, r := range data.GetResourceMetrics() {
		for _, s := range r.GetScopeMetrics() {
			for _, m := range s.GetMetrics() {
				names = append(names, m.GetName())
			}
		}
	}
	t.log.Info("client metrics", "client_instance", meta.FormatUUID(p.ClientInstance), "client_id", p.ClientID,
		"software", p.Software, "version", p.Version, "terminating", p.Terminating, "metrics", names)
	return nil
}

// subscribeTelemetry reads the client-metrics resources when they change.
func (n *Node) subscribeTelemetry(img *meta.Image, d *meta.Delta) {
	changed := n.telemetry.Load() == nil
	for _, r := range d.Configs {
		changed = changed || r.Type == meta.ClientMetricsResource
	}
	if !changed {
		return
	}
	resources := map[string]map[string]string{}
	for r, s := range img.Configs() {
		if r.Type == meta.ClientMetricsResource {
			resources[r.Name] = s.Map()
		}
	}
	subscriptions, err := api.NewTelemetrySubscriptions(resources)
	if err != nil {
		n.log.Warn("a client metrics subscription cannot be used", "error", err)
	}
	n.telemetry.Store(subscriptions)
}
