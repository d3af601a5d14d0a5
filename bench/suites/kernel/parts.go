//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/bench/report"
	"github.com/guanlan-io/guanlan/bench/suite"
)

// start is how long an agent takes until all is attached, and what it is at rest.
func (s *run) start(ctx context.Context) error {
	var took, cpu []float64
	var a *agent
	for range max(3, s.rounds/2+1) {
		if a != nil {
			if _, err := a.Stop(); err != nil {
				return err
			}
		}
		var err error
		if a, err = s.watch(ctx, ""); err != nil {
			return err
		}
		took, cpu = append(took, a.started.Seconds()), append(cpu, a.CPU().Seconds())
	}
	defer a.Kill()
	s.Report.Add(report.Row{Part: "start", Metric: "start until all is attached", Subject: subjectAgent, Value: suite.Median(took), Unit: "s", Target: "<= 2", Note: note(suite.Spread(took, "s"), a.without)})
	s.Report.Add(report.Row{Part: "start", Metric: "CPU until all is attached", Subject: subjectAgent, Value: suite.Median(cpu), Unit: "s", Note: suite.Spread(cpu, "s")})
	if err := sleep(ctx, s.rest); err != nil {
		return err
	}
	before, began := a.CPU(), time.Now()
	if err := sleep(ctx, s.rest/2); err != nil {
		return err
	}
	m := a.Memory()
	s.Report.Add(report.Row{Part: "start", Metric: "memory at rest", Subject: subjectAgent, Value: m.RSS, Unit: "MiB", Target: "<= 60", Note: fmt.Sprintf("%.0f MiB of it not of files; peak %.0f MiB", m.Anon, m.Peak)})
	s.Report.Add(report.Row{Part: "start", Metric: "CPU at rest", Subject: subjectAgent, Value: 100 * (a.CPU() - before).Seconds() / time.Since(began).Seconds(), Unit: "% of a core"})
	return nil
}

func note(parts ...string) string {
	var all []string
	for _, p := range parts {
		if p = strings.TrimSuffix(strings.TrimSpace(p), ";"); p != "" {
			all = append(all, p)
		}
	}
	return strings.Join(all, "; ")
}

// served is a server under load.
type served struct {
	*role
	*client
}

func (s *run) serve(connections, workers int) (*served, error) {
	return s.serveAs(s.self, nil, connections, workers)
}

// serveAs is serve by another copy of this program, with more in its environment.
func (s *run) serveAs(program string, env []string, connections, workers int) (*served, error) {
	server, err := begin(program, env, "serve")
	if err != nil {
		return nil, err
	}
	address, err := server.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("read the server's address: %w", err)
	}
	c, err := dial(strings.TrimSpace(address), connections, workers)
	if err != nil {
		server.end()
		return nil, err
	}
	return &served{server, c}, nil
}

func (s *served) end() { s.client.close(); s.role.end() }

func own() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tcp is what a request costs more when its connection is watched: by the
// kernel's own measure of the programs, and by the CPU of client and server.
func (s *run) tcp(ctx context.Context) error {
	srv, err := s.serve(64, 16)
	if err != nil {
		return err
	}
	defer srv.end()
	srv.ask(ctx, 0, time.Second) // warms up
	round := func() float64 {
		before := own() + srv.cpu()
		n := srv.ask(ctx, 0, s.each)
		return float64((own() + srv.cpu() - before).Nanoseconds()) / 1e3 / float64(max(n, 1))
	}
	var without, with []float64
	for range s.rounds {
		without = append(without, round())
		a, err := s.watch(ctx, "tcp")
		if err != nil {
			return err
		}
		with = append(with, round())
		if _, err := a.Stop(); err != nil {
			return err
		}
	}
	a, err := s.watch(ctx, "tcp", statistics)
	if err != nil {
		return err
	}
	defer a.Kill()
	took, runs := a.programs()
	n := srv.ask(ctx, 0, s.each)
	took2, runs2 := a.programs()
	if failed := srv.failed.Load(); failed > 0 {
		return fmt.Errorf("%d connections of the load failed", failed)
	}
	s.Report.Add(report.Row{Part: "tcp", Metric: "BPF programs, a request", Subject: subjectAgent, Value: float64((took2 - took).Nanoseconds()) / 1e3 / float64(n), Unit: "µs", Target: "<= 1",
		Note: fmt.Sprintf("both ends of the connection are here; %.1f runs a request", float64(runs2-runs)/float64(n))})
	s.Report.Add(report.Row{Part: "tcp", Metric: "CPU of client and server, a request", Subject: subjectWithout, Value: suite.Median(without), Unit: "µs", Note: suite.Spread(without, "µs")})
	s.Report.Add(report.Row{Part: "tcp", Metric: "CPU of client and server, a request", Subject: subjectAgent, Value: suite.Median(with), Unit: "µs", Note: suite.Spread(with, "µs")})
	s.Report.Add(report.Row{Part: "tcp", Metric: "CPU of client and server, more", Subject: subjectAgent, Value: suite.Median(with) - suite.Median(without), Unit: "µs"})
	return nil
}

