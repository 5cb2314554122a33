// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"gregor/internal/cli/kafka"
)

func newInstall(e *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "install-tools DIR",
		Short: "make DIR/bin with Kafka's tool names and DIR/config/server.properties",
		Long: "Make links to this program under the names of Kafka's tools, with and without .sh, so\n" +
			"that scripts written for Kafka find them, and a server.properties to start with.\n" +
			"Links are replaced; a server.properties that is there already is kept.",
		Example: "  gregor install-tools kafka\n  cd kafka\n  bin/kafka-storage.sh format --standalone -t $(bin/kafka-storage.sh random-uuid) -c config/server.properties\n  bin/kafka-server-start.sh config/server.properties",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := installTools(args[0], e.Self)
			if err == nil {
				_, err = fmt.Fprintf(e.Out, "%d links in %s, settings in %s\n", n, filepath.Join(args[0], "bin"), filepath.Join(args[0], "config", "server.properties"))
			}
			return err
		},
	}
}

// installTools links every tool's names to program and returns their number.
func installTools(dir, program string) (int, error) {
	bin, conf := filepath.Join(dir, "bin"), filepath.Join(dir, "config")
	for _, d := range []string{bin, conf} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return 0, err
		}
	}
	endings := []string{"", ".sh"}
	if runtime.GOOS == "windows" {
		endings = []string{".exe"}
	}
	n := 0
	for _, t := range kafka.Tools() {
		for _, end := range endings {
			path := filepath.Join(bin, t.Name+end)
			if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSymlink == 0 && runtime.GOOS != "windows" {
				return n, fmt.Errorf("%s is there and is no link: not replaced", path)
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return n, err
			}
			if err := link(program, path); err != nil {
				return n, err
			}
			n++
		}
	}
	f, err := os.OpenFile(filepath.Join(conf, "server.properties"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	if _, err := f.WriteString(serverProperties); err != nil {
		f.Close()
		return n, err
	}
	return n, f.Close()
}

// link makes a symbolic link, and a hard one where the system has none to give.
func link(program, path string) error {
	if err := os.Symlink(program, path); err != nil {
		return os.Link(program, path)
	}
	return nil
}

// serverProperties is a first configuration: the settings of Kafka's own, so
// that the quickstart works word for word.
const serverProperties = `# A node that is broker and controller at once. Every setting has Kafka's name
# and meaning; "gregor config explain" lists all with their values.

# Who this node is.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093

# Where it listens, and what it tells clients to connect to. Clients on other
# machines need a name here that they can reach.
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL

# Threads and sockets.
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600

# Where data is kept; several directories with commas between.
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2

# One node holds one replica of the internal topics.
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1

# How long records are kept, and in files of what size.
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
`
