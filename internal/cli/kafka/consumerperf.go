// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func runConsumerPerf(ctx context.Context, e *Env, args []string) error {
	o := newOptions("Measures how fast records are consumed.")
	server := o.text("bootstrap-server", "server to connect to", "REQUIRED: host:port of a broker, or several with commas between.")
	topic := o.text("topic", "topic", "The topic to read.")
	include := o.text("include", "Java regex (String)", "A regular expression: read every topic that matches.")
	group := o.text("group", "gid", "The consumer group.").def(fmt.Sprintf("perf-consumer-%d", rand.IntN(100_000)))
	fetch := o.integer("fetch-size", "size", "Bytes to fetch of a partition at once.").def("1048576")
	prop := o.text("command-property", "prop1=val1", "A consumer configuration, as name=value; may be repeated.")
	latest := o.flag("from-latest", "Begin at the end where the group has no position, not at the start.")
	o.integer("socket-buffer-size", "size", "Size of the socket's buffer.").def("2097152")
	oldFile := o.text("consumer.config", "config file", "(Deprecated) old name of --command-config.")
	file := o.text("command-config", "config file", "File of consumer configurations.")
	metrics := o.flag("print-metrics", "Print what the client counted at the end.")
	detailed := o.flag("show-detailed-stats", "Print a line each --reporting-interval.")
	timeout := o.long("timeout", "milliseconds", "Stop when no record came for so long.").def("10000").maybe()
	oldNum := o.long("messages", "count", "(Deprecated) old name of --num-records.")
	num := o.long("num-records", "count", "REQUIRED: how many records.")
	interval := o.long("reporting-interval", "interval_ms", "Milliseconds between lines of progress.").def("5000")
	format := o.text("date-format", "date format", "How times are printed, as Java's SimpleDateFormat has it.").def("yyyy-MM-dd HH:mm:ss:SSS")
	noHeader := o.flag("hide-header", "Leave out the line with the names of columns.")
	if err := o.start(e, args); err != nil {
		return err
	}
	if err := o.required(server); err != nil {
		return err
	}
	if err := o.oneOf(topic, include); err != nil {
		return err
	}
	if err := o.oneOf(oldNum, num); err != nil {
		return err
	}
	if err := o.invalid(oldFile, file); err != nil {
		return err
	}
	if oldNum.has {
		e.println("Warning: --messages is deprecated. Use --num-records instead.")
		num.values = oldNum.values
	}
	if oldFile.has {
		e.println("Warning: --consumer.config is deprecated. Use --command-config instead.")
		file.values = oldFile.values
	}
	if !noHeader.has {
		first := "start.time, end.time"
		if detailed.has {
			first = "time, threadId"
		}
		e.println(first + ", data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec")
	}
	if interval.int() <= 0 {
		return failf("Reporting interval must be greater than 0.")
	}
	p, err := loadProps(file.value())
	if err != nil {
		return err
	}
	p.merge(keyValues(prop.values))
	p["bootstrap.servers"], p["group.id"], p["max.partition.fetch.bytes"] = server.value(), group.value(), fetch.value()
	p["auto.offset.reset"] = "earliest"
	if latest.has {
		p["auto.offset.reset"] = "latest"
	}
	if p["client.id"] == "" {
		p["client.id"] = "perf-consumer-client"
	}
	opts, err := p.consumerOpts(e)
	if err != nil {
		return err
	}
	if topic.has {
		opts = append(opts, kgo.ConsumeTopics(topic.value()))
	} else {
		opts = append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics("^(?:"+include.value()+")$"))
	}
	joins := &joinTimes{since: time.Now(), owned: map[topicPartition]bool{}}
	opts = append(opts, kgo.OnPartitionsAssigned(joins.assigned), kgo.OnPartitionsRevoked(joins.revoked), kgo.OnPartitionsLost(joins.revoked))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return failf("%s", err)
	}
	defer cl.Close()
	layout := javaDate(format.value())
	c := perfConsumer{env: e, cl: cl, layout: layout, joins: joins, detailed: detailed.has}
	start := time.Now()
	c.run(ctx, num.int(), time.Duration(timeout.int())*time.Millisecond, time.Duration(interval.int())*time.Millisecond)
	end := time.Now()
	if !detailed.has {
		took := end.Sub(start).Seconds()
		joined := joins.all()
		fetching := end.Sub(start).Milliseconds() - joined
		mb := float64(c.bytes) / (1 << 20)
		e.printf("%s, %s, %.4f, %s, %d, %s, %d, %d, %s, %s\n", layout(start), layout(end), mb, rate(mb, took), c.records, rate(float64(c.records), took),
			joined, fetching, rate(mb, float64(fetching)/1000), rate(float64(c.records), float64(fetching)/1000))
	}
	if metrics.has {
		printClientMetrics(e, map[string]string{
			"consumer-fetch-manager-metrics:records-consumed-total:{client-id=" + p["client.id"] + "}": fmt.Sprintf("%.3f", float64(c.records)),
			"consumer-fetch-manager-metrics:bytes-consumed-total:{client-id=" + p["client.id"] + "}":   fmt.Sprintf("%.3f", float64(c.bytes)),
		})
	}
	return nil
}

