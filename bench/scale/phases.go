// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/bench/proc"
)

// measuring goes through the phases and writes a line for each figure.
type measuring struct {
	cluster *cluster
	asker   *asker
	out     io.Writer
	rss0    [3]float64
}

func (m *measuring) say(what, format string, a ...any) {
	fmt.Fprintf(m.out, "%-52s %s\n", what, fmt.Sprintf(format, a...))
}

// each is a figure of each of the brokers.
func (m *measuring) each(f func(pid int) float64) (v [3]float64) {
	for i, b := range m.cluster.brokers {
		v[i] = f(b.pid)
	}
	return v
}

// span is the brokers' CPU over some time, and the machine's that was neither
// theirs nor this process's.
type span struct {
	m    *measuring
	at   time.Time
	cpu  [3]float64
	busy float64
}

// begin starts a span, and takes profiles under its name if it has one.
func (m *measuring) begin(name string) *span {
	if *profile != "" && name != "" {
		for _, b := range m.cluster.brokers {
			go m.takeProfile(b, name)
		}
	}
	return &span{m, time.Now(), m.each(cpu), proc.Busy()}
}

func (m *measuring) takeProfile(b *broker, name string) {
	base := b.http[:len(b.http)-len("/metrics")]
	for kind, page := range map[string]string{"cpu": "/debug/pprof/profile?seconds=10", "heap": "/debug/pprof/heap"} {
		f := filepath.Join(*profile, fmt.Sprintf("%s-%d.%s", name, b.id, kind))
		if err := save(base+page, f); err != nil {
			fmt.Fprintln(os.Stderr, "profile:", err)
		}
	}
}

// end writes the CPU of each broker, in seconds and in percent of a core.
//
// CPU that was spent in a process that is gone is not in it.
func (s *span) end(what string) {
	after, now := s.m.each(cpu), time.Since(s.at).Seconds()
	var secs, pct string
	sum := 0.0
	for i := range after {
		d := after[i] - s.cpu[i]
		if d < 0 { // another process by now, or none
			d = after[i]
		}
		sum += d
		secs += fmt.Sprintf(" %.2f", d)
		pct += fmt.Sprintf(" %.1f", d/now*100)
	}
	s.m.say(what+": s; CPU s; % of a core", "%.2f;%s;%s   (machine busy with other things %.0f %%)", now, secs, pct,
		max(0, (proc.Busy()-s.busy-sum)/now*100))
}

func (m *measuring) memory(when string) {
	m.say("RSS MB, "+when, "%.0f (peak %.0f)", m.each(rss), m.each(peak))
	m.say("open files, "+when, "%.0f", m.each(func(pid int) float64 { return float64(proc.Files(pid)) }))
}

func (m *measuring) atStart(ctx context.Context) error {
	time.Sleep(2 * time.Second)
	m.rss0 = m.each(rss)
	m.memory("no topic yet")
	return nil
}

func (m *measuring) create(ctx context.Context) error {
	s := m.begin("create")
	if err := m.asker.create(ctx); err != nil {
		return err
	}
	s.end("topics created, answered")
	n := *topics * *perEach
	if err := m.asker.await(ctx, -1, 50*time.Millisecond, func(all map[place]state) bool { return len(all) == n && whole(all) }); err != nil {
		return err
	}
	s.end("... known, led and in sync")
	return nil
}

func (m *measuring) rest(what, name string) error {
	time.Sleep(10 * time.Second)
	s := m.begin(name)
	time.Sleep(*idle)
	s.end(what)
	m.memory(what)
	n := float64(*topics * *perEach)
	var per [3]float64
	for i, v := range m.each(rss) {
		per[i] = (v - m.rss0[i]) * 1024 / n
	}
	m.say("memory a partition, KB", "%.1f", per)
	return nil
}

func (m *measuring) idleEmpty(context.Context) error {
	return m.rest("idle, nothing written", "idle0")
}
func (m *measuring) idleWritten(context.Context) error {
	return m.rest("idle, written", "idle1")
}

func (m *measuring) writeEach(ctx context.Context) error {
	all, err := m.asker.metadata(ctx, -1)
	if err != nil {
		return err
	}
	var places []place
	for p := range all {
		places = append(places, p)
	}
	for _, what := range []string{"first", "second"} {
		s := m.begin("write-" + what)
		if err := m.asker.produce(ctx, places, func(ctx context.Context) (map[place]state, error) { return m.asker.metadata(ctx, -1) }); err != nil {
			return err
		}
		s.end("a " + what + " record to each partition, acks=all")
	}
	return nil
}

func (m *measuring) scrape(ctx context.Context) error {
	const times = 10
	b := m.cluster.brokers[0]
	began, before, size := time.Now(), cpu(b.pid), 0
	for range times {
		n, err := get(ctx, b.http)
		if err != nil {
			return err
		}
		size = n
	}
	m.say("/metrics of one broker: ms; CPU ms; KB", "%.1f; %.1f; %d", time.Since(began).Seconds()*1e3/times, (cpu(b.pid)-before)*1e3/times, size/1024)
	return nil
}

