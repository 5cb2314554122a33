// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func transactionsArguments() *arguments {
	a := newArguments("kafka-transactions", "Shows the transactions of producers, finds those that hang, and ends them.")
	a.store("--command-config").about("File of client properties.")
	a.store("--bootstrap-server").need().about("Brokers to ask: host:port with commas between.")
	l := a.sub("list", "List transactional ids.")
	l.store("--duration-filter").number().about("Only transactions that have been running for longer than so many ms; all, when below 0.")
	l.store("--transactional-id-pattern").about("Only ids that match this regular expression.")
	a.sub("describe", "Show the state of a transactional id.").store("--transactional-id").need().about("The id.")
	p := a.sub("describe-producers", "Show the producers of a partition.")
	p.store("--broker-id").number().about("The replica to ask; the leader when left out.")
	p.store("--topic").need().about("The topic.")
	p.store("--partition").need().number().about("The partition.")
	x := a.sub("abort", "Abort a hanging transaction in one partition.")
	x.store("--topic").need().about("The topic.")
	x.store("--partition").need().number().about("The partition.")
	x.store("--start-offset").number().about("Where the transaction begins; enough for brokers since 3.0.")
	x.store("--producer-id").number().about("The producer's id, for older brokers.")
	x.store("--producer-epoch").number().about("The producer's epoch, for older brokers.")
	x.store("--coordinator-epoch").number().about("The coordinator's epoch, for older brokers.")
	h := a.sub("find-hanging", "Find transactions that nobody will end.")
	h.store("--broker-id").number().about("Look at the partitions of this broker.")
	h.store("--max-transaction-timeout").number().def("15").about("How long transactions may take, in minutes; 15 when left out.")
	h.store("--topic").about("Look at this topic only; needed with --partition.")
	h.store("--partition").number().about("Look at this partition only.")
	a.sub("forceTerminateTransaction", "Abort the open transaction of a transactional id.").
		store("--transactionalId").need().about("The id.")
	return a
}

func runTransactions(ctx context.Context, e *Env, args []string) error {
	ns, err := transactionsArguments().parse(e, args)
	if err != nil {
		return err
	}
	conf, err := loadProps(ns.get("command_config"))
	if err != nil {
		return err
	}
	conf["bootstrap.servers"] = ns.get("bootstrap_server")
	adm, cl, err := conf.admin(e)
	if err != nil {
		return err
	}
	defer cl.Close()
	t := &transactions{env: e, ns: ns, adm: adm, cl: cl}
	switch ns.get("command") {
	case "list":
		return t.list(ctx)
	case "describe":
		return t.describe(ctx)
	case "describe-producers":
		return t.describeProducers(ctx)
	case "abort":
		return t.abort(ctx)
	case "find-hanging":
		return t.findHanging(ctx)
	default:
		return t.terminate(ctx)
	}
}

type transactions struct {
	env *Env
	ns  *namespace
	adm *kadm.Client
	cl  *kgo.Client
}

// failed ends the tool as Kafka's does.
func failed(what string, err error) error {
	text := exceptionText(err)
	if i := strings.Index(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return failf("%s: %s. Enable debug logging for additional detail.", what, text)
}

// table prints columns that are as wide as their widest cell.
func (t *transactions) table(header []string, rows [][]string) {
	width := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			t.env.printf("%-*s\t", width[i], cell)
		}
		t.env.println("")
	}
}

func (t *transactions) list(ctx context.Context) error {
	req := kmsg.NewPtrListTransactionsRequest()
	if t.ns.has("duration_filter") {
		req.DurationFilterMillis = t.ns.int("duration_filter")
	}
	if t.ns.has("transactional_id_pattern") {
		p := t.ns.get("transactional_id_pattern")
		req.TransactionalIDPattern = &p
	}
	var rows [][]string
	for _, shard := range t.cl.RequestSharded(ctx, req) {
		err := shard.Err
		if err == nil {
			err = kerr.ErrorForCode(shard.Resp.(*kmsg.ListTransactionsResponse).ErrorCode)
		}
		if err != nil {
			return failed("Failed to list transactions", timedOut(err, "listTransactions"))
		}
		for _, x := range shard.Resp.(*kmsg.ListTransactionsResponse).TransactionStates {
			rows = append(rows, []string{x.TransactionalID, strconv.Itoa(int(shard.Meta.NodeID)), strconv.FormatInt(x.ProducerID, 10), x.TransactionState})
		}
	}
	t.table([]string{"TransactionalId", "Coordinator", "ProducerId", "TransactionState"}, rows)
	return nil
}

