package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// processTree is a program with all processes that it starts, in one session, and what they use.
type processTree struct {
	*exec.Cmd
	ended chan struct{} // closed when the program has ended; its children may still run
	err   error         // from Wait, valid after ended

	mu   sync.Mutex
	seen []treeSample
	peak int64 // bytes of resident memory, summed over the processes; shared pages count for each
}

// treeSample is the CPU time used up to a moment.
type treeSample struct {
	at  time.Time
	cpu time.Duration
}

// startTree starts a program and looks at its processes five times a second until ctx ends.
func startTree(ctx context.Context, cmd *exec.Cmd) (*processTree, error) {
	p := &processTree{Cmd: cmd, ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	go func() {
		for tick := time.NewTicker(200 * time.Millisecond); ; {
			p.sample()
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	}()
	return p, nil
}

// sample records what the processes use, and returns those that have not ended. A process's times
// include those of children that it has waited for, so nothing is lost when one ends.
func (p *processTree) sample() (pids []int) {
	var cpu time.Duration
	var rss int64
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := procStat(pid)
		if err != nil || stat.session != p.Process.Pid {
			continue // it has ended, or belongs to somebody else
		}
		cpu += stat.cpu + stat.children
		rss += stat.rss
		if !stat.zombie {
			pids = append(pids, pid)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, treeSample{time.Now(), cpu})
	p.peak = max(p.peak, rss)
	return pids
}

// cpuBy returns the CPU time used by a moment, or until the program ended by itself.
func (p *processTree) cpuBy(at time.Time) (cpu time.Duration) {
	select {
	case <-p.ended:
		used := p.ProcessState.SysUsage().(*syscall.Rusage)
		cpu = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.seen {
		cpu = max(cpu, s.cpu)
		if s.at.After(at) {
			break
		}
	}
	return cpu
}

// peakRSS returns the most memory that the processes were seen to hold at once.
func (p *processTree) peakRSS() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peak
}

// stop asks the program to end, and kills what is left of it.
func (p *processTree) stop(within time.Duration) {
	_ = p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(within):
	}
	for range 50 {
		pids := slices.DeleteFunc(p.sample(), func(pid int) bool { return syscall.Kill(pid, syscall.SIGKILL) != nil })
		if len(pids) == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	<-p.ended
}

// procStats is what Linux reports about a process.
type procStats struct {
	session       int
	zombie        bool
	cpu, children time.Duration // user and system time: its own, and that of children that it has waited for
	rss           int64         // bytes
}

func procStat(pid int) (s procStats, err error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):])) // the name before may contain spaces
	var n [22]int64
	for i := 2; i <= 22; i++ {
		if n[i-1], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
			return s, err
		}
	}
	const tick = time.Second / 100 // USER_HZ
	return procStats{
		session: int(n[3]), zombie: fields[1] == "Z", cpu: time.Duration(n[11]+n[12]) * tick, children: time.Duration(n[13]+n[14]) * tick, rss: n[21] * int64(os.Getpagesize()),
	}, nil
}

// procPeak returns a process's peak resident memory, in bytes. Its ru_maxrss would not do, because
// that begins with the value of the process that started it.
func procPeak(pid int) (int64, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}
