// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/config"
	"gregor/internal/meta"
)

func metadataQuorumArguments() *arguments {
	a := newArguments("kafka-metadata-quorum", "Shows and changes the quorum of controllers.")
	a.exclusiveNeeded(
		a.store("--bootstrap-server").about("Brokers to ask: host:port with commas between."),
		a.store("--bootstrap-controller").about("Controllers to ask: host:port with commas between."),
	)
	a.store("--command-config").about("File of client properties; for add-controller the controller's server.properties too.")
	d := a.sub("describe", "Show the quorum.")
	d.toggle("--status").about("A summary.")
	d.toggle("--replication").about("How far each copy of the metadata log is.")
	d.toggle("--human-readable").about("Say how long ago, in the place of times.")
	a.sub("add-controller", "Let the controller that --command-config describes vote.").
		toggle("--dry-run").about("Only print what would be done.")
	r := a.sub("remove-controller", "Let a controller vote no more.")
	r.store("--controller-id", "-i").number().need().about("The controller's node id.")
	r.store("--controller-directory-id", "-d").need().about("The id of its metadata log directory.")
	r.toggle("--dry-run").about("Only print what would be done.")
	return a
}

func runMetadataQuorum(ctx context.Context, e *Env, args []string) error {
	ns, err := metadataQuorumArguments().parse(e, args)
	if err != nil {
		return err
	}
	file := ns.get("command_config")
	if file != "" && existing(file) == "" {
		return failf("Properties file %s does not exists!", file)
	}
	conf, err := loadProps(file)
	if err != nil {
		return err
	}
	a, err := conf.asker(e, ns)
	if err != nil {
		return err
	}
	defer a.cl.Close()
	switch ns.get("command") {
	case "describe":
		return describeQuorumCommand(ctx, e, a, ns)
	case "add-controller":
		if file == "" {
			return failf("You must supply the configuration file of the controller you are adding when using add-controller.")
		}
		return addController(ctx, e, a, ns, conf)
	}
	return removeController(ctx, e, a, ns)
}

func describeQuorumCommand(ctx context.Context, e *Env, a asker, ns *namespace) error {
	status, replication := ns.on("status"), ns.on("replication")
	switch {
	case status && replication:
		return failf("Only one of --status or --replication should be specified with describe sub-command")
	case !status && !replication:
		return failf("One of --status or --replication must be specified with describe sub-command")
	case status && ns.on("human_readable"):
		return failf("The option --human-readable is only supported along with --replication")
	}
	q, err := askQuorum(ctx, a)
	if err != nil {
		return failf("%s", exceptionText(timedOut(err, "describeMetadataQuorum")))
	}
	if replication {
		return q.printReplication(e, ns.on("human_readable"))
	}
	resp, err := a.ask(ctx, kmsg.NewPtrDescribeClusterRequest())
	if err != nil {
		return failf("%s", exceptionText(timedOut(err, "describeCluster")))
	}
	return q.printStatus(e, resp.(*kmsg.DescribeClusterResponse).ClusterID)
}

// quorumInfo is an answer of DescribeQuorum.
type quorumInfo struct {
	part   kmsg.DescribeQuorumResponseTopicPartition
	nodes  []kmsg.DescribeQuorumResponseNode
	leader kmsg.DescribeQuorumResponseTopicPartitionReplicaState
}

func askQuorum(ctx context.Context, a asker) (q quorumInfo, err error) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = config.MetadataTopic
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, t)
	raw, err := a.ask(ctx, req)
	if err != nil {
		return q, err
	}
	resp := raw.(*kmsg.DescribeQuorumResponse)
	if err := withMessage(kerr.ErrorForCode(resp.ErrorCode), resp.ErrorMessage); err != nil {
		return q, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return q, fmt.Errorf("DescribeQuorum was answered with %d topics", len(resp.Topics))
	}
	q.part, q.nodes = resp.Topics[0].Partitions[0], resp.Nodes
	if err := withMessage(kerr.ErrorForCode(q.part.ErrorCode), q.part.ErrorMessage); err != nil {
		return q, err
	}
	i := slices.IndexFunc(q.part.CurrentVoters, func(r kmsg.DescribeQuorumResponseTopicPartitionReplicaState) bool {
		return r.ReplicaID == q.part.LeaderID
	})
	if i < 0 {
		return q, fmt.Errorf("the leader %d is not among the voters", q.part.LeaderID)
	}
	q.leader = q.part.CurrentVoters[i]
	return q, nil
}