func (t *transactions) describe(ctx context.Context) error {
	id := t.ns.get("transactional_id")
	all, err := t.adm.DescribeTransactions(ctx, id)
	if err == nil {
		err = all[id].Err
	}
	if errors.Is(err, kerr.TransactionalIDNotFound) {
		err = &brokerError{err, "DescribeTransactions request for transactionalId `" + id + "` failed because the ID could not be found"}
	}
	if err != nil {
		return failed("Failed to describe transaction state of transactional-id `"+id+"`", timedOut(err, "describeTransactions"))
	}
	x := all[id]
	start, took := "None", "None"
	if x.StartTimestamp >= 0 {
		start, took = strconv.FormatInt(x.StartTimestamp, 10), strconv.FormatInt(time.Now().UnixMilli()-x.StartTimestamp, 10)
	}
	var parts []string
	for _, p := range x.Topics.Sorted() {
		for _, i := range p.Partitions {
			parts = append(parts, fmt.Sprintf("%s-%d", p.Topic, i))
		}
	}
	t.table([]string{"CoordinatorId", "TransactionalId", "ProducerId", "ProducerEpoch", "TransactionState", "TransactionTimeoutMs",
		"CurrentTransactionStartTimeMs", "TransactionDurationMs", "TopicPartitions"},
		[][]string{{strconv.Itoa(int(x.Coordinator)), id, strconv.FormatInt(x.ProducerID, 10), strconv.Itoa(int(x.ProducerEpoch)), x.State,
			strconv.Itoa(int(x.TimeoutMillis)), start, took, strings.Join(parts, ",")}})
	return nil
}

// producers asks the leader, or a broker, for the producers of partitions.
func (t *transactions) producers(ctx context.Context, s kadm.TopicsSet) ([]kmsg.DescribeProducersResponseTopic, error) {
	req := kmsg.NewPtrDescribeProducersRequest()
	for _, topic := range s.Sorted() {
		rt := kmsg.NewDescribeProducersRequestTopic()
		rt.Topic, rt.Partitions = topic.Topic, topic.Partitions
		req.Topics = append(req.Topics, rt)
	}
	var shards []kgo.ResponseShard
	if t.ns.has("broker_id") {
		resp, err := t.cl.Broker(int(t.ns.int("broker_id"))).RetriableRequest(ctx, req)
		shards = []kgo.ResponseShard{{Resp: resp, Err: err}}
	} else {
		shards = t.cl.RequestSharded(ctx, req)
	}
	var out []kmsg.DescribeProducersResponseTopic
	for _, s := range shards {
		if s.Err != nil {
			return nil, timedOut(s.Err, "describeProducers")
		}
		for _, topic := range s.Resp.(*kmsg.DescribeProducersResponse).Topics {
			for _, p := range topic.Partitions {
				if p.ErrorCode != 0 {
					return nil, codeError(p.ErrorCode, p.ErrorMessage)
				}
			}
			out = append(out, topic)
		}
	}
	return out, nil
}

func (t *transactions) one() kadm.TopicsSet {
	s := kadm.TopicsSet{}
	s.Add(t.ns.get("topic"), int32(t.ns.int("partition")))
	return s
}

func orNone(n int64) string {
	if n < 0 {
		return "None"
	}
	return strconv.FormatInt(n, 10)
}

