package weave

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A copy is used as long as it is like the module.
func TestCopyOfModule(t *testing.T) {
	download := folder(t, map[string]string{"v1.0.0.mod": "module example.com/old\n", "v1.0.0.ziphash": "h1:one"})
	dir := folder(t, map[string]string{"old.go": "package old\n", "more/more.go": "package more\n"})
	m := &pkgModule{Path: "example.com/old", Version: "v1.0.0", Dir: dir, GoMod: filepath.Join(download, "v1.0.0.mod")}
	c := cache{t.TempDir()}
	folders := []string{dir, filepath.Join(dir, "more")}
	get := func() string {
		t.Helper()
		at, err := c.copy(libraries, m, folders)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"go.mod": "module example.com/old\n", "old.go": "package old\n", "more/more.go": "package more\n"} {
			if got, err := os.ReadFile(filepath.Join(at, name)); string(got) != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		return at
	}
	first := get()
	for name, damage := range map[string]func(string) error{
		"removed": func(at string) error { return os.Remove(filepath.Join(at, "old.go")) },
		"replaced": func(at string) error {
			name := filepath.Join(at, "more/more.go")
			_ = os.Remove(name)
			return os.WriteFile(name, []byte("package what\n"), 0o644)
		},
		"added":   func(at string) error { return os.WriteFile(filepath.Join(at, "x.go"), nil, 0o644) },
		"go.mod":  func(at string) error { return os.WriteFile(filepath.Join(at, "go.mod"), []byte("module x\n"), 0o644) },
		"nothing": func(at string) error { return nil },
		"all":     os.RemoveAll,
	} {
		if err := damage(first); err != nil {
			t.Fatal(err)
		}
		if at := get(); at != first {
			t.Errorf("%s: made at %s, was at %s", name, at, first)
		}
	}
	if _, err := os.Stat(filepath.Join(first, "x.go")); err == nil {
		t.Error("what was added to the copy is still there")
	}
	// The same version, published again with other contents.
	write(t, download, map[string]string{"v1.0.0.ziphash": "h1:two"})
	if at := get(); at == first {
		t.Error("another content has the same copy")
	}
}

// The requirements of the other versions of a module that is woven still count.
func TestCopiesKeepRequirements(t *testing.T) {
	dep := "package dep\n\nconst One = "
	publish(t, map[string]map[string]string{
		"example.com/lib@v1.1.0": {"go.mod": "module example.com/lib\n\nrequire example.com/dep v1.5.0\n", "lib.go": libText},
		"example.com/lib@v1.2.0": {"go.mod": "module example.com/lib\n\nrequire example.com/dep v1.4.0\n", "lib.go": "package lib\n\nimport \"example.com/dep\"\n\nfunc Answer() int { return dep.One*41 }\n"},
		"example.com/dep@v1.4.0": {"dep.go": dep + "0\n"},
		"example.com/dep@v1.5.0": {"dep.go": dep + "1\n"},
		"example.com/top@v1.0.0": {"go.mod": "module example.com/top\n\nrequire example.com/lib v1.1.0\n", "top.go": "package top\n"},
	})
	t.Setenv("OTEL_SDK_DISABLED", "true")
	t.Setenv(CacheVariable, filepath.Join(t.TempDir(), "a cache"))
	dir := folder(t, map[string]string{
		"go.mod":  "module example.com/app\n\ngo 1.16\n\nrequire (\n\texample.com/lib v1.2.0\n\texample.com/top v1.0.0\n)\n",
		"main.go": strings.Replace(mainText, `"example.com/lib"`, "\"example.com/lib\"\n\t_ \"example.com/top\"", 1),
	})
	goCommand(t, dir, "mod", "tidy")
	if got := goCommand(t, dir, "run", "."); got != "41\n" {
		t.Fatalf("plain: %q", got)
	}
	// dep is woven itself, though it has no go.mod.
	const rules = "name: dep\nabout: One.\npackages:\n  - path: example.com/dep\n    files: [more.go]\n"
	r := newTrial(t, dir, map[string]string{
		"answer/aspect.yaml": strings.Replace(answer["aspect.yaml"], `replace: "41"`, `replace: "dep.One*41"`, 1), "answer/more.go": moreText,
		"dep/aspect.yaml": rules, "dep/more.go": "//go:build guanlan_woven\n\npackage dep\n",
	})
	before := hashOf(t, dir)
	for _, r.Without = range [][]string{{"dep"}, nil} {
		r.out.Reset()
		if r.must(t, "run", "."); r.out.String() != "42\n" || len(r.warned) > 0 {
			t.Errorf("without %q: printed %q, warned %q", r.Without, r.out.String(), r.warned)
		}
	}
	// The environment does the same, in a cache whose name has a space.
	plan, err := r.Plan(t.Context(), "build", nil)
	if err != nil {
		t.Fatal(err)
	}
	env, err := plan.Environment()
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range env {
		t.Setenv(k, v)
	}
	if got := goCommand(t, dir, "run", "."); got != "42\n" {
		t.Errorf("by the environment: printed %q", got)
	}
	// Within it, a woven build is woven once.
	r.out.Reset()
	if r.must(t, "run", "."); r.out.String() != "42\n" || len(r.warned) > 0 {
		t.Errorf("within the environment: printed %q, warned %q", r.out.String(), r.warned)
	}
	if hashOf(t, dir) != before {
		t.Error("the folder has changed")
	}
}
