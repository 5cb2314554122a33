// SPDX-License-Identifier: Apache-2.0

// kbench measures one Kafka-compatible broker, or two in alternation.
//
// Everything is charged to the broker processes through /proc/PID/stat, apart
// from the load generator's own CPU, because CPU-seconds per GB is far steadier
// than MB/s on a small shared machine. See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	aSpec   = flag.String("a", "", "broker A: name=NAME,boot=HOST:PORT,pid=PID[+PID]  (or start/dir instead of pid, see README)")
	bSpec   = flag.String("b", "", "broker B, same form; if given, A and B alternate and ratios are printed")
	aStart  = flag.String("a-start", "", "shell command that starts broker A in the foreground (exec it); enables workload e")
	bStart  = flag.String("b-start", "", "same for broker B")
	aPre    = flag.String("a-pre", "", "shell command run before each start of A (e.g. wipe the data directory)")
	bPre    = flag.String("b-pre", "", "same for B")
	loads   = flag.String("w", "raw1k,raw16k,raw100,kgo1k,kgo1kall,kgo100,rawfetch,kgofetch,ping1,ping50,lat,parts", "workloads, in order")
	gb      = flag.Float64("gb", 1, "GB of record bytes per throughput workload")
	rounds  = flag.Int("rounds", 3, "rounds (medians are over rounds)")
	rf      = flag.Int("rf", 1, "replication factor of the topics")
	nparts  = flag.Int("partitions", 1, "partitions for throughput workloads")
	rate    = flag.Int("rate", 1000, "messages/s of the latency workload")
	latSec  = flag.Int("latsec", 10, "seconds of the latency workload")
	fill    = flag.Int("fill", 600, "fill the page cache until MemFree is below this many MB before each workload (0 = off); see README")
	fillDir = flag.String("filedir", os.TempDir(), "where the sparse fill file is put")
	restart = flag.Bool("restart", true, "start and stop the brokers kbench owns in every round (off: keep both running)")
	warmGB  = flag.Float64("warm", 0.2, "GB produced before each set of workloads and not measured")
	tconfig = flag.String("topic-config", "", "k=v,k=v for every topic made, e.g. gregor.durable=false")
	showAll = flag.Bool("all", true, "print every metric (off: only the table of targets)")
	jsonTo  = flag.String("json", "", "also write the JSON line to this file")
)

type result map[string]float64

type broker struct {
	name, boot string
	pids       []int
	start, pre string
	cmd        *exec.Cmd
	startup    result
}

func parse(spec, start, pre string) *broker {
	b := &broker{start: start, pre: pre}
	for _, kv := range strings.Split(spec, ",") {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "name":
			b.name = v
		case "boot":
			b.boot = strings.ReplaceAll(v, "+", ",")
		case "pid":
			for _, p := range strings.Split(v, "+") {
				n, err := strconv.Atoi(p)
				check(err)
				b.pids = append(b.pids, n)
			}
		default:
			die("unknown key %q in %q", k, spec)
		}
	}
	if b.boot == "" || (len(b.pids) == 0 && start == "") {
		die("broker needs boot= and pid= (or a start command): %q", spec)
	}
	return b
}

func die(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...); os.Exit(1) }
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// up starts the broker if kbench owns it and records workload e.
func (b *broker) up() {
	if b.start == "" {
		return
	}
	if b.pre != "" {
		check(exec.Command("sh", "-c", b.pre).Run())
	}
	t := time.Now()
	b.exec()
	ms, err := firstProduce(b.boot, t)
	if err != nil {
		b.down()
		die("%s never took a produce: %v", b.name, err)
	}
	b.startup = result{"start_ms": ms, "start_cpu_ms": cpu(b.pids) * 1e3}
	time.Sleep(2 * time.Second)
	c0 := cpu(b.pids)
	time.Sleep(3 * time.Second)
	b.startup["idle_cpu_pct"] = (cpu(b.pids) - c0) / 3 * 100
	b.startup["idle_rss_mb"] = status(b.pids, "VmRSS")
}

// exec starts the process.
func (b *broker) exec() {
	c := exec.Command("sh", "-c", "exec "+b.start)
	lf, err := os.Create(os.TempDir() + "/kbench-" + b.name + ".log")
	check(err)
	c.Stdout, c.Stderr = lf, lf
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	check(c.Start())
	b.cmd, b.pids = c, []int{c.Process.Pid}
}

func (b *broker) down() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM) // gone already: Wait says so
	done := make(chan struct{})
	go func() { _ = b.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		_ = b.cmd.Process.Kill()
		<-done
	}
	b.cmd = nil
}