func (t *transactions) describeProducers(ctx context.Context) error {
	got, err := t.producers(ctx, t.one())
	if err != nil {
		on := "leader"
		if t.ns.has("broker_id") {
			on = "broker " + t.ns.get("broker_id")
		}
		return failed(fmt.Sprintf("Failed to describe producers for partition %s-%d on %s", t.ns.get("topic"), t.ns.int("partition"), on), err)
	}
	var rows [][]string
	for _, topic := range got {
		for _, p := range topic.Partitions {
			for _, x := range p.ActiveProducers {
				rows = append(rows, []string{strconv.FormatInt(x.ProducerID, 10), strconv.Itoa(int(x.ProducerEpoch)), strconv.Itoa(int(x.CoordinatorEpoch)),
					strconv.Itoa(int(x.LastSequence)), strconv.FormatInt(x.LastTimestamp, 10), orNone(x.CurrentTxnStartOffset)})
			}
		}
	}
	t.table([]string{"ProducerId", "ProducerEpoch", "LatestCoordinatorEpoch", "LastSequence", "LastTimestamp", "CurrentTransactionStartOffset"}, rows)
	return nil
}

func (t *transactions) abort(ctx context.Context) error {
	topic, partition := t.ns.get("topic"), int32(t.ns.int("partition"))
	m := kadm.TxnMarkers{Topics: t.one()}
	switch {
	case t.ns.has("start_offset"):
		got, err := t.producers(ctx, t.one())
		if err != nil {
			return failed(fmt.Sprintf("Failed to validate producer state for partition %s-%d", topic, partition), err)
		}
		found := false
		for _, rt := range got {
			for _, p := range rt.Partitions {
				for _, x := range p.ActiveProducers {
					if x.CurrentTxnStartOffset == t.ns.int("start_offset") && x.CurrentTxnStartOffset >= 0 {
						found = true
						m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch = x.ProducerID, int16(x.ProducerEpoch), x.CoordinatorEpoch
					}
				}
			}
		}
		if !found {
			return failf("Could not find any open transactions starting at offset %d on partition %s-%d", t.ns.int("start_offset"), topic, partition)
		}
	case !t.ns.has("producer_id"):
		return failf("The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) or with --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)")
	case !t.ns.has("producer_epoch"):
		return failf("Missing required argument --producer-epoch")
	case !t.ns.has("coordinator_epoch"):
		return failf("Missing required argument --coordinator-epoch")
	default:
		m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch = t.ns.int("producer_id"), int16(t.ns.int("producer_epoch")), int32(t.ns.int("coordinator_epoch"))
	}
	// A producer whose first transaction hangs has met no coordinator: 0 is
	// below any that may come.
	m.CoordinatorEpoch = max(m.CoordinatorEpoch, 0)
	resps, err := t.adm.WriteTxnMarkers(ctx, m)
	if err == nil {
		for _, byTopic := range resps {
			for _, rt := range byTopic.Topics {
				for _, p := range rt.Partitions {
					err = errors.Join(err, p.Err)
				}
			}
		}
	}
	if err != nil {
		return failed(fmt.Sprintf("Failed to abort transaction AbortTransactionSpec(topicPartition=%s-%d, producerId=%d, producerEpoch=%d, coordinatorEpoch=%d)",
			topic, partition, m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch), timedOut(err, "abortTransaction"))
	}
	return nil
}

// terminate fences the id's producer, which aborts what it has open.
func (t *transactions) terminate(ctx context.Context) error {
	id := t.ns.get("transactionalId")
	if err := fenceProducer(ctx, t.cl, id); err != nil {
		return failed("Failed to force terminate transactionalId `"+id+"`", timedOut(err, "fenceProducer"))
	}
	return nil
}

