// Package suite is the frame of every benchmark: it reads the flags that all of
// them have, runs the parts that were asked for, and writes the report.
package suite

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/bench/report"
)

// Part is what is measured together. Its rows name it.
type Part struct {
	Name string
	Run  func(context.Context) error
}

// Suite is a program that measures. The fields before Report describe it; the
// others are set when Prepare is called.
type Suite struct {
	Name     string // of its folder, its results and its target of make
	Parts    []Part // in the order in which they run
	Measures bool   // the program guanlan, which -guanlan names
	// Prepare, if there is one, is called once, before the parts.
	Prepare func(context.Context) error
	// About, if there is one, says what the reader of the table must know.
	About func() string

	Report  *report.Report
	Repo    string // root of the repository
	Guanlan string // the binary, if the suite measures it
	Dir     string // for everything that is made; it is removed at the end
	Short   bool   // to try the suite, not to quote

	asked []string
}

// Main runs the suite and ends the program. Flags of its own are registered
// before, and parsed here.
func (s *Suite) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := s.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", s.Name, err)
		os.Exit(1)
	}
}

func (s *Suite) run(ctx context.Context) (err error) {
	var names []string
	for _, p := range s.Parts {
		names = append(names, p.Name)
	}
	out := flag.String("out", "results/"+s.Name+".json", "file that takes the rows; parts not run keep theirs")
	only := flag.String("run", "all", "parts to run, comma-separated: "+strings.Join(names, ","))
	tmp := flag.String("tmp", "", "folder for what is made (default the system's)")
	flag.BoolVar(&s.Short, "short", false, "a few rounds, of seconds: to try the suite, not to quote")
	if s.Measures {
		flag.StringVar(&s.Guanlan, "guanlan", "../bin/guanlan", "program under test")
	}
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if s.asked, err = Choose(*only, names); err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if _, err := os.Stat("suites/" + s.Name); err != nil {
		return fmt.Errorf("run this in the folder bench, for example by make bench-%s", s.Name)
	}
	if s.Repo, err = filepath.Abs(".."); err != nil {
		return err
	}
	if s.Measures {
		if s.Guanlan, err = filepath.Abs(s.Guanlan); err != nil {
			return err
		}
	}
	if s.Dir, err = os.MkdirTemp(*tmp, "guanlan-bench-"); err != nil {
		return fmt.Errorf("make a folder for what is made: %w", err)
	}
	defer os.RemoveAll(s.Dir)
	s.Report = report.New(os.Stderr)

	began := time.Now()
	err = s.all(ctx)
	if ctx.Err() != nil {
		return errors.New("stopped; no results were written")
	}
	if err != nil {
		return err
	}
	about := ""
	if s.About != nil {
		about = s.About() + "; "
	}
	fmt.Printf("\n%s, %d cores, %s; %stook %v\n\n", processor(), runtime.NumCPU(), runtime.Version(), about, time.Since(began).Round(time.Second))
	if err := s.Report.Table(os.Stdout); err != nil {
		return err
	}
	if err := s.Report.Write(*out); err != nil {
		return err
	}
	fmt.Printf("\n%d rows to %s; %d targets missed\n", s.Report.Len(), *out, s.Report.Failed())
	return nil
}

func (s *Suite) all(ctx context.Context) error {
	if s.Prepare != nil {
		if err := s.Prepare(ctx); err != nil {
			return err
		}
	}
	for _, p := range s.Parts {
		if !s.Asked(p.Name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintln(os.Stderr, p.Name)
		if err := p.Run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// Asked tells whether a part runs.
func (s *Suite) Asked(part string) bool { return slices.Contains(s.asked, part) }

// Choose gives what a list names, separated by commas, or everything for "all".
func Choose(list string, from []string) ([]string, error) {
	if list == "all" {
		return from, nil
	}
	chosen := strings.Split(list, ",")
	for _, c := range chosen {
		if !slices.Contains(from, c) {
			return nil, fmt.Errorf("no %q; there are %s", c, strings.Join(from, ", "))
		}
	}
	return chosen, nil
}

// Number is what rounds measure.
type Number interface {
	~int | ~int64 | ~float64
}

// Median of a list that is not empty, in no order. It sorts it.
func Median[N Number](all []N) N {
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// Spread is for notes: the least and the largest.
func Spread(all []float64, unit string) string {
	return fmt.Sprintf("rounds from %.3g to %.3g %s", slices.Min(all), slices.Max(all), unit)
}

// processor is what the machine calls its own.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}
