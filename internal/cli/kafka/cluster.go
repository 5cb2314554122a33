// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func clusterArguments() *arguments {
	a := newArguments("kafka-cluster", "Shows a cluster's id and endpoints, and removes brokers that are gone.")
	for _, s := range []*arguments{
		a.sub("cluster-id", "Show the cluster's id."),
		a.sub("unregister", "Forget a broker."),
		a.sub("list-endpoints", "List where brokers or controllers are."),
	} {
		s.exclusiveNeeded(
			s.store("--bootstrap-server", "-b").about("Brokers to ask: host:port with commas between."),
			s.store("--bootstrap-controller", "-C").about("Controllers to ask: host:port with commas between."),
		)
		s.store("--config").about("(Deprecated) old name of --command-config.")
		s.store("--command-config", "-c").about("File of client properties.")
		switch s.name {
		case "unregister":
			s.store("--id", "-i").number().need().about("The broker to forget.")
		case "list-endpoints":
			s.toggle("--include-fenced-brokers").about("List fenced brokers as well.")
		}
	}
	return a
}

// asker sends requests to brokers, or to the controller that was named.
type asker struct {
	cl     *kgo.Client
	direct *kgo.Broker
}

func (a asker) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if a.direct != nil {
		return a.direct.RetriableRequest(ctx, req)
	}
	return a.cl.Request(ctx, req)
}

// asker connects as --bootstrap-server or --bootstrap-controller says.
func (p props) asker(e *Env, ns *namespace) (asker, error) {
	p["bootstrap.servers"] = ns.get("bootstrap_server")
	if ns.has("bootstrap_controller") {
		p["bootstrap.servers"] = ns.get("bootstrap_controller")
	}
	_, cl, err := p.admin(e)
	if err != nil {
		return asker{}, err
	}
	a := asker{cl: cl}
	if ns.has("bootstrap_controller") {
		a.direct = cl.SeedBrokers()[0]
	}
	return a, nil
}

func runCluster(ctx context.Context, e *Env, args []string) error {
	ns, err := clusterArguments().parse(e, args)
	if err != nil {
		return err
	}
	file := ns.get("command_config")
	if ns.has("config") {
		if ns.has("command_config") {
			return failf("--config and --command-config cannot be specified together.")
		}
		e.println("Option --config has been deprecated and will be removed in a future version. Use --command-config instead.")
		file = ns.get("config")
	}
	conf, err := loadProps(file)
	if err != nil {
		return err
	}
	controllers := ns.has("bootstrap_controller")
	if ns.on("include_fenced_brokers") && controllers {
		return failf("The option --include-fenced-brokers is only supported with --bootstrap-server option")
	}
	a, err := conf.asker(e, ns)
	if err != nil {
		return err
	}
	defer a.cl.Close()
	if ns.get("command") == "unregister" {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = int32(ns.int("id"))
		raw, err := a.ask(ctx, req)
		if err != nil {
			if isUnsupported(err) {
				e.println("The target cluster does not support the broker unregistration API.")
				return nil
			}
			return failf("%s", exceptionText(timedOut(err, "unregisterBroker")))
		}
		resp := raw.(*kmsg.UnregisterBrokerResponse)
		if err := codeError(resp.ErrorCode, resp.ErrorMessage); err != nil {
			return failf("%s", exceptionText(err))
		}
		e.printf("Broker %d is no longer registered.\n", req.BrokerID)
		return nil
	}
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeFencedBrokers = ns.on("include_fenced_brokers")
	if controllers {
		req.EndpointType = 2
	}
	raw, err := a.ask(ctx, req)
	if err != nil {
		return failf("%s", exceptionText(timedOut(err, "listNodes")))
	}
	resp := raw.(*kmsg.DescribeClusterResponse)
	if err := codeError(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return failf("%s", exceptionText(err))
	}
	if ns.get("command") == "cluster-id" {
		e.println("Cluster ID: " + resp.ClusterID)
		return nil
	}
	hostW, rackW := 0, 0
	for _, b := range resp.Brokers {
		hostW = max(hostW, len(b.Host))
		if b.Rack != nil {
			rackW = max(rackW, len(*b.Rack))
		}
	}
	if len(resp.Brokers) == 0 {
		hostW = 100
	}
	if rackW == 0 {
		rackW = 10
	}
	row := func(id, host, port, rack, state, kind string) {
		e.printf("%-10s %-*s %-10s %-*s ", id, hostW, host, port, rackW, rack)
		if !controllers {
			e.printf("%-10s ", state)
		}
		e.printf("%-15s\n", kind)
	}
	row("ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE")
	for _, b := range resp.Brokers {
		state, kind := "unfenced", "broker"
		if b.IsFenced {
			state = "fenced"
		}
		if controllers {
			kind = "controller"
		}
		row(strconv.Itoa(int(b.NodeID)), b.Host, strconv.Itoa(int(b.Port)), orNull(b.Rack), state, kind)
	}
	return nil
}