// fenceProducer initialises a transactional id for nobody.
func fenceProducer(ctx context.Context, cl *kgo.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = &id, 30_000
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		err = kerr.ErrorForCode(resp.ErrorCode)
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// FenceProducer ends what a transactional id has open, and its producer.
func FenceProducer(ctx context.Context, cl *kgo.Client, id string) error {
	return fenceProducer(ctx, cl, id)
}

// openTransaction is one in one partition.
type openTransaction struct {
	topic     string
	partition int32
	kmsg.DescribeProducersResponseTopicPartitionActiveProducer
}

func (t *transactions) findHanging(ctx context.Context) error {
	if !t.ns.has("topic") && !t.ns.has("broker_id") {
		return failf("The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search")
	}
	if t.ns.has("partition") && !t.ns.has("topic") {
		return failf("The --partition argument requires --topic to be provided")
	}
	set, err := t.search(ctx)
	if err != nil {
		return err
	}
	longest := t.ns.int("max_transaction_timeout") * time.Minute.Milliseconds()
	var open []openTransaction
	ids := map[int64]bool{}
	if len(set) > 0 {
		got, err := t.producers(ctx, set)
		if err != nil {
			return failed("Failed to describe producers", err)
		}
		now := time.Now().UnixMilli()
		for _, rt := range got {
			for _, p := range rt.Partitions {
				for _, x := range p.ActiveProducers {
					if x.CurrentTxnStartOffset >= 0 && now-x.LastTimestamp > longest {
						open = append(open, openTransaction{rt.Topic, p.Partition, x})
						ids[x.ProducerID] = true
					}
				}
			}
		}
	}
	hanging, err := t.hanging(ctx, open, ids)
	if err != nil {
		return err
	}
	var rows [][]string
	now := time.Now().UnixMilli()
	for _, x := range hanging {
		rows = append(rows, []string{x.topic, strconv.Itoa(int(x.partition)), strconv.FormatInt(x.ProducerID, 10), strconv.Itoa(int(x.ProducerEpoch)),
			strconv.Itoa(int(x.CoordinatorEpoch)), strconv.FormatInt(x.CurrentTxnStartOffset, 10), strconv.FormatInt(x.LastTimestamp, 10),
			strconv.FormatInt((now-x.LastTimestamp)/time.Minute.Milliseconds(), 10)})
	}
	t.table([]string{"Topic", "Partition", "ProducerId", "ProducerEpoch", "CoordinatorEpoch", "StartOffset", "LastTimestamp", "Duration(min)"}, rows)
	return nil
}

// search lists the partitions to look at.
func (t *transactions) search(ctx context.Context) (kadm.TopicsSet, error) {
	if t.ns.has("partition") {
		return t.one(), nil
	}
	var topics []string
	if t.ns.has("topic") {
		topics = []string{t.ns.get("topic")}
	}
	details, err := t.adm.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return nil, failed("Failed to list topics", timedOut(err, "listTopics"))
	}
	set := kadm.TopicsSet{}
	for _, d := range details.Sorted() {
		if d.Err != nil {
			return nil, failed("Failed to describe 1 topics", withMessage(d.Err, nil))
		}
		for _, p := range d.Partitions.Sorted() {
			if !t.ns.has("broker_id") || slices.Contains(p.Replicas, int32(t.ns.int("broker_id"))) {
				set.Add(d.Topic, p.Partition)
			}
		}
	}
	return set, nil
}

// hanging are those of open that no coordinator will end: it does not know the
// producer, or not that the partition belongs to its transaction.
func (t *transactions) hanging(ctx context.Context, open []openTransaction, ids map[int64]bool) ([]openTransaction, error) {
	if len(open) == 0 {
		return nil, nil
	}
	listed, err := t.adm.ListTransactions(ctx, slices.Sorted(maps.Keys(ids)), nil)
	if err != nil {
		return nil, failed(fmt.Sprintf("Failed to list transactions for %d producers", len(ids)), timedOut(err, "listTransactions"))
	}
	names := map[int64]string{}
	for _, x := range listed.Sorted() {
		names[x.ProducerID] = x.TxnID
	}
	described := kadm.DescribedTransactions{}
	if len(names) > 0 {
		if described, err = t.adm.DescribeTransactions(ctx, slices.Collect(maps.Values(names))...); err != nil {
			return nil, failed(fmt.Sprintf("Failed to describe %d transactions", len(names)), timedOut(err, "describeTransactions"))
		}
	}
	var out []openTransaction
	for _, x := range open {
		d, ok := described[names[x.ProducerID]]
		if ok && d.Err == nil && d.Topics.Lookup(x.topic, x.partition) {
			continue
		}
		out = append(out, x)
	}
	return out, nil
}