// audit is what an open that is of no interest costs more.
func (s *run) audit(ctx context.Context) error {
	file := filepath.Join(s.Dir, "of-no-interest")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	round := func() (float64, error) {
		r, err := s.begin("open", file, "0", strconv.FormatFloat(s.each.Seconds()/2, 'f', 2, 64))
		if err != nil {
			return 0, err
		}
		defer r.end()
		var n int
		var ns float64
		if _, err := fmt.Fscan(r.out, &n, &ns); err != nil {
			return 0, fmt.Errorf("read what an open took: %w", err)
		}
		return ns / 1e3, nil
	}
	for _, kind := range []struct {
		name string
		set  []string
	}{
		{"outside of containers", nil},
		{"path of no interest", []string{"receivers::kernel::audit::scopes::open=everywhere"}},
	} {
		var without, with []float64
		for range s.rounds {
			v, err := round()
			if err != nil {
				return err
			}
			without = append(without, v)
			a, err := s.watch(ctx, "audit", kind.set...)
			if err != nil {
				return err
			}
			v, err = round()
			if _, err2 := a.Stop(); errors.Join(err, err2) != nil {
				return errors.Join(err, err2)
			}
			with = append(with, v)
		}
		// The least of the rounds: what else the machine does only adds.
		s.Report.Add(report.Row{Part: "audit", Metric: "open and close, " + kind.name, Subject: subjectWithout, Value: slices.Min(without), Unit: "µs", Note: suite.Spread(without, "µs")})
		s.Report.Add(report.Row{Part: "audit", Metric: "open and close, " + kind.name, Subject: subjectAgent, Value: slices.Min(with), Unit: "µs", Note: suite.Spread(with, "µs")})
		s.Report.Add(report.Row{Part: "audit", Metric: "more, " + kind.name, Subject: subjectAgent, Value: slices.Min(with) - slices.Min(without), Unit: "µs", Target: "<= 0.25", Note: "of both calls"})
	}
	return nil
}