func main() {
	flag.Parse()
	bs := []*broker{parse(*aSpec, *aStart, *aPre)}
	if *bSpec != "" {
		bs = append(bs, parse(*bSpec, *bStart, *bPre))
	}
	all := map[string][]map[string]result{} // broker -> round -> workload -> metrics
	var order []string
	seen := map[string]bool{}
	for r := 0; r < *rounds; r++ {
		rot := bs
		if len(bs) == 2 && r%2 == 1 {
			rot = []*broker{bs[1], bs[0]}
		}
		one := map[string]map[string]result{}
		for _, b := range rot {
			one[b.name] = map[string]result{}
			if *restart || r == 0 {
				b.up()
				if b.startup != nil {
					one[b.name]["startup"] = b.startup
					if !seen["startup"] {
						seen["startup"] = true
						order = append(order, "startup")
					}
				}
			}
			runAll(b, r, one[b.name], func(w string) {
				if !seen[w] {
					seen[w] = true
					order = append(order, w)
				}
			})
			if *restart {
				b.down()
			}
		}
		for n, m := range one {
			all[n] = append(all[n], m)
		}
	}
	for _, b := range bs {
		b.down()
	}
	report(bs, all, order)
}

func runAll(b *broker, round int, into map[string]result, note func(string)) {
	if *warmGB > 0 && *loads != "startup" {
		fillCache(*fill)
		g := *gb
		*gb = *warmGB
		func() {
			defer func() { _ = recover() }() // a broker that cannot be warmed is measured cold
			rawProduce(b, fmt.Sprintf("kb-warm-%d", time.Now().UnixNano()%1e9), 1024, 1_000_000, 1)
		}()
		*gb = g
	}
	for _, w := range strings.Split(*loads, ",") {
		if w == "startup" { // measured by up
			continue
		}
		f, ok := workloads[w]
		if !ok {
			die("unknown workload %q", w)
		}
		fillCache(*fill)
		var res result
		err := func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("%v", p)
				}
			}()
			res = f(b, fmt.Sprintf("kb-%s-%d-%d", w, round, time.Now().UnixNano()%1e9))
			return nil
		}()
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s %s: FAILED %v\n", b.name, w, err)
			continue
		}
		note(w)
		into[w] = res
		fmt.Fprintf(os.Stderr, "round %d %-10s %-9s %s\n", round, b.name, w, line(res))
	}
}

func line(r result) string {
	ks := make([]string, 0, len(r))
	for k := range r {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	var s strings.Builder
	for _, k := range ks {
		fmt.Fprintf(&s, "%s=%.4g ", k, r[k])
	}
	return s.String()
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	sort.Float64s(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func report(bs []*broker, all map[string][]map[string]result, order []string) {
	outJSON := map[string]any{"rounds": *rounds, "gb": *gb, "rf": *rf, "partitions": *nparts}
	out := io.Discard
	if *showAll {
		out = os.Stdout
	}
	fmt.Fprintf(out, "%-10s %-18s", "workload", "metric")
	for _, b := range bs {
		fmt.Fprintf(out, " %14s", b.name)
	}
	if len(bs) == 2 {
		fmt.Fprintf(out, " %14s", "A/B (median)")
	}
	fmt.Fprintln(out)
	for _, w := range order {
		keys := map[string]bool{}
		for _, b := range bs {
			for _, m := range all[b.name] {
				for k := range m[w] {
					keys[k] = true
				}
			}
		}
		ks := make([]string, 0, len(keys))
		for k := range keys {
			ks = append(ks, k)
		}
		sort.Strings(ks)
		for _, k := range ks {
			fmt.Fprintf(out, "%-10s %-18s", w, k)
			for _, b := range bs {
				var v []float64
				for _, m := range all[b.name] {
					if x, ok := m[w][k]; ok {
						v = append(v, x)
					}
				}
				md := median(v)
				fmt.Fprintf(out, " %14.4g", md)
				outJSON[b.name+"."+w+"."+k] = md
			}
			if len(bs) == 2 {
				var v []float64
				for r := range all[bs[0].name] {
					x, ok1 := all[bs[0].name][r][w][k]
					y, ok2 := all[bs[1].name][r][w][k]
					if ok1 && ok2 && y != 0 {
						v = append(v, x/y)
					}
				}
				if len(v) > 0 {
					fmt.Fprintf(out, " %14.3f", median(v))
					outJSON["ratio."+w+"."+k] = median(v)
				}
			}
			fmt.Fprintln(out)
		}
	}
	verdicts(bs, all)
	for k, v := range outJSON {
		if f, ok := v.(float64); ok {
			f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'g', 4, 64), 64)
			outJSON[k] = f
		}
	}
	j, err := json.Marshal(outJSON)
	check(err)
	if *jsonTo != "" {
		check(os.WriteFile(*jsonTo, append(j, '\n'), 0o644))
	}
	if *showAll {
		fmt.Println(string(j))
	}
}
