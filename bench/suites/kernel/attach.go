//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/bench/report"
	"github.com/guanlan-io/guanlan/bench/suite"
)

const (
	// burst is how long a server is asked before its twin is: short against the drift of a
	// machine's speed, long against what it takes to begin.
	burst = 50 * time.Millisecond
	// told is how many of the requests must come as spans, of 1, for what they cost to count.
	told = 0.99
	// warming is asked while nothing is measured.
	warming = "/warming"
)

// Who loads a server, and who watches it, has the CPUs but for the last; the server has that.
// With one CPU they share it, and the figures are worse.
func shareCPUs() (load, server *unix.CPUSet, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, nil, fmt.Errorf("ask for our CPUs: %w", err)
	}
	last := 0
	for i := range len(all) * 64 {
		if all.IsSet(i) {
			last = i
		}
	}
	if all.Count() == 1 {
		return &all, &all, nil
	}
	load, server = &unix.CPUSet{}, &unix.CPUSet{}
	*load = all
	load.Clear(last)
	server.Set(last)
	return load, server, nil
}

// pin moves all threads of a process; those that it makes later follow.
func pin(pid int, to *unix.CPUSet) error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return fmt.Errorf("list the threads of process %d: %w", pid, err)
	}
	for _, task := range tasks {
		if id, err := strconv.Atoi(task.Name()); err == nil {
			if err := unix.SchedSetaffinity(id, to); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("move a thread of process %d: %w", pid, err)
			}
		}
	}
	return nil
}

// pair is a server that is watched from outside, and a twin that never is. Both are
// copies of this program under names of their own: the agent names executables, and the suite
// itself, which also serves, must not be one of them.
type pair struct {
	watched, twin *served
	program       string       // of watched
	asked         int          // of watched, while measured
	load          *unix.CPUSet // that are not theirs
}

func (s *run) pair() (*pair, error) {
	load, cpu, err := shareCPUs()
	if err != nil {
		return nil, err
	}
	p := &pair{program: filepath.Join(s.Dir, "watched"), load: load}
	// One P each: with more, half of a server's time is its scheduler's, looking for work.
	env := []string{"GOMAXPROCS=1"}
	for _, one := range []struct {
		program string
		to      **served
	}{{p.program, &p.watched}, {filepath.Join(s.Dir, "twin"), &p.twin}} {
		err := clone(s.self, one.program)
		if err == nil {
			*one.to, err = s.serveAs(one.program, env, 64, 16)
		}
		if err == nil {
			(*one.to).quick = true
			err = pin((*one.to).Process.Pid, cpu)
		}
		if err != nil {
			p.end()
			return nil, err
		}
	}
	return p, nil
}

func (p *pair) end() {
	for _, s := range []*served{p.watched, p.twin} {
		if s != nil {
			s.end()
		}
	}
}

func clone(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("copy %q: %w", from, err)
	}
	return out.Close()
}

// differ asks both in turn for a while. It returns, in microseconds of CPU a request, what
// the twin takes and what the watched takes more, of each pair of bursts.
func (p *pair) differ(ctx context.Context, d time.Duration) (twin, more []float64) {
	each := func(s *served) float64 {
		before := s.cpu()
		n := s.ask(ctx, 0, burst)
		if s == p.watched {
			p.asked += n
		}
		return float64((s.cpu() - before).Nanoseconds()) / 1e3 / float64(max(n, 1))
	}
	for i := range max(3, int(d/(2*burst))) {
		first, second := p.watched, p.twin
		if i%2 > 0 {
			first, second = second, first
		}
		a, b := each(first), each(second)
		if i%2 > 0 {
			a, b = b, a
		}
		twin, more = append(twin, b), append(more, a-b)
	}
	return twin, more
}

// attach is what a span of a server costs that is taken from outside, in CPU of the
// server: before, attached, and detached again, each against a twin that is asked in turn.
func (s *run) attach(ctx context.Context) error {
	const more = "CPU of the server, more by a span"
	p, err := s.pair()
	if err != nil {
		return err
	}
	defer p.end()
	var all unix.CPUSet
	if err := errors.Join(unix.SchedGetaffinity(0, &all), pin(os.Getpid(), p.load)); err != nil {
		return err
	}
	defer pin(os.Getpid(), &all)
	for _, srv := range []*served{p.watched, p.twin} {
		srv.askFor(ctx, warming, 0, time.Second)
	}
	var bare, costs, off, quarters []float64
	asked, spans := 0, int64(0)
	for range s.rounds {
		_, before := p.differ(ctx, s.each)
		a, err := s.watch(ctx, "", "receivers::kernel::attach::enabled=true", "receivers::kernel::attach::executables=["+p.program+"]",
			"receivers::kernel::tcp::enabled=false", "receivers::kernel::oom::enabled=false", "receivers::kernel::audit::enabled=false", "receivers::kernel::profile::enabled=false")
		if err != nil {
			s.Report.Add(report.Row{Part: "attach", Metric: more, Subject: subjectAgent, Unit: "µs", Target: "<= 3", Skipped: true, Note: err.Error()})
			return nil
		}
		if err := pin(a.pid, p.load); err != nil {
			return err
		}
		s.sink.spans.reset()
		for began := time.Now(); s.sink.spans.of(warming) == 0 && time.Since(began) < 10*time.Second && ctx.Err() == nil; { // until it has found the program
			p.watched.askFor(ctx, warming, 0, burst)
		}
		p.asked = 0
		twin, attached := p.differ(ctx, s.each)
		asked += p.asked
		if _, err := a.Stop(); err != nil {
			return err
		}
		spans += s.sink.spans.of(product)
		_, after := p.differ(ctx, s.each)
		quarters = append(quarters, quarter(attached, 3)-quarter(attached, 1))
		b, d := suite.Median(before), suite.Median(after)
		costs, off, bare = append(costs, suite.Median(attached)-(b+d)/2), append(off, d-b), append(bare, suite.Median(twin))
	}
	ratio := float64(spans) / float64(max(asked, 1))
	row := report.Row{Part: "attach", Metric: more, Subject: subjectAgent, Value: suite.Median(costs), Unit: "µs", Target: "<= 3",
		Note: fmt.Sprintf("%s; quarters of pairs %.2f µs apart; detached against before %+.2f µs", suite.Spread(costs, "µs"), suite.Median(quarters), suite.Median(off))}
	if ratio < told || ratio > 2-told {
		bad := false
		row.OK, row.Note = &bad, fmt.Sprintf("not what a span costs: %d requests made %d spans; %s", asked, spans, row.Note)
	}
	s.Report.Add(report.Row{Part: "attach", Metric: "CPU of the server, a request", Subject: subjectWithout, Value: suite.Median(bare), Unit: "µs", Note: suite.Spread(bare, "µs") + "; of the twin, while the other is watched"})
	s.Report.Add(row)
	s.Report.Add(report.Row{Part: "attach", Metric: "requests told as spans", Subject: subjectAgent, Value: 100 * ratio, Unit: "%", Target: fmt.Sprintf(">= %g", 100*told), Note: fmt.Sprintf("%d requests, %d spans", asked, spans)})
	return nil
}

// quarter is the n-th quartile of a list that is not empty. It sorts it.
func quarter(all []float64, n int) float64 {
	slices.Sort(all)
	return all[n*(len(all)-1)/4]
}
