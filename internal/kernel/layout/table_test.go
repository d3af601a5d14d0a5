package layout

import (
	"slices"
	"testing"

	"github.com/guanlan-io/guanlan/internal/testkit/gobuild"
)

// The three ways to know a field agree in every binary that has more than one of
// them: its DWARF, its descriptors, the table.
func TestSourcesAgree(t *testing.T) {
	variants := map[string][]string{"plain": nil, "stripped": {"-ldflags=-s -w"}, "pie stripped": {"-buildmode=pie", "-ldflags=-s -w"}, "arm64": nil}
	own, _ := ownRoot(t)
	for version, root := range gobuild.Releases(t) {
		whole := open(t, build(t, root, "service", "amd64"))
		for name, flags := range variants {
			arch := "amd64"
			if name == "arm64" { // structs are the same: one release shows it
				if arch = name; version != own {
					continue
				}
			}
			t.Run(version+" "+name, func(t *testing.T) {
				b := open(t, build(t, root, "service", arch, flags...))
				if _, err := b.describe("runtime.g"); err != nil {
					t.Fatal(err)
				}
				n, m := 0, 0
				for _, typ := range Types() {
					for _, field := range Fields(typ) {
						got, src, err := b.Offset(typ, field)
						want, ok := whole.Field(typ, field)
						if whole.types[typ] == nil {
							continue // the program has no such struct
						}
						if (err == nil) != ok || got != want {
							t.Errorf("%s.%s: %d by %s, %v; DWARF says %d, %v", typ, field, got, src, err, want, ok)
						}
						if wantSrc := FromDWARF; len(flags) == 0 && err == nil && src != wantSrc || len(flags) > 0 && src == FromDWARF {
							t.Errorf("%s.%s is known by %s", typ, field, src)
						}
						if d := b.described[typ]; d.fields != nil && ok {
							if off, ok := d.fields[field]; !ok || off != want {
								t.Errorf("%s.%s: descriptor says %d, %v; DWARF says %d", typ, field, off, ok, want)
							}
							m++
						}
						if off, _, err := b.tabled(typ, field); err == nil && off != want || (err == nil) != ok {
							t.Errorf("%s.%s: table says %d, %v; DWARF says %d, %v", typ, field, off, err, want, ok)
						}
						n++
					}
				}
				if n < 300 || m < 200 {
					t.Errorf("only %d fields compared, %d with descriptors", n, m)
				}
				for _, typ := range []string{"net/http.response", "*net/http.response", "*net/http.Request"} {
					if addr, ok := b.Type(typ); !ok || addr == 0 {
						t.Errorf("no descriptor of %s", typ)
					}
				}
				t.Logf("%d fields, %d with descriptors", n, m)
			})
		}
	}
}

// Arguments lie where the compiler puts them; the values were read off its rules and its code.
func TestArguments(t *testing.T) {
	_, root := ownRoot(t)
	b := open(t, build(t, root, "service", "amd64", "-ldflags=-s -w"))
	for _, c := range []struct {
		function, name string
		want           int
		ok             bool
	}{
		{"net/http.serverHandler.ServeHTTP", "sh", 0, true}, {"net/http.serverHandler.ServeHTTP", "rw", 1, true}, {"net/http.serverHandler.ServeHTTP", "req", 3, true},
		{"database/sql.(*DB).queryDC", "query", 7, true}, {"database/sql.(*Stmt).ExecContext", "~r1", 2, true},
		{"runtime.newproc1", "~r0", 0, true}, {"runtime.newproc1", "callergp", 1, true},
		{"runtime.newproc1", "nothing", 0, false}, {"runtime.nothing", "fn", 0, false},
	} {
		if got, ok := b.Argument(c.function, c.name); got != c.want || ok != c.ok {
			t.Errorf("%s of %s: %d, %v; want %d, %v", c.name, c.function, got, ok, c.want, c.ok)
		}
	}
}

func TestVersions(t *testing.T) {
	for s, want := range map[string]version{
		"go1.26.1": {1, 26, 1}, "go1.18": {1, 18, 0}, "go1.25rc2": {1, 25, 0}, "devel go1.27-4a5b6c Mon": {1, 27, 0}, "go1.24.4 X:nodwarf5": {1, 24, 4},
		"go1.24.4 (Red Hat 1.24.4-1.el9)": {1, 24, 4}, "v1.85.0": {1, 85, 0}, "v1.60.0-dev": {1, 60, 0}, "unknown": {}, "": {}, "(devel)": {},
	} {
		if got, ok := parseVersion(s); got != want || ok != (want != version{}) {
			t.Errorf("%q: %v, %v; want %v", s, got, ok, want)
		}
	}
}

// What is between two releases that agree is known; what is newer in its last
// number is derived; the rest is refused with a reason.
func TestSpans(t *testing.T) {
	tab, err := parseTable("module m v1.2.0 v1.4.0 v1.5.1 v1.6.0\ntype m.T\na 0-3:8\nb 0-1:8 2-3:16\nc 2-3:24\n")
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		offset uint64
		src    Source
	}
	for _, c := range []struct {
		version, field string
		want           answer
		why            string
	}{
		{"v1.2.0", "a", answer{8, FromTable}, ""},
		{"v1.3.7", "a", answer{8, FromTable}, ""},
		{"v1.3.7", "b", answer{8, FromTable}, ""},
		{"v1.4.9", "b", answer{8, Derived}, ""},
		{"v1.5.0", "b", answer{}, "it moved between two versions that were measured, and this one is between them"},
		{"v1.5.0", "c", answer{}, "it moved between two versions that were measured, and this one is between them"},
		{"v1.4.0", "c", answer{}, "this version has no such field"},
		{"v1.6.3", "c", answer{24, Derived}, ""},
		{"v1.7.0", "a", answer{}, "it is newer than what the table has"},
		{"v1.1.0", "a", answer{}, "it is older than what the table has"},
	} {
		v, _ := parseVersion(c.version)
		why := ""
		off, src, err := tab.types["m.T"].find(c.field, v, func(w, _ string) (uint64, Source, error) { why = w; return 0, 0, &Unknown{Why: w} })
		if (answer{off, src}) != c.want || why != c.why || (err != nil) != (c.why != "") {
			t.Errorf("%s %s: %d by %s, %q; want %v, %q", c.version, c.field, off, src, why, c.want, c.why)
		}
	}
	for _, bad := range []string{"type x", "module m x", "module m v1.2.0\ntype t\na 0-1:8", "module m v1.2.0\ntype t\na 0:8", "a 0-0:1", "module m"} {
		if _, err := parseTable(bad); err == nil && bad != "module m" {
			t.Errorf("%q was taken", bad)
		}
	}
	if !slices.Contains(Types(), "net/http.Request") || len(Fields("runtime.g")) == 0 {
		t.Error("the embedded table lacks its main types")
	}
}
