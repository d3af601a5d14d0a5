package weave

import (
	"context"
	"encoding/json"
	"fmt"
	"go/build"
	"os"
	"path/filepath"
	"strings"
)

// published makes an invocation that names programs with versions, as go install
// example.com/tool@latest, one that builds in a copy of their module. The go
// command builds such a module as it was published, and lets nobody overlay it.
func (w *Weaver) published(ctx context.Context, inv *invocation) (*invocation, error) {
	if len(inv.packages) == 0 {
		return inv, nil
	}
	first := inv.packages[0]
	if !strings.Contains(first, "@") || filepath.IsAbs(first) || build.IsLocalImport(first) || strings.HasSuffix(first, ".go") {
		return inv, nil
	}
	dir, err := os.MkdirTemp("", "guanlan-*")
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", inv.packages[0], err)
	}
	defer os.RemoveAll(dir)
	asked := &goTool{bin: "go", dir: dir, env: []string{"GOWORK=off", "GOFLAGS=-mod=mod"}}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module guanlan.invalid/find\n"), 0o644); err != nil {
		return nil, fmt.Errorf("find %s: %w", inv.packages[0], err)
	}
	if _, err := asked.output(ctx, append([]string{"get"}, inv.packages...)...); err != nil {
		return nil, err
	}
	kept, err := cacheDir()
	if err != nil {
		return nil, err
	}
	c := *inv
	c.packages = nil
	for _, p := range inv.packages {
		path, _, _ := strings.Cut(p, "@")
		out, err := asked.output(ctx, "list", "-json=Dir,ImportPath,Name,Module", path)
		if err != nil {
			return nil, err
		}
		q := new(pkg)
		if err := json.Unmarshal(out, q); err != nil || q.Module == nil {
			return nil, fmt.Errorf("find %s: go list tells no module: %w", p, err)
		}
		at, err := cache{kept}.copy(programs, q.Module, []string{q.Dir})
		if err != nil {
			return nil, err
		}
		if c.dir != inv.dir && c.dir != at {
			return nil, fmt.Errorf("%w: %s is of another module than %s: build them one by one", ErrUsage, p, inv.packages[0])
		}
		c.dir = at
		c.packages = append(c.packages, "."+strings.TrimPrefix(q.Dir, q.Module.Dir))
	}
	if _, ok := inv.flag("mod"); !ok { // not every module is published with all sums
		c.flags = append([]string{"-mod=mod"}, c.flags...)
	}
	return c.writingTo(w, inv)
}

// writingTo has what is built go to where the user is.
func (inv *invocation) writingTo(w *Weaver, was *invocation) (*invocation, error) {
	out, ok := inv.flag("o")
	if filepath.IsAbs(out) || !ok && inv.verb != "build" {
		return inv, nil
	}
	dir, err := w.folder(was)
	if err != nil {
		return nil, err
	}
	inv = inv.without("o")
	inv.flags = append(inv.flags, "-o="+filepath.Join(dir, out)+string(filepath.Separator))
	if ok {
		inv.flags[len(inv.flags)-1] = "-o=" + filepath.Join(dir, out)
	}
	return inv, nil
}