func (q *quorumInfo) printStatus(e *Env, cluster string) error {
	slowest := slices.MinFunc(q.part.CurrentVoters, func(a, b kmsg.DescribeQuorumResponseTopicPartitionReplicaState) int {
		return int(max(min(a.LogEndOffset-b.LogEndOffset, 1), -1))
	})
	lag, lagMs := q.leader.LogEndOffset-slowest.LogEndOffset, int64(-1)
	switch {
	case slowest.ReplicaID == q.leader.ReplicaID:
		lagMs = 0
	case q.leader.LastCaughtUpTimestamp >= 0 && slowest.LastCaughtUpTimestamp >= 0:
		lagMs = q.leader.LastCaughtUpTimestamp - slowest.LastCaughtUpTimestamp
	}
	e.printf("ClusterId:              %s\n", cluster)
	e.printf("LeaderId:               %d\n", q.part.LeaderID)
	e.printf("LeaderEpoch:            %d\n", q.part.LeaderEpoch)
	e.printf("HighWatermark:          %d\n", q.part.HighWatermark)
	e.printf("MaxFollowerLag:         %d\n", lag)
	e.printf("MaxFollowerLagTimeMs:   %d\n", lagMs)
	e.printf("CurrentVoters:          %s\n", q.members(q.part.CurrentVoters))
	e.printf("CurrentObservers:       %s\n", q.members(q.part.Observers))
	return nil
}

func (q *quorumInfo) members(rs []kmsg.DescribeQuorumResponseTopicPartitionReplicaState) string {
	var out []string
	for _, r := range rs {
		text := fmt.Sprintf(`{"id": %d`, r.ReplicaID)
		if r.ReplicaDirectoryID != [16]byte{} {
			text += fmt.Sprintf(`, "directoryId": "%s"`, uuidText(r.ReplicaDirectoryID))
		}
		var ends []string
		for _, n := range q.nodes {
			for _, l := range n.Listeners {
				if n.NodeID == r.ReplicaID {
					ends = append(ends, `"`+endpointText(l.Name, l.Host, l.Port)+`"`)
				}
			}
		}
		if len(ends) > 0 {
			text += `, "endpoints": [` + strings.Join(ends, ", ") + "]"
		}
		out = append(out, text+"}")
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func endpointText(name, host string, port uint16) string {
	return name + "://" + net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func (q *quorumInfo) printReplication(e *Env, human bool) error {
	rows := [][]string{{"NodeId", "DirectoryId", "LogEndOffset", "Lag", "LastFetchTimestamp", "LastCaughtUpTimestamp", "Status"}}
	now := time.Now().UnixMilli()
	when := func(ms int64) string {
		if ms < 0 || !human {
			return strconv.FormatInt(ms, 10)
		}
		return fmt.Sprintf("%d ms ago", max(now-ms, 0))
	}
	add := func(rs []kmsg.DescribeQuorumResponseTopicPartitionReplicaState, status string, which func(id int32) bool) {
		for _, r := range rs {
			if which(r.ReplicaID) {
				rows = append(rows, []string{
					strconv.Itoa(int(r.ReplicaID)), uuidText(r.ReplicaDirectoryID), strconv.FormatInt(r.LogEndOffset, 10),
					strconv.FormatInt(q.leader.LogEndOffset-r.LogEndOffset, 10), when(r.LastFetchTimestamp), when(r.LastCaughtUpTimestamp), status,
				})
			}
		}
	}
	leader := q.part.LeaderID
	add(q.part.CurrentVoters, "Leader", func(id int32) bool { return id == leader })
	add(q.part.CurrentVoters, "Follower", func(id int32) bool { return id != leader })
	add(q.part.Observers, "Observer", func(int32) bool { return true })
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&b, "%-*s\t", widths[i], cell)
		}
		e.println(b.String())
	}
	return nil
}

