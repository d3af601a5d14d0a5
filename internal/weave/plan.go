package weave

import (
	"context"
	"errors"
	"fmt"
	"go/build/constraint"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/guanlan-io/guanlan/internal/weave/goroot"
)

// Import paths of ours, outside and in a woven build.
const (
	sdkModule = "github.com/guanlan-io/guanlan/sdk"
	sdkStd    = "guanlan/sdk"
	hookStd   = "guanlan/hook"
)

// wovenTag is set for sources that are meant for woven builds.
const wovenTag = "guanlan_woven"

// prefix of the files that are added to packages.
const filePrefix = "zz_guanlan_"

// Plan is how one build is woven.
type Plan struct {
	Overlay string    // file for the flag -overlay
	GOROOT  string    // to build with; has our packages
	Woven   []Woven   // what is woven, in the order of names
	LeftOut []LeftOut // what could not be

	tool  *goTool
	extra []string // to name where the user names files: ours
}

// Woven is an aspect that is woven into a package.
type Woven struct {
	Aspect  string `json:"aspect"`
	About   string `json:"about,omitempty"` // what is captured
	Package string `json:"package"`
	Version string `json:"version,omitempty"` // of its module
	// Untested is the tested range of versions, where this one is outside.
	Untested string  `json:"untested,omitempty"`
	Places   []Place `json:"places,omitempty"`
}

// Place is where something was inserted.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Name string `json:"name"` // of the function or type
	Was  string `json:"was"`  // the line in the sources
	Is   string `json:"is"`   // and in the build
}

// LeftOut is an aspect that could not be woven, though the program has its
// package.
type LeftOut struct {
	Aspect string `json:"aspect"`
	Reason string `json:"reason"`
}

// planned is one package on its way.
type planned struct {
	aspect *Aspect
	rules  *AspectPackage
	pkg    *pkg
	dir    string // of its files as the build sees them; not p.Dir where it is a copy
	copied bool
	texts  map[string]string // new contents by file
	places []Place
}

// planner makes a plan.
type planner struct {
	*overlay
	tool   *goTool
	inv    *invocation
	own    bool                  // the program has our SDK already
	copies map[string]*pkgModule // to build from copies of, by path
	plan   *Plan
	warn   func(string)
}

// prepare makes the plan of one invocation. Aspects named in without are not
// woven.
func (w *Weaver) prepare(ctx context.Context, inv *invocation, aspects []*Aspect, without map[string]string) (*Plan, error) {
	dir, err := w.folder(inv)
	if err != nil {
		return nil, err
	}
	tool, err := findGo(ctx, dir)
	if err != nil {
		return nil, err
	}
	kept, err := cacheDir()
	if err != nil {
		return nil, err
	}
	root, err := goroot.Make(ctx, goroot.Options{Goroot: tool.root, Cache: kept})
	if err != nil {
		return nil, err
	}
	tool.use(root)
	p := &planner{
		overlay: &overlay{cache: cache{kept}, replace: map[string]string{}}, tool: tool, inv: inv,
		copies: map[string]*pkgModule{}, plan: &Plan{GOROOT: root, tool: tool}, warn: w.warn,
	}
	if theirs, ok := p.flag("overlay"); ok && theirs != "" {
		if err := p.add(theirs, dir); err != nil {
			return nil, err
		}
	}
	packages, err := p.packages(ctx, inv, aspects)
	if err != nil {
		return nil, err
	}
	for _, a := range aspects {
		for _, r := range a.Packages {
			if q := packages[r.Path]; q != nil && q.Standard && p.counted(q) {
				return nil, fmt.Errorf("%w: -coverpkg takes in %s, and the cover tool reads the files of the standard library as they lie there, so that nothing could be woven: name packages of your own, as ./..., or build it by go %s", ErrUsage, r.Path, inv.verb)
			}
		}
	}
	_, p.own = packages[sdkModule]
	for _, a := range aspects {
		if a.UnlessSDK && p.own {
			continue
		}
		if reason, ok := without[a.Name]; ok {
			err = p.leaveOut(a, packages, reason)
		} else {
			err = p.weave(a, packages)
		}
		if err != nil {
			return nil, fmt.Errorf("weave %s: %w", a.Name, err)
		}
	}
	if err := p.switchOn(packages); err != nil {
		return nil, err
	}
	if err := p.start(ctx, packages); err != nil {
		return nil, err
	}
	if err := p.useCopies(packages); err != nil {
		return nil, err
	}
	p.plan.Overlay, err = p.write()
	return p.plan, err
}

