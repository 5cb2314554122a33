// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// knownAPI is an API as Kafka 4.2's clients know it.
type knownAPI struct {
	key            int16
	name           string
	oldest, newest int16
	client         bool // clients call it: said to be UNSUPPORTED where missing
}

var knownAPIs = []knownAPI{
	{0, "Produce", 0, 13, true}, {1, "Fetch", 4, 18, true}, {2, "ListOffsets", 1, 11, true}, {3, "Metadata", 0, 13, true},
	{8, "OffsetCommit", 2, 10, true}, {9, "OffsetFetch", 1, 10, true}, {10, "FindCoordinator", 0, 6, true}, {11, "JoinGroup", 0, 9, true},
	{12, "Heartbeat", 0, 4, true}, {13, "LeaveGroup", 0, 5, true}, {14, "SyncGroup", 0, 5, true}, {15, "DescribeGroups", 0, 6, true},
	{16, "ListGroups", 0, 5, true}, {17, "SaslHandshake", 0, 1, true}, {18, "ApiVersions", 0, 4, true}, {19, "CreateTopics", 2, 7, true},
	{20, "DeleteTopics", 1, 6, true}, {21, "DeleteRecords", 0, 2, true}, {22, "InitProducerId", 0, 5, true}, {23, "OffsetForLeaderEpoch", 2, 4, true},
	{24, "AddPartitionsToTxn", 0, 5, true}, {25, "AddOffsetsToTxn", 0, 4, true}, {26, "EndTxn", 0, 5, true}, {27, "WriteTxnMarkers", 1, 2, true},
	{28, "TxnOffsetCommit", 0, 5, true}, {29, "DescribeAcls", 1, 3, true}, {30, "CreateAcls", 1, 3, true}, {31, "DeleteAcls", 1, 3, true},
	{32, "DescribeConfigs", 1, 4, true}, {33, "AlterConfigs", 0, 2, true}, {34, "AlterReplicaLogDirs", 1, 2, true}, {35, "DescribeLogDirs", 1, 4, true},
	{36, "SaslAuthenticate", 0, 2, true}, {37, "CreatePartitions", 0, 3, true}, {38, "CreateDelegationToken", 1, 3, true}, {39, "RenewDelegationToken", 1, 2, true},
	{40, "ExpireDelegationToken", 1, 2, true}, {41, "DescribeDelegationToken", 1, 3, true}, {42, "DeleteGroups", 0, 2, true}, {43, "ElectLeaders", 0, 2, true},
	{44, "IncrementalAlterConfigs", 0, 1, true}, {45, "AlterPartitionReassignments", 0, 1, true}, {46, "ListPartitionReassignments", 0, 0, true}, {47, "OffsetDelete", 0, 0, true},
	{48, "DescribeClientQuotas", 0, 1, true}, {49, "AlterClientQuotas", 0, 1, true}, {50, "DescribeUserScramCredentials", 0, 0, true}, {51, "AlterUserScramCredentials", 0, 0, true},
	{52, "Vote", 0, 2, false}, {53, "BeginQuorumEpoch", 0, 1, false}, {54, "EndQuorumEpoch", 0, 1, false}, {55, "DescribeQuorum", 0, 2, true},
	{56, "AlterPartition", 2, 3, false}, {57, "UpdateFeatures", 0, 2, true}, {58, "Envelope", 0, 0, false}, {59, "FetchSnapshot", 0, 1, false},
	{60, "DescribeCluster", 0, 2, true}, {61, "DescribeProducers", 0, 0, true}, {62, "BrokerRegistration", 0, 4, false}, {63, "BrokerHeartbeat", 0, 1, false},
	{64, "UnregisterBroker", 0, 0, true}, {65, "DescribeTransactions", 0, 0, true}, {66, "ListTransactions", 0, 2, true}, {67, "AllocateProducerIds", 0, 0, false},
	{68, "ConsumerGroupHeartbeat", 0, 1, true}, {69, "ConsumerGroupDescribe", 0, 1, true}, {70, "ControllerRegistration", 0, 0, false}, {71, "GetTelemetrySubscriptions", 0, 0, true},
	{72, "PushTelemetry", 0, 0, true}, {73, "AssignReplicasToDirs", 0, 0, false}, {74, "ListConfigResources", 0, 1, true}, {75, "DescribeTopicPartitions", 0, 0, true},
	{76, "ShareGroupHeartbeat", 1, 1, true}, {77, "ShareGroupDescribe", 1, 1, true}, {78, "ShareFetch", 1, 2, true}, {79, "ShareAcknowledge", 1, 2, true},
	{80, "AddRaftVoter", 0, 1, true}, {81, "RemoveRaftVoter", 0, 0, true}, {82, "UpdateRaftVoter", 0, 0, false}, {83, "InitializeShareGroupState", 0, 0, true},
	{84, "ReadShareGroupState", 0, 0, true}, {85, "WriteShareGroupState", 0, 1, true}, {86, "DeleteShareGroupState", 0, 0, true}, {87, "ReadShareGroupStateSummary", 0, 1, true},
	{88, "StreamsGroupHeartbeat", 0, 0, true}, {89, "StreamsGroupDescribe", 0, 0, true}, {90, "DescribeShareGroupOffsets", 0, 1, true}, {91, "AlterShareGroupOffsets", 0, 0, true},
	{92, "DeleteShareGroupOffsets", 0, 0, true},
}

