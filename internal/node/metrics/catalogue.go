// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// row describes one family of series. Labels in brackets may be missing: as in
// Kafka, the sum over all topics stands beside the single ones, without label.
type row struct {
	name   string
	kind   prometheus.ValueType
	labels []string
	help   string
	bean   string // the MBean it stands for, or whose name it is
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

const kafkaExporter = "kafka_exporter"

// Names used in code; the catalogue below gives each its help.
const (
	messagesIn    = "kafka_server_brokertopicmetrics_messagesin_total"
	bytesIn       = "kafka_server_brokertopicmetrics_bytesin_total"
	bytesOut      = "kafka_server_brokertopicmetrics_bytesout_total"
	replicatedIn  = "kafka_server_brokertopicmetrics_replicationbytesin_total"
	replicatedOut = "kafka_server_brokertopicmetrics_replicationbytesout_total"
	produceTotal  = "kafka_server_brokertopicmetrics_totalproducerequests_total"
	fetchTotal    = "kafka_server_brokertopicmetrics_totalfetchrequests_total"
	produceFailed = "kafka_server_brokertopicmetrics_failedproducerequests_total"
	fetchFailed   = "kafka_server_brokertopicmetrics_failedfetchrequests_total"

	leaderCount     = "kafka_server_replicamanager_leadercount"
	partitionCount  = "kafka_server_replicamanager_partitioncount"
	underReplicated = "kafka_server_replicamanager_underreplicatedpartitions"
	underMinISR     = "kafka_server_replicamanager_underminisrpartitioncount"
	atMinISR        = "kafka_server_replicamanager_atminisrpartitioncount"
	offlineReplicas = "kafka_server_replicamanager_offlinereplicacount"
	reassigning     = "kafka_server_replicamanager_reassigningpartitions"
	isrShrinks      = "kafka_server_replicamanager_isrshrinks_total"
	isrExpands      = "kafka_server_replicamanager_isrexpands_total"
	isrFailed       = "kafka_server_replicamanager_failedisrupdates_total"
	fetcherMaxLag   = "kafka_server_replicafetchermanager_maxlag"
	fetcherLag      = "kafka_server_fetcherlagmetrics_consumerlag"
	fetcherFailed   = "kafka_server_replicafetchermanager_failedpartitionscount"
	brokerState     = "kafka_server_kafkaserver_brokerstate"
	purgatorySize   = "kafka_server_delayedoperationpurgatory_purgatorysize"
	sessionCount    = "kafka_server_fetchsessioncache_numincrementalfetchsessions"
	sessionParts    = "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached"
	sessionEvicted  = "kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total"
	handlerIdle     = "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent"
	networkIdle     = "kafka_network_socketserver_networkprocessoravgidle_percent"

	activeControllers = "kafka_controller_kafkacontroller_activecontrollercount"
	offlinePartitions = "kafka_controller_kafkacontroller_offlinepartitionscount"
	globalTopics      = "kafka_controller_kafkacontroller_globaltopiccount"
	globalPartitions  = "kafka_controller_kafkacontroller_globalpartitioncount"
	activeBrokers     = "kafka_controller_kafkacontroller_activebrokercount"
	fencedBrokers     = "kafka_controller_kafkacontroller_fencedbrokercount"
	uncleanElections  = "kafka_controller_controllerstats_uncleanleaderelections_total"
	controllerApplied = "kafka_controller_kafkacontroller_lastappliedrecordoffset"
	controllerEnd     = "kafka_controller_kafkacontroller_lastcommittedrecordoffset"
	imbalance         = "kafka_controller_kafkacontroller_preferredreplicaimbalancecount"

	requests      = "kafka_network_requestmetrics_requests_total"
	errorsTotal   = "kafka_network_requestmetrics_errors_total"
	requestBytes  = "kafka_network_requestmetrics_requestbytes_total"
	responseBytes = "kafka_network_requestmetrics_responsebytes_total"
	totalTime     = "kafka_network_requestmetrics_totaltimems"
	localTime     = "kafka_network_requestmetrics_localtimems"
	remoteTime    = "kafka_network_requestmetrics_remotetimems"
	sendTime      = "kafka_network_requestmetrics_responsesendtimems"
	queueTime     = "kafka_network_requestmetrics_requestqueuetimems"
	connections   = "kafka_server_socket_server_metrics_connection_count"
	connsCreated  = "kafka_server_socket_server_metrics_connection_creation_total"
	createRate    = "kafka_server_socket_server_metrics_connection_creation_rate"
	closeRate     = "kafka_server_socket_server_metrics_connection_close_rate"
	connsClosed   = "kafka_server_socket_server_metrics_connection_close_total"
	bufferedBytes = "gregor_network_buffered_bytes"

	logSize       = "kafka_log_log_size"
	logStart      = "kafka_log_log_logstartoffset"
	logSegments   = "kafka_log_log_numlogsegments"
	flushTime     = "kafka_log_logflushstats_logflushrateandtimems"
	logEnd        = "kafka_log_log_logendoffset"
	offlineDirs   = "kafka_log_logmanager_offlinelogdirectorycount"
	partUnderMin  = "kafka_cluster_partition_underminisr"
	partAtMin     = "kafka_cluster_partition_atminisr"
	partUnderRepl = "kafka_cluster_partition_underreplicated"
	partISR       = "kafka_cluster_partition_insyncreplicascount"
	partReplicas  = "kafka_cluster_partition_replicascount"
	corruptions   = "gregor_storage_corruptions_total"
	rebuiltFiles  = "gregor_storage_rebuilt_files_total"
	recoveredLogs = "gregor_storage_recovered_logs_total"
	diskFull      = "gregor_storage_disk_full"

	raftState     = "kafka_server_raftmetrics_current_state"
	raftLeader    = "kafka_server_raftmetrics_current_leader"
	raftVote      = "kafka_server_raftmetrics_current_vote"
	raftEpoch     = "kafka_server_raftmetrics_current_epoch"
	raftHW        = "kafka_server_raftmetrics_high_watermark"
	raftLogEnd    = "kafka_server_raftmetrics_log_end_offset"
	raftLogEpoch  = "kafka_server_raftmetrics_log_end_epoch"
	raftVoters    = "kafka_server_raftmetrics_number_of_voters"
	raftObservers = "kafka_server_raftmetrics_number_of_observers"
	raftUnknown   = "kafka_server_raftmetrics_number_unknown_voter_connections"
	raftChanging  = "kafka_server_raftmetrics_uncommitted_voter_change"
	raftCommitAvg = "kafka_server_raftmetrics_commit_latency_avg"
	raftCommitMax = "kafka_server_raftmetrics_commit_latency_max"
	raftElectAvg  = "kafka_server_raftmetrics_election_latency_avg"
	raftElectMax  = "kafka_server_raftmetrics_election_latency_max"
	raftAppended  = "kafka_server_raftmetrics_append_records_rate"
	raftFetched   = "kafka_server_raftmetrics_fetch_records_rate"
	raftIdle      = "kafka_server_raftmetrics_poll_idle_ratio_avg"
	lastApplied   = "kafka_server_brokermetadatametrics_last_applied_record_offset"
	txnHomeless   = "kafka_coordinator_transaction_transactionmarkerchannelmanager_unknowndestinationqueuesize"
	txnUntold     = "kafka_coordinator_transaction_transactionmarkerchannelmanager_logappendretryqueuesize"
	txnLoadMax    = "kafka_server_transaction_coordinator_metrics_partition_load_time_max"
	txnLoadAvg    = "kafka_server_transaction_coordinator_metrics_partition_load_time_avg"
	groupCount    = "kafka_coordinator_group_groupmetadatamanager_numgroups"
	offsetCount   = "kafka_coordinator_group_groupmetadatamanager_numoffsets"
	groupsStable  = "kafka_coordinator_group_groupmetadatamanager_numgroupsstable"
	groupsEmpty   = "kafka_coordinator_group_groupmetadatamanager_numgroupsempty"
	groupsDead    = "kafka_coordinator_group_groupmetadatamanager_numgroupsdead"
	groupsPrepare = "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance"
	groupsFinish  = "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance"

	brokers         = "kafka_brokers"
	brokerInfo      = "kafka_broker_info"
	topicPartitions = "kafka_topic_partitions"
	topicEnd        = "kafka_topic_partition_current_offset"
	topicOldest     = "kafka_topic_partition_oldest_offset"
	topicLeader     = "kafka_topic_partition_leader"
	topicPreferred  = "kafka_topic_partition_leader_is_preferred"
	topicReplicas   = "kafka_topic_partition_replicas"
	topicISR        = "kafka_topic_partition_in_sync_replica"
	topicUnderRepl  = "kafka_topic_partition_under_replicated_partition"
	groupOffset     = "kafka_consumergroup_current_offset"
	groupOffsetSum  = "kafka_consumergroup_current_offset_sum"
	groupLag        = "kafka_consumergroup_lag"
	groupLagSum     = "kafka_consumergroup_lag_sum"
	groupMembers    = "kafka_consumergroup_members"
	partitionsLeft  = "gregor_metrics_partitions_left_out"
)

var (
	byTopic     = []string{"[topic]"}
	byPartition = []string{"topic", "partition"}
	byRequest   = []string{"request", "quantile"}
	byGroup     = []string{"consumergroup", "topic", "partition"}
)

// catalogue lists every family in the order in which the page prints them.
var catalogue = []row{
	{messagesIn, counter, byTopic, "Records written by producers.", "kafka.server:type=BrokerTopicMetrics,name=MessagesInPerSec"},
	{bytesIn, counter, byTopic, "Bytes of records written by producers.", "kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec"},
	{bytesOut, counter, byTopic, "Bytes of records sent to consumers.", "kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec"},
	{replicatedIn, counter, nil, "Bytes of records fetched from leaders.", "kafka.server:type=BrokerTopicMetrics,name=ReplicationBytesInPerSec"},
	{replicatedOut, counter, nil, "Bytes of records sent to followers.", "kafka.server:type=BrokerTopicMetrics,name=ReplicationBytesOutPerSec"},
	{produceTotal, counter, byTopic, "Writes to partitions, failed ones included.", "kafka.server:type=BrokerTopicMetrics,name=TotalProduceRequestsPerSec"},
	{fetchTotal, counter, byTopic, "Reads of partitions that gave records or failed.", "kafka.server:type=BrokerTopicMetrics,name=TotalFetchRequestsPerSec"},
	{produceFailed, counter, byTopic, "Writes to partitions that failed.", "kafka.server:type=BrokerTopicMetrics,name=FailedProduceRequestsPerSec"},
	{fetchFailed, counter, byTopic, "Reads of partitions that failed.", "kafka.server:type=BrokerTopicMetrics,name=FailedFetchRequestsPerSec"},

	{leaderCount, gauge, nil, "Partitions that this broker leads.", "kafka.server:type=ReplicaManager,name=LeaderCount"},
	{partitionCount, gauge, nil, "Partitions that have a replica here.", "kafka.server:type=ReplicaManager,name=PartitionCount"},
	{underReplicated, gauge, nil, "Led partitions with fewer in-sync replicas than replicas.", "kafka.server:type=ReplicaManager,name=UnderReplicatedPartitions"},
	{underMinISR, gauge, nil, "Led partitions below min.insync.replicas: acks=all is refused.", "kafka.server:type=ReplicaManager,name=UnderMinIsrPartitionCount"},
	{atMinISR, gauge, nil, "Led partitions exactly at min.insync.replicas.", "kafka.server:type=ReplicaManager,name=AtMinIsrPartitionCount"},
	{offlineReplicas, gauge, nil, "Replicas whose log directory is offline.", "kafka.server:type=ReplicaManager,name=OfflineReplicaCount"},
	{reassigning, gauge, nil, "Led partitions that are being reassigned.", "kafka.server:type=ReplicaManager,name=ReassigningPartitions"},
	{isrShrinks, counter, nil, "Times an in-sync set lost a replica.", "kafka.server:type=ReplicaManager,name=IsrShrinksPerSec"},
	{isrExpands, counter, nil, "Times an in-sync set gained a replica.", "kafka.server:type=ReplicaManager,name=IsrExpandsPerSec"},
	{isrFailed, counter, nil, "Changes of in-sync sets that the controller refused.", "kafka.server:type=ReplicaManager,name=FailedIsrUpdatesPerSec"},
	{fetcherMaxLag, gauge, []string{"clientId"}, "The most records by which a replica here is behind its leader's high watermark.", "kafka.server:type=ReplicaFetcherManager,name=MaxLag"},
	{fetcherLag, gauge, []string{"clientId", "topic", "partition"}, "Records by which a replica here is behind its leader's high watermark.", "kafka.server:type=FetcherLagMetrics,name=ConsumerLag"},
	{fetcherFailed, gauge, []string{"clientId"}, "Followed partitions that cannot be fetched at the moment.", "kafka.server:type=ReplicaFetcherManager,name=FailedPartitionsCount"},
	{brokerState, gauge, nil, "0 not running, 1 starting, 2 recovering, 3 running, 6 stopping.", "kafka.server:type=KafkaServer,name=BrokerState"},
	{purgatorySize, gauge, []string{"delayedOperation"}, "Requests that wait, by what they wait for.", "kafka.server:type=DelayedOperationPurgatory,name=PurgatorySize"},
	{sessionCount, gauge, nil, "Incremental fetch sessions.", "kafka.server:type=FetchSessionCache,name=NumIncrementalFetchSessions"},
	{sessionParts, gauge, nil, "Partitions in incremental fetch sessions.", "kafka.server:type=FetchSessionCache,name=NumIncrementalFetchPartitionsCached"},
	{sessionEvicted, counter, nil, "Fetch sessions that had to make room.", "kafka.server:type=FetchSessionCache,name=IncrementalFetchSessionEvictionsPerSec"},
	{handlerIdle, gauge, nil, "Share of this process's processors that was idle since the last scrape. Gregor has no pool of handlers; the figure serves the same alerts.", "kafka.server:type=KafkaRequestHandlerPool,name=RequestHandlerAvgIdlePercent"},
	{networkIdle, gauge, nil, "The same figure, under the name of Kafka's network threads.", "kafka.network:type=SocketServer,name=NetworkProcessorAvgIdlePercent"},

	{activeControllers, gauge, nil, "1 on the node that is the active controller.", "kafka.controller:type=KafkaController,name=ActiveControllerCount"},
	{offlinePartitions, gauge, nil, "Partitions without a leader (told by the active controller).", "kafka.controller:type=KafkaController,name=OfflinePartitionsCount"},
	{globalTopics, gauge, nil, "Topics of the cluster.", "kafka.controller:type=KafkaController,name=GlobalTopicCount"},
	{globalPartitions, gauge, nil, "Partitions of the cluster.", "kafka.controller:type=KafkaController,name=GlobalPartitionCount"},
	{activeBrokers, gauge, nil, "Registered brokers that may serve.", "kafka.controller:type=KafkaController,name=ActiveBrokerCount"},
	{fencedBrokers, gauge, nil, "Registered brokers that are fenced.", "kafka.controller:type=KafkaController,name=FencedBrokerCount"},
	{uncleanElections, counter, nil, "Leaders elected from outside the in-sync set, seen by the active controller.", "kafka.controller:type=ControllerStats,name=UncleanLeaderElectionsPerSec"},
	{controllerApplied, gauge, nil, "Version of the metadata that the active controller works with.", "kafka.controller:type=KafkaController,name=LastAppliedRecordOffset"},
	{controllerEnd, gauge, nil, "Committed end of the metadata log, told by the active controller.", "kafka.controller:type=KafkaController,name=LastCommittedRecordOffset"},
	{imbalance, gauge, nil, "Partitions led by another than their preferred replica.", "kafka.controller:type=KafkaController,name=PreferredReplicaImbalanceCount"},

	{requests, counter, []string{"request", "version"}, "Requests answered.", "kafka.network:type=RequestMetrics,name=RequestsPerSec"},
	{errorsTotal, counter, []string{"request", "error"}, "Errors in answers, each topic's and partition's. Answers without one are not counted.", "kafka.network:type=RequestMetrics,name=ErrorsPerSec"},
	{requestBytes, counter, []string{"request"}, "Bytes of requests.", "kafka.network:type=RequestMetrics,name=RequestBytes"},
	{responseBytes, counter, []string{"request"}, "Bytes of answers.", "kafka.network:type=RequestMetrics,name=ResponseBytes"},
	{totalTime, gauge, byRequest, "Milliseconds from a request's arrival to the end of its answer.", "kafka.network:type=RequestMetrics,name=TotalTimeMs"},
	{totalTime + "_count", counter, []string{"request"}, "Requests timed.", ""},
	{totalTime + "_sum", counter, []string{"request"}, "Milliseconds in all. Kafka has no such figure; it makes averages possible.", ""},
	{localTime, gauge, byRequest, "Milliseconds in the handler.", "kafka.network:type=RequestMetrics,name=LocalTimeMs"},
	{localTime + "_count", counter, []string{"request"}, "Requests timed.", ""},
	{localTime + "_sum", counter, []string{"request"}, "Milliseconds in all.", ""},
	{remoteTime, gauge, byRequest, "Milliseconds waiting for replicas, for data or for other members.", "kafka.network:type=RequestMetrics,name=RemoteTimeMs"},
	{remoteTime + "_count", counter, []string{"request"}, "Requests timed.", ""},
	{remoteTime + "_sum", counter, []string{"request"}, "Milliseconds in all.", ""},
	{sendTime, gauge, byRequest, "Milliseconds until the answer was with the operating system.", "kafka.network:type=RequestMetrics,name=ResponseSendTimeMs"},
	{sendTime + "_count", counter, []string{"request"}, "Requests timed.", ""},
	{sendTime + "_sum", counter, []string{"request"}, "Milliseconds in all.", ""},
	{queueTime, gauge, byRequest, "Milliseconds in the request queue; Gregor has none, so 0.", "kafka.network:type=RequestMetrics,name=RequestQueueTimeMs"},
	{connections, gauge, []string{"listener", "networkProcessor"}, "Open connections.", "kafka.server:type=socket-server-metrics"},
	{connsCreated, counter, []string{"listener", "networkProcessor"}, "Connections accepted.", "kafka.server:type=socket-server-metrics"},
	{connsClosed, counter, []string{"listener", "networkProcessor"}, "Connections closed.", "kafka.server:type=socket-server-metrics"},
	{createRate, gauge, []string{"listener", "networkProcessor"}, "Connections accepted a second, over the last half minute or since the scrape before.", "kafka.server:type=socket-server-metrics"},
	{closeRate, gauge, []string{"listener", "networkProcessor"}, "Connections closed a second, likewise.", "kafka.server:type=socket-server-metrics"},
	{bufferedBytes, gauge, nil, "Memory in buffers of requests and answers.", ""},

	{logSize, gauge, byPartition, "Bytes of a partition's segments here.", "kafka.log:type=Log,name=Size"},
	{logStart, gauge, byPartition, "First offset of a partition's log.", "kafka.log:type=Log,name=LogStartOffset"},
	{logEnd, gauge, byPartition, "Offset after the last of a partition's log.", "kafka.log:type=Log,name=LogEndOffset"},
	{logSegments, gauge, byPartition, "Segments of a partition's log; those of a log that nobody has touched since the start are not counted.", "kafka.log:type=Log,name=NumLogSegments"},
	{flushTime, gauge, []string{"quantile"}, "Milliseconds of a group commit: one for all logs of a directory that were written.", "kafka.log:type=LogFlushStats,name=LogFlushRateAndTimeMs"},
	{flushTime + "_count", counter, nil, "Group commits.", ""},
	{flushTime + "_sum", counter, nil, "Milliseconds in all.", ""},
	{offlineDirs, gauge, nil, "Log directories that failed.", "kafka.log:type=LogManager,name=OfflineLogDirectoryCount"},
	{partUnderMin, gauge, byPartition, "1 when a led partition is below min.insync.replicas.", "kafka.cluster:type=Partition,name=UnderMinIsr"},
	{partAtMin, gauge, byPartition, "1 when a led partition is exactly at min.insync.replicas.", "kafka.cluster:type=Partition,name=AtMinIsr"},
	{partUnderRepl, gauge, byPartition, "1 when a led partition is under-replicated.", "kafka.cluster:type=Partition,name=UnderReplicated"},
	{partISR, gauge, byPartition, "In-sync replicas of a led partition.", "kafka.cluster:type=Partition,name=InSyncReplicasCount"},
	{partReplicas, gauge, byPartition, "Replicas of a led partition.", "kafka.cluster:type=Partition,name=ReplicasCount"},
	{corruptions, counter, nil, "Places of damage found in logs.", ""},
	{rebuiltFiles, counter, nil, "Indexes, snapshots and checkpoints that were made anew.", ""},
	{recoveredLogs, counter, nil, "Logs that were recovered after an unclean stop.", ""},
	{diskFull, gauge, []string{"dir"}, "1 while a log directory has no room; only directories that were full are shown.", ""},

	{raftState, gauge, []string{"current_state"}, "Always 1; the label tells this node's part in the metadata quorum.", "kafka.server:type=raft-metrics"},
	{raftLeader, gauge, nil, "Node id of the quorum's leader, -1 when unknown.", "kafka.server:type=raft-metrics"},
	{raftVote, gauge, nil, "Node id this node voted for, -1 for nobody.", "kafka.server:type=raft-metrics"},
	{raftEpoch, gauge, nil, "Epoch (term) of the metadata quorum.", "kafka.server:type=raft-metrics"},
	{raftHW, gauge, nil, "Committed end of the metadata log.", "kafka.server:type=raft-metrics"},
	{raftLogEnd, gauge, nil, "End of the metadata log.", "kafka.server:type=raft-metrics"},
	{raftLogEpoch, gauge, nil, "Epoch (term) of the last record of the metadata log.", "kafka.server:type=raft-metrics"},
	{raftVoters, gauge, nil, "Controllers that vote.", "kafka.server:type=raft-metrics"},
	{raftObservers, gauge, nil, "Nodes that follow the metadata without a vote; told by the leader.", "kafka.server:type=raft-metrics"},
	{raftUnknown, gauge, nil, "Voters whose address is not known.", "kafka.server:type=raft-metrics"},
	{raftChanging, gauge, nil, "1 while a change of voters is not committed; told by the leader.", "kafka.server:type=raft-metrics"},
	{raftCommitAvg, gauge, nil, "Milliseconds from a change of the metadata to its commit, the mean of the last minute; NaN when there was none. Told by the leader.", "kafka.server:type=raft-metrics"},
	{raftCommitMax, gauge, nil, "The longest of them.", "kafka.server:type=raft-metrics"},
	{raftElectAvg, gauge, nil, "Milliseconds without a known leader until there was one, the mean of the last minute; NaN when there was always one.", "kafka.server:type=raft-metrics"},
	{raftElectMax, gauge, nil, "The longest of them.", "kafka.server:type=raft-metrics"},
	{raftAppended, gauge, nil, "Records of the metadata log that this node appended as the leader, a second.", "kafka.server:type=raft-metrics"},
	{raftFetched, gauge, nil, "Records of the metadata log that this node took from a leader, a second.", "kafka.server:type=raft-metrics"},
	{raftIdle, gauge, nil, "Share of time in which the loop of the metadata log had nothing to do.", "kafka.server:type=raft-metrics"},
	{lastApplied, gauge, nil, "Version of the metadata that this broker works with.", "kafka.server:type=broker-metadata-metrics"},

	{txnHomeless, gauge, nil, "Markers of transactions for partitions that nobody leads.", "kafka.coordinator.transaction:type=TransactionMarkerChannelManager,name=UnknownDestinationQueueSize"},
	{txnUntold, gauge, nil, "Transactions with all markers whose coordinator cannot write that down yet.", "kafka.coordinator.transaction:type=TransactionMarkerChannelManager,name=LogAppendRetryQueueSize"},
	{txnLoadMax, gauge, nil, "Milliseconds that the slowest load of a transaction coordinator in the last 30 s took; NaN for none.", "kafka.server:type=transaction-coordinator-metrics"},
	{txnLoadAvg, gauge, nil, "Milliseconds that a load of a transaction coordinator in the last 30 s took, the mean; NaN for none.", "kafka.server:type=transaction-coordinator-metrics"},

	{groupCount, gauge, nil, "Groups that this broker coordinates.", "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroups"},
	{offsetCount, gauge, nil, "Committed offsets that this broker keeps.", "kafka.coordinator.group:type=GroupMetadataManager,name=NumOffsets"},
	{groupsStable, gauge, nil, "Groups in state Stable.", "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsStable"},
	{groupsEmpty, gauge, nil, "Groups in state Empty.", "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsEmpty"},
	{groupsDead, gauge, nil, "Groups in state Dead.", "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsDead"},
	{groupsPrepare, gauge, nil, "Groups that wait for members to join.", "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsPreparingRebalance"},
	{groupsFinish, gauge, nil, "Groups that wait for the leader's assignment.", "kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsCompletingRebalance"},

	{brokers, gauge, nil, "Brokers of the cluster that serve.", kafkaExporter},
	{brokerInfo, gauge, []string{"id", "address"}, "Always 1; the labels tell a broker's address.", kafkaExporter},
	{topicPartitions, gauge, []string{"topic"}, "Partitions of a topic.", kafkaExporter},
	{topicEnd, gauge, byPartition, "High watermark of a partition led here: the offset of the next record consumers will see.", kafkaExporter},
	{topicOldest, gauge, byPartition, "First offset of a partition led here.", kafkaExporter},
	{topicLeader, gauge, byPartition, "Node id of a partition's leader, -1 for none.", kafkaExporter},
	{topicPreferred, gauge, byPartition, "1 when a partition is led by its preferred replica.", kafkaExporter},
	{topicReplicas, gauge, byPartition, "Replicas of a partition.", kafkaExporter},
	{topicISR, gauge, byPartition, "In-sync replicas of a partition.", kafkaExporter},
	{topicUnderRepl, gauge, byPartition, "1 when a partition has fewer in-sync replicas than replicas.", kafkaExporter},
	{groupOffset, gauge, byGroup, "Offset that a group committed.", kafkaExporter},
	{groupOffsetSum, gauge, []string{"consumergroup", "topic"}, "The same, summed over the topic.", kafkaExporter},
	{groupLag, gauge, byGroup, "Records between a group's committed offset and the high watermark.", kafkaExporter},
	{groupLagSum, gauge, []string{"consumergroup", "topic"}, "The same, summed over the topic.", kafkaExporter},
	{groupMembers, gauge, []string{"consumergroup"}, "Members of a group.", kafkaExporter},
	{partitionsLeft, gauge, nil, "Partitions without series of their own, for gregor.metrics.partition.limit.", ""},
}