// packages lists those of the build, and those of the standard library that
// aspects are for: our part of the program imports them in any case.
func (p *planner) packages(ctx context.Context, inv *invocation, aspects []*Aspect) (map[string]*pkg, error) {
	var std []string
	for _, a := range aspects {
		for _, r := range a.Packages {
			if _, err := os.Stat(filepath.Join(p.tool.root, "src", filepath.FromSlash(r.Path))); err == nil {
				std = append(std, r.Path)
			}
		}
	}
	theirs, ours := *inv, &invocation{verb: "build", packages: std}
	for _, f := range inv.without("overlay").listFlags() {
		if !strings.HasPrefix(f, "-mod") {
			ours.flags = append(ours.flags, f)
		}
	}
	// One list is faster than two. It cannot be of files and packages; and with
	// tests, those of the standard library would be in it.
	if _, files := inv.files(); inv.verb != "test" && !files {
		if len(theirs.packages) == 0 {
			theirs.packages = []string{"."}
		}
		theirs.packages, ours.packages = slices.Concat(theirs.packages, std), nil
	}
	var lists [2][]*pkg
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) { lists[1], err = p.tool.list(ctx, &theirs); return err })
	if len(ours.packages) > 0 {
		both.Go(func() (err error) { lists[0], err = p.tool.listStd(ctx, ours); return err })
	}
	if err := both.Wait(); err != nil {
		return nil, err
	}
	all := map[string]*pkg{}
	for _, q := range slices.Concat(lists[0], lists[1]) {
		q.DepOnly = q.DepOnly || slices.Contains(std, q.ImportPath)
		if have := all[q.ImportPath]; have == nil || have.DepOnly {
			all[q.ImportPath] = q
		}
	}
	return all, nil
}

// weave weaves an aspect, all of it or nothing.
func (p *planner) weave(a *Aspect, packages map[string]*pkg) error {
	var all []*planned
	for i := range a.Packages {
		r := &a.Packages[i]
		q := packages[r.Path]
		if q == nil {
			continue
		}
		if q.Incomplete && len(q.GoFiles) == 0 {
			continue // the build will say what is wrong with it
		}
		t, missing, err := p.weavePackage(a, r, q)
		if err != nil {
			missing = err.Error()
		}
		if missing != "" {
			return p.leaveOut(a, packages, missing)
		}
		all = append(all, t)
	}
	for _, t := range all {
		if err := p.adopt(t); err != nil {
			return err
		}
	}
	return nil
}

// adopt makes a woven package part of the plan.
func (p *planner) adopt(t *planned) error {
	w := Woven{Aspect: t.aspect.Name, About: t.aspect.About, Package: t.pkg.ImportPath, Version: t.pkg.version(), Places: t.places}
	if w.Version != "" && t.rules.Versions != "" && !tested(t.rules.Versions, w.Version) {
		w.Untested = t.rules.Versions
		p.warn(fmt.Sprintf("%s %s is outside the tested range %s: woven all the same", w.Package, w.Version, w.Untested))
	}
	if t.copied {
		p.copies[t.pkg.Module.Path] = t.pkg.Module
	}
	for name, text := range t.texts {
		if err := p.put(name, text); err != nil {
			return err
		}
	}
	p.plan.Woven = append(p.plan.Woven, w)
	return nil
}

// leaveOut notes that an aspect is not woven, and adds what its packages need
// nevertheless.
func (p *planner) leaveOut(a *Aspect, packages map[string]*pkg, reason string) error {
	relevant := false
	for i := range a.Packages {
		r := &a.Packages[i]
		q := packages[r.Path]
		if q == nil {
			continue
		}
		relevant = true
		files := []string{r.Without}
		if r.Without == "" {
			if !q.Standard { // hooks of the standard library are set in any case
				continue
			}
			files = r.Files
		}
		t := &planned{aspect: a, rules: r, pkg: q, dir: q.Dir, texts: map[string]string{}}
		if err := p.addFiles(t, files); err != nil {
			return err
		}
		for name, text := range t.texts {
			if err := p.put(name, text); err != nil {
				return err
			}
		}
	}
	if relevant {
		p.plan.LeftOut = append(p.plan.LeftOut, LeftOut{a.Name, reason})
	}
	return nil
}

// switchOn makes the SDK of the program one of a woven build.
func (p *planner) switchOn(packages map[string]*pkg) error {
	if !p.own {
		return nil
	}
	for _, at := range slices.Sorted(maps.Keys(packages)) {
		q := packages[at]
		if at != sdkModule && !strings.HasPrefix(at, sdkModule+"/") {
			continue
		}
		t := &planned{pkg: q, dir: q.Dir, texts: map[string]string{}}
		if under(q.Dir, p.tool.modCache) {
			t.dir, t.copied = p.copyOf(q), true
		}
		found := false
		for _, f := range slices.Concat(q.GoFiles, q.IgnoredGoFiles) {
			name := filepath.Join(t.dir, f)
			text, err := p.source(q, name)
			if err != nil {
				return err
			}
			switch tag, ok := buildTag(text); {
			case !ok:
			case tag == wovenTag:
				found = true
				if err := p.put(name, strings.Replace(text, "//go:build "+wovenTag+"\n", "//\n", 1)); err != nil {
					return err
				}
			case tag == "!"+wovenTag:
				found = true
				p.replace[name] = ""
			}
		}
		if at == sdkModule && !found {
			return errors.New("the program has a version of " + sdkModule + " that cannot be woven: take the one of this guanlan, by go get " + sdkModule + "@latest")
		}
		if found && t.copied {
			p.copies[q.Module.Path] = q.Module
		}
	}
	return nil
}

// buildTag is the constraint of a file, if it has one.
func buildTag(text string) (string, bool) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if constraint.IsGoBuild(line) {
			return strings.TrimSpace(strings.TrimPrefix(line, "//go:build")), true
		}
		if strings.HasPrefix(line, "package ") {
			break
		}
	}
	return "", false
}

// under reports whether a file lies in a folder.
func under(name, dir string) bool {
	return dir != "" && strings.HasPrefix(name, dir+string(filepath.Separator))
}
