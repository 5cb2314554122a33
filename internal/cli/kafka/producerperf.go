// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func producerPerfArguments() *arguments {
	a := newArguments("kafka-producer-perf-test", "Measures how fast records are produced.")
	a.store("--bootstrap-server").as("bootstrapServer").about("Brokers: host:port with commas between; wins over bootstrap.servers given elsewhere.")
	a.store("--topic").need().about("The topic to produce to.")
	a.store("--num-records").as("numRecords").number().need().about("How many records.")
	a.exclusiveNeeded(
		a.store("--record-size").as("recordSize").number().about("Bytes of each record's value."),
		a.store("--payload-file").as("payloadFile").about("File of values, of which one is picked at random for each record."),
		a.toggle("--payload-monotonic").as("payloadMonotonic").about("Values count up from 0."),
	)
	a.store("--payload-delimiter").as("payloadDelimiter").def(`\n`).about("What stands between values in the file.")
	a.store("--throughput").real().need().about("Records a second; -1 for as many as go.")
	a.store("--producer-props").as("producerConfig").words().about("(Deprecated) old name of --command-property.")
	a.store("--command-property").as("commandProperties").words().about("Producer configurations, as name=value.")
	a.store("--producer.config").as("producerConfigFile").about("(Deprecated) old name of --command-config.")
	a.store("--command-config").as("commandConfigFile").about("File of producer configurations.")
	a.toggle("--print-metrics").as("printMetrics").about("Print what the client counted at the end.")
	a.store("--transactional-id").as("transactionalId").about("Produce in transactions under this id.")
	a.store("--transaction-duration-ms").as("transactionDurationMs").number().about("How long each transaction lasts; 3000 when an id is given.")
	a.store("--warmup-records").as("warmupRecords").number().def("0").about("Leave the first so many records out of a second summary.")
	a.store("--reporting-interval").as("reportingInterval").number().def("5000").about("Milliseconds between lines of progress.")
	return a
}

// perfDefaults are what Java's producer does when nothing is said, so that
// figures of the two tools compare.
func (p props) perfDefaults() {
	for k, v := range map[string]string{"linger.ms": "5", "batch.size": "16384", "buffer.memory": "33554432", "max.in.flight.requests.per.connection": "5"} {
		if _, set := p[k]; !set {
			p[k] = v
		}
	}
}