// cleanRestart stops one broker and starts it again.
func (m *measuring) cleanRestart(ctx context.Context) error {
	b := m.cluster.brokers[1]
	s := m.begin("")
	took, err := b.end(syscall.SIGTERM)
	if err != nil {
		return err
	}
	m.say("clean stop of one broker, ms", "%d", took.Milliseconds())
	s.end("...")
	return m.back(ctx, b, "clean")
}

// back starts a broker and waits until it is in sync everywhere, then until it
// leads a third again.
func (m *measuring) back(ctx context.Context, b *broker, kind string) error {
	began := time.Now()
	if err := b.restart(); err != nil {
		return err
	}
	s := m.begin("restart-" + kind)
	for until := began.Add(patience); ; time.Sleep(5 * time.Millisecond) {
		one, cancel := context.WithTimeout(ctx, time.Second)
		_, err := do[*kmsg.ApiVersionsResponse](one, m.asker, m.seed(b), kmsg.NewPtrApiVersionsRequest())
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(until) {
			return fmt.Errorf("broker %d does not come back: %w", b.id, err)
		}
	}
	m.say("restart after a "+kind+" stop: answers clients after ms", "%d", time.Since(began).Milliseconds())
	if err := m.asker.await(ctx, m.seed(m.other(b)), 50*time.Millisecond, whole); err != nil {
		return err
	}
	m.say("... in sync everywhere after ms", "%d", time.Since(began).Milliseconds())
	s.end("...")
	return m.balance(ctx)
}

// balance gives leadership back to the first replicas, so that each broker
// leads a third.
func (m *measuring) balance(ctx context.Context) error {
	s := m.begin("")
	req := kmsg.NewPtrElectLeadersRequest()
	req.TimeoutMillis = 60_000
	if _, err := req.RequestWith(ctx, m.asker.cl); err != nil {
		return err
	}
	err := m.asker.await(ctx, -1, 50*time.Millisecond, func(all map[place]state) bool {
		led := map[int32]int{}
		for _, s := range all {
			led[s.leader]++
		}
		for _, b := range m.cluster.brokers {
			if led[b.id] < len(all)/4 {
				return false
			}
		}
		return whole(all)
	})
	if err != nil {
		return err
	}
	s.end("preferred leaders elected")
	return nil
}

func (m *measuring) other(b *broker) *broker {
	for _, o := range m.cluster.brokers {
		if o != b {
			return o
		}
	}
	return nil
}

// seed is how do names a broker that the client may have forgotten.
func (m *measuring) seed(b *broker) int32 {
	for i, o := range m.cluster.brokers {
		if o == b {
			return int32(-1 - i)
		}
	}
	return -1
}

// failover kills a broker that leads a third: the active controller, or one
// that is not.
func (m *measuring) failover(controller bool) func(context.Context) error {
	return func(ctx context.Context) error {
		resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, m.asker.cl)
		if err != nil {
			return err
		}
		q := kmsg.NewPtrDescribeQuorumRequest()
		t := kmsg.NewDescribeQuorumRequestTopic()
		t.Topic = "__cluster_metadata"
		t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
		q.Topics = append(q.Topics, t)
		quorum, err := q.RequestWith(ctx, m.asker.cl)
		if err != nil {
			return err
		}
		active := resp.ControllerID
		if len(quorum.Topics) > 0 && len(quorum.Topics[0].Partitions) > 0 {
			active = quorum.Topics[0].Partitions[0].LeaderID
		}
		what := "kill -9 of a broker"
		var b *broker
		for _, o := range m.cluster.brokers {
			if (o.id == active) == controller {
				b = o
			}
		}
		if controller {
			what += " that was the active controller"
		}
		all, err := m.asker.metadata(ctx, -1)
		if err != nil {
			return err
		}
		var its []place
		for p, s := range all {
			if s.leader == b.id {
				its = append(its, p)
			}
		}
		witness := m.other(b)
		s := m.begin("failover-" + map[bool]string{false: "broker", true: "controller"}[controller])
		began := time.Now()
		if _, err := b.end(syscall.SIGKILL); err != nil {
			return err
		}
		var led time.Duration
		leaders := func(ctx context.Context) (map[place]state, error) {
			one, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			all, err := m.asker.metadata(one, m.seed(witness))
			if err == nil && led == 0 {
				none := false
				for p, s := range all {
					if s.leader < 0 || s.leader == b.id {
						none = true
						s.leader = -1
						all[p] = s
					}
				}
				if !none {
					led = time.Since(began)
				}
			}
			return all, err
		}
		if err := m.asker.produce(ctx, its, leaders); err != nil {
			return err
		}
		m.say(what+" that led "+fmt.Sprint(len(its))+": all led after ms", "%d", led.Milliseconds())
		m.say("... all took a record at acks=all after ms", "%d", time.Since(began).Milliseconds())
		s.end("...")
		return m.back(ctx, b, "unclean")
	}
}
