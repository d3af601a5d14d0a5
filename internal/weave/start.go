package weave

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// startStd is the package that starts the SDK of a woven program.
const startStd = sdkStd + "/start"

// start links our part into the program. Nothing that a program imports may
// import it, as it imports nearly all of them. So whatever makes a program does:
// its main package; with coverage, whose tool reads the files of the main
// package as they lie there, the package that writes the counters; and of tests
// the one that Go's own main function of tests needs.
func (p *planner) start(ctx context.Context, packages map[string]*pkg) error {
	mark, err := p.mark()
	if err != nil {
		return err
	}
	start := startStd
	if p.own {
		// The standard library cannot import what is in a module.
		start = hookStd
	}
	for _, at := range []string{"internal/coverage/cfile", "testing/internal/testdeps"} {
		name := filepath.Base(at)
		if err := p.put(filepath.Join(p.tool.root, "src", filepath.FromSlash(at), filePrefix+"start.go"), starter(name, start, mark)); err != nil {
			return err
		}
	}
	if p.inv.verb == "test" {
		return nil
	}
	if p.own {
		if start, err = p.ownStart(ctx, packages[sdkModule]); err != nil {
			return err
		}
	}
	mains := 0
	for _, at := range slices.Sorted(maps.Keys(packages)) {
		q := packages[at]
		if q.Name != "main" || q.DepOnly || q.Standard {
			continue
		}
		mains++
		if p.covered() {
			continue
		}
		in := q.Dir
		if under(in, p.tool.modCache) { // a program that another module brings, as its tool
			in = p.copyOf(q)
			p.copies[q.Module.Path] = q.Module
		}
		if err := p.put(filepath.Join(in, filePrefix+"start.go"), starter("main", start, mark)); err != nil {
			return err
		}
		if dir, ok := p.inv.files(); ok {
			p.plan.extra = append(p.plan.extra, filepath.Join(dir, filePrefix+"start.go"))
		}
	}
	if mains > 0 {
		return nil
	}
	for _, at := range slices.Sorted(maps.Keys(packages)) {
		if q := packages[at]; !q.DepOnly && q.Error != nil {
			return fmt.Errorf("%w: %s", errNotLoaded, q.Error.Err)
		}
	}
	return errNoMain
}

// ownStart is what starts the SDK of a program that has it already, in case that the
// program does not do so by itself. A vendored SDK lacks what nobody imports.
func (p *planner) ownStart(ctx context.Context, sdk *pkg) (path string, err error) {
	if sdk.Module == nil || strings.Contains(sdk.Dir, string(filepath.Separator)+"vendor"+string(filepath.Separator)) {
		return hookStd, nil
	}
	at := &invocation{verb: "build", flags: p.inv.listFlags(), packages: []string{sdkModule + "/start"}}
	more, err := p.tool.list(ctx, at)
	if err != nil {
		return "", err
	}
	packages := map[string]*pkg{}
	for _, q := range more {
		if q.ImportPath != sdkModule {
			packages[q.ImportPath] = q
		}
	}
	return sdkModule + "/start", p.switchOn(packages)
}

// covered reports whether the build counts coverage.
func (p *planner) covered() bool {
	return p.has("cover") || p.has("covermode") || p.has("coverprofile") || p.has("coverpkg")
}

// counted reports whether the coverage of a package is counted, as far as can be
// told: those of the main module, or those that -coverpkg names.
func (p *planner) counted(q *pkg) bool {
	patterns, ok := p.flag("coverpkg")
	if !ok {
		return p.covered() && q.Module != nil && q.Module.Main
	}
	for pattern := range strings.SplitSeq(patterns, ",") {
		from, _, many := strings.Cut(pattern, "...")
		switch {
		case pattern == "all", pattern == "std" && q.Standard:
			return true
		case strings.HasPrefix(pattern, "."):
			dir := filepath.Join(p.tool.dir, filepath.FromSlash(from))
			if q.Dir == dir || many && under(q.Dir, dir) {
				return true
			}
		case pattern == q.ImportPath, many && strings.HasPrefix(q.ImportPath+"/", from):
			return true
		}
	}
	return false
}

func (p *planner) has(flag string) bool {
	_, ok := p.flag(flag)
	return ok
}

// flag is the value of a flag, given in the invocation or in GOFLAGS.
func (p *planner) flag(name string) (value string, ok bool) {
	return lookup(slices.Concat(p.tool.goFlags, p.inv.flags), name)
}

// starter is the file that a package gets. What the program carries is written
// there: elsewhere, a program more with other libraries would have the SDK compiled
// again.
func starter(pkg, path, mark string) string {
	return fmt.Sprintf("package %s\n\nimport _ %q\nimport guanlanhook %q\n\nfunc init() { guanlanhook.Woven = %q }\n", pkg, path, hookStd, mark)
}

// Marker begins what a woven binary says of itself. It ends with a zero byte.
const Marker = "guanlan woven\x00"

// Mark is what a woven binary says of itself.
type Mark struct {
	Version int       `json:"v"` // of this form: 1
	Go      string    `json:"go"`
	Woven   []Woven   `json:"woven"`
	LeftOut []LeftOut `json:"left_out,omitempty"`
}

// mark is what the program carries, in words.
func (p *planner) mark() (string, error) {
	m := Mark{Version: 1, Go: p.tool.version, LeftOut: p.plan.LeftOut}
	for _, w := range p.plan.Woven {
		w.Places, w.About = nil, ""
		m.Woven = append(m.Woven, w)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("write the marker: %w", err)
	}
	return Marker + string(text) + "\x00", nil
}
