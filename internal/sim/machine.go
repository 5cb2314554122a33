// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/node"
	"gregor/internal/sim/vnet"
	"gregor/internal/vfs"
	"gregor/internal/wire"
)

// restartAfter is how long a supervisor waits before it starts a node anew
// that gave up by itself.
const restartAfter = time.Second

// machine is a host with a disk and a supervisor that keeps a node running.
// Its methods belong to one goroutine, but for serving, running and lastError.
type machine struct {
	c     *Cluster
	id    int32
	plain bool // a broker and no controller
	host  *vnet.Host
	log   *tail
	clock *clock

	mem  *vfs.Mem
	disk *vfs.Faulty
	life *life // nil while it is held down
	wg   sync.WaitGroup

	mu  sync.Mutex // guards what follows; a leaf
	up  *node.Node // serving
	err error      // why the last start failed, or the node gave up
}

// life is the time between boot and one of the ways to go.
type life struct {
	cancel context.CancelFunc
	kill   chan struct{} // closed: end as a killed process does
	done   chan struct{} // closed when nothing runs any more
}

func newMachine(c *Cluster, id int32) *machine {
	return &machine{c: c, id: id, host: c.net.Host(ip(id)), clock: newClock(), mem: vfs.NewMem(), log: &tail{began: c.began}}
}

func (m *machine) around(h wire.Handler) wire.Handler {
	if m.c.cfg.Around != nil {
		h = m.c.cfg.Around(m.id, h)
	}
	return m.c.duplicates.around(h)
}

func (m *machine) addr() string { return ip(m.id) + ":9092" }

// boot starts the node, and starts it again whenever it gives up.
func (m *machine) boot() {
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{cancel: cancel, kill: make(chan struct{}), done: make(chan struct{})}
	m.life = l
	m.disk = vfs.NewFaulty(m.mem)
	var disk vfs.FS = m.disk
	if m.c.cfg.Plant != nil {
		disk = m.c.cfg.Plant(disk)
	}
	m.wg.Go(func() {
		defer close(l.done)
		for ctx.Err() == nil {
			err := m.run(ctx, l, disk)
			if ctx.Err() != nil {
				return
			}
			m.c.Note("node %d gave up: %v", m.id, err)
			m.set(nil, err)
			select {
			case <-time.After(restartAfter):
			case <-ctx.Done():
			}
		}
	})
}

// run is one process.
func (m *machine) run(ctx context.Context, l *life, disk vfs.FS) error {
	roles, listeners := "broker,controller", fmt.Sprintf("PLAINTEXT://%s:9092,CONTROLLER://%s:9093", ip(m.id), ip(m.id))
	if m.plain {
		roles, listeners = "broker", fmt.Sprintf("PLAINTEXT://%s:9092", ip(m.id))
	}
	overrides := append([]string{
		fmt.Sprintf("node.id=%d", m.id), "process.roles=" + roles, "log.dirs=/data", "gregor.http.listener=none",
		"listeners=" + listeners, "controller.listener.names=CONTROLLER",
		"offsets.topic.num.partitions=3", "transaction.state.log.num.partitions=3",
	}, append(m.c.properties(), m.c.cfg.Overrides...)...)
	settings, err := config.Load(config.Options{SingleNode: true, Overrides: overrides})
	if err != nil {
		return err
	}
	n := node.New(node.Config{
		Settings: settings, FS: disk, Log: slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: noTime}),
		Listen: func(ctx context.Context, addr string) (net.Listener, error) { return m.host.Listen(ctx, addr) },
		Dial:   func(ctx context.Context, addr string) (net.Conn, error) { return m.host.Dial(ctx, addr) },
		Around: m.around, Now: m.clock.Now,
		Published: func(img *meta.Image) {
			select {
			case <-l.kill: // a ghost, on a disk that is gone
			default:
				m.c.checks.published(m.id, img)
			}
		},
	})
	if err := n.Start(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	m.set(n, nil)
	defer m.set(nil, nil)
	select {
	case <-l.kill:
		n.Kill()
		return nil
	case <-n.Failed():
		err := n.Err()
		n.Kill()
		return err
	case <-ctx.Done():
	}
	select {
	case <-l.kill:
		n.Kill()
	default:
		closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.Close(closing); err != nil {
			m.c.Note("node %d: stop: %v", m.id, err)
		}
	}
	return nil
}

func (m *machine) set(n *node.Node, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.up, m.err = n, err
}

// running is the node that serves, or nil.
func (m *machine) running() *node.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.up
}

func (m *machine) serving() bool { return m.running() != nil }

func (m *machine) lastError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// stop ends the node as an operator does.
func (m *machine) stop() {
	if m.life == nil {
		return
	}
	m.life.cancel()
	<-m.life.done
	m.life = nil
}

// kill ends the process: what was written stays written.
func (m *machine) kill() {
	if m.life == nil {
		return
	}
	close(m.life.kill)
	m.host.Kill()
	m.mem.Kill()
	if m.serving() {
		m.end()
		return
	}
	// A node that is just starting may open files after this: let it do so on a
	// disk that nobody will see again.
	left := m.mem.CrashClone(func(int64) int64 { return 1 }) // keeps everything
	m.end()
	m.mem = left
}

// crash cuts the power: of what was not synced, a part is lost or torn, and
// nobody is told.
func (m *machine) crash() {
	if m.life == nil {
		return
	}
	close(m.life.kill)
	m.host.PowerOff()
	m.mem.Kill() // first: what is acknowledged from now on would not be in the clone
	left := m.mem.CrashClone(m.c.random.Int64N)
	m.end()
	m.mem = left
}

// end waits for the end of a life that was killed.
func (m *machine) end() {
	m.life.cancel()
	<-m.life.done
	m.life = nil
}

// revive boots the node after stop, kill or crash.
func (m *machine) revive() {
	if m.life != nil {
		return
	}
	m.host.PowerOn()
	m.boot()
}

func noTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// tail keeps the last lines of a node.
type tail struct {
	began time.Time
	mu    sync.Mutex // guards lines; a leaf
	lines []string
}

const tailLines = 400

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) >= 2*tailLines {
		t.lines = append(t.lines[:0], t.lines[tailLines:]...)
	}
	t.lines = append(t.lines, fmt.Sprintf("%9.3fs %s", time.Since(t.began).Seconds(), strings.TrimSuffix(string(b), "\n")))
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