// addController lets the controller of a server.properties file vote.
func addController(ctx context.Context, e *Env, a asker, ns *namespace, conf props) error {
	notOne := func(what string) error {
		return failf("%s configuration file. Is this a valid controller configuration file?", what)
	}
	text, ok := conf["node.id"]
	if !ok {
		return notOne("node.id not found in")
	}
	id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
	switch {
	case err != nil:
		return failf("For input string: \"%s\"", text)
	case id < 0:
		return notOne("node.id was negative in")
	case !strings.Contains(conf["process.roles"], "controller"):
		return notOne("process.roles did not contain 'controller' in")
	}
	_, metadata := conf["metadata.log.dir"]
	if _, dirs := conf["log.dirs"]; !metadata && !dirs {
		return failf("Neither metadata.log.dir nor log.dirs were found. Is this a valid controller configuration file?")
	}
	node, err := readNodeConf(conf)
	if err != nil {
		return err
	}
	dir, err := directoryOf(node.metadataDir)
	if err != nil {
		return err
	}
	ends, err := node.controllerListeners()
	if err != nil {
		return err
	}
	done := "DRY RUN of adding"
	if !ns.on("dry_run") {
		done = "Added"
		req := kmsg.NewPtrAddRaftVoterRequest()
		req.VoterID, req.VoterDirectoryID = int32(id), dir
		for _, x := range ends {
			l := kmsg.NewAddRaftVoterRequestListener()
			l.Name, l.Host, l.Port = x.Listener, x.Host, x.Port
			req.Listeners = append(req.Listeners, l)
		}
		raw, err := a.ask(ctx, req)
		if err == nil {
			resp := raw.(*kmsg.AddRaftVoterResponse)
			err = withMessage(kerr.ErrorForCode(resp.ErrorCode), resp.ErrorMessage)
		}
		if err != nil {
			return failf("%s", exceptionText(timedOut(err, "addRaftVoter")))
		}
	}
	var words []string
	for _, x := range ends {
		words = append(words, endpointText(x.Listener, x.Host, x.Port))
	}
	e.printf("%s controller %d with directory id %s and endpoints: %s\n", done, id, uuidText(dir), strings.Join(words, ", "))
	return nil
}

// directoryOf reads the id of a formatted directory.
func directoryOf(dir string) (id [16]byte, err error) {
	path := filepath.Join(dir, metaFile)
	if _, err := os.Stat(path); err != nil {
		return id, failf("Unable to read meta.properties from %s", dir)
	}
	p, err := loadProps(path)
	if err != nil {
		return id, err
	}
	text, ok := p["directory.id"]
	if !ok {
		return id, failf("No directory id found in %s", dir)
	}
	if id, err = parseUUID(text); err != nil {
		return id, failf("%s: %s", path, err)
	}
	return id, nil
}

// controllerListeners are where a controller is reached, one endpoint for each
// of controller.listener.names.
//
// Differs from Kafka: without that setting it is the listener that stands
// first, as it is for the server.
func (n nodeConf) controllerListeners() (out []meta.Endpoint, err error) {
	names := n.controllers
	if len(names) == 0 {
		names = []string{n.controllerListener()}
	}
	for _, name := range names {
		n.controllers = []string{name}
		v, err := n.asVoter([16]byte{})
		if err != nil {
			return nil, failf("%s", err)
		}
		if len(v.Endpoints) == 0 {
			return nil, failf("Cannot find information about controller listener name: %s", strings.ToUpper(name))
		}
		out = append(out, v.Endpoints...)
	}
	return out, nil
}

func removeController(ctx context.Context, e *Env, a asker, ns *namespace) error {
	id := ns.int("controller_id")
	if id < 0 {
		return failf("Invalid negative --controller-id: %d", id)
	}
	dir, err := parseUUID(ns.get("controller_directory_id"))
	if err != nil {
		return failf("Failed to parse --controller-directory-id: %s", err)
	}
	done := "DRY RUN of removing "
	if !ns.on("dry_run") {
		done = "Removed "
		req := kmsg.NewPtrRemoveRaftVoterRequest()
		req.VoterID, req.VoterDirectoryID = int32(id), dir
		raw, err := a.ask(ctx, req)
		if err == nil {
			resp := raw.(*kmsg.RemoveRaftVoterResponse)
			err = withMessage(kerr.ErrorForCode(resp.ErrorCode), resp.ErrorMessage)
		}
		if err != nil {
			return failf("%s", exceptionText(timedOut(err, "removeRaftVoter")))
		}
	}
	e.printf("%s KRaft controller %d with directory id %s\n", done, id, uuidText(dir))
	return nil
}