// rate divides as Java prints it where time stood still.
func rate(n, seconds float64) string {
	switch {
	case seconds == 0 && n == 0:
		return "NaN"
	case seconds == 0:
		return "Infinity"
	}
	return fmt.Sprintf("%.4f", n/seconds)
}

type perfConsumer struct {
	env            *Env
	cl             *kgo.Client
	layout         func(time.Time) string
	joins          *joinTimes
	detailed       bool
	records, bytes int64
}

func (c *perfConsumer) run(ctx context.Context, total int64, patience, every time.Duration) {
	reported, last := time.Now(), time.Now()
	var lastBytes, lastRecords int64
	for c.records < total && time.Since(last) <= patience && ctx.Err() == nil {
		poll, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		fetches := c.cl.PollRecords(poll, 500)
		cancel()
		now := time.Now()
		if fetches.NumRecords() > 0 {
			last = now
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			c.records++
			c.bytes += int64(len(r.Key) + len(r.Value))
			c.cl.MarkCommitRecords(r)
			if now.Sub(reported) < every {
				continue
			}
			joined := c.joins.round()
			if c.detailed {
				took := now.Sub(reported)
				mb, n := float64(c.bytes-lastBytes)/(1<<20), float64(c.records-lastRecords)
				fetching := took.Milliseconds() - joined
				mbs, ns := 0.0, 0.0
				if fetching > 0 {
					mbs, ns = 1000*mb/float64(fetching), 1000*n/float64(fetching)
				}
				c.env.printf("%s, 0, %.4f, %.4f, %d, %.4f, %d, %d, %.4f, %.4f\n", c.layout(now), float64(c.bytes)/(1<<20), mb/took.Seconds(), c.records, n/took.Seconds(), joined, fetching, mbs, ns)
			}
			reported, lastBytes, lastRecords = now, c.bytes, c.records
		}
	}
	if c.records < total {
		c.env.printf("WARNING: Exiting before consuming the expected number of records: timeout (%d ms) exceeded. You can use the --timeout option to increase the timeout.\n", patience.Milliseconds())
	}
}

// joinTimes measures how long the consumer had no partitions.
type joinTimes struct {
	mu          sync.Mutex // guards all below
	since       time.Time
	owned       map[topicPartition]bool
	sum, recent int64 // ms
}

func (j *joinTimes) assigned(_ context.Context, _ *kgo.Client, m map[string][]int32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.owned) == 0 {
		ms := time.Since(j.since).Milliseconds()
		j.sum, j.recent = j.sum+ms, j.recent+ms
	}
	for t, ps := range m {
		for _, p := range ps {
			j.owned[topicPartition{t, p}] = true
		}
	}
}

func (j *joinTimes) revoked(_ context.Context, _ *kgo.Client, m map[string][]int32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for t, ps := range m {
		for _, p := range ps {
			delete(j.owned, topicPartition{t, p})
		}
	}
	if len(j.owned) == 0 {
		j.since = time.Now()
	}
}

func (j *joinTimes) all() int64 { j.mu.Lock(); defer j.mu.Unlock(); return j.sum }

// round is the time since it was last asked for.
func (j *joinTimes) round() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.recent
	j.recent = 0
	return r
}

// javaDate prints times by a pattern of Java's SimpleDateFormat; letters that
// it does not know stay as they are.
func javaDate(pattern string) func(time.Time) string {
	return func(t time.Time) string {
		var b strings.Builder
		rs := []rune(pattern)
		for i := 0; i < len(rs); {
			n := i
			for n < len(rs) && rs[n] == rs[i] {
				n++
			}
			width := n - i
			num := func(v int) { fmt.Fprintf(&b, "%0*d", width, v) }
			switch rs[i] {
			case '\'':
				end := i + 1
				for end < len(rs) && rs[end] != '\'' {
					b.WriteRune(rs[end])
					end++
				}
				i = min(end+1, len(rs))
				continue
			case 'y':
				if width == 2 {
					num(t.Year() % 100)
				} else {
					num(t.Year())
				}
			case 'M':
				switch {
				case width >= 4:
					b.WriteString(t.Month().String())
				case width == 3:
					b.WriteString(t.Month().String()[:3])
				default:
					num(int(t.Month()))
				}
			case 'd':
				num(t.Day())
			case 'H':
				num(t.Hour())
			case 'h':
				num((t.Hour()+11)%12 + 1)
			case 'm':
				num(t.Minute())
			case 's':
				num(t.Second())
			case 'S':
				num(t.Nanosecond() / 1e6)
			case 'a':
				b.WriteString(t.Format("PM"))
			case 'E':
				b.WriteString(t.Format("Mon"))
			case 'Z':
				b.WriteString(t.Format("-0700"))
			case 'z':
				b.WriteString(t.Format("MST"))
			case 'X':
				b.WriteString(t.Format("Z07:00"))
			default:
				b.WriteString(strings.Repeat(string(rs[i]), width))
			}
			i = n
		}
		return b.String()
	}
}