func runBrokerAPIVersions(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Shows which requests brokers understand, and in which versions.")
	config := o.text("command-config", "command config property file", "File of client properties.")
	server := o.text("bootstrap-server", "server(s) to use for bootstrapping", "REQUIRED: host:port of a broker, or several with commas between.")
	if err := o.parse(args); err != nil {
		return failf("%s", err)
	}
	if err := o.maybeHelp(e); err != nil {
		return err
	}
	if err := o.required(server); err != nil {
		return err
	}
	conf, err := loadProps(config.value())
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = server.value()
	adm, cl, err := conf.admin(e)
	if err != nil {
		return err
	}
	defer cl.Close()
	meta, err := adm.BrokerMetadata(ctx)
	if err != nil {
		return failf("Request METADATA failed on brokers %s", server.value())
	}
	for _, b := range meta.Brokers {
		rack := "null"
		if b.Rack != nil {
			rack = *b.Rack
		}
		e.printf("%s:%d (id: %d rack: %s isFenced: false) -> ", b.Host, b.Port, b.NodeID, rack)
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "gregor", Version
		raw, err := cl.Broker(int(b.NodeID)).RetriableRequest(ctx, req)
		if err == nil {
			err = codeError(raw.(*kmsg.ApiVersionsResponse).ErrorCode, nil)
		}
		if err != nil {
			e.printf("ERROR: %s\n", exceptionText(timedOut(err, "apiVersions")))
			continue
		}
		e.printf("%s\n", apiVersionsText(raw.(*kmsg.ApiVersionsResponse).ApiKeys))
	}
	return nil
}

func apiVersionsText(keys []kmsg.ApiVersionsResponseApiKey) string {
	lines := map[int16]string{}
	for _, k := range knownAPIs {
		if k.client {
			lines[k.key] = fmt.Sprintf("%s(%d): UNSUPPORTED", k.name, k.key)
		}
	}
	for _, k := range keys {
		versions := fmt.Sprint(k.MinVersion)
		if k.MaxVersion != k.MinVersion {
			versions = fmt.Sprintf("%d to %d", k.MinVersion, k.MaxVersion)
		}
		i := slices.IndexFunc(knownAPIs, func(a knownAPI) bool { return a.key == k.ApiKey })
		if i < 0 {
			lines[k.ApiKey] = fmt.Sprintf("UNKNOWN(%d): %s", k.ApiKey, versions)
			continue
		}
		a := knownAPIs[i]
		usable := fmt.Sprintf("[usable: %d]", min(a.newest, k.MaxVersion))
		switch {
		case a.newest < k.MinVersion:
			usable = "[unusable: node too new]"
		case k.MaxVersion < a.oldest:
			usable = "[unusable: node too old]"
		}
		lines[k.ApiKey] = fmt.Sprintf("%s(%d): %s %s", a.name, k.ApiKey, versions, usable)
	}
	var order []int16
	for k := range lines {
		order = append(order, k)
	}
	slices.Sort(order)
	var out []string
	for _, k := range order {
		out = append(out, lines[k])
	}
	return "(\n\t" + strings.Join(out, ",\n\t") + "\n)"
}