func runProducerPerf(ctx context.Context, e *Env, args []string) error {
	a := producerPerfArguments()
	if len(args) == 0 {
		a.help(e.Out)
		return nil
	}
	ns, err := a.parse(e, args)
	if err != nil {
		return err
	}
	total, warmup, every := ns.int("numRecords"), max(ns.int("warmupRecords"), 0), ns.int("reportingInterval")
	size := ns.int("recordSize")
	txnTime := ns.int("transactionDurationMs")
	switch {
	case total <= 0:
		return a.errorf("--num-records should be greater than zero.")
	case warmup >= total:
		return a.errorf("The value for --warmup-records must be strictly fewer than the number of records in the test, --num-records.")
	case ns.has("recordSize") && size <= 0:
		return a.errorf("--record-size should be greater than zero.")
	case !ns.has("bootstrapServer") && !ns.has("commandProperties") && !ns.has("producerConfig") && !ns.has("producerConfigFile") && !ns.has("commandConfigFile"):
		return a.errorf("At least one of --bootstrap-server, --command-property, --producer-props, --producer.config or --command-config must be specified.")
	case ns.has("commandProperties") && ns.has("producerConfig"):
		return a.errorf("--command-property and --producer-props cannot be specified together.")
	case ns.has("commandConfigFile") && ns.has("producerConfigFile"):
		return a.errorf("--command-config and --producer.config cannot be specified together.")
	case ns.has("transactionDurationMs") && txnTime <= 0:
		return a.errorf("--transaction-duration-ms should be greater than zero.")
	case every <= 0:
		return a.errorf("--reporting-interval should be greater than zero.")
	}
	payloads, err := readPayloads(e, ns)
	if err != nil {
		return err
	}
	list, file := ns.list("commandProperties"), ns.get("commandConfigFile")
	if ns.has("producerConfig") {
		e.println("Option --producer-props has been deprecated and will be removed in a future version. Use --command-property instead.")
		list = ns.list("producerConfig")
	}
	if ns.has("producerConfigFile") {
		e.println("Option --producer.config has been deprecated and will be removed in a future version. Use --command-config instead.")
		file = ns.get("producerConfigFile")
	}
	p, err := loadProps(file)
	if err != nil {
		return err
	}
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || v == "" || strings.Contains(v, "=") {
			return failf("Invalid property: %s", kv)
		}
		p[k] = v
	}
	if ns.has("bootstrapServer") {
		p["bootstrap.servers"] = ns.get("bootstrapServer")
	}
	if p["client.id"] == "" {
		p["client.id"] = "perf-producer-client"
	}
	inTxn := ns.has("transactionDurationMs") || ns.has("transactionalId") || p["transactional.id"] != ""
	if inTxn {
		if ns.has("transactionalId") {
			p["transactional.id"] = ns.get("transactionalId")
		} else if p["transactional.id"] == "" {
			p["transactional.id"] = "performance-producer-" + uuidText(randomUUID())
		}
		if !ns.has("transactionDurationMs") {
			txnTime = 3000
		}
	}
	p.perfDefaults()
	opts, err := p.producerOpts(e)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return failf("%s", err)
	}
	defer cl.Close()
	if warmup > 0 {
		e.printf("Warmup first %d records. Steady state results will print after the complete test summary.\n", warmup)
	}
	stats := newPerfStats(e, total, every, false)
	var steady *perfStats
	throughput, _ := strconv.ParseFloat(ns.get("throughput"), 64)
	speed := pace{throughput, time.Now()}
	random := rand.New(rand.NewPCG(0, 0))
	var inTxnNow bool
	var txnStart time.Time
	commit := func() error {
		if err := cl.Flush(ctx); err != nil {
			return err
		}
		inTxnNow = false
		return cl.EndTransaction(ctx, kgo.TryCommit)
	}
	for i := int64(0); i < total && ctx.Err() == nil; i++ {
		var value []byte
		switch {
		case len(payloads) > 0:
			value = payloads[random.IntN(len(payloads))]
		case ns.on("payloadMonotonic"):
			value = strconv.AppendInt(nil, i, 10)
		default:
			value = letters(random, int(size))
		}
		if inTxn && !inTxnNow {
			if err := cl.BeginTransaction(); err != nil {
				return failf("%s", err)
			}
			inTxnNow, txnStart = true, time.Now()
		}
		sent := time.Now()
		if warmup > 0 && i == warmup {
			s := newPerfStats(e, total-warmup, every, true)
			stats.quiet()
			steady = s
		}
		also := steady
		cl.Produce(ctx, &kgo.Record{Topic: ns.get("topic"), Value: value}, func(r *kgo.Record, err error) {
			if err != nil {
				e.complain("%s", exceptionText(timedOut(err, "send")))
				return
			}
			now := time.Now()
			stats.record(now.Sub(sent), len(value), now)
			if also != nil {
				also.record(now.Sub(sent), len(value), now)
			}
		})
		if inTxn && sent.Sub(txnStart) >= time.Duration(txnTime)*time.Millisecond {
			if err := commit(); err != nil {
				return failf("%s", err)
			}
		}
		speed.wait(ctx, i+1)
	}
	if inTxnNow {
		err = commit()
	} else {
		err = cl.Flush(ctx)
	}
	stats.total()
	if steady != nil {
		steady.total()
	}
	if ns.on("printMetrics") {
		printClientMetrics(e, map[string]string{
			"producer-metrics:record-send-total:{client-id=" + p["client.id"] + "}": fmt.Sprintf("%.3f", float64(stats.count)),
			"producer-metrics:record-byte-total:{client-id=" + p["client.id"] + "}": fmt.Sprintf("%.3f", float64(stats.bytes)),
		})
	}
	if err != nil {
		return failf("%s", err)
	}
	return nil
}

// letters is n random bytes from A to Z, eight from each random word.
func letters(r *rand.Rand, n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	b = b[:n]
	for i := range b {
		b[i] = 'A' + byte(uint16(b[i])*26>>8)
	}
	return b
}

