package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	ownModule = "github.com/guanlan-io/guanlan"
	sdkModule = ownModule + "/sdk"
	hookPath  = "guanlan/hook" // not in any module: written as what it becomes
)

// modules says where a module's packages go: below guanlan, where the standard
// library may import them.
var modules = map[string]string{
	sdkModule:                               "guanlan/sdk",
	hookPath:                                hookPath,
	"go.opentelemetry.io/otel":              "guanlan/otel",
	"go.opentelemetry.io/otel/log":          "guanlan/otel/log",
	"go.opentelemetry.io/otel/metric":       "guanlan/otel/metric",
	"go.opentelemetry.io/otel/trace":        "guanlan/otel/trace",
	"go.opentelemetry.io/auto/sdk":          "guanlan/x/auto/sdk",
	"github.com/KimMachineGun/automemlimit": "guanlan/x/automemlimit",
	"github.com/cespare/xxhash/v2":          "guanlan/x/xxhash",
	"github.com/go-logr/logr":               "guanlan/x/logr",
	"github.com/go-logr/stdr":               "guanlan/x/stdr",
	"github.com/pbnjay/memory":              "guanlan/x/memory",
}

// world is every package that may go into the archive.
type world struct {
	root     string
	dirs     map[string]string // by module path; without those that a nested go.mod has
	versions map[string]string // by module path
	packages map[string]*pkg   // in the archive, by the import path that they have in their module
	folded   map[string]*pkg   // the same, for the bindings
}

type pkg struct {
	path, module, version string
	files                 map[string]*file
}

// note is what the licences of other people's modules ask for.
func (p *pkg) note() string {
	if p.module == sdkModule || p.module == hookPath {
		return ""
	}
	return "// Copied from " + p.module + " " + p.version + " and changed by Guanlan: other import paths; comments and what is not used left out."
}

// load finds the modules and reads the packages of the SDK.
func load(root string) (*world, error) {
	cmd := exec.Command("go", "list", "-e", "-deps", "-tags", "guanlan_woven,guanlan_std", "-json=ImportPath,Standard,Module", "./...")
	cmd.Dir = filepath.Join(root, "sdk")
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages of the SDK: %w\n%s", err, stderr.String())
	}
	w := &world{
		root: root, dirs: map[string]string{}, versions: map[string]string{},
		packages: map[string]*pkg{}, folded: map[string]*pkg{},
	}
	var own []string
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Standard   bool
			Module     *struct{ Path, Version, Dir string }
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("decode the list of packages: %w", err)
		}
		if p.Module == nil {
			continue
		}
		if modules[p.Module.Path] == "" {
			return nil, fmt.Errorf("module %s of package %s has no place below guanlan: add it to modules", p.Module.Path, p.ImportPath)
		}
		w.dirs[p.Module.Path], w.versions[p.Module.Path] = p.Module.Dir, p.Module.Version
		if p.Module.Path == sdkModule {
			own = append(own, p.ImportPath)
		}
	}
	hook := filepath.Join(root, "internal", "weave", "hook")
	if _, err := os.Stat(hook); err == nil {
		w.dirs[hookPath] = hook
		own = append(own, hookPath)
	}
	for _, path := range own {
		if err := w.add(path); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// module returns the module that has the package path, or "".
func (w *world) module(path string) string {
	longest := ""
	for m := range w.dirs {
		if (path == m || strings.HasPrefix(path, m+"/")) && len(m) > len(longest) {
			longest = m
		}
	}
	return longest
}

func (w *world) read(path string) (*pkg, error) {
	m := w.module(path)
	p := &pkg{path: path, module: m, version: w.versions[m]}
	var err error
	p.files, err = readFiles(filepath.Join(w.dirs[m], strings.TrimPrefix(path, m)))
	return p, err
}

func (w *world) add(path string) error {
	p, err := w.read(path)
	if err != nil {
		return fmt.Errorf("read package %s: %w", path, err)
	}
	w.packages[path] = p
	return nil
}

// fold adds a binding and what it imports of the SDK's internal packages, which
// the library that it is merged into could not import.
func (w *world) fold(path string) error {
	p, err := w.read(path)
	if err != nil {
		return fmt.Errorf("read binding %s: %w", path, err)
	}
	w.folded[path] = p
	for _, imported := range p.imports() {
		if w.folded[imported] == nil && strings.HasPrefix(imported, sdkModule+"/internal/") {
			if err := w.fold(imported); err != nil {
				return err
			}
		}
	}
	return nil
}

// close adds what the packages import, for any platform, until nothing is missing.
func (w *world) close() error {
	todo := slices.Collect(maps.Values(w.packages))
	for _, p := range w.folded {
		todo = append(todo, p)
	}
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		for _, path := range p.imports() {
			switch {
			case w.packages[path] != nil:
			case w.module(path) != "":
				if err := w.add(path); err != nil {
					return fmt.Errorf("%s: %w", p.path, err)
				}
				todo = append(todo, w.packages[path])
			case w.folded[p.path] != nil:
				// The library that it is merged into, or what that imports.
			case path == "C" || strings.Contains(strings.Split(path, "/")[0], ".") || strings.HasPrefix(path, "guanlan/"):
				return fmt.Errorf("%s imports %s, which the standard library cannot", p.path, path)
			}
		}
	}
	return nil
}

func (p *pkg) imports() []string {
	all := map[string]bool{}
	for _, f := range p.files {
		for _, path := range f.imports() {
			all[path] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// rewritten returns the import path that a package has below guanlan. An element
// "internal" is dropped from ours: woven libraries import them.
func rewritten(path string) string {
	longest := ""
	for m := range modules {
		if (path == m || strings.HasPrefix(path, m+"/")) && len(m) > len(longest) {
			longest = m
		}
	}
	if longest == "" {
		return path
	}
	to := modules[longest] + strings.TrimPrefix(path, longest)
	if longest == sdkModule {
		to = strings.ReplaceAll(to+"/", "/internal/", "/")
	}
	return strings.TrimSuffix(to, "/")
}

// licences adds the licence of each module that something was taken from.
func (w *world) licences(files map[string][]byte) error {
	taken := map[string]bool{}
	for _, p := range w.packages {
		taken[p.module] = true
	}
	delete(taken, hookPath)
	for m := range taken {
		dir, to := w.dirs[m], modules[m]
		if m == sdkModule {
			dir, to = w.root, "guanlan"
		}
		found, err := filepath.Glob(filepath.Join(dir, "LICENSE*"))
		if err == nil && len(found) == 0 {
			err = fs.ErrNotExist
		}
		if err != nil {
			return fmt.Errorf("find the licence of module %s: %w", m, err)
		}
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			files["src/"+path.Join(to, filepath.Base(name))] = text
		}
	}
	return nil
}