// lost opens files of interest faster than anybody can want to know of, and asks
// whether each is told or counted as lost.
func (s *run) lost(ctx context.Context) error {
	a, err := s.watch(ctx, "audit", "receivers::kernel::audit::scopes::open=everywhere")
	if err != nil {
		return err
	}
	defer a.Kill()
	var told, counted, last atomic.Int64
	var pid atomic.Int64
	touch := func() { last.Store(time.Now().UnixNano()) }
	s.sink.lost.Store(0)
	s.sink.records(func(r plog.LogRecord, _ time.Time) {
		switch r.EventName() {
		case "kernel.audit.open":
			if v, ok := r.Attributes().Get("process.pid"); ok && v.Int() == pid.Load() {
				told.Add(1)
				touch()
			}
		case "kernel.audit.lost":
			if v, ok := r.Attributes().Get("kernel.audit.lost"); ok {
				counted.Add(v.Int())
				touch()
			}
		}
	})
	defer s.sink.records(nil)
	r, err := s.begin("open", "/etc/shadow", strconv.Itoa(s.storm), strconv.FormatFloat(s.each.Seconds(), 'f', 2, 64))
	if err != nil {
		return err
	}
	pid.Store(int64(r.Process.Pid))
	touch()
	began := time.Now()
	var opened int64
	var ns float64
	_, err = fmt.Fscan(r.out, &opened, &ns)
	took := time.Since(began)
	r.end()
	if err != nil {
		return fmt.Errorf("read how many were opened: %w", err)
	}
	for time.Since(time.Unix(0, last.Load())) < 15*time.Second && time.Since(began) < 2*time.Minute { // the metrics that count losses come every 10 s
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	missing := opened - told.Load() - max(counted.Load(), s.sink.lost.Load())
	s.Report.Add(report.Row{Part: "lost", Metric: "files of interest opened", Subject: subjectAgent, Value: float64(opened) / took.Seconds(), Unit: "1/s"})
	s.Report.Add(report.Row{Part: "lost", Metric: "told", Subject: subjectAgent, Value: 100 * float64(told.Load()) / float64(opened), Unit: "%"})
	s.Report.Add(report.Row{Part: "lost", Metric: "neither told nor counted as lost", Subject: subjectAgent, Value: float64(max(0, missing)), Target: "<= 0",
		Note: fmt.Sprintf("%d opened, %d told, %d counted in the kernel's ring, %d in all", opened, told.Load(), counted.Load(), s.sink.lost.Load())})
	return nil
}

// memoryCgroup makes a cgroup with a limit, of whichever version is mounted.
func memoryCgroup(limit int) (dir string, err error) {
	root, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(filepath.Join(root, file)); err != nil {
		root, file = "/sys/fs/cgroup", "memory.max"
	}
	dir = filepath.Join(root, fmt.Sprintf("guanlan-bench-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a cgroup: %w", err)
	}
	return dir, os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0o644)
}

// oom is how long after a kill all about it is known.
func (s *run) oom(ctx context.Context) error {
	dir, err := memoryCgroup(64 << 20)
	if dir != "" {
		defer os.Remove(dir)
	}
	if err != nil {
		s.Report.Add(report.Row{Part: "oom", Metric: "kill until its event is complete", Subject: subjectAgent, Unit: "ms", Target: "<= 100", Skipped: true, Note: err.Error()})
		return nil
	}
	a, err := s.watch(ctx, "oom")
	if err != nil {
		return err
	}
	defer a.Kill()
	if err := sleep(ctx, 6*time.Second); err != nil { // a sample of the memory before
		return err
	}
	type event struct{ pid, lag, arrived float64 }
	events := make(chan event, 16)
	s.sink.records(func(r plog.LogRecord, at time.Time) {
		if r.EventName() != "kernel.oom" {
			return
		}
		pid, _ := r.Attributes().Get("process.pid")
		lag, _ := r.Attributes().Get("kernel.oom.lag")
		select {
		case events <- event{float64(pid.Int()), lag.Double() * 1e3, float64(at.Sub(r.Timestamp().AsTime()).Milliseconds())}:
		default:
		}
	})
	defer s.sink.records(nil)
	var lags, arrived []float64
	for range max(3, s.rounds) {
		r, err := s.begin("fill")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(r.Process.Pid)), 0o644); err != nil {
			_ = r.Process.Kill()
			r.end()
			return fmt.Errorf("put a process into a cgroup: %w", err)
		}
		_, _ = r.in.Write([]byte("\n"))
		<-r.ended
		select {
		case e := <-events:
			if int(e.pid) == r.Process.Pid {
				lags, arrived = append(lags, e.lag), append(arrived, e.arrived)
			}
		case <-time.After(20 * time.Second):
			return errors.New("a kill was not told within 20 s")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.Report.Add(report.Row{Part: "oom", Metric: "kill until its event is complete", Subject: subjectAgent, Value: suite.Median(lags), Unit: "ms", Target: "<= 100", Note: suite.Spread(lags, "ms")})
	s.Report.Add(report.Row{Part: "oom", Metric: "kill until its event is with the receiver", Subject: subjectAgent, Value: suite.Median(arrived), Unit: "ms", Note: suite.Spread(arrived, "ms") + "; the agent gathers for a second"})
	return nil
}

