// Package weavetest builds sample programs, runs them against an OTLP receiver
// and compares what they sent with a file. Tests only.
package weavetest

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/modfile"
)

// Sample is the sample program of an aspect in one version of its library. It
// is a module of its own that knows nothing of telemetry.
type Sample struct {
	Aspect  string // folder of the aspect, below the folder of all
	Dir     string // of the program
	ModFile string // go.mod, or old.mod for the oldest version that is tested
	Library string // module under test, or package of the standard library
	Version string
	About   string // what is captured; "" while nothing weaves the library
}

// Woven tells whether the library is woven, by an aspect of its own or by those
// of what it is built on.
func (s Sample) Woven() bool { return s.About != "" }

// Needs is true of a sample whose program reads the environment variable.
func (s Sample) Needs(variable string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(s.Dir, "main.go"))
	return strings.Contains(string(text), `"`+variable+`"`), err
}

const (
	newest = "go.mod"
	oldest = "old.mod"
)

// Samples finds the samples below the folder of aspects, by aspect, newest
// version first.
func Samples(aspects string) ([]Sample, error) {
	found, err := filepath.Glob(filepath.Join(aspects, "*", "sample", "main.go"))
	if err != nil {
		return nil, err
	}
	var all []Sample
	for _, main := range found {
		dir := filepath.Dir(main)
		for _, mod := range []string{newest, oldest} {
			s, err := readSample(dir, mod)
			if errors.Is(err, fs.ErrNotExist) && mod == oldest {
				continue // the standard library has one version at a time
			}
			if err != nil {
				return nil, err
			}
			all = append(all, s)
		}
	}
	return all, nil
}

func readSample(dir, mod string) (Sample, error) {
	s := Sample{Aspect: filepath.Base(filepath.Dir(dir)), Dir: dir, ModFile: mod}
	name := filepath.Join(dir, mod)
	text, err := os.ReadFile(name)
	if err != nil {
		return s, fmt.Errorf("read sample of %s: %w", s.Aspect, err)
	}
	parsed, err := modfile.Parse(name, text, nil)
	if err != nil {
		return s, fmt.Errorf("parse %s: %w", name, err)
	}
	var packages []string
	// about.yaml has the same two fields, for a library that needs no aspect of
	// its own.
	for _, name := range []string{"aspect.yaml", "about.yaml"} {
		if packages, s.About, err = readAspect(filepath.Join(filepath.Dir(dir), name)); err != nil {
			return s, err
		}
		if s.Woven() {
			break
		}
	}
	s.Library, s.Version = library(parsed, packages)
	return s, nil
}

// readAspect reads of an aspect what a table of libraries shows. An aspect that
// is not there has nothing.
func readAspect(name string) (packages []string, about string, err error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	var aspect struct {
		About    string
		Packages []struct{ Path string }
	}
	if err := yaml.Unmarshal(text, &aspect); err != nil {
		return nil, "", fmt.Errorf("parse %s: %w", name, err)
	}
	for _, p := range aspect.Packages {
		packages = append(packages, p.Path)
	}
	if aspect.About == "" || len(packages) == 0 {
		return nil, "", fmt.Errorf("parse %s: about and packages must be there", name)
	}
	return packages, strings.Join(strings.Fields(aspect.About), " "), nil
}

// library is what a sample tests: the module of the first of packages that the
// sample requires, or else the first package of the standard library, or else
// the first module that the sample requires itself.
func library(mod *modfile.File, packages []string) (path, version string) {
	direct := slices.DeleteFunc(slices.Clone(mod.Require), func(r *modfile.Require) bool { return r.Indirect })
	// Longer paths first: a module may lie in the folder of another.
	byLength := slices.SortedFunc(slices.Values(direct), func(a, b *modfile.Require) int { return cmp.Compare(len(b.Mod.Path), len(a.Mod.Path)) })
	for _, p := range packages {
		for _, r := range byLength {
			if p == r.Mod.Path || strings.HasPrefix(p, r.Mod.Path+"/") {
				return r.Mod.Path, r.Mod.Version
			}
		}
	}
	if len(direct) == 0 || len(packages) > 0 {
		release, _, _ := strings.Cut(strings.TrimPrefix(runtime.Version(), "go"), " ")
		parts := strings.SplitN(release, ".", 3)
		path = mod.Module.Mod.Path
		if len(packages) > 0 {
			path = packages[0]
		}
		return path, "Go " + strings.Join(parts[:min(2, len(parts))], ".")
	}
	return direct[0].Mod.Path, direct[0].Mod.Version
}
