package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/bench/report"
	"github.com/guanlan-io/guanlan/bench/suite"
)

// variant is one way to build the plain shop. Each has sources and caches of its
// own, so that neither is helped by what the other has built.
type variant struct {
	subject string
	command []string // what "build" is added to
	dir     string
	own     bool // caches of its own below dir, otherwise those of the user
}

func (v variant) source() string { return filepath.Join(v.dir, "shop") }
func (v variant) output() string { return filepath.Join(v.dir, "program") }

// prepare copies the sources: builds after edits need some that may be edited.
func (s *run) prepare(own bool) error {
	s.plain = variant{subjectPlain, []string{"go"}, filepath.Join(s.Dir, "plain"), own}
	s.woven = variant{subjectWoven, []string{s.Guanlan}, filepath.Join(s.Dir, "woven"), own}
	for _, v := range []variant{s.plain, s.woven} {
		if err := os.CopyFS(v.source(), os.DirFS(filepath.Join(s.Repo, "examples/woven/shop"))); err != nil {
			return fmt.Errorf("copy the shop: %w", err)
		}
	}
	return nil
}

// forget empties the caches.
func (v variant) forget() error {
	for _, name := range []string{"gocache", "guanlan"} {
		if err := os.RemoveAll(filepath.Join(v.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// took is what a build has cost.
type took struct{ cpu, wall time.Duration }

// make builds the program. CPU is user and system time of the command and of all
// that it has run.
func (v variant) make(ctx context.Context, flags ...string) (took, error) {
	args := append(append(append([]string{}, v.command[1:]...), "build"), flags...)
	cmd := exec.CommandContext(ctx, v.command[0], append(args, "-o", v.output(), ".")...)
	cmd.Dir = v.source()
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if v.own {
		cmd.Env = append(cmd.Env, "GOCACHE="+filepath.Join(v.dir, "gocache"), "GUANLAN_CACHE="+filepath.Join(v.dir, "guanlan"))
	}
	began := time.Now()
	text, err := cmd.CombinedOutput()
	if err != nil {
		return took{}, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	if strings.Contains(string(text), "not woven") || strings.Contains(string(text), "NOT instrumented") {
		return took{}, fmt.Errorf("%s: not all is woven, the figures would flatter us:\n%s", strings.Join(cmd.Args, " "), text)
	}
	return took{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), time.Since(began)}, nil
}

// build compares building: with empty caches, after the edit of a line, and once
// more.
func (s *run) build(ctx context.Context) error {
	both := []variant{s.plain, s.woven}
	cold := map[string][]took{}
	for range s.colds {
		for _, v := range both {
			if err := v.forget(); err != nil {
				return err
			}
			t, err := v.make(ctx)
			if err != nil {
				return err
			}
			cold[v.subject] = append(cold[v.subject], t)
			fmt.Fprintf(os.Stderr, "  cold, %s: CPU %.1f s, %.1f s\n", v.subject, t.cpu.Seconds(), t.wall.Seconds())
		}
	}
	s.costs("cold build", cold)
	plain, woven := suite.Median(seconds(cold[subjectPlain], took.ofCPU)), suite.Median(seconds(cold[subjectWoven], took.ofCPU))
	s.Report.Add(report.Row{Part: "build", Metric: "cold build, CPU, more than plain", Subject: subjectWoven, Value: 100 * (woven - plain) / plain, Unit: "%", Target: "<= 10"})

	for _, kind := range []struct {
		name, target string
		edit         bool
	}{{"one-line rebuild", "<= 0.5", true}, {"no-edit rebuild", "<= 0.3", false}} {
		warm := map[string][]took{}
		for round := range s.edits + 1 {
			for _, v := range both {
				if kind.edit {
					if err := v.edit(round); err != nil {
						return err
					}
				}
				t, err := v.make(ctx)
				if err != nil {
					return err
				}
				if round > 0 { // the first one warms up
					warm[v.subject] = append(warm[v.subject], t)
				}
			}
		}
		s.costs(kind.name, warm)
		plain, woven := suite.Median(seconds(warm[subjectPlain], took.ofWall)), suite.Median(seconds(warm[subjectWoven], took.ofWall))
		s.Report.Add(report.Row{Part: "build", Metric: kind.name + ", more than plain", Subject: subjectWoven, Value: woven - plain, Unit: "s", Target: kind.target})
	}
	return nil
}

func (t took) ofCPU() float64  { return t.cpu.Seconds() }
func (t took) ofWall() float64 { return t.wall.Seconds() }

func seconds(all []took, of func(took) float64) (list []float64) {
	for _, t := range all {
		list = append(list, of(t))
	}
	return list
}

// costs reports the medians of builds, by subject.
func (s *run) costs(what string, all map[string][]took) {
	for _, subject := range []string{subjectPlain, subjectWoven} {
		cpu, wall := seconds(all[subject], took.ofCPU), seconds(all[subject], took.ofWall)
		s.Report.Add(report.Row{Part: "build", Metric: what + ", CPU", Subject: subject, Value: suite.Median(cpu), Unit: "s", Note: suite.Spread(cpu, "s")})
		s.Report.Add(report.Row{Part: "build", Metric: what, Subject: subject, Value: suite.Median(wall), Unit: "s", Note: suite.Spread(wall, "s")})
	}
}

// edited is the line that is edited: a number of milliseconds.
var edited = regexp.MustCompile(`stocktakeHold = \d+`)

// edit changes a line of the program to what it never was before.
func (v variant) edit(round int) error {
	name := filepath.Join(v.source(), "inventory.go")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !edited.Match(text) {
		return fmt.Errorf("BUG: no line to edit in %s", name)
	}
	return os.WriteFile(name, edited.ReplaceAll(text, fmt.Appendf(nil, "stocktakeHold = %d", 1300+round)), 0o644)
}

// binary compares the size of the program: stripped, as one ships it, and as it
// comes.
func (s *run) binary(ctx context.Context) error {
	for _, form := range []struct {
		metric, target string
		flags          []string
	}{{"program, stripped", "<= 3", []string{"-ldflags=-s -w"}}, {"program", "", nil}} {
		var sizes []float64
		for _, v := range []variant{s.plain, s.woven} {
			if _, err := v.make(ctx, form.flags...); err != nil {
				return err
			}
			info, err := os.Stat(v.output())
			if err != nil {
				return err
			}
			sizes = append(sizes, float64(info.Size())/1e6)
			s.Report.Add(report.Row{Part: "binary", Metric: form.metric, Subject: v.subject, Value: float64(info.Size()) / 1e6, Unit: "MB"})
		}
		s.Report.Add(report.Row{Part: "binary", Metric: form.metric + ", more than plain", Subject: subjectWoven, Value: sizes[1] - sizes[0], Unit: "MB", Target: form.target})
	}
	return nil
}