// profile is what profiling costs while there is something to profile.
func (s *run) profile(ctx context.Context) error {
	burner, err := s.begin("burn", "0.4")
	if err != nil {
		return err
	}
	defer burner.end()
	a, err := s.watch(ctx, "profile", statistics)
	if err != nil {
		s.Report.Add(report.Row{Part: "profile", Metric: "profile of the CPU at 19 Hz", Subject: subjectAgent, Unit: "% of a core", Target: "<= 0.5", Skipped: true, Note: "the agent does not profile"})
		return nil
	}
	defer a.Kill()
	if err := sleep(ctx, s.rest/2); err != nil { // names of programs are read once
		return err
	}
	took, runs := a.programs()
	cpu, began := a.CPU(), time.Now()
	if err := sleep(ctx, max(20*time.Second, s.rest)); err != nil {
		return err
	}
	took2, runs2 := a.programs()
	cpu2, elapsed := a.CPU(), time.Since(began).Seconds()
	if runs2 == runs {
		s.Report.Add(report.Row{Part: "profile", Metric: "profile of the CPU at 19 Hz", Subject: subjectAgent, Unit: "% of a core", Target: "<= 0.5", Skipped: true, Note: "no stack was taken"})
		return nil
	}
	programs := 100 * (took2 - took).Seconds() / elapsed
	s.Report.Add(report.Row{Part: "profile", Metric: "profile of the CPU at 19 Hz", Subject: subjectAgent, Value: programs + 100*(cpu2-cpu).Seconds()/elapsed, Unit: "% of a core", Target: "<= 0.5",
		Note: fmt.Sprintf("agent and programs, which take %.3f %%; %.0f stacks a second", programs, float64(runs2-runs)/elapsed)})
	return nil
}

// agent is what all of it is while 5,000 connections carry 10,000 requests a second.
func (s *run) agent(ctx context.Context) error {
	const connections, rate = 5000, 10_000
	srv, err := s.serve(connections, 64)
	if err != nil {
		return err
	}
	defer srv.end()
	measure := func(set ...string) (cpu, programs, answered float64, a *agent, err error) {
		if a, err = s.watch(ctx, "", set...); err != nil {
			return
		}
		srv.ask(ctx, rate, max(12*time.Second, s.each)) // over a report
		took, _ := a.programs()
		before, began := a.CPU(), time.Now()
		n := srv.ask(ctx, rate, max(20*time.Second, 3*s.each))
		elapsed := time.Since(began).Seconds()
		took2, _ := a.programs()
		return (a.CPU() - before).Seconds() / elapsed, (took2 - took).Seconds() / elapsed, float64(n) / elapsed, a, nil
	}
	cpu, _, answered, a, err := measure()
	if err != nil {
		return err
	}
	m := a.Memory()
	if _, err := a.Stop(); err != nil {
		return err
	}
	_, programs, _, a, err := measure(statistics)
	if err != nil {
		return err
	}
	defer a.Kill()
	pace := fmt.Sprintf("%.0f requests/s over %d connections, both ends here", answered, connections)
	s.Report.Add(report.Row{Part: "agent", Metric: "memory under load", Subject: subjectAgent, Value: m.RSS, Unit: "MiB", Target: "<= 150", Note: fmt.Sprintf("%s; peak %.0f MiB", pace, m.Peak)})
	s.Report.Add(report.Row{Part: "agent", Metric: "CPU under load", Subject: subjectAgent, Value: cpu + programs, Unit: "cores", Target: "<= 0.15", Note: fmt.Sprintf("%s; %.3f of it BPF programs", pace, programs)})
	if n := srv.failed.Load(); n > 0 {
		return fmt.Errorf("%d of the load's workers failed", n)
	}
	return nil
}
