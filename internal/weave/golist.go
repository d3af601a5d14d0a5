package weave

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// goTool runs the go command of one toolchain.
type goTool struct {
	bin string
	dir string // to run in
	env []string

	root, version string // GOROOT and as go1.26.8
	modCache      string
	mod, work     string   // files; empty without
	goFlags       []string // of GOFLAGS, each as -name=value or -name
}

// findGo asks the go command of the path what a build in dir uses.
func findGo(ctx context.Context, dir string) (*goTool, error) {
	g := &goTool{bin: "go", dir: dir}
	out, err := g.output(ctx, "env", "-json", "GOROOT", "GOVERSION", "GOMODCACHE", "GOMOD", "GOWORK", "GOFLAGS")
	if err != nil {
		return nil, err
	}
	var env struct{ GOROOT, GOVERSION, GOMODCACHE, GOMOD, GOWORK, GOFLAGS string }
	if err := json.Unmarshal(out, &env); err != nil {
		return nil, fmt.Errorf("read go env: %w", err)
	}
	g.root, g.version, g.modCache = env.GOROOT, env.GOVERSION, env.GOMODCACHE
	if g.goFlags, err = splitWords(env.GOFLAGS); err != nil {
		return nil, fmt.Errorf("read GOFLAGS: %w", err)
	}
	for i, f := range g.goFlags {
		g.goFlags[i] = "-" + strings.TrimLeft(f, "-")
	}
	if env.GOMOD != os.DevNull {
		g.mod = env.GOMOD
	}
	if env.GOWORK != "off" {
		g.work = env.GOWORK
	}
	return g, g.unwoven()
}

// unwoven takes the overlay of another woven build out of GOFLAGS, where the
// environment of one has come from guanlan weave env.
func (g *goTool) unwoven() error {
	name, ok := lookup(g.goFlags, "overlay")
	if !ok || !filepath.IsAbs(name) {
		return nil
	}
	o, err := readOverlay(name)
	if err != nil || o.Guanlan == nil {
		return err
	}
	g.goFlags = (&invocation{flags: g.goFlags}).without("overlay").flags
	if o.Guanlan.Theirs != "" {
		g.goFlags = append(g.goFlags, "-overlay="+o.Guanlan.Theirs)
	}
	flags, err := joinWords(g.goFlags)
	g.env = append(g.env, "GOFLAGS="+flags)
	return err
}

// use has all that follows run with another GOROOT of the same version.
func (g *goTool) use(root string) {
	g.root = root
	g.bin = filepath.Join(root, "bin", "go")
	g.env = append(g.env, "GOROOT="+root, "GOTOOLCHAIN=local")
}

func (g *goTool) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, g.bin, args...)
	c.Dir = g.dir
	c.Env = append(os.Environ(), g.env...)
	if g.dir != "" {
		c.Env = append(c.Env, "PWD="+g.dir)
	}
	// An interrupt reaches the whole process group: the go command cleans up by
	// itself, and is not killed before it has.
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	return c
}

func (g *goTool) output(ctx context.Context, args ...string) ([]byte, error) {
	c := g.command(ctx, args...)
	var message bytes.Buffer
	c.Stderr = &message
	out, err := c.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("run go %s: %w: install Go, or add its bin folder to PATH", args[0], err)
	case err != nil:
		return nil, fmt.Errorf("run go %s: %w\n%s", args[0], err, strings.TrimSpace(message.String()))
	}
	return out, nil
}

// pkg is a package as go list tells it.
type pkg struct {
	Dir, ImportPath, Name string
	Standard, DepOnly     bool
	Module                *pkgModule
	GoFiles, CgoFiles     []string
	IgnoredGoFiles        []string
	Incomplete            bool
	Error                 *struct{ Err string }
}

type pkgModule struct {
	Path, Version, Dir string
	GoMod              string // that of Go's download cache, where the module has none itself
	Main               bool
	Replace            *pkgModule
}

// version is that of the sources: a replaced module has another one.
func (p *pkg) version() string {
	switch {
	case p.Module == nil:
		return ""
	case p.Module.Replace != nil && p.Module.Replace.Version != "":
		return p.Module.Replace.Version
	}
	return p.Module.Version
}

// list gives the packages of a build and all they need.
func (g *goTool) list(ctx context.Context, inv *invocation) ([]*pkg, error) {
	args := []string{"list", "-e", "-deps", "-json=Dir,ImportPath,Name,Standard,DepOnly,Module,GoFiles,CgoFiles,IgnoredGoFiles,Incomplete,Error"}
	if inv.verb == "test" {
		args = append(args, "-test")
	}
	args = append(args, inv.listFlags()...)
	return g.read(ctx, append(append(args, "--"), inv.packages...))
}

// listStd gives packages of the standard library.
func (g *goTool) listStd(ctx context.Context, inv *invocation) ([]*pkg, error) {
	args := append([]string{"list", "-e", "-json=Dir,ImportPath,Name,Standard,GoFiles,CgoFiles"}, inv.flags...)
	return g.read(ctx, append(append(args, "--"), inv.packages...))
}

func (g *goTool) read(ctx context.Context, args []string) ([]*pkg, error) {
	out, err := g.output(ctx, args...)
	if err != nil {
		return nil, err
	}
	var all []*pkg
	seen := map[string]int{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		if strings.HasSuffix(p.ImportPath, ".test") && p.Name == "main" {
			continue // what go test makes up
		}
		// A package that is built again for a test has the same files, and those
		// of the test.
		p.ImportPath, _, _ = strings.Cut(p.ImportPath, " ")
		if i, ok := seen[p.ImportPath]; ok {
			all[i].GoFiles = union(all[i].GoFiles, p.GoFiles)
			continue
		}
		seen[p.ImportPath] = len(all)
		all = append(all, p)
	}
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}
