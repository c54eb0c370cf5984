//go:build stack

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// outage is a time from which an appender did nothing.
type outage struct {
	kind   string
	worker string
	at     time.Time
}

// roleFaults are the lanes of the roles: in each, one thing at a time goes wrong.
func roleFaults() []lane {
	collectors := func(n *nemesis) []*process { return n.s.collectors }
	appenders := func(n *nemesis) []*process { return n.s.appenders }
	copiers := func(n *nemesis) []*process { return n.s.copiers }
	auditors := func(n *nemesis) []*process { return n.s.auditors }
	return []lane{
		{"collectors", []fault{
			{"collector killed", seconds(0, 5), killFault(collectors)},
			{"collector stopped", seconds(2, 6), stopFault(collectors)},
			{"collectors restarted", seconds(0, 1), restartFault(collectors, nil)},
		}},
		{"appenders", []fault{
			{"appender killed", seconds(0, 10), killFault(appenders)},
			{"appender stopped", seconds(8, 13), stopFault(appenders)}, // longer than the session timeout: it becomes a zombie
			{"appender's machine lost", seconds(0, 10), machineLost},
			{"appender's disk full", seconds(3, 10), diskFull},
			{"appenders reconfigured", seconds(0, 1), restartFault(appenders, reconfigure)},
		}},
		{"copiers", []fault{
			{"copier killed", seconds(0, 5), killFault(copiers)},
			{"copier stopped", seconds(3, 9), stopFault(copiers)}, // longer than the TTL of its locks, perhaps longer than its session
			{"copiers restarted", seconds(0, 1), restartFault(copiers, nil)},
			{"auditor killed", seconds(0, 5), killFault(auditors)},
			{"auditor stopped", seconds(4, 9), stopFault(auditors)},
		}},
	}
}

// killFault is kill -9, and a start on the same disk.
func killFault(of func(*nemesis) []*process) faultFunc {
	return func(ctx context.Context, n *nemesis, a act) error {
		p := pickProcess(of(n), a)
		if err := p.alive(); err != nil {
			return err
		}
		n.recordOutage(ctx, "killed", p)
		p.kill()
		n.logf("%s killed for %v", p.name, a.hold)
		n.sleep(ctx, a.hold)
		return n.startAndWait(ctx, p)
	}
}

// stopFault makes a zombie: the process does not know that time has passed.
func stopFault(of func(*nemesis) []*process) faultFunc {
	return func(ctx context.Context, n *nemesis, a act) error {
		p := pickProcess(of(n), a)
		n.recordOutage(ctx, "stopped", p)
		if err := p.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		n.logf("%s stopped for %v", p.name, a.hold)
		n.sleep(ctx, a.hold)
		return p.signal(syscall.SIGCONT)
	}
}

// machineLost kills an appender; another one with an empty disk and another name takes its place.
func machineLost(ctx context.Context, n *nemesis, a act) error {
	p := pickProcess(n.s.appenders, a)
	if err := p.alive(); err != nil {
		return err
	}
	n.recordOutage(ctx, "machine lost", p)
	p.kill()
	n.logf("%s lost for %v", p.name, a.hold)
	if err := os.RemoveAll(n.s.disk(p)); err != nil {
		return err
	}
	n.sleep(ctx, a.hold)
	return n.startAndWait(ctx, p)
}

// diskFull prevents the process's files from growing, as a quota does. Every write fails, the first
// one after a byte.
func diskFull(ctx context.Context, n *nemesis, a act) error {
	p := pickProcess(n.s.appenders, a)
	if err := p.alive(); err != nil {
		return err
	}
	limit := func(to string) error {
		out, err := exec.CommandContext(ctx, "prlimit", "--pid", strconv.Itoa(p.cmd.Process.Pid), "--fsize="+to+":").CombinedOutput()
		if err != nil {
			return fmt.Errorf("limit the files of %s: %w: %s", p.name, err, out)
		}
		return nil
	}
	if err := limit("1"); err != nil {
		return err
	}
	n.logf("the disk of %s is full for %v", p.name, a.hold)
	n.sleep(ctx, a.hold)
	if err := p.alive(); err != nil {
		return err
	}
	return limit("unlimited")
}

// restartFault drains one process after the other and starts it again, as a deployment does. Each
// must end cleanly, whatever else goes wrong.
func restartFault(of func(*nemesis) []*process, first func(*nemesis, act) error) faultFunc {
	return func(ctx context.Context, n *nemesis, a act) error {
		if first != nil {
			if err := first(n, a); err != nil {
				return err
			}
		}
		for _, p := range of(n) {
			n.recordOutage(ctx, "restarted", p)
			began := time.Now()
			if err := p.terminate(drainWithin); err != nil {
				return err
			}
			n.logf("%s drained in %v", p.name, time.Since(began).Round(time.Millisecond))
			if err := n.startAndWait(ctx, p); err != nil {
				return err
			}
			n.sleep(ctx, a.hold)
		}
		return nil
	}
}

// reconfigure changes everything that may be changed while data is in flight.
func reconfigure(n *nemesis, a act) error {
	settings := fmt.Sprintf("roll_every: %ds, grace: 1s, max_bytes: %dMB, level: %d, seal_on_stop: %t",
		[]int{4, 5, 6, 10, 12}[a.pick%5], 3+a.pick>>8%20, 1+a.pick>>16%9, a.pick>>24%2 == 0)
	for i, p := range n.s.appenders {
		if _, err := n.s.config(p.name, p.admin, "appender: {"+n.s.appender(i, settings)+"}\n"); err != nil {
			return err
		}
	}
	n.logf("appenders reconfigured: %s", settings)
	return nil
}

func pickProcess(of []*process, a act) *process { return of[a.pick%uint64(len(of))] }

// startAndWait starts a process and waits until it is ready.
func (n *nemesis) startAndWait(ctx context.Context, p *process) error {
	if err := p.start(); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, 2*readyWithin) // the servers it needs may be in trouble as well
	defer cancel()
	return p.ready(within)
}

// recordOutage records that an appender is about to stop working: what it has read so far, which it
// is asked for, and which partitions somebody has to take over.
func (n *nemesis) recordOutage(ctx context.Context, kind string, p *process) {
	if !strings.HasPrefix(p.name, "appender") {
		return
	}
	if kind != "stopped" {
		n.addRecordsRead(ctx, p)
	}
	if name, err := os.ReadFile(filepath.Join(n.s.disk(p), "worker")); err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.outages = append(n.outages, outage{kind: kind, worker: strings.TrimSpace(string(name)), at: time.Now()})
	}
}
