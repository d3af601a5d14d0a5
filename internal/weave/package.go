package weave

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/version"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/guanlan-io/guanlan/internal/weave/goroot"
)

// weavePackage weaves one package. It says what is missing when a point matches
// nowhere.
func (p *planner) weavePackage(a *Aspect, r *AspectPackage, q *pkg) (t *planned, missing string, err error) {
	t = &planned{aspect: a, rules: r, pkg: q, dir: q.Dir, texts: map[string]string{}}
	if len(r.Points)+len(r.Files)+len(r.Fold) == 0 { // what it is about is woven elsewhere
		return t, "", nil
	}
	switch {
	case p.counted(q):
		return nil, q.ImportPath + " is built for coverage, whose tool reads its files as they lie there", nil
	case !q.Standard && under(q.Dir, p.tool.modCache):
		t.dir, t.copied = p.copyOf(q), true
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
	sources := map[string]string{} // by name
	var names []string
	for _, f := range slices.Concat(q.GoFiles, q.CgoFiles) {
		if strings.HasSuffix(f, "_test.go") || strings.HasPrefix(f, filePrefix) {
			continue
		}
		if sources[f], err = p.source(q, filepath.Join(t.dir, f)); err != nil {
			return nil, "", err
		}
		names = append(names, f)
	}
	key := p.key(t, version, names, sources)
	if p.cache.recall(key, t) {
		return t, "", nil
	}
	matched := map[*JoinPoint]bool{}
	for _, f := range names {
		s, err := parseSource(sources[f])
		if err != nil {
			continue // the compiler says it better
		}
		if err := s.weave(points, p.imports(r.Imports)); err != nil {
			return nil, "", fmt.Errorf("%s: %w", filepath.Join(q.ImportPath, f), err)
		}
		if len(s.hits) == 0 {
			continue
		}
		text, err := s.woven()
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", filepath.Join(q.ImportPath, f), err)
		}
		t.texts[filepath.Join(t.dir, f)] = text
		was, is := strings.Split(sources[f], "\n"), strings.Split(text, "\n")
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
	if err := p.addFiles(t, r.Files); err != nil {
		return nil, "", err
	}
	return t, "", p.cache.remember(key, t)
}

// key stands for all that a woven package depends on.
func (p *planner) key(t *planned, version string, names []string, sources map[string]string) string {
	h := sha256.New()
	rules, err := json.Marshal(t.rules)
	if err != nil {
		panic("BUG: rules of an aspect: " + err.Error())
	}
	fmt.Fprintf(h, "%s %q %v %q %q %q %q %s\n", thisWeaver(), t.aspect.Name, p.own, p.tool.version, t.pkg.ImportPath, t.pkg.Name, version, rules)
	for _, f := range t.rules.Files {
		fmt.Fprintf(h, "%q %d\n%s", f, len(t.aspect.files[f]), t.aspect.files[f])
	}
	for _, f := range names {
		fmt.Fprintf(h, "%q %d\n", f, len(sources[f]))
		_, _ = io.WriteString(h, sources[f]) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
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
