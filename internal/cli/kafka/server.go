// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// serverArgs is what kafka-server-start was asked for.
type serverArgs struct {
	daemon    bool
	file      string
	overrides []string // name=value
}

// parseServerArgs reads [-daemon] FILE [--override name=value]...
func parseServerArgs(e *Env, args []string) (serverArgs, error) {
	var s serverArgs
	if len(args) > 0 && args[0] == "-daemon" {
		s.daemon, args = true, args[1:]
	}
	o := newOptions("Runs a broker: kafka-server-start [-daemon] server.properties [--override property=value]*")
	over := o.text("override", "String", "A property that wins over the file's; may be repeated.")
	if len(args) == 0 {
		e.println("USAGE: kafka-server-start [-daemon] server.properties [--override property=value]*")
		return s, &exit{status: 1}
	}
	for _, a := range args {
		if a == "--help" || a == "--version" {
			if err := o.parse([]string{a}); err != nil {
				return s, failf("%s", err)
			}
			return s, o.maybeHelp(e)
		}
	}
	s.file = args[0]
	if strings.HasPrefix(s.file, "-") {
		return s, o.usage("The first argument must be the server.properties file")
	}
	if err := o.parse(args[1:]); err != nil {
		return s, o.usage("%s", err)
	}
	if len(o.rest) > 0 {
		return s, o.usage("Found non argument parameters: %s", strings.Join(o.rest, ","))
	}
	for _, kv := range over.values {
		if !strings.Contains(kv, "=") {
			return s, failf("--override %s: expected name=value", kv)
		}
	}
	s.overrides = over.values
	return s, nil
}

func runServerStart(ctx context.Context, e *Env, args []string) error {
	s, err := parseServerArgs(e, args)
	if err != nil {
		return err
	}
	if s.daemon {
		return startDaemon(e, s)
	}
	if e.Serve == nil {
		return failf("this program was built without the server")
	}
	return e.Serve(ctx, s.file, s.overrides)
}

// startDaemon runs this program again, away from the terminal, with its output
// in $LOG_DIR (or ./logs) as Kafka's script has it.
func startDaemon(e *Env, s serverArgs) error {
	if _, err := os.Stat(s.file); err != nil {
		return failf("%s", err)
	}
	dir := os.Getenv("LOG_DIR")
	if dir == "" {
		dir = "logs"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return failf("%s", err)
	}
	out, err := os.OpenFile(filepath.Join(dir, "kafkaServer.out"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return failf("%s", err)
	}
	defer out.Close()
	args := []string{"kafka-server-start", s.file}
	for _, kv := range s.overrides {
		args = append(args, "--override", kv)
	}
	cmd := exec.Command(e.Self, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = awayFromTerminal()
	if err := cmd.Start(); err != nil {
		return failf("%s", err)
	}
	fmt.Fprintf(e.Err, "started as process %d; output in %s\n", cmd.Process.Pid, out.Name())
	return cmd.Process.Release()
}

// process is a server of ours that runs on this machine.
type process struct {
	pid  int
	args []string
	dir  string // its working directory, "" when not known
}

// config is the path of the file that the process was started with.
func (p process) config() string {
	for i, a := range p.args {
		if i == 0 || strings.HasPrefix(a, "-") || p.args[i-1] == "--override" {
			continue
		}
		if strings.HasSuffix(a, ".properties") {
			if !filepath.IsAbs(a) {
				a = filepath.Join(p.dir, a)
			}
			return a
		}
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			return filepath.Join(p.dir, v)
		}
	}
	return ""
}

// isServer tells from its arguments that a process is a broker of ours.
func isServer(args []string) bool {
	if len(args) == 0 {
		return false
	}
	base := func(s string) string {
		return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(s), ".exe"), ".sh")
	}
	switch base(args[0]) {
	case "kafka-server-start":
		return true
	case "gregor":
		return len(args) > 1 && (args[1] == "server" || base(args[1]) == "kafka-server-start")
	}
	return false
}

func runServerStop(_ context.Context, e *Env, args []string) error {
	role, node := "", ""
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, "--process-role="); ok {
			role = v
		} else if v, ok := strings.CutPrefix(a, "--node-id="); ok {
			node = v
		}
	}
	if role != "" && node != "" {
		e.println("When both node-id and process-role are provided, the value for node-id will take precedence")
	}
	all, err := serversHere()
	if err != nil {
		return failf("%s", err)
	}
	if len(all) == 0 {
		e.println("No kafka server to stop")
		return &exit{status: 1}
	}
	for _, p := range all {
		if role != "" || node != "" {
			conf, err := loadProps(p.config())
			if err != nil {
				e.println("Can not find the configuration file in the current directory. Please make sure the kafka stop process and the start process are called in the same directory.")
				return &exit{status: 1}
			}
			if node != "" && conf["node.id"] != node || node == "" && conf["process.roles"] != role {
				continue
			}
		}
		if err := askToStop(p.pid); err != nil {
			return failf("stop process %d: %s", p.pid, err)
		}
	}
	return nil
}
