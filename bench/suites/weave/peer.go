package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/guanlan-io/guanlan/bench/report"
	"github.com/guanlan-io/guanlan/bench/suite"
)

const peerVersion = "v1.15.0"

// peer builds the plain shop with orchestrion, set up as its users do: it pins
// itself and its default integrations in the go.mod of the program. Where that
// cannot be had, the row says why.
func (s *run) peer(ctx context.Context) error {
	v := variant{subject: subjectPeer, dir: filepath.Join(s.Dir, "peer"), own: true}
	v.command = []string{filepath.Join(v.dir, "orchestrion"), "go"}
	skip := func(doing string, why []byte) error {
		s.Report.Add(report.Row{Part: "peer", Metric: "cold build, CPU", Subject: subjectPeer, Skipped: true, Note: doing + ": " + reason(why)})
		return nil
	}
	if err := os.CopyFS(v.source(), os.DirFS(filepath.Join(s.Repo, "examples/woven/shop"))); err != nil {
		return fmt.Errorf("copy the shop: %w", err)
	}
	for _, step := range []struct {
		doing string
		args  []string
	}{
		{"install it", []string{"go", "install", "github.com/DataDog/orchestrion@" + peerVersion}},
		{"pin it in the program", []string{v.command[0], "pin"}},
	} {
		cmd := exec.CommandContext(ctx, step.args[0], step.args[1:]...)
		cmd.Dir = v.source()
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOBIN="+v.dir)
		if text, err := cmd.CombinedOutput(); err != nil {
			return skip(step.doing, fmt.Append(text, "\n", err))
		}
	}
	mod, err := os.ReadFile(filepath.Join(v.source(), "go.mod"))
	if err != nil {
		return err
	}
	own, err := os.ReadFile(filepath.Join(s.Repo, "examples/woven/shop/go.mod"))
	if err != nil {
		return err
	}
	requires := func(mod []byte) int { return bytes.Count(mod, []byte("\n\t")) }
	var all []float64
	for range s.colds {
		if err := v.forget(); err != nil {
			return err
		}
		t, err := v.make(ctx)
		if err != nil {
			return skip("build", []byte(err.Error()))
		}
		all = append(all, t.cpu.Seconds())
		fmt.Fprintf(os.Stderr, "  cold, %s: CPU %.1f s, %.1f s\n", v.subject, t.cpu.Seconds(), t.wall.Seconds())
	}
	s.Report.Add(report.Row{Part: "peer", Metric: "cold build, CPU", Subject: subjectPeer, Value: suite.Median(all), Unit: "s", Note: suite.Spread(all, "s")})
	s.Report.Add(report.Row{Part: "peer", Metric: "requirements added to go.mod", Subject: subjectPeer, Value: float64(requires(mod) - requires(own))})
	info, err := os.Stat(v.output())
	if err != nil {
		return err
	}
	s.Report.Add(report.Row{Part: "peer", Metric: "program", Subject: subjectPeer, Value: float64(info.Size()) / 1e6, Unit: "MB"})
	return nil
}

// from is where a module was to come from, which is another place for everybody.
var from = regexp.MustCompile(`reading \S+: `)

// reason is the line that says why: the go command's own first one, or else the
// last.
func reason(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines {
		if why, ok := strings.CutPrefix(line, "go: "); ok {
			return from.ReplaceAllString(why, "")
		}
	}
	return lines[len(lines)-1]
}
