package hook_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// toolchain is a woven GOROOT.
type toolchain struct{ root, overlay string }

// woven weaves the aspects into a shadow of the GOROOT real. It does what the
// weaver does to packages of the standard library, and nothing else.
func woven(t testing.TB, real string, aspects ...string) toolchain {
	t.Helper()
	tc := toolchain{root: filepath.Join(t.TempDir(), "goroot")}
	link := func(from, to string, but string) {
		entries, err := os.ReadDir(from)
		must(t, err)
		must(t, os.MkdirAll(to, 0o755))
		for _, e := range entries {
			if e.Name() != but {
				must(t, os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
			}
		}
	}
	link(real, tc.root, "src")
	src := filepath.Join(tc.root, "src")
	link(filepath.Join(real, "src"), src, "")
	hook := filepath.Join(src, "guanlan", "hook")
	must(t, os.MkdirAll(hook, 0o755))
	for _, name := range []string{"doc.go", "hook.go"} {
		must(t, os.WriteFile(filepath.Join(hook, name), ours(t, name), 0o644))
	}
	replace := map[string]string{}
	for _, name := range aspects {
		weaveAspect(t, filepath.Join("..", "aspects", name), src, replace)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	must(t, err)
	tc.overlay = filepath.Join(filepath.Dir(tc.root), "overlay.json")
	must(t, os.WriteFile(tc.overlay, text, 0o644))
	return tc
}

// command is the go command with the woven GOROOT.
func (tc toolchain) command(t testing.TB, dir string, args ...string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), filepath.Join(tc.root, "bin", "go"), args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOROOT="+tc.root, "GOTOOLCHAIN=local", "GOFLAGS=-overlay="+tc.overlay, "GOWORK=off")
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ours is a source for woven builds, without the tag that keeps it out of others.
func ours(t testing.TB, name string) []byte {
	text, err := os.ReadFile(name)
	must(t, err)
	return []byte(strings.Replace(string(text), "//go:build guanlan_woven\n", "", 1))
}

type point struct {
	Func, Entry, Before, After, Replace, Type, Field, Code, ID string
	Optional                                                   bool
}

func weaveAspect(t testing.TB, dir, src string, replace map[string]string) {
	t.Helper()
	var aspect struct {
		Packages []struct {
			Path    string
			Imports []struct{ Name, Path string }
			Files   []string
			Points  []point
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "aspect.yaml"))
	must(t, err)
	must(t, yaml.Unmarshal(text, &aspect))
	out := t.TempDir()
	put := func(name string, text []byte) {
		to := filepath.Join(out, strconv.Itoa(len(replace))+".go")
		must(t, os.WriteFile(to, text, 0o644))
		replace[name] = to
	}
	for _, p := range aspect.Packages {
		at := filepath.Join(src, filepath.FromSlash(p.Path))
		files, err := filepath.Glob(filepath.Join(at, "*.go"))
		must(t, err)
		hit := map[string]bool{}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			must(t, err)
			imports := ""
			for _, i := range p.Imports {
				imports += fmt.Sprintf("; import %s %q", i.Name, i.Path)
			}
			if text := weaveFile(t, string(text), imports, p.Points, hit); text != nil {
				put(f, text)
			}
		}
		for i, pt := range p.Points {
			if !hit[pt.key(i)] && !pt.Optional {
				t.Errorf("%s: %+v matches nowhere in %s", dir, pt, at)
			}
		}
		for _, f := range p.Files {
			put(filepath.Join(at, "zz_guanlan_"+f), ours(t, filepath.Join(dir, f)))
		}
	}
}

// key is the same for alternatives.
func (p point) key(i int) string {
	if p.ID != "" {
		return p.ID
	}
	return strconv.Itoa(i)
}

// weaveFile is the woven text of a file, nil when no point is in it.
func weaveFile(t testing.TB, text, imports string, points []point, hit map[string]bool) []byte {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "x.go", text, parser.SkipObjectResolution)
	must(t, err)
	off := func(p token.Pos) int { return fset.Position(p).Offset }
	type edit struct {
		at   int
		text string
	}
	var edits []edit
	spaceless := func(s string) string { return strings.Join(strings.Fields(s), "") }
	for i, p := range points {
		n := len(edits)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if p.Func == "" || d.Body == nil || funcName(d) != p.Func {
					continue
				}
				if p.Entry != "" {
					edits = append(edits, edit{off(d.Body.Lbrace) + 1, " " + parameters(p.Entry, d) + ";"})
					continue
				}
				ast.Inspect(d.Body, func(x ast.Node) bool {
					s, ok := x.(ast.Stmt)
					if !ok || spaceless(text[off(s.Pos()):off(s.End())]) != spaceless(p.Before+p.After) {
						return true
					}
					if p.After != "" {
						edits = append(edits, edit{off(s.End()), "; " + p.Code})
					} else {
						edits = append(edits, edit{off(s.Pos()), p.Code + "; "})
					}
					return true
				})
			case *ast.GenDecl:
				for _, s := range d.Specs {
					ts, ok := s.(*ast.TypeSpec)
					if !ok || p.Type == "" || ts.Name.Name != p.Type {
						continue
					}
					for _, field := range ts.Type.(*ast.StructType).Fields.List {
						if len(field.Names) == 1 && field.Names[0].Name == p.Field {
							edits = append(edits, edit{off(field.Type.End()), "; " + p.Code})
						}
					}
				}
			}
		}
		if len(edits) > n {
			hit[p.key(i)] = true
		}
	}
	if len(edits) == 0 {
		return nil
	}
	edits = append(edits, edit{off(f.Name.End()), imports})
	slices.SortStableFunc(edits, func(a, b edit) int { return a.at - b.at })
	var out strings.Builder
	last := 0
	for _, e := range edits {
		out.WriteString(text[last:e.at] + e.text)
		last = e.at
	}
	out.WriteString(text[last:])
	return []byte(out.String())
}

func parameters(code string, d *ast.FuncDecl) string {
	i := 0
	for _, field := range d.Type.Params.List {
		for _, name := range field.Names {
			code = strings.ReplaceAll(code, "$"+strconv.Itoa(i), name.Name)
			i++
		}
	}
	return code
}

func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	of := d.Recv.List[0].Type
	if s, ok := of.(*ast.StarExpr); ok {
		of = s.X
	}
	if id, ok := of.(*ast.Ident); ok {
		return id.Name + "." + d.Name.Name
	}
	return ""
}
