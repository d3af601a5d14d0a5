package weave

import (
	"strings"
	"testing"
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
	const text = "module example.com/shop\n\ngo 1.24\n\nrequire example.com/lib v1.5.0\n\nreplace (\n\texample.com/lib => example.com/fork v1.6.0\n"
	got, err := replaceModules("go.mod", text+")\n", false, func(replace func(path, version, dir string) error) error {
		return replace("example.com/lib", "v1.5.0", "/copies/lib")
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := text + "\texample.com/lib v1.5.0 => /copies/lib\n)\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
