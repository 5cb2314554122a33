// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/quorum"
	"gregor/internal/quorum/founding"
	"gregor/internal/wire/peer"
)

// beginning is how this node comes to its cluster.
type beginning struct {
	// alone: nobody else was named, so it founds a cluster by itself.
	alone bool
	// fresh: its metadata directory never belonged to a cluster. joins: it was
	// formatted and told of no founding.
	fresh, joins bool
	// voters founded the cluster.
	voters []quorum.Voter
	// levels of features at which a cluster begins that this node founds; nil:
	// the highest.
	levels map[string]int16
}

func (n *Node) metadataPath() string {
	return filepath.Join(n.live.Broker().MetadataLogDir, metadataLog.String())
}

// controllerListener is the listener by which controllers are reached: the
// first of controller.listener.names.
//
// Differs from Kafka: without controller listeners it is the one that brokers
// use among themselves, so that one listener is enough.
func controllerListener(b *config.Broker) string {
	if len(b.ControllerListenerNames) > 0 {
		return b.ControllerListenerNames[0]
	}
	return b.InterBrokerListener
}

// controllerEndpoints are where this node is reached as a controller.
func (n *Node) controllerEndpoints() []meta.Endpoint {
	b := n.live.Broker()
	if len(b.AdvertisedControllers) > 0 {
		return endpoints(n.resolve(b.AdvertisedControllers))
	}
	var out []meta.Endpoint
	for _, e := range endpoints(n.Advertised()) {
		if e.Listener == b.InterBrokerListener {
			out = append(out, e)
		}
	}
	return out
}

// asController is this node's registration as a controller, nil if it is none.
func (n *Node) asController() *meta.Controller {
	if !n.live.Broker().IsController {
		return nil
	}
	return &meta.Controller{ID: n.live.Broker().NodeID, Directory: n.metaDir.ID(), Incarnation: n.identity.incarnation,
		Endpoints: n.controllerEndpoints(), Features: n.supported()}
}

// isFresh looks for signs that the directory belonged to a cluster, and at the
// settings for whether this node begins alone.
func (n *Node) isFresh(cluster string) (bool, error) {
	b := n.live.Broker()
	f, formatted, err := quorum.ReadFounding(n.fs, n.metadataPath())
	if err != nil {
		return false, err
	}
	if n.begins.levels, err = quorum.ReadLevels(n.fs, n.metadataPath()); err != nil {
		return false, err
	}
	joins := formatted && len(f.Voters) == 0
	n.begins.joins = joins
	others := slices.ContainsFunc(b.QuorumVoters, func(v config.Voter) bool { return v.ID != b.NodeID }) || len(n.bootstrap()) > 0
	n.begins.alone = b.IsController && !others && (!joins || len(b.QuorumVoters) > 0)
	if formatted && !joins {
		n.begins.voters = f.Voters
	}
	return cluster == "" || joins, nil
}

