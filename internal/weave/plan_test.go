package weave

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
)

// What is added to a package is written in the Go that builds, whatever the
// go.mod of the package says.
func TestLanguageOfWhatIsAdded(t *testing.T) {
	p := &planner{tool: &goTool{version: "go1.25.3"}}
	for in, want := range map[string]string{
		"//go:build guanlan_woven\n\npackage lib\n":          "//go:build go1.25\n\npackage lib\n",
		"// Package lib is.\npackage lib\n":                  "//go:build go1.25\n\n// Package lib is.\npackage lib\n",
		"// A.\n\n//go:build unix || windows\n\npackage x\n": "// A.\n\n//go:build (unix || windows) && go1.25\n\npackage x\n",
	} {
		if got, err := p.ours(in); got != want || err != nil {
			t.Errorf("%q becomes %q, error %v, want %q", in, got, err, want)
		}
	}
	p.tool.version = "devel +abc"
	if got, err := p.ours("//go:build guanlan_woven\n\npackage lib\n"); strings.Contains(got, "build") || err != nil {
		t.Errorf("with a Go of no version: %q, error %v", got, err)
	}
}

// Other versions keep the go.mod that requirements of them were made with.
func TestCopiesReplaceTheirVersionOnly(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "go.mod")
	const text = "module example.com/shop\n\ngo 1.24\n\nrequire example.com/lib v1.5.0\n\nreplace (\n\texample.com/lib => example.com/fork v1.6.0\n"
	if err := os.WriteFile(name, []byte(text+")\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := &overlay{cache{t.TempDir()}, map[string]string{}}
	copies := map[module.Version]string{{Path: "example.com/lib", Version: "v1.5.0"}: "/copies/lib"}
	if err := o.useCopies(&goTool{dir: dir, mod: name}, &invocation{verb: "build"}, copies); err != nil {
		t.Fatal(err)
	}
	got, err := o.read(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := text + "\texample.com/lib v1.5.0 => /copies/lib\n)\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