func readPayloads(e *Env, ns *namespace) ([][]byte, error) {
	path := ns.get("payloadFile")
	if path == "" {
		return nil, nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, failf("%s", err)
	}
	e.println("Reading payloads from: " + abs)
	raw, err := os.ReadFile(path)
	if err != nil || len(raw) == 0 {
		return nil, failf("File does not exist or empty file provided.")
	}
	sep := strings.ReplaceAll(ns.get("payloadDelimiter"), `\n`, "\n")
	list := bytes.Split(raw, []byte(sep))
	if len(list[len(list)-1]) == 0 {
		list = list[:len(list)-1]
	}
	e.printf("Number of records read: %d\n", len(list))
	return list, nil
}

// printClientMetrics lists values by name, as Kafka's --print-metrics does.
func printClientMetrics(e *Env, values map[string]string) {
	var names []string
	width := 0
	for n := range values {
		names = append(names, n)
		width = max(width, len(n))
	}
	slices.Sort(names)
	e.printf("\n%-*s   %s\n", width, "Metric Name", "Value")
	for _, n := range names {
		e.printf("%-*s : %s\n", width, n, values[n])
	}
}

// perfStats counts acknowledged records and their latencies, of which it keeps
// at most half a million for percentiles.
type perfStats struct {
	env      *Env
	start    time.Time
	sampling int64
	every    time.Duration
	steady   bool

	mu        sync.Mutex // guards all below: promises run on the client's goroutine
	silent    bool
	latencies []int64 // ms
	count     int64
	bytes     int64
	sum, max  int64
	window    struct {
		start                  time.Time
		count, bytes, sum, max int64
	}
}

func newPerfStats(e *Env, total, everyMillis int64, steady bool) *perfStats {
	s := &perfStats{env: e, start: time.Now(), sampling: total / min(total, 500_000), every: time.Duration(everyMillis) * time.Millisecond, steady: steady}
	s.window.start = s.start
	return s
}

func (s *perfStats) quiet() { s.mu.Lock(); s.silent = true; s.mu.Unlock() }

func (s *perfStats) record(took time.Duration, size int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := took.Milliseconds()
	if s.count%s.sampling == 0 {
		s.latencies = append(s.latencies, ms)
	}
	s.count++
	s.bytes += int64(size)
	s.sum += ms
	s.max = max(s.max, ms)
	w := &s.window
	w.count++
	w.bytes += int64(size)
	w.sum += ms
	w.max = max(w.max, ms)
	elapsed := now.Sub(w.start)
	if elapsed < s.every {
		return
	}
	if s.steady && s.count == w.count {
		s.env.println("In steady state.")
	}
	if !s.silent {
		sec := elapsed.Seconds()
		s.env.printf("%d records sent, %.1f records/sec (%.2f MB/sec), %.1f ms avg latency, %.1f ms max latency.\n",
			w.count, float64(w.count)/sec, float64(w.bytes)/sec/(1<<20), float64(w.sum)/float64(w.count), float64(w.max))
	}
	*w = struct {
		start                  time.Time
		count, bytes, sum, max int64
	}{start: now}
}

func (s *perfStats) total() {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := time.Since(s.start).Seconds()
	slices.Sort(s.latencies)
	at := func(p float64) int64 {
		if len(s.latencies) == 0 {
			return 0
		}
		return s.latencies[min(int(p*float64(len(s.latencies))), len(s.latencies)-1)]
	}
	steady := ""
	if s.steady {
		steady = " steady state"
	}
	avg := "NaN"
	if s.count > 0 {
		avg = fmt.Sprintf("%.2f", float64(s.sum)/float64(s.count))
	}
	s.env.printf("%d%s records sent, %f records/sec (%.2f MB/sec), %s ms avg latency, %.2f ms max latency, %d ms 50th, %d ms 95th, %d ms 99th, %d ms 99.9th.\n",
		s.count, steady, float64(s.count)/sec, float64(s.bytes)/sec/(1<<20), avg, float64(s.max), at(0.5), at(0.95), at(0.99), at(0.999))
}
