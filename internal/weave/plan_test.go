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