// bootstrap is controller.quorum.bootstrap.servers without this node itself.
func (n *Node) bootstrap() (addrs []string) {
	own := map[string]bool{}
	for _, e := range n.controllerEndpoints() {
		own[net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))] = true
	}
	for _, l := range n.live.Broker().Listeners {
		own[l.Addr()] = true
	}
	for _, a := range n.live.Broker().QuorumBootstrap {
		if !own[a] {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// findCluster learns how the cluster was founded, and by that its id.
func (n *Node) findCluster(ctx context.Context) error {
	b := n.live.Broker()
	meeting := founding.New(founding.Config{
		Node: b.NodeID, Directory: n.metaDir.ID(), Incarnation: n.identity.incarnation, Cluster: n.identity.cluster, Fresh: n.begins.fresh,
		Seats: seats(b), Others: n.bootstrap(), NewCluster: func() string { return meta.FormatUUID(newID()) },
		Ask: n.greet,
		Waiting: func(why []string) {
			n.logs.Logger(logQuorum).Warn("the cluster is not found yet", "waiting_for", why)
		},
	})
	n.meeting.Store(meeting)
	if n.begins.voters == nil && !n.begins.alone {
		o, err := meeting.Run(ctx)
		if err != nil {
			return err
		}
		n.begins.voters = o.Voters
		n.identity.cluster = o.Cluster
		err = quorum.Format(n.fs, n.metadataPath(), quorum.Founding{Node: b.NodeID, Directory: n.metaDir.ID(), Cluster: o.Cluster, Voters: o.Voters})
		if err != nil {
			return err
		}
	}
	return n.joinCluster()
}

// joinCluster writes the cluster's id where it is missing.
func (n *Node) joinCluster() error {
	b := n.live.Broker()
	if f, ok, err := quorum.ReadFounding(n.fs, n.metadataPath()); err != nil {
		return err
	} else if ok && f.Cluster != "" {
		if c := n.identity.cluster; c != "" && c != f.Cluster {
			return fmt.Errorf("meta.properties says cluster %s, the metadata log beside it cluster %s", c, f.Cluster)
		}
		n.identity.cluster = f.Cluster
	} else if !ok && n.begins.alone {
		if err := n.metadataLost(); err != nil {
			return err
		}
	}
	if n.identity.cluster == "" {
		return errors.New("the metadata log is there, but meta.properties does not say which cluster it is of")
	}
	for _, d := range n.dirs {
		if err := d.JoinCluster(n.identity.cluster); err != nil {
			return err
		}
	}
	if len(n.begins.voters) == 0 {
		n.begins.voters = []quorum.Voter{{ID: b.NodeID, Directory: n.metaDir.ID(), Endpoints: n.controllerEndpoints()}}
		if n.begins.joins { // formatted for a static list that names this node alone
			err := quorum.Format(n.fs, n.metadataPath(), quorum.Founding{Node: b.NodeID, Directory: n.metaDir.ID(), Cluster: n.identity.cluster, Voters: n.begins.voters})
			if err != nil {
				return err
			}
		}
	}
	n.meeting.Load().Begin(founding.Outcome{Cluster: n.identity.cluster, Voters: n.begins.voters})
	return nil
}

// metadataLost refuses to found a cluster anew beside the records of one whose
// metadata log is gone: a topic made again under its old name would be begun in
// the place of what is there.
func (n *Node) metadataLost() error {
	if files, err := n.fs.List(n.metadataPath()); err == nil && len(files) > 0 {
		return nil // damaged perhaps: quorum.Open judges it
	}
	for _, d := range n.dirs {
		for _, l := range d.Logs() {
			if l != metadataLog {
				return fmt.Errorf("the metadata log in %s is gone, but %s holds records of topics that only it knew: bring it back (from a copy), or move them away to begin anew", n.metadataPath(), filepath.Join(d.Path(), l.String()))
			}
		}
	}
	return nil
}

// seats are the static voters as the founding wants them.
func seats(b *config.Broker) (out []founding.Seat) {
	for _, v := range b.QuorumVoters {
		s := founding.Seat{ID: v.ID, Addr: v.Addr, Endpoint: meta.Endpoint{Listener: controllerListener(b)}}
		if host, port, err := net.SplitHostPort(v.Addr); err == nil {
			p, _ := strconv.ParseUint(port, 10, 16) // checked by config
			s.Endpoint.Host, s.Endpoint.Port = host, uint16(p)
		}
		out = append(out, s)
	}
	return out
}

// peerConfig is how this node asks others.
func (n *Node) peerConfig() peer.Config {
	return peer.Config{Dial: n.cfg.Dial, ClientID: fmt.Sprintf("node-%d", n.live.Broker().NodeID), MaxFrame: n.live.Broker().Network.MaxRequestBytes}
}

// greet asks an address who it is, over a connection of its own.
func (n *Node) greet(ctx context.Context, addr string, g founding.Greeting) (founding.Greeting, error) {
	p := peer.New(n.peerConfig(), func() (string, error) { return addr, nil })
	defer p.Close()
	a, err := p.Do(ctx, peer.Request{Key: founding.Key, Flexible: true, Body: g.Append(nil)})
	if err != nil {
		return founding.Greeting{}, err
	}
	defer a.Release()
	return founding.Decode(a.Body)
}

// leader tells where the active controller is: its node, and the address of its
// controllers' listener. ok is false while none is known. It never waits.
func (n *Node) leader() (id int32, addr string, ok bool) {
	v, ok := n.quorum.Leader()
	if !ok {
		return -1, "", false
	}
	addr, err := n.voterAddr(v)
	return v.ID, addr, err == nil
}

// voterAddr is where a voter is reached: where the static list says so, else
// by the endpoints that it gave.
func (n *Node) voterAddr(v quorum.Voter) (string, error) {
	b := n.live.Broker()
	for _, s := range b.QuorumVoters {
		if s.ID == v.ID {
			return s.Addr, nil
		}
	}
	e, ok := v.Endpoint(b.ControllerListenerNames...)
	if !ok {
		return "", fmt.Errorf("controller %d has no endpoint", v.ID)
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), nil
}
