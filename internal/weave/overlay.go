package weave

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// overlay is what the go command reads instead of the files that are there: for
// each, a file in our cache, or nothing.
type overlay struct {
	cache   cache
	replace map[string]string
}

// add takes over the overlay that the user gives.
func (o *overlay) add(name, dir string) error {
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read -overlay: %w", err)
	}
	var theirs struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &theirs); err != nil {
		return fmt.Errorf("read -overlay %s: %w", name, err)
	}
	absolute := func(f string) string {
		if f == "" || filepath.IsAbs(f) {
			return f
		}
		return filepath.Join(dir, f)
	}
	for from, to := range theirs.Replace {
		o.replace[absolute(from)] = absolute(to)
	}
	return nil
}

// read is a file as the build sees it.
func (o *overlay) read(name string) (string, error) {
	if to, ok := o.replace[name]; ok && to != "" {
		name = to
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read source: %w", err)
	}
	return string(text), nil
}

// put has the build see text as the file name.
func (o *overlay) put(name, text string) error {
	kept, err := o.cache.keep(text, filepath.Ext(name))
	o.replace[name] = kept
	return err
}

// write keeps the overlay itself, and gives its name.
func (o *overlay) write() (string, error) {
	text, err := json.MarshalIndent(map[string]any{"Replace": o.replace}, "", " ")
	if err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return o.cache.keep(string(text), ".json")
}

// useCopies has the build take modules from other folders: by lines in a go.mod,
// or in a go.work, that only the build sees. Checksums are asked of modules that
// are downloaded, not of folders. Only the version that is built is replaced: the
// go.mod of older versions, which requirements may name, must stay what they are,
// or the build would have another graph of modules, with sums that nobody has.
func (o *overlay) useCopies(g *goTool, inv *invocation, copies map[module.Version]string) error {
	if len(copies) == 0 {
		return nil
	}
	if g.work != "" {
		text, err := o.read(g.work)
		if err != nil {
			return err
		}
		f, err := modfile.ParseWork(g.work, []byte(text), nil)
		if err != nil {
			return fmt.Errorf("read go.work: %w", err)
		}
		for _, m := range sorted(copies) {
			if err := f.AddReplace(m.Path, m.Version, copies[m], ""); err != nil {
				return fmt.Errorf("edit go.work: %w", err)
			}
		}
		f.Cleanup()
		return o.put(g.work, string(modfile.Format(f.Syntax)))
	}
	name := g.mod
	if m, ok := inv.flag("modfile"); ok {
		if name = m; !filepath.IsAbs(name) {
			name = filepath.Join(g.dir, name)
		}
	} else if m := goFlag(g.goFlags, "modfile"); m != "" {
		name = m
	}
	text, err := o.read(name)
	if err != nil {
		return err
	}
	f, err := modfile.Parse(name, []byte(text), nil)
	if err != nil {
		return fmt.Errorf("read go.mod: %w", err)
	}
	for _, m := range sorted(copies) {
		if err := f.AddReplace(m.Path, m.Version, copies[m], ""); err != nil {
			return fmt.Errorf("edit go.mod: %w", err)
		}
	}
	f.Cleanup()
	out, err := f.Format()
	if err != nil {
		return fmt.Errorf("edit go.mod: %w", err)
	}
	return o.put(name, string(out))
}

func sorted(copies map[module.Version]string) []module.Version {
	return slices.SortedFunc(maps.Keys(copies), func(a, b module.Version) int { return cmp.Compare(a.Path, b.Path) })
}

// goFlag is the value of a flag in GOFLAGS.
func goFlag(flags, name string) string {
	for _, f := range strings.Fields(flags) {
		if v, ok := strings.CutPrefix(strings.TrimLeft(f, "-"), name+"="); ok {
			return v
		}
	}
	return ""
}
