//go:build interop

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// kafka is an Apache Kafka of our own.
type kafka struct {
	addr, dir string
	cmd       *exec.Cmd
	out       bytes.Buffer
}

// newKafka formats a node; it is not running.
func newKafka(t *testing.T) *kafka {
	t.Helper()
	k := &kafka{addr: freeAddr(), dir: t.TempDir()}
	controller := freeAddr()
	_, port, err := net.SplitHostPort(controller)
	if err != nil {
		t.Fatal(err)
	}
	settings := strings.Join([]string{
		"process.roles=broker,controller", "node.id=1", "controller.listener.names=CONTROLLER",
		"listeners=PLAINTEXT://" + k.addr + ",CONTROLLER://" + controller, "advertised.listeners=PLAINTEXT://" + k.addr,
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"controller.quorum.voters=1@127.0.0.1:" + port, "log.dirs=" + k.data(),
		"offsets.topic.replication.factor=1", "offsets.topic.num.partitions=3", "log.cleaner.enable=false",
	}, "\n")
	if err := os.WriteFile(k.file(), []byte(settings+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	javaTool(t, "", "kafka.tools.StorageTool", "format", "-t", "aW50ZXJvcC1vZi1ncmVnbw", "-c", k.file()).good(t)
	return k
}

func (k *kafka) file() string { return filepath.Join(k.dir, "server.properties") }
func (k *kafka) data() string { return filepath.Join(k.dir, "data") }

func (k *kafka) start(t *testing.T) {
	t.Helper()
	k.cmd = exec.Command("java", append(slices.Clone(javaFlags), "kafka.Kafka", k.file())...)
	k.cmd.Stdout, k.cmd.Stderr = &k.out, &k.out
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd := k.cmd
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	adm := kadm.NewClient(clientOf(t, k.addr))
	eventually(t, "Kafka answers", func() (bool, string) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		m, err := adm.BrokerMetadata(ctx)
		return err == nil && len(m.Brokers) == 1, fmt.Sprint(err, "\n", k.out.String())
	})
}

func (k *kafka) stop(t *testing.T) {
	t.Helper()
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Wait(); err != nil && k.cmd.ProcessState.ExitCode() != 128+int(syscall.SIGTERM) {
		t.Fatalf("Kafka's stop: %v\n%s", err, k.out.String())
	}
}

var topicID = regexp.MustCompile(`(?m)^topic_id: .*$`)

// adopt makes topics in Kafka and puts gregor's files in the place of its own.
func (k *kafka) adopt(t *testing.T, data string, topics map[string]map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	k.start(t)
	adm := kadm.NewClient(clientOf(t, k.addr))
	ids := map[string]string{}
	for topic, conf := range topics {
		c := map[string]*string{}
		for key, v := range conf {
			c[key] = &v
		}
		r, err := adm.CreateTopic(ctx, 2, 1, c, topic)
		if err != nil {
			t.Fatal(err)
		}
		ids[topic] = base64.RawURLEncoding.EncodeToString(r.ID[:])
	}
	k.stop(t)
	for topic, id := range ids {
		for p := range 2 {
			part := fmt.Sprintf("%s-%d", topic, p)
			if err := os.RemoveAll(filepath.Join(k.data(), part)); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(k.data(), part), os.DirFS(filepath.Join(data, part))); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(k.data(), part, "partition.metadata")
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !topicID.Match(b) {
				t.Fatalf("%s: %q", file, b)
			}
			if err := os.WriteFile(file, topicID.ReplaceAll(b, []byte("topic_id: "+id)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint"} {
		b, err := os.ReadFile(filepath.Join(data, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(k.data(), name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
