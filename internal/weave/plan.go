package weave

import (
	"context"
	"errors"
	"fmt"
	"go/build/constraint"
	"go/version"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"
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
	own    bool                      // the program has our SDK already
	copies map[module.Version]string // folders
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
		overlay: &overlay{cache{kept}, map[string]string{}}, tool: tool, inv: inv,
		copies: map[module.Version]string{}, plan: &Plan{GOROOT: root, tool: tool}, warn: w.warn,
	}
	theirs, ok := inv.flag("overlay")
	if !ok {
		theirs = goFlag(tool.goFlags, "overlay")
	}
	if theirs != "" {
		if err := p.add(theirs, dir); err != nil {
			return nil, err
		}
	}
	packages, err := p.packages(ctx, inv, aspects)
	if err != nil {
		return nil, err
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
	if err := p.useCopies(tool, inv, p.copies); err != nil {
		return nil, err
	}
	p.plan.Overlay, err = p.write()
	return p.plan, err
}

// packages lists those of the build, and those of the standard library that
// aspects are for: our part of the program imports them in any case.
func (p *planner) packages(ctx context.Context, inv *invocation, aspects []*Aspect) (map[string]*pkg, error) {
	std := &invocation{verb: "build", flags: inv.without("overlay").listFlags()}
	std.flags = slices.DeleteFunc(std.flags, func(f string) bool { return strings.HasPrefix(f, "-mod") })
	for _, a := range aspects {
		for _, r := range a.Packages {
			if first, _, _ := strings.Cut(r.Path, "/"); !strings.Contains(first, ".") && r.Versions == "" {
				std.packages = append(std.packages, r.Path)
			}
		}
	}
	var theirs, ours []*pkg
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) { theirs, err = p.tool.list(ctx, inv); return err })
	both.Go(func() (err error) {
		if len(std.packages) > 0 {
			ours, err = p.tool.listStd(ctx, std)
		}
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	all := map[string]*pkg{}
	for _, q := range slices.Concat(ours, theirs) {
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
		m := t.pkg.Module
		p.copies[module.Version{Path: m.Path, Version: m.Version}] = strings.TrimSuffix(t.dir, strings.TrimPrefix(t.pkg.Dir, m.dir()))
	}
	for name, text := range t.texts {
		if err := p.put(name, text); err != nil {
			return err
		}
	}
	p.plan.Woven = append(p.plan.Woven, w)
	return nil
}

func (m *pkgModule) dir() string {
	if m.Replace != nil && m.Dir == "" {
		return m.Replace.Dir
	}
	return m.Dir
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

// weavePackage weaves one package. It says what is missing when a point matches
// nowhere.
func (p *planner) weavePackage(a *Aspect, r *AspectPackage, q *pkg) (t *planned, missing string, err error) {
	t = &planned{aspect: a, rules: r, pkg: q, dir: q.Dir, texts: map[string]string{}}
	if len(r.Points)+len(r.Files)+len(r.Fold) == 0 { // what it is about is woven elsewhere
		return t, "", nil
	}
	switch {
	case q.Standard:
	case under(q.Dir, p.tool.modCache):
		if t.dir, err = p.copyOf(q); err != nil {
			return nil, "", err
		}
		t.copied = true
	case p.counted(q):
		return nil, q.ImportPath + " is built for coverage, whose tool reads its files as they lie there", nil
	}
	version := q.version()
	if q.Standard {
		version = p.tool.version
	}
	var points []*JoinPoint
	for i := range r.Points {
		if r.Points[i].counts(version) {
			points = append(points, &r.Points[i])
		}
	}
	matched := map[*JoinPoint]bool{}
	for _, f := range slices.Concat(q.GoFiles, q.CgoFiles) {
		if strings.HasSuffix(f, "_test.go") || strings.HasPrefix(f, filePrefix) {
			continue
		}
		name := filepath.Join(t.dir, f)
		text, err := p.read(name)
		if err != nil {
			return nil, "", err
		}
		s, err := parseSource(text)
		if err != nil {
			continue // the compiler says it better
		}
		if err := s.weave(points, p.imports(r.Imports)); err != nil {
			return nil, "", fmt.Errorf("%s: %w", filepath.Join(q.ImportPath, f), err)
		}
		if len(s.hits) == 0 {
			continue
		}
		if t.texts[name], err = s.woven(); err != nil {
			return nil, "", fmt.Errorf("%s: %w", filepath.Join(q.ImportPath, f), err)
		}
		was, is := strings.Split(text, "\n"), strings.Split(t.texts[name], "\n")
		for _, h := range s.hits {
			matched[points[h.point]] = true
			line := func(of []string) string { return strings.TrimSpace(of[h.line-1]) }
			t.places = append(t.places, Place{filepath.Join(q.Dir, f), h.line, h.name, line(was), line(is)})
		}
	}
	alternatives := map[string]bool{}
	for pt := range matched {
		alternatives[pt.ID] = true
	}
	for _, pt := range points {
		if !matched[pt] && !pt.Optional && (pt.ID == "" || !alternatives[pt.ID]) {
			return nil, fmt.Sprintf("%s: %s is not in %s", strings.TrimSpace(q.ImportPath+" "+version), pt.place(), q.Dir), nil
		}
	}
	return t, "", p.addFiles(t, r.Files)
}

// imports are those of inserted code, where our SDK is.
func (p *planner) imports(all []Import) []Import {
	out := slices.Clone(all)
	for i := range out {
		out[i].Path = p.sdkPath(out[i].Path)
	}
	return out
}

// sdkPath is where a package of the SDK is found in this build.
func (p *planner) sdkPath(path string) string {
	rest, ok := strings.CutPrefix(path, sdkModule)
	if !ok || p.own || (rest != "" && rest[0] != '/') {
		return path
	}
	return sdkStd + strings.ReplaceAll(rest, "/internal/", "/")
}

// addFiles adds the files of an aspect to a package.
func (p *planner) addFiles(t *planned, files []string) error {
	for _, f := range files {
		text, err := p.ours(string(t.aspect.files[f]))
		if err != nil {
			return fmt.Errorf("file %s: %w", f, err)
		}
		t.texts[filepath.Join(t.dir, filePrefix+t.aspect.Name+"_"+path.Base(f))] = text
	}
	if len(t.rules.Fold) == 0 {
		return nil
	}
	sources := map[string]map[string][]byte{}
	for _, f := range t.rules.Fold {
		files := goroot.Fold(f)
		if len(files) == 0 {
			return fmt.Errorf("fold %s: there is no such binding", f)
		}
		sources[strings.TrimSuffix(sdkModule, "/sdk")+"/"+f] = files
	}
	merged, err := fold(t.pkg.ImportPath, t.pkg.Name, sources)
	if err != nil {
		return err
	}
	for name, text := range merged {
		if text, err = p.ours(text); err != nil {
			return err
		}
		t.texts[filepath.Join(t.dir, filePrefix+t.aspect.Name+"_"+name)] = text
	}
	return nil
}

// ours makes a source of ours part of this build: without its build tag, and
// with the SDK where it is.
func (p *planner) ours(text string) (string, error) {
	s, err := parseSource(text)
	if err != nil {
		return "", err
	}
	for _, imp := range s.file.Imports {
		if at := strings.Trim(imp.Path.Value, `"`); p.sdkPath(at) != at {
			s.replace(s.offset(imp.Path.Pos()), s.offset(imp.Path.End()), `"`+p.sdkPath(at)+`"`)
		}
	}
	if text, err = s.woven(); err != nil {
		return "", err
	}
	return p.inOurGo(text), nil
}

// inOurGo gives a source the language of the Go that builds. That of the module
// whose package it is added to may be older than what we write. It loses our own
// tag.
func (p *planner) inOurGo(text string) string {
	lang := version.Lang(p.tool.version)
	was, tagged := buildTag(text)
	switch {
	case tagged && was == wovenTag && lang == "":
		return strings.Replace(text, "//go:build "+was+"\n", "//\n", 1)
	case tagged && was == wovenTag:
		return strings.Replace(text, "//go:build "+was+"\n", "//go:build "+lang+"\n", 1)
	case lang == "":
		return text
	case tagged:
		return strings.Replace(text, "//go:build "+was+"\n", "//go:build ("+was+") && "+lang+"\n", 1)
	}
	return "//go:build " + lang + "\n\n" + text
}

// copyOf is a package's folder in a copy of its module.
func (p *planner) copyOf(q *pkg) (string, error) {
	m := q.Module
	path, version := m.Path, m.Version
	if m.Replace != nil {
		path, version = m.Replace.Path, m.Replace.Version
	}
	dir, err := p.cache.module(path, version, m.dir())
	if err != nil {
		return "", err
	}
	return dir + strings.TrimPrefix(q.Dir, m.dir()), nil
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
			var err error
			if t.dir, err = p.copyOf(q); err != nil {
				return err
			}
			t.copied = true
		}
		found := false
		for _, f := range slices.Concat(q.GoFiles, q.IgnoredGoFiles) {
			name := filepath.Join(t.dir, f)
			text, err := p.read(name)
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
			p.copies[module.Version{Path: q.Module.Path, Version: q.Module.Version}] = strings.TrimSuffix(t.dir, strings.TrimPrefix(q.Dir, q.Module.dir()))
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
